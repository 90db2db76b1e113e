//! What a player reads from playlists, and no more: where the renditions are, what is new in a list, what comes next.

use std::{io, net::SocketAddr, time::Duration};

use tokio::time::{Instant, sleep};

use super::super::{Server, client::Connection};

/// One media playlist of a stream.
#[derive(Clone, Debug)]
pub(in super::super) struct Rendition {
    /// Its path.
    pub(in super::super) playlist: String,
}

/// How long a server may take until a stream can be played.
const PATIENCE: Duration = Duration::from_secs(15);

/// The media playlists of stream `s0`, once each holds two segments: one for picture and sound together, or one of each.
///
/// # Errors
/// The socket's, or `TimedOut`.
pub(in super::super) async fn open(server: &Server) -> io::Result<Vec<Rendition>> {
    let entry = server.entry("s0");
    let end = Instant::now() + PATIENCE;
    let mut connection = Connection::open(server.http).await?;
    let paths = loop {
        let paths = connection
            .text(&entry, |status, body| {
                (status == 200).then(|| renditions(&entry, body))
            })
            .await?;
        match paths {
            Some(paths) if !paths.is_empty() => break paths,
            _ if Instant::now() > end => return Err(io::ErrorKind::TimedOut.into()),
            _ => sleep(Duration::from_millis(100)).await,
        }
    };
    for path in &paths {
        while connection
            .text(path, |_, body| text(body).matches("#EXTINF").count())
            .await?
            < 2
        {
            if Instant::now() > end {
                return Err(io::ErrorKind::TimedOut.into());
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
    let renditions = paths.into_iter().map(|playlist| Rendition { playlist });
    Ok(renditions.collect())
}

/// The path of the newest whole segment of a playlist.
///
/// # Errors
/// The socket's, or `NotFound`.
pub(in super::super) async fn newest_segment(
    address: SocketAddr,
    playlist: &str,
) -> io::Result<String> {
    let mut connection = Connection::open(address).await?;
    let newest = connection.text(playlist, |_, body| {
        segments(text(body)).next().map(str::to_owned)
    });
    let newest = newest.await?.ok_or(io::ErrorKind::NotFound)?;
    Ok(resolve(playlist, &newest))
}

/// The media playlists named by a multivariant playlist; a media playlist names itself.
fn renditions(entry: &str, body: &[u8]) -> Vec<String> {
    let body = text(body);
    if !body.contains("#EXT-X-STREAM-INF") {
        return vec![entry.to_owned()];
    }
    let variant = body
        .lines()
        .find(|line| !line.starts_with('#') && !line.is_empty());
    let sound = body
        .lines()
        .find(|line| line.starts_with("#EXT-X-MEDIA:TYPE=AUDIO"));
    let uris = variant.into_iter().chain(sound.and_then(uri));
    uris.map(|uri| resolve(entry, uri)).collect()
}

/// Whole segments, newest first.
pub(super) fn segments(playlist: &str) -> impl Iterator<Item = &str> {
    playlist
        .rsplit('\n')
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// What the end of a low-latency playlist says.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// Parts after `known`, oldest first.
    pub(super) parts: Vec<String>,
    /// Parts of the segment that is still open.
    pub(super) open: u64,
}

/// Reads a playlist from its end, no further than needed.
pub(super) fn tail(playlist: &str, known: &str) -> Tail {
    let (mut tail, mut segment_seen, mut known_seen) = (Tail::default(), false, false);
    for line in playlist.rsplit('\n') {
        if line.starts_with("#EXT-X-PART:") {
            if !segment_seen {
                tail.open += 1;
            }
            let uri = uri(line).unwrap_or_default();
            known_seen |= uri == known;
            if !known_seen {
                tail.parts.insert(0, uri.to_owned());
            }
        } else if line.starts_with("#EXTINF") {
            segment_seen = true;
        }
        if segment_seen && (known_seen || tail.parts.len() > 10) {
            break;
        }
    }
    tail
}

/// Media sequence number of the segment that is open, or comes next.
pub(super) fn open_segment(playlist: &str) -> u64 {
    let first = playlist.split("#EXT-X-MEDIA-SEQUENCE:").nth(1);
    let first: u64 = first
        .and_then(|rest| rest.lines().next()?.trim().parse().ok())
        .unwrap_or(0);
    first + playlist.matches("#EXTINF").count() as u64
}

pub(super) fn text(body: &[u8]) -> &str {
    std::str::from_utf8(body).unwrap_or_default()
}

fn uri(line: &str) -> Option<&str> {
    line.split_once("URI=\"")?.1.split('"').next()
}

/// `uri` as a path, seen from `base`.
pub(in super::super) fn resolve(base: &str, uri: &str) -> String {
    if uri.starts_with('/') {
        return uri.to_owned();
    }
    let base = base.split('?').next().unwrap_or(base);
    let folder = base.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{folder}/{uri}")
}
