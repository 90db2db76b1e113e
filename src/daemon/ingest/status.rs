//! The one table of what a broadcaster is told, and by which RTMP status (contracts, section 1).
//!
//! OBS understands `Denied`, `Rejected` and `BadName` as final and shows the description; `Unauthorized` it does not know.
//! `BadName` is for a right key at a wrong moment; whatever else stands in the way before the start is `Denied`.

use vitrine_core::{engine::publish::Verdict, limits::RTMP_VERDICT};

use crate::live::{Busy, bans::Ban};

/// Why a publish request is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// Admission says no.
    #[error("{reason}")]
    Denied {
        /// Its reason, fit for the broadcaster's eyes.
        reason: String,
    },
    /// Admission could not be asked: closed rather than open.
    #[error("{reason}")]
    Undecided {
        /// What there is to be told, fit for the broadcaster's eyes.
        reason: &'static str,
    },
    /// Admission has not answered in time: closed rather than open.
    #[error("no answer to the publish request within {} s", RTMP_VERDICT.as_secs())]
    NoAnswer,
    /// An operator keeps the key away.
    #[error("{0}")]
    Banned(Box<Ban>),
    /// The key is right, but the stream cannot be had.
    #[error(transparent)]
    Busy(#[from] Busy),
}

impl Refusal {
    /// The name in metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Denied { .. } => "denied",
            Self::Undecided { .. } => "undecided",
            Self::NoAnswer => "no_answer",
            Self::Banned(_) => Busy::Banned.label(),
            Self::Busy(busy) => busy.label(),
        }
    }
}

impl From<Ban> for Refusal {
    fn from(ban: Ban) -> Self {
        Self::Banned(Box::new(ban))
    }
}

impl From<&Refusal> for Verdict {
    fn from(refusal: &Refusal) -> Self {
        let reason = refusal.to_string();
        match refusal {
            Refusal::Busy(Busy::Live | Busy::OtherApp | Busy::Contested) => Self::Busy(reason),
            Refusal::Busy(
                Busy::Banned
                | Busy::Epoch(_)
                | Busy::ShuttingDown
                | Busy::TooMany
                | Busy::Unavailable,
            )
            | Refusal::Banned(_)
            | Refusal::Denied { .. }
            | Refusal::Undecided { .. }
            | Refusal::NoAnswer => Self::Deny(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::epochs::Unfit;
    use vitrine_core::media::WallTime;

    #[test]
    fn a_right_key_at_a_wrong_moment_is_bad_name_and_all_else_denied() {
        let ban = Ban {
            id: "ban_1".to_owned(),
            stream: "shop".to_owned(),
            reason: "disconnected by an operator".to_owned(),
            since: WallTime(0),
            until: None,
        };
        let cases = [
            (
                Refusal::Denied {
                    reason: "unknown stream key".to_owned(),
                },
                false,
            ),
            (Refusal::Undecided { reason: "later" }, false),
            (Refusal::NoAnswer, false),
            (Refusal::Busy(Busy::Live), true),
            (Refusal::Busy(Busy::OtherApp), true),
            (Refusal::Busy(Busy::Contested), true),
            (Refusal::Busy(Unfit::Far { named: 7 }.into()), false),
            (Refusal::Busy(Busy::ShuttingDown), false),
            (Refusal::Busy(Busy::Banned), false),
            (ban.into(), false),
            (Refusal::Busy(Busy::TooMany), false),
            (Refusal::Busy(Busy::Unavailable), false),
        ];
        for (refusal, busy) in cases {
            let reason = refusal.to_string();
            let wanted = if busy {
                Verdict::Busy(reason)
            } else {
                Verdict::Deny(reason)
            };
            assert_eq!(Verdict::from(&refusal), wanted);
        }
    }
}
