//! The same bytes as a file of nginx on tmpfs and as media of ours: about 1 KB (an initialization segment) and about
//! 200 KB (a segment), over HTTP/1.1 in clear and over HTTP/2 under TLS.

use std::{fs, io, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};

use super::{
    Meter, Peer, Plan, Recording, Server,
    client::Connection,
    floods::{Flood, flood},
    publishers::Publishers,
    servers::names,
    viewers::stage,
};
use crate::{
    publisher::flv,
    sources::Recipe,
    table::{Table, bar},
};

/// A segment of it is about 200 KB.
const BROADCAST: Recipe = Recipe {
    name: "peers-files",
    container: "flv",
    video: "testsrc2=size=1280x720:rate=30:duration=120",
    audio: "sine=frequency=440:sample_rate=48000:duration=120",
    codecs: "-c:v libx264 -preset superfast -b:v 1600k -maxrate 1600k -bufsize 1600k -g 30 -keyint_min 30 \
             -sc_threshold 0 -bf 2 -c:a aac -b:a 96k -ac 2",
};

/// Connections over HTTP/2, and requests at once on each.
const CONNECTIONS: usize = 8;
const STREAMS: usize = 4;

/// Measures and prints.
///
/// # Errors
/// A server's or a socket's.
pub(super) async fn run(plan: Plan) -> io::Result<()> {
    let recording = Recording::new(&flv::read(BROADCAST.file())?);
    let mut table = Table::default();
    for _ in 0..plan.runs {
        let ours = Server::start(Peer::Vitrine, true)?;
        let nginx = Server::start(Peer::Nginx, true)?;
        let publishers = Publishers::start(ours.rtmp, "live", &names(1), &recording)?;
        let playlist = stage::open(&ours).await?.swap_remove(0).playlist;
        sleep(Duration::from_secs(2)).await;
        for name in ["small", "large"] {
            for http2 in [false, true] {
                // The newest each time: none may leave the window while it is asked for.
                let path = match name {
                    "small" => stage::resolve(&playlist, "init0.mp4"),
                    _ => stage::newest_segment(ours.http, &playlist).await?,
                };
                for server in [&ours, &nginx] {
                    let path = if server.peer == Peer::Nginx {
                        copy(&ours, &path, server, name).await?
                    } else {
                        path.clone()
                    };
                    let meter = Meter::start(server);
                    let flood = if http2 {
                        flood_http2(server, &path, plan.time(3)).await?
                    } else {
                        flood(server.http, &path, plan.time(3)).await?
                    };
                    let (cpu, own) = meter.read(server);
                    let each = 1000.0 / flood.requests as f64;
                    let [rate, size] = [
                        flood.requests as f64 / flood.seconds,
                        flood.size as f64 / 1000.0,
                    ];
                    table.note(
                        row(server.peer, name, http2),
                        &[size, rate, cpu * each, own * each],
                    );
                }
            }
        }
        publishers.stop()?;
    }
    table.print(
        "The same bytes from memory and from a file on tmpfs, 32 requests at once",
        &[
            ("KB", 1),
            ("requests/s", 0),
            ("CPU ms per request", 4),
            ("generator's", 4),
        ],
    );
    for name in ["small", "large"] {
        for http2 in [false, true] {
            let [ours, nginx] =
                [Peer::Vitrine, Peer::Nginx].map(|peer| table.median(row(peer, name, http2), 2));
            let what = row(Peer::Vitrine, name, http2);
            bar(
                &format!("CPU per request, {what} / nginx"),
                ours / nginx,
                1.0,
            );
        }
    }
    Ok(())
}

fn row(peer: Peer, name: &str, http2: bool) -> String {
    let peer = if peer == Peer::Nginx {
        "nginx".to_owned()
    } else {
        peer.to_string()
    };
    format!(
        "{peer}, {name}, {}",
        if http2 { "HTTP/2 + TLS" } else { "HTTP/1.1" }
    )
}

/// Puts what `ours` answers into the folder of `nginx`; answers its path there.
async fn copy(ours: &Server, path: &str, nginx: &Server, name: &str) -> io::Result<String> {
    let mut connection = Connection::open(ours.http).await?;
    let bytes = connection.text(path, |_, body| body.to_vec()).await?;
    fs::write(
        nginx.folder().join("www").join(format!("{name}.m4s")),
        bytes,
    )?;
    Ok(format!("/{name}.m4s"))
}

async fn flood_http2(server: &Server, path: &str, time: Duration) -> io::Result<Flood> {
    let address = server.https.ok_or(io::ErrorKind::NotFound)?;
    let connector = connector(server)?;
    let (begun, mut tasks) = (Instant::now(), JoinSet::new());
    for _ in 0..CONNECTIONS {
        let requests = connect(&connector, address).await?;
        for _ in 0..STREAMS {
            tasks.spawn(ask(
                requests.clone(),
                format!("https://localhost{path}"),
                begun,
                time,
            ));
        }
    }
    Flood::of(tasks, begun).await
}

type Requests = http2::SendRequest<Empty<Bytes>>;

async fn ask(
    mut requests: Requests,
    url: String,
    begun: Instant,
    time: Duration,
) -> io::Result<(usize, usize)> {
    let (mut count, mut size) = (0, 0);
    while begun.elapsed() < time {
        let request = Request::get(&url)
            .body(Empty::new())
            .map_err(io::Error::other)?;
        let answer = requests
            .send_request(request)
            .await
            .map_err(io::Error::other)?;
        if answer.status() != 200 {
            return Err(io::Error::other(format!("{url}: {}", answer.status())));
        }
        let mut body = answer.into_body();
        size = 0;
        while let Some(frame) = body.frame().await {
            size += frame
                .map_err(io::Error::other)?
                .data_ref()
                .map_or(0, Bytes::len);
        }
        count += 1;
    }
    Ok((count, size))
}

async fn connect(connector: &TlsConnector, address: SocketAddr) -> io::Result<Requests> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let socket = connector.connect(name, socket).await?;
    let handshake = http2::Builder::new(TokioExecutor::new())
        // No window shall be what is measured.
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .handshake(TokioIo::new(socket));
    let (requests, connection) = handshake.await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(requests)
}

fn connector(server: &Server) -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let certificate =
        CertificateDer::from_pem_slice(&server.certificate()?).map_err(io::Error::other)?;
    roots.add(certificate).map_err(io::Error::other)?;
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
