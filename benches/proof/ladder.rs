//! The ladder beside the ffmpeg command: what it costs, how good its pictures are, how late they come.
//!
//! `cargo bench --bench proof -- ladder [cost|quality|delay]... [runs=N] [seconds=N] [sources=1080,720,720e] [presets=a,b]`.
//! The renditions are the built-in ladder's, written down here once more: the daemon is measured by what it promises. The
//! commands have the very settings of x264 that it has, one thread, and bicubic scaling; they read a file in real time.
//! Nothing is asserted: a bar is printed as met or missed. All of it takes about 20 minutes; `runs` and `seconds` make
//! more of it.

mod commands;
mod cost;
mod delay;
mod quality;
mod scrape;

use std::{fmt, io, path::PathBuf, time::Duration};

use crate::{daemon::Config, host::load_average, sources::Recipe, viewer::Viewer};

/// A source, and which of its renditions are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// 1080p30, `high` passed through.
    Large,
    /// 720p30, `high` passed through.
    Small,
    /// 720p30, all three encoded.
    SmallEncoded,
}

/// A rendition that is encoded, with the source's 30 frames a second.
#[derive(Clone, Copy, Debug)]
struct Rung {
    name: &'static str,
    width: u32,
    height: u32,
    /// Average, which no second exceeds by more than as much again.
    kbps: u32,
}

const fn rung(name: &'static str, width: u32, height: u32, kbps: u32) -> Rung {
    Rung {
        name,
        width,
        height,
        kbps,
    }
}

impl Source {
    const ALL: [Self; 3] = [Self::Large, Self::Small, Self::SmallEncoded];

    /// As an argument names it.
    fn argument(self) -> &'static str {
        match self {
            Self::Large => "1080",
            Self::Small => "720",
            Self::SmallEncoded => "720e",
        }
    }

    fn recipe(self) -> &'static Recipe {
        match self {
            Self::Large => &CLIP_1080,
            Self::Small | Self::SmallEncoded => &CLIP_720,
        }
    }

    /// The recording, made now if it is not there. Blocking.
    fn clip(self) -> PathBuf {
        self.recipe().file()
    }

    /// Whether `high` is the source as it came.
    fn passes(self) -> bool {
        self != Self::SmallEncoded
    }

    /// Columns of the source.
    fn width(self) -> u32 {
        match self {
            Self::Large => 1920,
            Self::Small | Self::SmallEncoded => 1280,
        }
    }

    /// What is encoded, largest first: each is scaled from the one above it.
    fn rungs(self) -> &'static [Rung] {
        const LARGE: [Rung; 2] = [rung("mid", 1280, 720, 2200), rung("low", 768, 432, 800)];
        const SMALL: [Rung; 3] = [
            rung("high", 1280, 720, 2500),
            rung("mid", 854, 480, 1200),
            rung("low", 640, 360, 500),
        ];
        match self {
            Self::Large => &LARGE,
            Self::Small => &SMALL[1..],
            Self::SmallEncoded => &SMALL,
        }
    }

    /// The daemon's configuration; without a preset it passes through what comes and makes nothing else.
    fn config(self, preset: Option<&str>) -> Config {
        let config = Config::new().key(KEY, STREAM).log("warn");
        match preset {
            None => config,
            // Without a ladder of its own a key has the built-in one.
            Some(preset) if self.passes() => config.ladder().preset(preset),
            Some(preset) => config.ladder_of("high = { pass = false }").preset(preset),
        }
    }
}

/// Whether the daemon serves what it is compared by; the stream must be there.
///
/// # Errors
/// `InvalidData` with what it serves instead.
async fn check(viewer: &Viewer, source: Source) -> io::Result<()> {
    let multivariant = viewer.multivariant(STREAM).await;
    let serves = |rung: &&Rung| {
        let folder = format!("/{}/", rung.name);
        let named = multivariant
            .variants
            .iter()
            .filter(|variant| variant.uri.contains(&folder));
        let size = (u64::from(rung.width), u64::from(rung.height));
        let mut sizes = named.filter_map(|variant| variant.resolution);
        sizes.any(|resolution| (resolution.width, resolution.height) == size)
    };
    match source.rungs().iter().find(|rung| !serves(rung)) {
        None => Ok(()),
        Some(rung) => {
            let why = format!("{source}: not {rung:?}, but {:?}", multivariant.variants);
            Err(io::Error::new(io::ErrorKind::InvalidData, why))
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Large => "1080p30, high passed through",
            Self::Small => "720p30, high passed through",
            Self::SmallEncoded => "720p30, all three encoded",
        })
    }
}

