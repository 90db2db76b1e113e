//! The proofs: figures that stand in the README, each measured on the whole daemon from outside, beside a control or a peer.
//!
//! `cargo bench --bench proof -- <name> [arguments]`; `make proof-<name>` installs what one needs and runs it. They take
//! minutes and want a quiet machine, so nothing runs them by itself, and none asserts a time.

mod admission;
#[allow(dead_code)]
#[path = "../../tests/it/backend.rs"]
mod backend;
#[allow(dead_code, unused_imports)]
#[path = "../../tests/it/boxes.rs"]
mod boxes;
#[allow(dead_code)]
#[path = "../../tests/it/daemon.rs"]
mod daemon;
#[cfg(feature = "transcode")]
mod decode;
mod edge;
mod edge_delay;
#[allow(dead_code)]
#[path = "../../tests/it/edges.rs"]
mod edges;
mod events;
mod host;
mod ladder;
mod link;
mod mobile;
mod outbox;
mod peers;
#[allow(dead_code)]
#[path = "../../tests/it/probe.rs"]
mod probe;
#[path = "../../tests/it/publisher.rs"]
mod publisher;
#[allow(dead_code, unused_imports)]
#[path = "../../tests/it/ranges.rs"]
mod ranges;
#[allow(dead_code)]
#[path = "../../tests/it/receiver.rs"]
mod receiver;
#[allow(dead_code)]
#[path = "../../tests/it/shop.rs"]
mod shop;
mod soak;
#[allow(dead_code)]
#[path = "../../tests/it/sources.rs"]
mod sources;
mod table;
#[allow(dead_code, unused_imports)]
#[path = "../../tests/it/viewer.rs"]
mod viewer;

use std::io;

#[tokio::main]
async fn main() -> io::Result<()> {
    // Cargo adds `--bench` to whatever it is given.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let (name, rest) = arguments
        .split_first()
        .map_or(("", &[][..]), |(name, rest)| (name.as_str(), rest));
    match name {
        "admission" => admission::run(rest).await,
        #[cfg(feature = "transcode")]
        "decode" => decode::run(rest).await,
        "edge" => edge::run(rest).await,
        "events" => events::run(rest).await,
        "edge_delay" => edge_delay::run(rest).await,
        "ladder" => ladder::run(rest).await,
        "outbox" => outbox::run(rest).await,
        "peers" => peers::run(rest).await,
        "mobile" => mobile::run(rest).await,
        "soak" => soak::run(rest).await,
        "soak-ladder" => soak::run_ladder(rest).await,
        "soak-memcheck" => soak::memcheck(rest).await,
        _ => {
            eprintln!("usage: cargo bench --bench proof -- <one of>\n{USAGE}");
            std::process::exit(64);
        }
    }
}

const USAGE: &str = "  \
  admission [rush=N] [flood=N]
  decode [minutes=N] [rounds=N] [seed=N]
  edge [viewers] [seconds per turn] [rounds]
  edge_delay [seconds]
  events [player|reconnects|answers|cost]... [events=N] [rate=N] [seconds=N] [runs=N]
  ladder [cost|quality|delay]... [runs=N] [seconds=N] [sources=1080,720,720e] [presets=a,b]
  mobile [minutes] [row]
  outbox [runs=N] [seconds=N] [rate=N]
  peers [ingest|viewers|flood|files|waiters]... [runs=N] [seconds=N] [many=N]
  soak [minutes]
  soak-ladder [minutes]
  soak-memcheck [minutes]";
