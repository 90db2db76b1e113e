//! The soak with encoders at work: two publishers whose picture has another size each minute, one passed through and one
//! encoded whole, over a network that loses packets.
//!
//! What of the changes falls into a session is another sequence header in its middle; what falls between two is another
//! encoder that connects, takes over or comes back after its network was gone ([`super::publishers`]). A packet that TCP
//! loses is for both ends a moment without any, and then all at once: [`LOSSY`], for the publishers and for every second
//! viewer. `cargo bench --bench proof -- soak-ladder [minutes]`.
//!
//! [`memcheck`] is a small one under valgrind, with the daemon as it is built for tests: `make soak-memcheck`. Nothing is
//! suppressed. Rust's own memory is jemalloc's and not watched: what is watched is what unsafe code and the C libraries
//! (FFmpeg, x264) do with theirs.

use std::{io, time::Duration};

use super::{Book, Film, Scene, end, length, play, stream};
use crate::{
    daemon::{Config, Daemon},
    link::Profile,
    sources::Recipe,
};

/// Minutes unless told otherwise.
const MINUTES: f64 = 30.0;
const MEMCHECK_MINUTES: f64 = 2.0;
/// From one size to the other.
const TURN: Duration = Duration::from_secs(60);
const MEMCHECK_TURN: Duration = Duration::from_secs(20);

const WIDE: Recipe = Recipe {
    name: "soak-wide",
    container: "flv",
    video: "testsrc2=size=640x360:rate=30:duration=20",
    audio: "sine=frequency=440:sample_rate=48000:duration=20",
    codecs: "-c:v libx264 -preset veryfast -profile:v high -b:v 500k -maxrate 500k -bufsize 500k -g 30 -keyint_min 30 \
             -sc_threshold 0 -bf 2 -c:a aac -b:a 64k -ac 2",
};
/// Upright, as a telephone that was turned.
const TALL: Recipe = Recipe {
    name: "soak-tall",
    video: "testsrc2=size=360x640:rate=30:duration=20",
    ..WIDE
};
/// As little as a ladder is made of: valgrind makes everything thirty times slower, and one thing at a time.
const LITTLE: Recipe = Recipe {
    name: "soak-little",
    container: "flv",
    video: "testsrc2=size=320x240:rate=5:duration=20",
    audio: "sine=frequency=440:sample_rate=48000:duration=20",
    codecs: "-c:v libx264 -preset ultrafast -b:v 100k -g 5 -keyint_min 5 -sc_threshold 0 -bf 1 -c:a aac -b:a 48k -ac 1",
};
const LITTLE_TALL: Recipe = Recipe {
    name: "soak-little-tall",
    video: "testsrc2=size=240x320:rate=5:duration=20",
    ..LITTLE
};

/// One packet of some hundred is lost: what is behind it waits for the sender's timer (200 ms and more) and a round trip.
const LOSSY: Profile = Profile {
    rate_bps: 12_000_000,
    round_trip: Duration::from_millis(60),
    jitter: Duration::from_millis(30),
    freeze_every: Duration::from_secs(2),
    freeze: Duration::from_millis(300),
};

/// Runs it for as many minutes as the first argument says.
///
/// # Errors
/// The relay's; what else goes wrong is in the verdict.
pub(crate) async fn run(arguments: &[String]) -> io::Result<()> {
    let scene = Scene {
        streams: 2,
        viewers_per_stream: 2,
        strangers: true,
        film: Film::new(&[WIDE, TALL], TURN),
        link: Some(LOSSY),
        encodes: true,
        asks: true,
    };
    let config = Config::new()
        .log("warn")
        .ladder_of("[ladder.encoded]\nhigh = { pass = false }")
        .ladder_for(&stream(1), "encoded");
    let daemon = Daemon::start(&scene.keys(config));
    let book = Book::default();
    let whole = play(&scene, &daemon, length(arguments, MINUTES), &book).await?;
    end(daemon, whole, &book)
}

/// How the daemon is run there. The status of its end is valgrind's where that found something.
const VALGRIND: &[&str] = &[
    "valgrind",
    "--quiet",
    "--leak-check=full",
    "--errors-for-leak-kinds=definite",
    "--show-leak-kinds=definite",
    "--error-exitcode=99",
    "--fair-sched=yes",
    "--num-callers=24",
];

/// One publisher and one viewer under valgrind.
///
/// # Errors
/// As [`run`].
pub(crate) async fn memcheck(arguments: &[String]) -> io::Result<()> {
    let scene = Scene {
        streams: 1,
        viewers_per_stream: 1,
        strangers: false,
        film: Film::new(&[LITTLE, LITTLE_TALL], MEMCHECK_TURN),
        link: None,
        encodes: true,
        asks: false,
    };
    let config = Config::new().log("warn").ladder().under(VALGRIND);
    let daemon = Daemon::start(&scene.keys(config));
    let book = Book::default();
    let whole = play(&scene, &daemon, length(arguments, MEMCHECK_MINUTES), &book).await?;
    end(daemon, whole, &book)
}
