//! What it costs to take in 1, 10 and 50 broadcasts that nobody watches.

use std::{io, thread::sleep, time::Duration};

use super::{MIB, Meter, Peer, Plan, Recording, Server, publishers::Publishers, servers::names};
use crate::table::{Table, bar};

/// Until every stream has its first segments.
const WARM_UP: Duration = Duration::from_secs(4);

/// Measures and prints.
///
/// # Errors
/// A server's or a socket's.
pub(super) fn run(plan: Plan, recording: &Recording) -> io::Result<()> {
    let mut table = Table::default();
    for _ in 0..plan.runs {
        for count in COUNTS {
            for peer in [Peer::Vitrine, Peer::Nginx, Peer::Rushls] {
                let server = Server::start(peer, false)?;
                let publishers = Publishers::start(server.rtmp, "live", &names(count), recording)?;
                sleep(WARM_UP);
                let meter = Meter::start(&server);
                let time = plan.time(15);
                sleep(time);
                let (cpu, own) = meter.read(&server);
                let minutes = time.as_secs_f64() / 60.0 * count as f64;
                let rss = server.usage().rss as f64 / MIB;
                table.note(row(peer, count), &[cpu / minutes, rss, own / minutes]);
                publishers.stop()?;
            }
        }
    }
    table.print(
        "Ingest: 720p30, 2.5 Mb/s, nobody watches",
        &[
            ("CPU s per stream-minute", 3),
            ("RSS MiB", 0),
            ("generator's CPU s per stream-minute", 3),
        ],
    );
    for count in COUNTS {
        let [ours, nginx] =
            [Peer::Vitrine, Peer::Nginx].map(|peer| table.median(row(peer, count), 0));
        bar(
            &format!("CPU of {count} streams, ours / nginx-rtmp"),
            ours / nginx,
            1.0,
        );
    }
    Ok(())
}

const COUNTS: [usize; 3] = [1, 10, 50];

fn row(peer: Peer, count: usize) -> String {
    format!("{peer}, {count}")
}
