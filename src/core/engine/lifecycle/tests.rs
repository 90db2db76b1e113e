//! What is told of a life: stories by hand, any inputs in any order, and what happens to real streams: publishers that end
//! in every way, operators, grace, drains, panics and crashes, played to the machine as a stream's task plays it.

use proptest::{prelude::*, test_runner::TestCaseError};

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
    let left = |interrupted| {
        Lifecycle::resume(Progress {
            live: true,
            interrupted,
            ..Progress::default()
        })
    };
    let mut lifecycle = left(false);
    let crash = Fact::Ended(Cause::Crash);
    assert_eq!(lifecycle.push(Input::Over(Cause::Crash)), Some(crash));
    assert_eq!(lifecycle.progress(), None);
    let departed = Input::Departed { session: 0 };
    let mut lifecycle = left(true);
    assert_eq!(lifecycle.push(departed), None, "told already");
    let mut lifecycle = left(false);
    assert_eq!(lifecycle.push(departed), Some(Fact::Interrupted));
    assert_eq!(lifecycle.progress(), left(true).progress());
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

/// What happens to a stream from outside.
#[derive(Clone, Copy, Debug)]
enum Event {
    Publish,
    Media,
    Silence,
    Rung(bool),
    /// A connection is seen to end: of the publish so many before the latest, again and again.
    Close {
        before: u64,
        said: bool,
    },
    Kick,
    End,
    TakeDown,
    GraceOver,
    /// The task fails.
    Panic,
    /// SIGTERM, and a start that goes on with what was saved, or cannot.
    Restart {
        resumable: bool,
    },
    /// SIGKILL, and a start.
    Crash,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Publish),
        6 => Just(Event::Media),
        2 => Just(Event::Silence),
        1 => any::<bool>().prop_map(Event::Rung),
        4 => (0..3_u64, any::<bool>()).prop_map(|(before, said)| Event::Close { before, said }),
        1 => Just(Event::Kick),
        1 => Just(Event::End),
        1 => Just(Event::TakeDown),
        2 => Just(Event::GraceOver),
        1 => Just(Event::Panic),
        2 => any::<bool>().prop_map(|resumable| Event::Restart { resumable }),
        1 => Just(Event::Crash),
    ]
}

/// A stream's task, its process and the one after, as far as they tell.
#[derive(Debug, Default)]
struct Driver {
    lifecycle: Lifecycle,
    /// Number of the latest publish of this process.
    session: u64,
    /// The publish that is listened to.
    held: Option<u64>,
    /// How the latest publish went.
    parting: Option<Cause>,
    /// Whether the outbox knows of a life that has not ended.
    unfinished: bool,
    told: Vec<Fact>,
}

impl Driver {
    fn push(&mut self, input: Input) {
        let fact = self.lifecycle.push(input);
        self.tell(fact);
    }

    fn tell(&mut self, fact: Option<Fact>) {
        match fact {
            Some(Fact::Started) => self.unfinished = true,
            Some(Fact::Ended(_)) => self.unfinished = false,
            _ => {}
        }
        self.told.extend(fact);
    }

    fn depart(&mut self, session: u64, cause: Cause) {
        if self.held == Some(session) {
            self.held = None;
            self.parting = Some(cause);
        }
        self.push(Input::Departed { session });
    }

    /// Another process; whose life is not gone on with was crashed by the one before.
    fn start(&mut self, left: Option<Progress>) {
        (self.session, self.held) = (0, None);
        self.lifecycle = left.map_or_else(Lifecycle::default, Lifecycle::resume);
        if self.lifecycle.progress().is_some() {
            self.parting = Some(Cause::Lost);
            self.push(Input::Departed { session: 0 });
        } else if self.unfinished {
            self.tell(Some(Fact::Ended(Cause::Crash)));
        }
    }

    fn play(&mut self, event: Event) {
        let latest = self.session;
        match event {
            Event::Publish => {
                self.session += 1;
                self.held = Some(self.session);
                self.push(Input::Accepted {
                    session: self.session,
                });
            }
            Event::Media => self.push(Input::Playable { session: latest }),
            Event::Silence => self.push(Input::Silent { session: latest }),
            Event::Rung(true) => self.push(Input::Back(Rendition::Low)),
            Event::Rung(false) => self.push(Input::Lost(Rendition::Low)),
            Event::Close { before, said } => {
                let cause = if said { Cause::Stopped } else { Cause::Lost };
                self.depart(latest.saturating_sub(before), cause);
            }
            Event::Kick if self.held.is_some() => self.depart(latest, Cause::Kicked),
            Event::End | Event::TakeDown if self.lifecycle.progress().is_some() => {
                let taken_down = matches!(event, Event::TakeDown);
                self.held = None;
                self.push(Input::Over(match taken_down {
                    true => Cause::TakenDown,
                    false => Cause::Ended,
                }));
            }
            Event::GraceOver if self.held.is_none() => {
                self.push(Input::Over(self.parting.unwrap_or(Cause::Lost)));
            }
            Event::Panic => {
                self.push(Input::Over(Cause::Crash));
                (self.session, self.held) = (0, None);
                self.lifecycle = Lifecycle::default();
            }
            Event::Restart { resumable } => {
                let left = self.lifecycle.progress().filter(|_| resumable).cloned();
                self.start(left);
            }
            Event::Crash => self.start(None),
            Event::Kick | Event::End | Event::TakeDown | Event::GraceOver => {}
        }
    }
}

/// That facts make lives: each begun and ended once, live at most once, interrupted and resumed, degraded and recovered
/// in turns.
fn check(told: &[Fact]) -> Result<(), TestCaseError> {
    let (mut alive, mut live, mut interrupted, mut degraded) = (false, false, false, false);
    for fact in told {
        prop_assert_eq!(alive, *fact != Fact::Started, "{:?}", fact);
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
    Ok(())
}

proptest! {
    #[test]
    fn every_life_is_told_once_and_in_order(inputs in prop::collection::vec(input(), 0..200)) {
        check(&told(&inputs))?;
    }

    #[test]
    fn whatever_ends_a_stream_and_its_process_each_life_ends_once(
        events in prop::collection::vec(event(), 0..200),
    ) {
        let mut driver = Driver::default();
        for event in &events {
            let (before, alive) = (driver.told.len(), driver.lifecycle.progress().is_some());
            driver.play(*event);
            let fresh = driver.told[before..].to_vec();
            prop_assert!(fresh.len() <= 1, "{:?}: {:?}", event, fresh);
            let ended = match fresh.last() {
                Some(Fact::Ended(cause)) => Some(*cause),
                _ => None,
            };
            // What must end a life does, and says why; nothing else does.
            let wanted = match event {
                Event::End => Some(Cause::Ended),
                Event::TakeDown => Some(Cause::TakenDown),
                Event::Panic | Event::Crash | Event::Restart { resumable: false } => Some(Cause::Crash),
                Event::GraceOver if driver.held.is_none() => driver.parting.or(Some(Cause::Lost)),
                _ => None,
            };
            prop_assert_eq!(ended, wanted.filter(|_| alive), "{:?}", event);
        }
        check(&driver.told)?;
        // However it stands, a crash ends what is left.
        driver.play(Event::Crash);
        check(&driver.told)?;
        let count = |wanted: fn(&Fact) -> bool| driver.told.iter().filter(|it| wanted(it)).count();
        let begun = count(|fact| *fact == Fact::Started);
        prop_assert_eq!(begun, count(|fact| matches!(fact, Fact::Ended(_))));
    }
}
