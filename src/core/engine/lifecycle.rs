//! What a backend is told of a stream's life: every transition once, in whatever order its causes are seen.
//!
//! A publisher's end has many faces (a word of farewell, FIN, RST, silence, a kick, a crash of its task), several of
//! which are seen of one end, late or twice. A life begins with [`Fact::Started`] and ends with one [`Fact::Ended`]; in
//! between it is live at most once, and interrupted and resumed in turns. What is told of a session that has been taken
//! over, or of a life that is over, says nothing.
//!
//! The driver numbers sessions, rising, and knows bytes and times; delivery is not known here.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::media::Rendition;

/// What happens to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A publish was accepted; it takes over from whoever publishes.
    Accepted {
        /// Number of the session.
        session: u64,
    },
    /// What the session sends can be played.
    Playable {
        /// Number of the session.
        session: u64,
    },
    /// Nothing has arrived for too long.
    Silent {
        /// Number of the session.
        session: u64,
    },
    /// The publish ended.
    Departed {
        /// Number of the session.
        session: u64,
    },
    /// A rendition has no pictures any more.
    Lost(Rendition),
    /// A rendition has pictures again.
    Back(Rendition),
    /// The stream is over: grace ran out, or somebody ended it.
    Over(Cause),
}

/// Why a stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The publisher said so.
    Stopped,
    /// The publisher did not come back.
    Lost,
    /// The publisher was disconnected by an operator.
    Kicked,
    /// An operator ended the stream.
    Ended,
    /// The daemon crashed, and nobody came back after.
    Crash,
    /// An operator took it down.
    TakenDown,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 6] = [
        Self::Stopped,
        Self::Lost,
        Self::Kicked,
        Self::Ended,
        Self::Crash,
        Self::TakenDown,
    ];

    /// The name in `stream.ended`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Lost => "lost",
            Self::Kicked => "kicked",
            Self::Ended => "ended",
            Self::Crash => "crash",
            Self::TakenDown => "taken_down",
        }
    }
}

/// What a backend is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A publish was accepted where there was no stream.
    Started,
    /// It can be played, for the first time.
    Live,
    /// Nothing comes: players see the last picture, or gaps.
    Interrupted,
    /// It goes on.
    Resumed,
    /// Another publisher has it.
    Takeover {
        /// Session of the publisher before.
        from: u64,
    },
    /// Some renditions have no pictures.
    Degraded {
        /// Which.
        lost: BTreeSet<Rendition>,
    },
    /// All have again.
    Recovered,
    /// It is over.
    Ended(Cause),
}

impl Fact {
    /// The `type` of its event.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started => "stream.started",
            Self::Live => "stream.live",
            Self::Interrupted => "stream.interrupted",
            Self::Resumed => "stream.resumed",
            Self::Takeover { .. } => "stream.takeover",
            Self::Degraded { .. } => "stream.degraded",
            Self::Recovered => "stream.recovered",
            Self::Ended(_) => "stream.ended",
        }
    }
}

/// The life of one stream, and of the next one after it.
#[derive(Debug, Default)]
pub struct Lifecycle {
    life: Option<Life>,
}

#[derive(Debug)]
struct Life {
    /// The latest session.
    session: u64,
    /// Whether it publishes.
    present: bool,
    progress: Progress,
}

/// How far a life has come, as it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Whether anything could ever be played.
    live: bool,
    interrupted: bool,
    lost: BTreeSet<Rendition>,
}

impl Lifecycle {
    /// The life that a former process left, as far as it had come, with session 0 publishing still, so that its departure
    /// is told if it was not.
    pub fn resume(progress: Progress) -> Self {
        Self {
            life: Some(Life {
                session: 0,
                present: true,
                progress,
            }),
        }
    }

    /// How far the life has come; `None` without one.
    pub fn progress(&self) -> Option<&Progress> {
        self.life.as_ref().map(|life| &life.progress)
    }

    /// What is to be told of `input`.
    pub fn push(&mut self, input: Input) -> Option<Fact> {
        let Some(life) = &mut self.life else {
            let Input::Accepted { session } = input else {
                return None;
            };
            self.life = Some(Life {
                session,
                present: true,
                progress: Progress::default(),
            });
            return Some(Fact::Started);
        };
        match input {
            Input::Accepted { session } => {
                let from = std::mem::replace(&mut life.session, session);
                let taken = std::mem::replace(&mut life.present, true);
                taken.then_some(Fact::Takeover { from })
            }
            Input::Playable { session } if life.is_by(session) => {
                let first = !std::mem::replace(&mut life.progress.live, true);
                let again = std::mem::take(&mut life.progress.interrupted);
                match (first, again) {
                    (true, _) => Some(Fact::Live),
                    (false, true) => Some(Fact::Resumed),
                    (false, false) => None,
                }
            }
            Input::Silent { session } if life.is_by(session) => life.progress.interrupt(),
            Input::Departed { session } if life.is_by(session) => {
                life.present = false;
                life.progress.interrupt()
            }
            Input::Playable { .. } | Input::Silent { .. } | Input::Departed { .. } => None,
            Input::Lost(rendition) => {
                let new = life.progress.lost.insert(rendition);
                let lost = life.progress.lost.clone();
                new.then_some(Fact::Degraded { lost })
            }
            Input::Back(rendition) => {
                let was = life.progress.lost.remove(&rendition);
                match (was, life.progress.lost.is_empty()) {
                    (true, true) => Some(Fact::Recovered),
                    (true, false) => Some(Fact::Degraded {
                        lost: life.progress.lost.clone(),
                    }),
                    (false, _) => None,
                }
            }
            Input::Over(cause) => {
                self.life = None;
                Some(Fact::Ended(cause))
            }
        }
    }
}

impl Life {
    fn is_by(&self, session: u64) -> bool {
        self.present && self.session == session
    }
}

impl Progress {
    /// Renditions that have no pictures, as it was told.
    pub fn lost(&self) -> &BTreeSet<Rendition> {
        &self.lost
    }

    fn interrupt(&mut self) -> Option<Fact> {
        let new = self.live && !std::mem::replace(&mut self.interrupted, self.live);
        new.then_some(Fact::Interrupted)
    }
}

#[cfg(test)]
mod tests;
