//! The daemon beside its peers: nginx with nginx-rtmp, and Rushls, on the same machine, in interleaved runs.
//!
//! `cargo bench --bench proof -- peers [ingest|viewers|flood|files|waiters]... [seconds=N] [runs=N]`. CPU seconds are those
//! the kernel has counted for all processes of a server; the generator shares the machine and states its own. Every figure
//! is a median of the runs; ratios are of medians. Nothing is asserted: a bar is printed as met or missed.

mod client;
mod files;
mod floods;
mod ingest;
mod publishers;
mod servers;
mod viewers;
mod waiters;

use std::{io, time::Duration};

use self::{
    publishers::Recording,
    servers::{Peer, Server},
};
use crate::{
    host::{Usage, load_average},
    publisher::flv,
    sources::Recipe,
};

/// 720p30 at 2.5 Mb/s, two B-frames, a key frame each second: what the peers were always measured with.
const BROADCAST: Recipe = Recipe {
    name: "edge-delay",
    container: "flv",
    video: "testsrc2=size=1280x720:rate=30:duration=120",
    audio: "sine=frequency=440:sample_rate=48000:duration=120",
    codecs: "-c:v libx264 -preset superfast -b:v 2500k -maxrate 2500k -bufsize 2500k -g 30 -keyint_min 30 \
             -sc_threshold 0 -bf 2 -c:a aac -b:a 96k -ac 2",
};

/// What a run is given by the command line.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Interleaved runs.
    runs: usize,
    /// Seconds measured in each run, if not each proof's own choice.
    seconds: Option<u64>,
    /// People watching, or requests waiting.
    many: Option<usize>,
}

impl Plan {
    fn time(self, usual_seconds: u64) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(usual_seconds))
    }
}

/// All of it, or what the arguments name.
///
/// # Errors
/// A server's or a socket's.
pub(crate) async fn run(arguments: &[String]) -> io::Result<()> {
    let mut plan = Plan {
        runs: 3,
        seconds: None,
        many: None,
    };
    let mut chosen = Vec::new();
    for argument in arguments {
        match argument.split_once('=') {
            Some(("runs", value)) => plan.runs = value.parse().map_err(io::Error::other)?,
            Some(("seconds", value)) => plan.seconds = value.parse().ok(),
            Some(("many", value)) => plan.many = value.parse().ok(),
            _ => chosen.push(argument.as_str()),
        }
    }
    let wanted = |name: &str| chosen.is_empty() || chosen.contains(&name);
    vitrine_runtime::descriptors::raise()?;
    let recording = Recording::new(&flv::read(BROADCAST.file())?);
    println!("load average before: {}", load_average());
    if wanted("ingest") {
        ingest::run(plan, &recording)?;
    }
    if wanted("viewers") {
        viewers::run(plan, &recording).await?;
    }
    if wanted("flood") {
        floods::run(plan, &recording).await?;
    }
    if wanted("files") {
        files::run(plan).await?;
    }
    if wanted("waiters") {
        waiters::run(plan, &recording).await?;
    }
    println!("\nload average after: {}", load_average());
    Ok(())
}

/// What a server and this process use over a time.
struct Meter {
    server: Usage,
    own: Usage,
}

impl Meter {
    fn start(server: &Server) -> Self {
        Self {
            server: server.usage(),
            own: Usage::of(std::process::id()),
        }
    }

    /// CPU seconds of the server, and of this process.
    fn read(&self, server: &Server) -> (f64, f64) {
        let own = Usage::of(std::process::id())
            .cpu
            .saturating_sub(self.own.cpu);
        let server = server.usage().cpu.saturating_sub(self.server.cpu);
        (server.as_secs_f64(), own.as_secs_f64())
    }
}

const MIB: f64 = 1_048_576.0;
