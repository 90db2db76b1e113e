//! The soak's publishers: each pushes its stream in real time for a while, leaves in one way or another, and comes back.

use std::{
    io,
    net::SocketAddr,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{Book, Dice, STREAMS, key};
use crate::{
    publisher::{Publisher, VIDEO, flv},
    sources::LONG,
};

/// The recording's length, milliseconds: where the next round begins.
const ROUND_MS: u32 = 40_000;
/// How long a publisher that was taken over may stay connected.
const FAREWELL: Duration = Duration::from_secs(5);

/// Starts them all; each thread ends a moment after `end`.
pub(super) fn start(address: SocketAddr, end: Instant, book: &Book) -> Vec<JoinHandle<()>> {
    let tags = flv::read(LONG.file()).expect("ffmpeg wrote it");
    // The last tag says that the sequence ends; here it does not.
    let lasting = |tag: &flv::Tag| !(tag.kind == VIDEO && tag.body.get(1) == Some(&2));
    let tags: Vec<flv::Tag> = tags.into_iter().filter(lasting).collect();
    (0..STREAMS)
        .map(|number| {
            let (tags, book) = (tags.clone(), book.clone());
            std::thread::spawn(move || {
                let mut dice = Dice::new(number as u64);
                let mut last = None;
                while Instant::now() < end {
                    if let Err(error) =
                        session(address, number, &tags, end, &mut dice, &mut last, &book)
                    {
                        book.broken(&format!("a publisher was failed: {error}"));
                        pause(Duration::from_secs(1), end);
                    }
                }
            })
        })
        .collect()
}

/// One publish, from connect to an end of some kind, and the pause after it. `last` is a former connection left open.
fn session(
    address: SocketAddr,
    number: usize,
    tags: &[flv::Tag],
    end: Instant,
    dice: &mut Dice,
    last: &mut Option<Publisher>,
    book: &Book,
) -> io::Result<()> {
    let (mut publisher, status) = Publisher::publish(address, "live", &key(number))?;
    if status.code != "NetStream.Publish.Start" {
        return Err(io::Error::other(format!(
            "{}: {}",
            status.code, status.description
        )));
    }
    if let Some(mut last) = last.take()
        && !last.closes_within(FAREWELL)
    {
        book.broken("a publisher that was taken over stayed connected");
    }
    push(
        &mut publisher,
        tags,
        Duration::from_secs(dice.roll(15, 75)),
        end,
    )?;
    let away = match dice.roll(0, 6) {
        0 => {
            book.deed("publishers that stopped");
            publisher.stop()?;
            // Grace is 3 s then: sometimes in time, sometimes too late.
            dice.roll(0, 6_000)
        }
        1 => {
            book.deed("publishers that fell silent and were taken over");
            *last = Some(publisher);
            dice.roll(500, 12_000)
        }
        2 => {
            book.deed("takeovers in full flight");
            *last = Some(publisher);
            0
        }
        3 => {
            book.deed("publishers that hung up without a word");
            drop(publisher);
            dice.roll(100, 12_000)
        }
        4 => {
            book.deed("publishers killed for longer than the grace");
            publisher.reset()?;
            dice.roll(21_000, 26_000)
        }
        _ => {
            book.deed("publishers reset");
            publisher.reset()?;
            dice.roll(100, 12_000)
        }
    };
    pause(Duration::from_millis(away), end);
    Ok(())
}

/// Pushes the recording round and round, at its own speed.
fn push(
    publisher: &mut Publisher,
    tags: &[flv::Tag],
    length: Duration,
    end: Instant,
) -> io::Result<()> {
    let start = Instant::now();
    let end = end.min(start + length);
    for round in 0.. {
        let shift_ms = round * ROUND_MS;
        // Configurations and metadata come once.
        let media = tags
            .iter()
            .filter(|tag| round == 0 || (tag.kind != 18 && tag.body.get(1) != Some(&0)));
        for tag in media.filter(|tag| tag.timestamp < ROUND_MS) {
            let timestamp = tag.timestamp + shift_ms;
            let due = start + Duration::from_millis(timestamp.into());
            if due > end {
                return Ok(());
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            publisher.message(tag.kind, timestamp, &tag.body)?;
        }
    }
    Ok(())
}

/// Sleeps for `length`, or until `end`.
pub(super) fn pause(length: Duration, end: Instant) {
    std::thread::sleep(length.min(end.saturating_duration_since(Instant::now())));
}
