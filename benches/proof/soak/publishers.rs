//! The soak's publishers: each pushes its stream in real time for a while, leaves in one way or another, and comes back.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{Book, Dice, Scene, key};
use crate::{
    publisher::{Publisher, VIDEO, flv},
    sources::Recipe,
};

/// From the last picture of one size to the first of another.
const CHANGE_MS: u32 = 33;
/// How long a publisher that was taken over may stay connected.
const FAREWELL: Duration = Duration::from_secs(5);

/// What is pushed: recordings that take turns, each round and round in its time.
#[derive(Clone, Debug)]
pub(super) struct Film {
    reels: Arc<Vec<Reel>>,
    turn: Duration,
    began: Instant,
}

#[derive(Debug)]
struct Reel {
    tags: Vec<flv::Tag>,
    /// Where the next round begins.
    round_ms: u32,
}

impl Film {
    /// Of recordings whose names are those of files; after a `turn` it is the next one's.
    pub(super) fn new(recipes: &[Recipe], turn: Duration) -> Self {
        let reel = |recipe: &Recipe| {
            let tags = flv::read(recipe.file()).expect("ffmpeg wrote it");
            // The last tag says that the sequence ends; here it does not.
            let lasting = |tag: &flv::Tag| !(tag.kind == VIDEO && tag.body.get(1) == Some(&2));
            let tags: Vec<flv::Tag> = tags.into_iter().filter(lasting).collect();
            let last = tags.iter().map(|tag| tag.timestamp).max().unwrap_or(0);
            let round_ms = (last / 1000 + 1) * 1000;
            Reel { tags, round_ms }
        };
        Self {
            reels: Arc::new(recipes.iter().map(reel).collect()),
            turn,
            began: Instant::now(),
        }
    }

    /// Whose turn it is.
    fn now(&self) -> usize {
        let turns = self.began.elapsed().as_nanos() / self.turn.as_nanos();
        turns as usize % self.reels.len()
    }
}

/// Starts them all; each thread ends a moment after `end`.
pub(super) fn start(
    address: SocketAddr,
    scene: &Scene,
    end: Instant,
    book: &Book,
) -> Vec<JoinHandle<()>> {
    (0..scene.streams)
        .map(|number| {
            let (film, book) = (scene.film.clone(), book.clone());
            std::thread::spawn(move || {
                let mut dice = Dice::new(number as u64);
                let mut last = None;
                while Instant::now() < end {
                    if let Err(error) =
                        session(address, number, &film, end, &mut dice, &mut last, &book)
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
    film: &Film,
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
        film,
        Duration::from_secs(dice.roll(15, 75)),
        end,
        book,
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

/// Pushes the film at its own speed.
fn push(
    publisher: &mut Publisher,
    film: &Film,
    length: Duration,
    end: Instant,
    book: &Book,
) -> io::Result<()> {
    let start = Instant::now();
    let end = end.min(start + length);
    let (mut shift_ms, mut shown) = (0, None);
    loop {
        let turn = film.now();
        let reel = &film.reels[turn];
        if shown.is_some_and(|shown| shown != turn) {
            book.deed("changes of the picture's size within a session");
        }
        // Configurations and metadata come once.
        let is_new = shown != Some(turn);
        shown = Some(turn);
        let media = reel.tags.iter();
        let media = media.filter(|tag| is_new || (tag.kind != 18 && tag.body.get(1) != Some(&0)));
        let mut next_ms = shift_ms + reel.round_ms;
        for tag in media.filter(|tag| tag.timestamp < reel.round_ms) {
            let timestamp = tag.timestamp + shift_ms;
            let due = start + Duration::from_millis(timestamp.into());
            if due > end {
                return Ok(());
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if film.now() != turn {
                next_ms = timestamp + CHANGE_MS;
                break;
            }
            publisher.message(tag.kind, timestamp, &tag.body)?;
        }
        shift_ms = next_ms;
    }
}

/// Sleeps for `length`, or until `end`.
pub(super) fn pause(length: Duration, end: Instant) {
    std::thread::sleep(length.min(end.saturating_duration_since(Instant::now())));
}
