//! `top`: the streams of a daemon, live, in a terminal.
//!
//! One loop: what is typed, what the daemon answers and what a signal asks for go into [`watch::Watch`], which is pure,
//! and `screen` draws it. One look at a time is under way, so a daemon that answers late is asked less often. The
//! terminal is given back as it was, whatever ends this.

mod screen;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyEventKind},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use vitrine_core::limits;

use super::{
    client::{Client, Failure},
    streams, view,
};
use watch::{Look, Totals, Watch, Wish};

/// Shows the daemon's streams until somebody types `q`.
pub(super) async fn run(client: Client, every: Duration) -> Result<(), Failure> {
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        return Err(Failure::NoTerminal);
    }
    // Whoever cannot be reached or does not let us in is told of in plain words, not on a screen that vanishes.
    let first = look(&client).await?;
    let mut watch = Watch::new(client.address());
    watch.look(Ok(first), Instant::now());
    let mut terminal = ratatui::try_init()?;
    let ended = show(
        &client,
        every.max(limits::CLI_TOP_EVERY_MIN),
        &mut watch,
        &mut terminal,
    )
    .await;
    ratatui::try_restore()?;
    ended
}

async fn show(
    client: &Client,
    every: Duration,
    watch: &mut Watch,
    terminal: &mut DefaultTerminal,
) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut typed = typed();
    // Room for one of each: more are never under way.
    let (answers, mut answered) = mpsc::channel(2);
    let mut looking = false;
    loop {
        terminal.draw(|frame| screen::draw(watch, frame))?;
        let wish = tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            event = typed.recv() => match event {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => watch.press(key),
                Some(_) => Wish::Nothing,
                None => return Ok(()),
            },
            Some(answer) = answered.recv() => match answer {
                Answer::Look(look) => {
                    looking = false;
                    watch.look(look, Instant::now());
                    Wish::Nothing
                }
                Answer::Kicked(stream, done) => {
                    watch.kicked(&stream, done);
                    Wish::Look
                }
            },
            _ = ticks.tick() => Wish::Look,
        };
        let (client, answers) = (client.clone(), answers.clone());
        match wish {
            Wish::Nothing => {}
            Wish::Quit => return Ok(()),
            Wish::Look if looking => {}
            Wish::Look => {
                looking = true;
                tokio::spawn(async move {
                    let look = look(&client).await.map_err(|failure| failure.to_string());
                    answers.send(Answer::Look(look)).await.ok();
                });
            }
            Wish::Kick(stream) => {
                tokio::spawn(async move {
                    let done = streams::cut(&client, &stream, None).await;
                    let done = done.map(|_| ()).map_err(|failure| failure.to_string());
                    answers.send(Answer::Kicked(stream, done)).await.ok();
                });
            }
        }
    }
}

/// What the daemon said.
enum Answer {
    Look(Result<Look, String>),
    Kicked(String, Result<(), String>),
}

async fn look(client: &Client) -> Result<Look, Failure> {
    let view::Streams { streams } = client.get(&["v1", "streams"], &[]).await?;
    let totals = Totals::of(&client.metrics().await?);
    Ok(Look { streams, totals })
}

/// What comes from the terminal, read by a thread of its own, which ends with its reader.
fn typed() -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(limits::CLI_EVENTS_MAX);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            let read = match event::poll(limits::CLI_EVENT_POLL) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(error) => Err(error),
            };
            let Ok(event) = read else { return };
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    receiver
}
