//! The way from access units to renditions, fed with what strangers may send.
//!
//! `cargo bench --profile dev --bench proof -- decode [minutes=N] [rounds=N] [seed=N]`. A round is a [`Transcoder`] that is
//! fed [mutated](mutation) broadcasts of H.264, H.265 and AV1, then a whole one. It must answer every drain, make the whole
//! one whatever came before, end its threads and give its memory back; nothing may panic. Numbers are thrown from a round's
//! seed, so a round can be played again; the seed under way stands in a file, should the process not survive it.
//!
//! What is covered: our Rust with overflow checks, and through it FFmpeg's decoders, scaler and x264 as the distribution
//! built them, by whatever they are hit with. They are not instrumented, so no coverage guides the mutations and a read
//! beyond a buffer is found only where it crashes, or under valgrind (`make proof-decode VALGRIND=1`), which suppresses
//! nothing.

mod mutation;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use vitrine::transcode::{Full, Preset, Settings, Transcoder, still};
use vitrine_core::{
    engine::ladder::{Encoded, Failure, Feed, Rung},
    media::{Config, Rendition, Sample, av1, avc, hevc},
};

use crate::{
    host::{Usage, load_average},
    probe,
    sources::Recipe,
};
use mutation::Dice;

/// Minutes unless told otherwise.
const MINUTES: f64 = 30.0;
/// How long an answer may take: far longer than the watchdog of an encoder, on a busy machine, under valgrind.
const ANSWER: Duration = Duration::from_secs(120);
/// How long nothing comes when all was said.
const QUIET: Duration = Duration::from_millis(50);
/// Bytes beyond which a round holds too much: two decoders of the largest pictures there may be.
const RSS_MAX: u64 = 2 << 30;
/// Rounds after which the memory in use is that of a process at work.
const WARM: u64 = 40;
/// What memory may grow by from there to the end, in bytes: the grain of the allocator.
const GROWTH_MAX: u64 = 64 << 20;

const fn clip(name: &'static str, video: &'static str, codecs: &'static str) -> Recipe {
    Recipe {
        name,
        container: "mp4",
        video,
        audio: "",
        codecs,
    }
}

/// Each with the box of its configuration.
const CLIPS: [(Recipe, &[u8; 4]); 8] = [
    (
        clip(
            "fuzz-b-frames",
            "testsrc2=size=320x180:rate=30:duration=2",
            "-c:v libx264 -preset veryfast -bf 3 -b_strategy 2 -g 20 -b:v 300k",
        ),
        b"avcC",
    ),
    (
        clip(
            "fuzz-slices",
            "testsrc2=size=180x320:rate=30:duration=2",
            "-c:v libx264 -preset ultrafast -g 15 -b:v 200k -x264-params slices=4:cabac=0",
        ),
        b"avcC",
    ),
    (
        clip(
            "fuzz-interlaced",
            "testsrc2=size=352x288:rate=25:duration=2",
            "-c:v libx264 -preset veryfast -flags +ildct+ilme -bf 2 -g 25 -b:v 400k",
        ),
        b"avcC",
    ),
    (
        clip(
            "fuzz-ten-bit-422",
            "testsrc2=size=320x180:rate=30:duration=2,format=yuv422p10le",
            "-c:v libx264 -preset ultrafast -profile:v high422 -bf 2 -g 30 -b:v 400k",
        ),
        b"avcC",
    ),
    (
        clip(
            "fuzz-hevc",
            "testsrc2=size=320x180:rate=30:duration=2",
            "-c:v libx265 -preset veryfast -tag:v hvc1 -x265-params keyint=20:bframes=3:log-level=error",
        ),
        b"hvcC",
    ),
    (
        clip(
            "fuzz-hevc-ten-bit",
            "testsrc2=size=256x144:rate=30:duration=2,format=yuv420p10le",
            "-c:v libx265 -preset ultrafast -tag:v hvc1 -x265-params keyint=30:open-gop=1:log-level=error",
        ),
        b"hvcC",
    ),
    (
        clip(
            "fuzz-av1",
            "testsrc2=size=320x180:rate=30:duration=2,format=yuv420p",
            "-c:v libaom-av1 -cpu-used 8 -usage realtime -lag-in-frames 0 -g 20 -b:v 200k",
        ),
        b"av1C",
    ),
    (
        clip(
            "fuzz-av1-ten-bit",
            "testsrc2=size=160x90:rate=30:duration=2,format=yuv420p10le",
            "-c:v libaom-av1 -cpu-used 8 -usage realtime -g 30 -b:v 200k",
        ),
        b"av1C",
    ),
];

/// A broadcast as encoders make it.
struct Clip {
    name: &'static str,
    config: Config,
    samples: Vec<Sample>,
}

