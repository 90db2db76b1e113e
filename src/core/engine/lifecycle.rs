//! What a backend is told of a stream's life: every transition once, in whatever order its causes are seen.
//!
//! A publisher's end has many faces (a word of farewell, FIN, RST, silence, a kick, a crash of its task), several of
//! which are seen of one end, late or twice. A life begins with [`Fact::Started`] and ends with one [`Fact::Ended`]; in
//! between it is live at most once, and interrupted and resumed in turns. What is told of a session that has been taken
//! over, or of a life that is over, says nothing.
//!
//! The driver numbers sessions, rising, and knows bytes and times; delivery is not known here.

use std::collections::BTreeSet;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Whether anything could ever be played.
    live: bool,
    interrupted: bool,
    lost: BTreeSet<Rendition>,
}

impl Lifecycle {
    /// The life that a former process left in grace, which had told of its beginning; `live` as far as it had come.
    pub fn resume(live: bool) -> Self {
        Self {
            life: Some(Life {
                session: 0,
                present: false,
                live,
                interrupted: live,
                lost: BTreeSet::new(),
            }),
        }
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
                live: false,
                interrupted: false,
                lost: BTreeSet::new(),
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
                let first = !std::mem::replace(&mut life.live, true);
                let again = std::mem::take(&mut life.interrupted);
                match (first, again) {
                    (true, _) => Some(Fact::Live),
                    (false, true) => Some(Fact::Resumed),
                    (false, false) => None,
                }
            }
            Input::Silent { session } if life.is_by(session) => life.interrupt(),
            Input::Departed { session } if life.is_by(session) => {
                life.present = false;
                life.interrupt()
            }
            Input::Playable { .. } | Input::Silent { .. } | Input::Departed { .. } => None,
            Input::Lost(rendition) => {
                let new = life.lost.insert(rendition);
                let lost = life.lost.clone();
                new.then_some(Fact::Degraded { lost })
            }
            Input::Back(rendition) => {
                let was = life.lost.remove(&rendition);
                match (was, life.lost.is_empty()) {
                    (true, true) => Some(Fact::Recovered),
                    (true, false) => Some(Fact::Degraded {
                        lost: life.lost.clone(),
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

    fn interrupt(&mut self) -> Option<Fact> {
        let new = self.live && !std::mem::replace(&mut self.interrupted, self.live);
        new.then_some(Fact::Interrupted)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(inputs: &[Input]) -> Vec<Fact> {
        let mut lifecycle = Lifecycle::default();
        let facts = inputs.iter().filter_map(|input| lifecycle.push(*input));
        facts.collect()
    }

    #[test]
    fn a_broadcast_with_a_drop_a_takeover_and_an_end() {
        let facts = told(&[
            Input::Accepted { session: 1 },
            Input::Playable { session: 1 },
            Input::Playable { session: 1 },
            Input::Silent { session: 1 },
            Input::Departed { session: 1 },
            Input::Departed { session: 1 },
            Input::Accepted { session: 2 },
            Input::Playable { session: 2 },
            Input::Accepted { session: 3 },
            Input::Departed { session: 2 },
            Input::Playable { session: 3 },
            Input::Lost(Rendition::Low),
            Input::Lost(Rendition::Low),
            Input::Back(Rendition::Low),
            Input::Departed { session: 3 },
            Input::Over(Cause::Stopped),
            Input::Over(Cause::Lost),
            Input::Playable { session: 3 },
        ]);
        let lost = [Rendition::Low].into();
        let wanted = [
            Fact::Started,
            Fact::Live,
            Fact::Interrupted,
            Fact::Resumed,
            Fact::Takeover { from: 2 },
            Fact::Degraded { lost },
            Fact::Recovered,
            Fact::Interrupted,
            Fact::Ended(Cause::Stopped),
        ];
        assert_eq!(facts, wanted);
    }

    #[test]
    fn what_never_was_live_is_never_interrupted() {
        let facts = told(&[
            Input::Accepted { session: 1 },
            Input::Silent { session: 1 },
            Input::Departed { session: 1 },
            Input::Over(Cause::Lost),
        ]);
        assert_eq!(facts, [Fact::Started, Fact::Ended(Cause::Lost)]);
    }

    #[test]
    fn a_life_that_another_process_left_is_ended_by_this_one() {
        let mut lifecycle = Lifecycle::resume(true);
        let crash = Fact::Ended(Cause::Crash);
        assert_eq!(lifecycle.push(Input::Over(Cause::Crash)), Some(crash));
        let mut lifecycle = Lifecycle::resume(true);
        assert_eq!(lifecycle.push(Input::Accepted { session: 1 }), None);
        let resumed = lifecycle.push(Input::Playable { session: 1 });
        assert_eq!(resumed, Some(Fact::Resumed));
    }

    fn input() -> impl Strategy<Value = Input> {
        let session = 1..4_u64;
        prop_oneof![
            session
                .clone()
                .prop_map(|session| Input::Accepted { session }),
            session
                .clone()
                .prop_map(|session| Input::Playable { session }),
            session
                .clone()
                .prop_map(|session| Input::Silent { session }),
            session.prop_map(|session| Input::Departed { session }),
            prop_oneof![Just(Rendition::Mid), Just(Rendition::Low)].prop_map(Input::Lost),
            prop_oneof![Just(Rendition::Mid), Just(Rendition::Low)].prop_map(Input::Back),
            prop_oneof![Just(Cause::Lost), Just(Cause::Ended)].prop_map(Input::Over),
        ]
    }

    proptest! {
        #[test]
        fn every_life_is_told_once_and_in_order(inputs in prop::collection::vec(input(), 0..200)) {
            let (mut alive, mut live, mut interrupted, mut degraded) = (false, false, false, false);
            for fact in told(&inputs) {
                prop_assert_eq!(alive, fact != Fact::Started, "{:?}", fact);
                match fact {
                    Fact::Started => (alive, live, interrupted, degraded) = (true, false, false, false),
                    Fact::Live => prop_assert!(!std::mem::replace(&mut live, true)),
                    Fact::Interrupted => prop_assert!(live && !std::mem::replace(&mut interrupted, true)),
                    Fact::Resumed => prop_assert!(std::mem::take(&mut interrupted)),
                    Fact::Takeover { .. } => {}
                    Fact::Degraded { .. } => degraded = true,
                    Fact::Recovered => prop_assert!(std::mem::take(&mut degraded)),
                    Fact::Ended(_) => alive = false,
                }
            }
        }
    }
}
