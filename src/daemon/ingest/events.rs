//! What becomes of the events that an encoder sends between its media (`onTextData`, `onCuePoint`; contracts, section 5).
//!
//! They are placed where the verdict, the key or the configuration says `amf_events`, else dropped unread. What cannot be
//! understood is counted and never ends a publish; its broadcaster is told once. Whether there is room for them on the
//! timeline is the stream's to say.

use vitrine_core::{engine::publish::event::Sent, wire::event::Event};

/// What can become of one.
const OUTCOMES: [&str; 3] = ["taken", "not_allowed", "not_understood"];

/// Brings the series into being.
pub(super) fn register() {
    for outcome in OUTCOMES {
        count(outcome, 0);
    }
}

fn count(outcome: &'static str, events: u64) {
    metrics::counter!("vitrine_amf_events_total", "outcome" => outcome).increment(events);
}

/// What the broadcaster of one publish was told of its events.
#[derive(Debug, Default)]
pub(super) struct Told {
    not_allowed: bool,
    not_understood: bool,
}

impl Told {
    /// The event to hand on, if it is `allowed` and one; `session` is the id of its session.
    ///
    /// # Errors
    /// What its broadcaster is to be told, if that is new.
    pub(super) fn read(
        &mut self,
        sent: Sent,
        session: &str,
        allowed: bool,
    ) -> Result<Event, Option<String>> {
        if !allowed {
            count("not_allowed", 1);
            let new = !std::mem::replace(&mut self.not_allowed, true);
            return Err(new.then(|| NOT_ALLOWED.to_owned()));
        }
        match sent.read(session) {
            Ok(event) => {
                count("taken", 1);
                Ok(event)
            }
            Err(error) => {
                count("not_understood", 1);
                let new = !std::mem::replace(&mut self.not_understood, true);
                Err(new.then(|| format!("an event from the encoder was not understood: {error}; others are counted only")))
            }
        }
    }
}

const NOT_ALLOWED: &str = "the encoder sends events, which this key may not: amf_events in the verdict or the configuration";
