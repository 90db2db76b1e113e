//! The soak's strangers: what knocks at an open port all day. They must be refused, and must cost nobody anything.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use reqwest::{Client, StatusCode};

use super::{Book, Dice, publishers::pause, stream};
use crate::publisher::Publisher;

/// From one knock at the RTMP door to the next.
const KNOCK_EVERY: Duration = Duration::from_millis(900);
/// Half handshakes held at once: they fall due after some seconds, by the daemon's own timer.
const HELD_MAX: usize = 8;
/// From one request of the HTTP stranger to the next.
const BROWSE_EVERY: Duration = Duration::from_millis(250);
/// How long a wait lasts before it is abandoned.
const ABANDONED_AFTER: Duration = Duration::from_millis(60);

/// At the RTMP door, until `end`.
pub(super) fn start(to: SocketAddr, end: Instant, book: &Book) -> JoinHandle<()> {
    let book = book.clone();
    std::thread::spawn(move || {
        let mut dice = Dice::new(200);
        let mut held = Vec::new();
        while Instant::now() < end {
            match dice.roll(0, 12) {
                0..4 => {
                    book.deed("bursts of garbage at the RTMP door");
                    let noise: Vec<u8> = (0..4096).map(|_| dice.roll(0, 256) as u8).collect();
                    let _ = shout(to, &noise);
                }
                4..8 => {
                    book.deed("half handshakes");
                    let bytes = vec![3; dice.roll(0, 2_000) as usize];
                    held.extend(TcpStream::connect(to).and_then(|mut socket| {
                        socket.write_all(&bytes)?;
                        Ok(socket)
                    }));
                    if held.len() > HELD_MAX {
                        held.remove(0);
                    }
                }
                // Seldom, as the publishers share the address: more would make them wait with the guesser.
                8 => {
                    book.deed("wrong keys");
                    match Publisher::publish(to, "live", "not-a-key") {
                        Ok((_, status)) if status.level == "error" => {}
                        Ok((_, status)) => book.broken(&format!("a wrong key got {}", status.code)),
                        // Closed before or after the words: refused all the same.
                        Err(_) => {}
                    }
                }
                _ => {
                    book.deed("publishers that never publish");
                    let _ = Publisher::connect(to, "live").and_then(Publisher::reset);
                }
            }
            pause(KNOCK_EVERY, end);
        }
    })
}

/// Says something and listens until the daemon has had enough.
fn shout(to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    let mut socket = TcpStream::connect(to)?;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    socket.write_all(bytes)?;
    socket.read_to_end(&mut Vec::new())?;
    Ok(())
}

/// At the playback door of so many streams, until `end`.
pub(super) async fn browse(http: SocketAddr, streams: usize, end: Instant, book: Book) {
    let mut dice = Dice::new(300);
    let client = crate::viewer::client().build().expect("a client");
    let mut slow = tokio::task::JoinSet::new();
    while Instant::now() < end {
        let stream = stream(dice.roll(0, streams as u64) as usize);
        match dice.roll(0, 6) {
            0 | 1 => {
                let number = dice.roll(0, 1 << 40);
                let path = match number % 3 {
                    0 => format!("absent{number}/index.m3u8"),
                    1 => format!("{stream}/{number}/high/index.m3u8"),
                    _ => format!("{stream}/{number}/high/p1.m4s"),
                };
                refused(
                    &client,
                    http,
                    &path,
                    StatusCode::NOT_FOUND,
                    "absent things",
                    &book,
                )
                .await;
            }
            2 => {
                let path = format!("{stream}/1/high/index.m3u8?_HLS_part=1");
                refused(
                    &client,
                    http,
                    &path,
                    StatusCode::BAD_REQUEST,
                    "directives without sense",
                    &book,
                )
                .await;
            }
            3 => {
                book.deed("bursts of garbage at the HTTP door");
                let noise: Vec<u8> = (0..2048).map(|_| dice.roll(0, 256) as u8).collect();
                let _ = tokio::task::spawn_blocking(move || shout(http, &noise)).await;
            }
            4 => {
                book.deed("waits abandoned");
                abandon(&client, http, &stream).await;
            }
            _ => {
                if slow.len() < 4 {
                    book.deed("slow readers");
                    slow.spawn_blocking(move || read_slowly(http, &stream, end));
                }
                while slow.try_join_next().is_some() {}
            }
        }
        tokio::time::sleep(BROWSE_EVERY).await;
    }
}

async fn refused(
    client: &Client,
    http: SocketAddr,
    path: &str,
    wanted: StatusCode,
    deed: &str,
    book: &Book,
) {
    book.deed(&format!("requests for {deed}"));
    match client
        .get(format!("http://{http}/live/{path}"))
        .send()
        .await
    {
        // Whether the stream or the directive is looked at first is the daemon's business.
        Ok(response) if [wanted, StatusCode::NOT_FOUND].contains(&response.status()) => {}
        Ok(response) => book.broken(&format!("{deed} got {}", response.status())),
        Err(error) => book.broken(&format!("{deed} got no answer: {error}")),
    }
}

/// Asks for the next version of a playlist, and hangs up before it is there.
async fn abandon(client: &Client, http: SocketAddr, stream: &str) {
    let root = format!("http://{http}/live/{stream}/");
    let Ok(response) = client
        .get(format!("{root}index.m3u8"))
        .timeout(Duration::from_secs(2))
        .send()
        .await
    else {
        return;
    };
    let text = response.text().await.unwrap_or_default();
    let Some(media) = text.lines().find(|line| line.ends_with("/high/index.m3u8")) else {
        return;
    };
    let Ok(response) = client.get(format!("{root}{media}")).send().await else {
        return;
    };
    let list = crate::viewer::Playlist::parse(&response.text().await.unwrap_or_default());
    let wait = format!("{root}{media}?_HLS_msn={}", list.next().0 + 1);
    let _ = client.get(wait).timeout(ABANDONED_AFTER).send().await;
}

/// Asks for the same thing many times over one connection, and reads a byte each second.
fn read_slowly(http: SocketAddr, stream: &str, end: Instant) {
    let request = format!("GET /live/{stream}/index.m3u8 HTTP/1.1\r\nHost: slow\r\n\r\n");
    let Ok(mut socket) = TcpStream::connect(http) else {
        return;
    };
    let _ = socket.set_read_timeout(Some(Duration::from_secs(1)));
    let _ = socket.write_all(request.repeat(200).as_bytes());
    for _ in 0..20 {
        if let Ok(0) = socket.read(&mut [0]) {
            return;
        }
        pause(Duration::from_secs(1), end);
    }
}
