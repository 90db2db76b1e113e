//! A splitting publisher: one source, several origins, the same messages to each in the same order, under an epoch that it
//! names to all of them. What an encoder with two outputs, or a relay in front of two origins, does.
//!
//! A leg that fails is let go; the others go on. Everything is blocking.

use std::{
    io::{self, Read},
    net::SocketAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::publisher::{Publisher, flv::Tag};

/// One source on its way to several origins.
pub(crate) struct Splitter {
    legs: Vec<Publisher>,
}

impl Splitter {
    /// Publishes `key` to every origin under `epoch`.
    ///
    /// # Errors
    /// The first leg's that is not accepted.
    pub(crate) fn connect(origins: &[SocketAddr], key: &str, epoch: u64) -> io::Result<Self> {
        let mut legs = Vec::new();
        for origin in origins {
            let name = format!("{key}?epoch={epoch}");
            let (publisher, status) = Publisher::publish(*origin, "live", &name)?;
            if status.code != "NetStream.Publish.Start" {
                return Err(io::Error::other(status.description));
            }
            legs.push(publisher);
        }
        Ok(Self { legs })
    }

    /// Sends one message to every leg that is left.
    pub(crate) fn send(&mut self, tag: &Tag) {
        self.legs
            .retain_mut(|leg| leg.message(tag.kind, tag.timestamp, &tag.body).is_ok());
    }

    /// Sends `tags` at `speed` times real time.
    pub(crate) fn push(&mut self, tags: &[Tag], speed: f64) {
        let start = Instant::now();
        let first = tags.first().map_or(0, |tag| tag.timestamp);
        for tag in tags {
            let at = f64::from(tag.timestamp.saturating_sub(first)) / 1000.0 / speed;
            let due = start + Duration::from_secs_f64(at);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            self.send(tag);
        }
    }

    /// Sends an FLV file as it comes out of a pipe, to its end or that of the last leg.
    ///
    /// # Errors
    /// The pipe's.
    pub(crate) fn pipe(&mut self, mut flv: impl Read) -> io::Result<()> {
        // The file's header and the size of the tag before the first.
        flv.read_exact(&mut [0; 13])?;
        let mut head = [0; 11];
        while !self.legs.is_empty() && flv.read_exact(&mut head).is_ok() {
            let size = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
            let mut body = vec![0; size + 4];
            flv.read_exact(&mut body)?;
            body.truncate(size);
            self.send(&Tag {
                kind: head[0] & 0x1F,
                timestamp: u32::from_be_bytes([head[7], head[4], head[5], head[6]]),
                body,
            });
        }
        Ok(())
    }

    /// Ends the publish in words on every leg.
    pub(crate) fn stop(mut self) {
        for leg in &mut self.legs {
            let _ = leg.stop();
        }
    }
}

/// Now, as an epoch is named.
pub(crate) fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