/// What a decoder is configured by.
fn config(kind: &[u8; 4], record: &Bytes) -> Option<Config> {
    match kind {
        b"avcC" => avc::Config::parse(record).ok().map(Config::Avc),
        b"hvcC" => hevc::Config::parse(record).ok().map(Config::Hevc),
        _ => av1::Config::parse(record).ok().map(Config::Av1),
    }
}

impl Clip {
    fn read(recipe: &Recipe, kind: &[u8; 4]) -> io::Result<Self> {
        let file = fs::read(recipe.file())?;
        let record = probe::find_box(&file, kind).map(Bytes::copy_from_slice);
        let config = record.and_then(|record| config(kind, &record));
        let config = config.ok_or_else(|| io::Error::other(recipe.name))?;
        let samples = probe::samples(&file).into_iter().map(|sample| Sample {
            dts: i64::from(sample.dts_ms) * 90,
            composition_offset: sample.composition_ms * 90,
            duration: 3000,
            sync: sample.sync,
            data: sample.data.into(),
        });
        Ok(Self {
            name: recipe.name,
            config,
            samples: samples.collect(),
        })
    }
}

/// Runs rounds until the time is over, or the first that fails.
///
/// # Errors
/// What a round did that it must not, with its seed.
pub(crate) async fn run(arguments: &[String]) -> io::Result<()> {
    let told = |name: &str| {
        let mut values = arguments.iter().filter_map(|it| it.strip_prefix(name));
        values.next().and_then(|value| value.parse::<f64>().ok())
    };
    let minutes = told("minutes=").unwrap_or(MINUTES);
    let rounds = told("rounds=").map_or(u64::MAX, |rounds| rounds as u64);
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let first = told("seed=").map_or(now.as_secs(), |seed| seed as u64);
    let clips = { CLIPS.iter() }.map(|(recipe, kind)| Clip::read(recipe, kind));
    let clips: Vec<Clip> = clips.collect::<io::Result<_>>()?;
    count_panics();
    let seed_file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("decode.seed");
    eprintln!(
        "seeds from {first}; the one under way: {}",
        seed_file.display()
    );
    let until = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let mut sum = Sum::default();
    while sum.rounds < rounds && Instant::now() < until {
        let seed = first.wrapping_add(sum.rounds);
        fs::write(&seed_file, seed.to_string())?;
        if let Err(wrong) = sum.round(&clips, seed).await {
            sum.print();
            let replay = "cargo bench --profile dev --bench proof -- decode rounds=1 seed=";
            return Err(io::Error::other(format!("{wrong}; {replay}{seed}")));
        }
        if sum.rounds.is_multiple_of(100) {
            sum.print();
        }
    }
    sum.print();
    sum.judge()?;
    fs::remove_file(seed_file)
}

/// Panics so far: those of threads are caught where they happen, and told as a rung's failure.
static PANICS: AtomicU64 = AtomicU64::new(0);

fn count_panics() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        told(panic);
    }));
}

/// What came of all rounds.
#[derive(Debug, Default)]
struct Sum {
    rounds: u64,
    units: u64,
    mutated: u64,
    pictures: u64,
    lost: BTreeMap<&'static str, u64>,
    /// Resident memory between rounds, in bytes: when warm, now, and the most that ever was.
    rss: (u64, u64, u64),
}

impl Sum {
    fn print(&self) {
        let mib = |bytes: u64| bytes >> 20;
        let (warm, now, most) = self.rss;
        eprintln!(
            "decode: {} rounds, {} access units ({} mutated), {} pictures encoded, rungs lost {:?}, resident {} MiB \
             (warm {}, most {}), load {}",
            self.rounds,
            self.units,
            self.mutated,
            self.pictures,
            self.lost,
            mib(now),
            mib(warm),
            mib(most),
            load_average()
        );
    }

    fn judge(&self) -> io::Result<()> {
        let (warm, now, _) = self.rss;
        if warm > 0 && now > warm + GROWTH_MAX {
            return Err(io::Error::other(format!(
                "memory grew from {warm} to {now} bytes"
            )));
        }
        Ok(())
    }

