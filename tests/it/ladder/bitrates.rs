//! What a rung was given is what it takes: on average over a minute, and in every second no more than its buffer allows.

use std::time::Duration;

use tokio::task::spawn_blocking;

use super::{Broadcast, RENDITIONS, config, facts::Facts};
use crate::sources::{Encoder, Recipe, ffmpeg};

/// Noise, of which no encoder makes less than it is given. Short, and pushed over and over: a minute of it would be large.
const NOISE: Recipe = Recipe {
    name: "noise",
    container: "flv",
    video: "testsrc2=size=640x360:rate=30:duration=8,noise=alls=24:allf=t",
    audio: "sine=frequency=440:sample_rate=48000:duration=8",
    codecs: "-c:v libx264 -preset ultrafast -tune zerolatency -b:v 4M -maxrate 4M -bufsize 4M -g 30 -keyint_min 30 \
             -sc_threshold 0 -c:a aac -b:a 64k -ac 2",
};
/// How often it is pushed: 64 seconds.
const TIMES: u32 = 8;

/// Every rung is encoded, so that none is the source.
const LADDER: &str = "high = { pass = false, short_side = 360, bitrate = \"900k\" }\n\
    mid = { short_side = 240, bitrate = \"450k\" }\n\
    low = { short_side = 180, bitrate = \"250k\" }";
/// Bits per second of each.
const TARGETS: [f64; 3] = [900e3, 450e3, 250e3];
/// Of a target, on average over a minute of noise.
const AVERAGE: std::ops::RangeInclusive<f64> = 0.90..=1.05;
/// Of a target, in one second: what comes in it and a buffer of one second.
const PEAK: f64 = 2.0;

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_of_noise_takes_what_each_rung_was_given() {
    let file = spawn_blocking(|| NOISE.file()).await.expect("made");
    let config = config(&["noise"]).ladder_of(LADDER);
    let broadcast = Broadcast::run(&config, "noise", |daemon| {
        let mut ffmpeg = ffmpeg();
        ffmpeg.args(["-re", "-stream_loop", &(TIMES - 1).to_string(), "-i"]);
        ffmpeg.arg(&file).args(["-c", "copy", "-f", "flv"]);
        ffmpeg.arg(daemon.publish_url("key-of-noise"));
        spawn_blocking(move || {
            let (content, said) = Encoder::start(&mut ffmpeg).wait();
            assert!(content, "the encoder says: {said}");
        })
    })
    .await;
    let facts = spawn_blocking(move || broadcast.facts("noise"))
        .await
        .expect("probed");
    println!("| rung | target | average | peak |\n|-|-|-|-|");
    for (rendition, target) in RENDITIONS.iter().zip(TARGETS) {
        let Rates {
            span,
            average,
            peak,
        } = Rates::of(&facts[*rendition]);
        println!("| {rendition} | {target} | {average:.0} | {peak:.0} |");
        assert!(
            span >= Duration::from_secs(60),
            "{rendition}: {span:?} were served"
        );
        assert!(
            AVERAGE.contains(&(average / target)),
            "{rendition}: {average} of {target}"
        );
        assert!(peak <= PEAK * target, "{rendition}: {peak} of {target}");
    }
}

/// Bits per second.
struct Rates {
    span: Duration,
    average: f64,
    /// Of the segment with the most.
    peak: f64,
}

impl Rates {
    fn of(facts: &Facts) -> Self {
        let pictures = &facts.run().pictures;
        let seconds: f64 = facts.cuts.iter().map(|cut| cut.seconds).sum();
        let bits: f64 = pictures
            .iter()
            .map(|picture| f64::from(picture.bytes) * 8.0)
            .sum();
        let within = |start: f64, seconds: f64| {
            let times = start - 0.001..start + seconds - 0.001;
            let within = pictures
                .iter()
                .filter(|picture| times.contains(&picture.pts));
            within
                .map(|picture| f64::from(picture.bytes) * 8.0)
                .sum::<f64>()
                / seconds
        };
        let peaks = facts.cuts.iter().map(|cut| within(cut.start, cut.seconds));
        Self {
            span: Duration::from_secs_f64(seconds),
            average: bits / seconds,
            peak: peaks.fold(0.0, f64::max),
        }
    }
}
