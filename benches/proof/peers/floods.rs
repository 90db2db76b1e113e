//! The newest segment, and its playlist, asked for as fast as 32 connections can.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    Meter, Peer, Plan, Recording, Server,
    client::Connection,
    publishers::Publishers,
    servers::names,
    viewers::stage::{self, Rendition},
};
use crate::table::Table;

/// Keep-alive connections.
const CONNECTIONS: usize = 32;

/// Measures and prints.
///
/// # Errors
/// A server's or a socket's.
pub(super) async fn run(plan: Plan, recording: &Recording) -> io::Result<()> {
    let mut table = Table::default();
    for _ in 0..plan.runs {
        for peer in [Peer::Vitrine, Peer::Nginx, Peer::Rushls] {
            let server = Server::start(peer, false)?;
            let publishers = Publishers::start(server.rtmp, "live", &names(1), recording)?;
            let renditions = stage::open(&server).await?;
            sleep(Duration::from_secs(3)).await;
            let Rendition { playlist, .. } = &renditions[0];
            let segment = stage::newest_segment(server.http, playlist).await?;
            for (what, path) in [("segment", &segment), ("playlist", playlist)] {
                let meter = Meter::start(&server);
                let flood = flood(server.http, path, plan.time(3)).await?;
                let (cpu, own) = meter.read(&server);
                let [rate, size] = [
                    flood.requests as f64 / flood.seconds,
                    flood.size as f64 / 1000.0,
                ];
                let each = 1000.0 / flood.requests as f64;
                table.note(
                    format!("{peer}, {what}"),
                    &[size, rate, cpu * each, own * each],
                );
            }
            publishers.stop()?;
        }
    }
    table.print(
        "Floods: 32 keep-alive connections, HTTP/1.1",
        &[
            ("KB", 0),
            ("requests/s", 0),
            ("CPU ms per request", 4),
            ("generator's", 4),
        ],
    );
    Ok(())
}

/// What a flood was answered.
pub(super) struct Flood {
    pub(super) requests: usize,
    pub(super) seconds: f64,
    /// Bytes of one body.
    pub(super) size: usize,
}

impl Flood {
    /// The sum of connections that each tell their requests and the size of a body, once all are done.
    ///
    /// # Errors
    /// The first of any connection.
    pub(super) async fn of(
        connections: JoinSet<io::Result<(usize, usize)>>,
        begun: Instant,
    ) -> io::Result<Self> {
        let (mut requests, mut size) = (0, 0);
        for answered in connections.join_all().await {
            let (more, body) = answered?;
            (requests, size) = (requests + more, body);
        }
        Ok(Self {
            requests,
            seconds: begun.elapsed().as_secs_f64(),
            size,
        })
    }
}

/// Asks for one path over and over on every connection.
///
/// # Errors
/// A socket's, or `InvalidData` for an answer that is not 200.
pub(super) async fn flood(address: SocketAddr, path: &str, time: Duration) -> io::Result<Flood> {
    let (begun, mut tasks) = (Instant::now(), JoinSet::new());
    for _ in 0..CONNECTIONS {
        let path = path.to_owned();
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let (mut requests, mut size) = (0, 0);
            while begun.elapsed() < time {
                let (status, body) = connection.media(&path).await?;
                if status != 200 {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("{path}: {status}"),
                    ));
                }
                (requests, size) = (requests + 1, body);
            }
            Ok((requests, size))
        });
    }
    Flood::of(tasks, begun).await
}