    /// One round.
    async fn round(&mut self, clips: &[Clip], seed: u64) -> Result<(), String> {
        let mut dice = Dice::new(seed);
        let idle = threads();
        let settings = Settings {
            preset: Preset::Ultrafast,
            ..Settings::default()
        };
        let (transcoder, encoded) = Transcoder::start(&settings, tracing::Span::none());
        let mut round = Round {
            transcoder,
            encoded,
            last: BTreeMap::new(),
            whole: (Vec::new(), BTreeSet::new()),
            sum: self,
        };
        for _ in 0..=dice.below(4) {
            round.mutated(clips, &mut dice).await?;
        }
        if dice.one_in(8) {
            // A stream that ends while all is under way.
        } else {
            round.settle().await?;
            round.whole(clips, &mut dice).await?;
        }
        let Round {
            transcoder,
            mut encoded,
            ..
        } = round;
        drop(transcoder);
        let rest = async { while encoded.recv().await.is_some() {} };
        let ended = timeout(ANSWER, rest).await;
        ended.map_err(|_| "threads of a transcoder that is gone do not end".to_owned())?;
        let began = Instant::now();
        // What holds the last end of a channel has yet to unwind.
        while threads() > idle && began.elapsed() < ANSWER {
            sleep(Duration::from_millis(1)).await;
        }
        if threads() > idle {
            return Err(format!("{} threads, of {idle} before", threads()));
        }
        self.glance(clips, &mut dice);
        self.note()
    }

    /// A still of a key frame, which others ask for than the transcoder.
    fn glance(&mut self, clips: &[Clip], dice: &mut Dice) {
        let (config, data) = (dice.of(clips), dice.of(clips));
        let data = dice.of(&data.samples).data.clone();
        let _ = still(&config.config, dice.mutated(&data, clips));
    }

    fn note(&mut self) -> Result<(), String> {
        self.rounds += 1;
        let panics = PANICS.load(Ordering::Relaxed);
        if panics > 0 {
            return Err(format!("{panics} panics"));
        }
        let now = Usage::of(std::process::id()).rss;
        let (warm, _, most) = self.rss;
        self.rss = (warm, now, most.max(now));
        if self.rounds == WARM {
            self.rss.0 = now;
        }
        if now > RSS_MAX {
            return Err(format!("{now} bytes of memory in use"));
        }
        Ok(())
    }
}

/// A transcoder at work.
struct Round<'a> {
    transcoder: Transcoder,
    encoded: mpsc::Receiver<Vec<Encoded>>,
    /// What each rung said last, of those that have been asked to.
    last: BTreeMap<Rendition, Option<Encoded>>,
    /// Where the pictures of the whole broadcast are shown, in order; and the rungs that have made some of them.
    whole: (Vec<i64>, BTreeSet<Rendition>),
    sum: &'a mut Sum,
}

