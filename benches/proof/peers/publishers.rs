//! Many publishers of one prepared recording in one thread, in real time: what a room full of encoders costs a server,
//! without what encoding costs.
//!
//! Every message is cut into chunks once; a publisher is a socket and a place in the recording. They start spread over a
//! second, as encoders would, so that their key frames do not meet.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::publisher::{DATA, Publisher, VIDEO, chunks, flv};

/// A recording, ready to be written to a socket.
#[derive(Clone, Debug)]
pub(super) struct Recording(Arc<Vec<Message>>);

#[derive(Debug)]
struct Message {
    due: Duration,
    /// Whether it is a frame of the picture (and no configuration).
    frame: bool,
    bytes: Vec<u8>,
}

/// The chunk size that [`Publisher`] announces.
const CHUNK_BYTES: usize = 4096;

/// An AMF0 string, the handler that every server expects in front of `onMetaData`.
const SET_DATA_FRAME: &[u8] = b"\x02\0\x0d@setDataFrame";

impl Recording {
    /// Cuts the tags of a file into chunks.
    pub(super) fn new(tags: &[flv::Tag]) -> Self {
        let messages = tags.iter().map(|tag| {
            let body = match tag.kind {
                DATA => [SET_DATA_FRAME, &tag.body].concat(),
                _ => tag.body.clone(),
            };
            // Chunk streams of the publisher's own, below the 32 that nginx-rtmp takes.
            let csid = u32::from(tag.kind);
            Message {
                due: Duration::from_millis(u64::from(tag.timestamp)),
                frame: tag.kind == VIDEO && tag.body.get(1) == Some(&1),
                // The one message stream that a server opens on a connection is number 1 everywhere.
                bytes: chunks(csid, tag.kind, 1, tag.timestamp, &body, CHUNK_BYTES),
            }
        });
        Self(Arc::new(messages.collect()))
    }
}

/// The running publishers; dropping them ends their connections.
#[derive(Debug)]
pub(super) struct Publishers {
    stop: Arc<AtomicBool>,
    sent: Arc<Mutex<Vec<Instant>>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Publishers {
    /// Publishes `recording` to `app` at `address` once under each name; returns when all were accepted.
    ///
    /// # Errors
    /// The socket's, or `ConnectionRefused` with what the server answered.
    pub(super) fn start(
        address: SocketAddr,
        app: &str,
        names: &[String],
        recording: &Recording,
    ) -> io::Result<Self> {
        let accepted = names.iter().map(|name| {
            let (publisher, status) = Publisher::publish(address, app, name)?;
            match status.code.as_str() {
                "NetStream.Publish.Start" => Ok(publisher),
                code => Err(io::Error::new(
                    io::ErrorKind::ConnectionRefused,
                    code.to_owned(),
                )),
            }
        });
        let accepted = accepted.collect::<io::Result<Vec<_>>>()?;
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<Mutex<_>>::default());
        let thread = std::thread::spawn({
            let (stop, sent, recording) = (stop.clone(), sent.clone(), recording.clone());
            move || push(accepted, &recording.0, &stop, &sent)
        });
        Ok(Self {
            stop,
            sent,
            thread: Some(thread),
        })
    }

    /// When the first publisher began to write frame `number` of the picture, counted from 0 in decode order.
    pub(super) fn sent(&self, number: usize) -> Option<Instant> {
        self.sent.lock().ok()?.get(number).copied()
    }

    /// Ends the publishing.
    ///
    /// # Errors
    /// Why it had ended before.
    pub(super) fn stop(mut self) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("taken once");
        thread.join().expect("pushing does not panic")
    }
}

impl Drop for Publishers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn push(
    publishers: Vec<Publisher>,
    messages: &[Message],
    stop: &AtomicBool,
    sent: &Mutex<Vec<Instant>>,
) -> io::Result<()> {
    let spacing = Duration::from_secs(1) / u32::try_from(publishers.len()).unwrap_or(1).max(1);
    let start = Instant::now();
    let mut running: Vec<_> = (publishers.into_iter().zip(0..))
        .map(|(publisher, number)| (publisher, number, start + spacing * number, 0))
        .collect();
    while !stop.load(Ordering::Relaxed) {
        let mut next = None;
        for (publisher, number, begun, place) in &mut running {
            while let Some(message) = messages.get(*place) {
                let due = *begun + message.due;
                if due > Instant::now() {
                    next = Some(next.map_or(due, |next: Instant| next.min(due)));
                    break;
                }
                if *number == 0 && message.frame {
                    sent.lock().expect("no panic").push(Instant::now());
                }
                publisher.raw(&message.bytes)?;
                *place += 1;
            }
        }
        let Some(next) = next else {
            return Ok(()); // the recording is over
        };
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}