const KEY: &str = "ladder-key";
const STREAM: &str = "ladder";
/// Frames per second of every source.
const RATE: u32 = 30;
/// Length of every recording.
const CLIP_SECONDS: u64 = 30;
/// Of a recording, before what is measured begins and after it ends: starting takes some.
const MARGIN_SECONDS: u64 = 8;

/// Detail that moves, edges and text, and noise that no frame repeats: harder than a talking head. A closed GOP each second.
const CLIP_1080: Recipe = Recipe {
    name: "ladder-1080",
    container: "flv",
    video: "mandelbrot=size=1920x1080:rate=30[zoom];testsrc2=size=1920x1080:rate=30[card];\
            [zoom][card]blend=all_mode=average,noise=alls=8:allf=t,format=yuv420p,trim=duration=30",
    audio: "sine=frequency=440:sample_rate=48000:duration=30",
    codecs: "-c:v libx264 -preset veryfast -profile:v high -b:v 6000k -maxrate 6000k -bufsize 6000k -g 30 \
             -keyint_min 30 -sc_threshold 0 -bf 2 -c:a aac -b:a 128k -ac 2",
};

const CLIP_720: Recipe = Recipe {
    name: "ladder-720",
    container: "flv",
    video: "mandelbrot=size=1280x720:rate=30[zoom];testsrc2=size=1280x720:rate=30[card];\
            [zoom][card]blend=all_mode=average,noise=alls=8:allf=t,format=yuv420p,trim=duration=30",
    audio: "sine=frequency=440:sample_rate=48000:duration=30",
    codecs: "-c:v libx264 -preset veryfast -profile:v high -b:v 3500k -maxrate 3500k -bufsize 3500k -g 30 \
             -keyint_min 30 -sc_threshold 0 -bf 2 -c:a aac -b:a 128k -ac 2",
};

/// What the command line asks for.
#[derive(Clone, Debug)]
struct Plan {
    /// Interleaved runs.
    runs: usize,
    /// Of presets other than [`DEFAULT_PRESET`], at most.
    others: usize,
    /// Measured in each run.
    time: Duration,
    sources: Vec<Source>,
    presets: Vec<String>,
}

/// What `transcode.preset` is unless set.
const DEFAULT_PRESET: &str = "superfast";

impl Plan {
    fn runs_of(&self, preset: &str) -> usize {
        match preset {
            DEFAULT_PRESET => self.runs,
            _ => self.runs.min(self.others),
        }
    }
}

/// All of it, or what the arguments name.
///
/// # Errors
/// A socket's or a command's, or `InvalidInput` for an argument that means nothing.
pub(crate) async fn run(arguments: &[String]) -> io::Result<()> {
    let mut plan = Plan {
        runs: 3,
        others: 2,
        time: Duration::from_secs(7),
        sources: Source::ALL.to_vec(),
        presets: ["ultrafast", "superfast", "veryfast"]
            .map(str::to_owned)
            .to_vec(),
    };
    let mut chosen = Vec::new();
    for argument in arguments {
        match argument.split_once('=') {
            Some(("runs", value)) => {
                plan.runs = value.parse().map_err(io::Error::other)?;
                plan.others = plan.runs;
            }
            Some(("seconds", value)) => {
                let seconds: u64 = value.parse().map_err(io::Error::other)?;
                // The recording must not end before the measurement.
                plan.time = Duration::from_secs(seconds.min(CLIP_SECONDS - MARGIN_SECONDS));
            }
            Some(("presets", value)) => {
                plan.presets = value.split(',').map(str::to_owned).collect()
            }
            Some(("sources", value)) => {
                let named = Source::ALL.into_iter();
                let named =
                    named.filter(|source| value.split(',').any(|name| name == source.argument()));
                plan.sources = named.collect();
            }
            None if ["cost", "quality", "delay"].contains(&argument.as_str()) => {
                chosen.push(argument.as_str());
            }
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    argument.clone(),
                ));
            }
        }
    }
    let wanted = |name: &str| chosen.is_empty() || chosen.contains(&name);
    for source in &plan.sources {
        source.clip(); // before anything is measured
    }
    println!("load average before: {}", load_average());
    if wanted("cost") {
        cost::run(&plan).await?;
    }
    if wanted("quality") {
        quality::run(&plan).await?;
    }
    if wanted("delay") {
        delay::run(&plan).await?;
    }
    println!("\nload average after: {}", load_average());
    Ok(())
}