impl Round<'_> {
    /// A broadcast as no encoder would make it.
    async fn mutated(&mut self, clips: &[Clip], dice: &mut Dice) -> Result<(), String> {
        let clip = dice.of(clips);
        let config = dice.config(clip, clips);
        let rungs = dice.rungs();
        self.source(config, rungs).await?;
        // Of so many access units one is mutated.
        let share = *dice.of(&[1, 2, 5, 20, usize::MAX]);
        let shift = dice.shift();
        for sample in &clip.samples {
            if dice.one_in(share) {
                self.sum.mutated += 1;
                for feed in dice.feeds(sample, shift, clips) {
                    self.feed(feed).await?;
                }
            } else {
                let dts = sample.dts.saturating_add(shift);
                let sample = sample.clone();
                self.feed(Feed::Picture(Sample { dts, ..sample })).await?;
            }
            if dice.one_in(15) {
                let at = sample.dts.saturating_add(shift);
                self.feed(Feed::Key { at }).await?;
            }
            if dice.one_in(6) {
                let until = sample.dts.saturating_add(shift);
                self.feed(Feed::Seal { until }).await?;
            }
        }
        if dice.one_in(4) {
            let end = { clip.samples.iter() }
                .map(|sample| sample.dts)
                .max()
                .unwrap_or(0);
            self.slate(dice, end.saturating_add(shift)).await?;
        }
        if dice.one_in(2) {
            self.feed(Feed::Drain).await?;
        }
        Ok(())
    }

    /// What was shown last, if anything was, again and again.
    async fn slate(&mut self, dice: &mut Dice, from: i64) -> Result<(), String> {
        let rungs = dice.rungs();
        self.expect(&rungs);
        self.feed(Feed::Slate { rungs }).await?;
        let mut at = from;
        for _ in 0..dice.below(30) {
            if dice.one_in(5) {
                self.feed(Feed::Key { at }).await?;
            }
            self.feed(Feed::Repeat { at }).await?;
            at = at.saturating_add(*dice.of(&[3000, 18_000, 0, -9000]));
            if dice.one_in(3) {
                self.feed(Feed::Seal { until: at }).await?;
            }
        }
        Ok(())
    }

    async fn source(&mut self, config: Config, rungs: Vec<Rung>) -> Result<(), String> {
        self.expect(&rungs);
        self.feed(Feed::Source { config, rungs }).await
    }

    /// From here on these rungs answer.
    fn expect(&mut self, rungs: &[Rung]) {
        for rung in rungs {
            self.last.entry(rung.rendition).or_default();
        }
        { &mut self.last }.retain(|rendition, _| rungs.iter().any(|it| it.rendition == *rendition));
    }

    /// Waits until every rung has said that there is no more.
    async fn settle(&mut self) -> Result<(), String> {
        for last in self.last.values_mut() {
            // One that is lost says so once.
            if !matches!(last, Some(Encoded::Lost { .. })) {
                *last = None;
            }
        }
        self.feed(Feed::Drain).await?;
        let began = Instant::now();
        loop {
            match timeout(QUIET, self.encoded.recv()).await {
                Ok(Some(encoded)) => self.took(encoded)?,
                Ok(None) => return Err("the decoder's thread is gone".to_owned()),
                Err(_) if self.is_over() => return Ok(()),
                Err(_) if began.elapsed() > ANSWER => {
                    return Err(format!("a drain is not answered: {:?}", self.last));
                }
                Err(_) => {}
            }
        }
    }

    /// A broadcast as it should be, after which every rung must have made pictures of it and of nothing else.
    async fn whole(&mut self, clips: &[Clip], dice: &mut Dice) -> Result<(), String> {
        const AT: i64 = 1 << 40;
        let clip = dice.of(clips);
        self.last.clear();
        let renditions = [Rendition::High, Rendition::Mid, Rendition::Low];
        let rungs = renditions.into_iter().map(|rendition| Rung {
            rendition,
            width: 64,
            height: 36,
            frame_rate: (30, 1),
            bitrate: 100_000,
        });
        self.source(clip.config.clone(), rungs.collect()).await?;
        let mut times: Vec<i64> = Vec::new();
        for sample in &clip.samples {
            let dts = AT + sample.dts;
            times.push(dts + i64::from(sample.composition_offset));
            let sample = sample.clone();
            self.feed(Feed::Picture(Sample { dts, ..sample })).await?;
        }
        times.sort_unstable();
        self.whole.0 = times;
        self.settle().await?;
        for (rendition, last) in &self.last {
            match last {
                Some(Encoded::Lost { reason, .. }) if *reason != Failure::Late => {
                    return Err(format!(
                        "{} after it: {rendition} lost: {reason}",
                        clip.name
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether every rung has said that there is no more, and of the whole broadcast there was some.
    fn is_over(&self) -> bool {
        let (times, begun) = &self.whole;
        let is_over = |(rendition, last): (&Rendition, &Option<Encoded>)| match last {
            Some(Encoded::Lost { .. }) => true,
            Some(Encoded::Drained { .. }) => times.is_empty() || begun.contains(rendition),
            _ => false,
        };
        self.last.iter().all(is_over)
    }

    async fn feed(&mut self, feed: Feed) -> Result<(), String> {
        if let Feed::Picture(_) = feed {
            self.sum.units += 1;
        }
        let mut next = Some(feed);
        while let Some(feed) = next.take() {
            if let Err(Full(back)) = self.transcoder.feed(feed) {
                next = Some(*back);
                let encoded = timeout(ANSWER, self.encoded.recv()).await;
                // One that hands nothing back may have nothing to: it only has to take.
                if let Ok(encoded) = encoded {
                    self.took(encoded.ok_or("the decoder's thread is gone")?)?;
                }
            }
            while let Ok(encoded) = self.encoded.try_recv() {
                self.took(encoded)?;
            }
        }
        Ok(())
    }

    fn took(&mut self, encoded: Vec<Encoded>) -> Result<(), String> {
        encoded.into_iter().try_for_each(|it| self.took_one(it))
    }

    fn took_one(&mut self, encoded: Encoded) -> Result<(), String> {
        match &encoded {
            Encoded::Picture { sample, .. } => {
                self.sum.pictures += 1;
                if sample.data.is_empty() {
                    return Err("an empty picture".to_owned());
                }
                // Of a rung that is late, those of the broadcasts before come first.
                let (times, begun) = &mut self.whole;
                if times.binary_search(&sample.dts).is_ok() {
                    begun.insert(encoded.rendition());
                } else if begun.contains(&encoded.rendition()) {
                    return Err(format!("a picture at {} that nobody sent", sample.dts));
                }
            }
            Encoded::Lost { reason, .. } => {
                let reason = match reason {
                    Failure::Decoder => "decoder",
                    Failure::Encoder => "encoder",
                    Failure::Late => "late",
                };
                *self.sum.lost.entry(reason).or_default() += 1;
            }
            Encoded::Config { .. } | Encoded::Drained { .. } => {}
        }
        if let Some(last) = self.last.get_mut(&encoded.rendition()) {
            *last = Some(encoded);
        }
        Ok(())
    }
}

/// Threads of this process.
fn threads() -> usize {
    fs::read_dir(PathBuf::from("/proc/self/task")).map_or(0, Iterator::count)
}
