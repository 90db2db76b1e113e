//! Whether a takeover is a reconnect or a quarrel (contracts, section 1).
//!
//! A broadcaster that lost its network comes back from the same or another address and must get its stream at once. Two
//! encoders left running with the same key would take it from each other for ever: after three takeovers in a minute
//! between different addresses, the one that holds it stays for a minute. Pure; time is an argument.

use std::{collections::VecDeque, net::IpAddr, time::Duration};

/// Takeovers between different addresses that make a quarrel.
const TAKEOVERS: usize = 3;
/// Within which they must lie, and how long the incumbent then stays.
const SPAN: Duration = Duration::from_secs(60);

/// The memory of one stream's takeovers.
#[derive(Debug, Default)]
pub(super) struct Contest {
    /// When the latest takeovers between different addresses happened; at most [`TAKEOVERS`].
    takeovers: VecDeque<Duration>,
    held_until: Duration,
}

impl Contest {
    /// Whether `challenger` may take the stream from `incumbent` at `now` (monotonic); remembered when it may.
    pub(super) fn takeover(
        &mut self,
        now: Duration,
        incumbent: IpAddr,
        challenger: IpAddr,
    ) -> bool {
        if incumbent == challenger {
            return true;
        }
        if now < self.held_until {
            return false;
        }
        self.takeovers.retain(|at| now.saturating_sub(*at) < SPAN);
        self.takeovers.push_back(now);
        if self.takeovers.len() >= TAKEOVERS {
            self.takeovers.clear();
            self.held_until = now + SPAN;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const AWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    /// Plays (second, takes it from home to away?, allowed?) in order.
    fn check(story: &[(u64, IpAddr, IpAddr, bool)]) {
        let mut contest = Contest::default();
        for (step, &(at, incumbent, challenger, allowed)) in story.iter().enumerate() {
            let now = Duration::from_secs(at);
            assert_eq!(
                contest.takeover(now, incumbent, challenger),
                allowed,
                "step {step}"
            );
        }
    }

    #[test]
    fn a_reconnect_from_the_same_address_is_never_a_quarrel() {
        check(&[
            (0, HOME, HOME, true),
            (1, HOME, HOME, true),
            (2, HOME, HOME, true),
            (3, HOME, HOME, true),
        ]);
    }

    #[test]
    fn after_three_takeovers_in_a_minute_the_incumbent_stays_a_minute() {
        check(&[
            (0, HOME, AWAY, true),
            (10, AWAY, HOME, true),
            (20, HOME, AWAY, true),
            (21, AWAY, HOME, false),
            (79, AWAY, HOME, false),
            (80, AWAY, HOME, true),
            (81, HOME, AWAY, true),
            (82, AWAY, HOME, true),
            (83, HOME, AWAY, false),
        ]);
    }

    #[test]
    fn the_incumbent_itself_may_reconnect_while_it_is_protected() {
        check(&[
            (0, HOME, AWAY, true),
            (1, AWAY, HOME, true),
            (2, HOME, AWAY, true),
            (3, AWAY, AWAY, true),
            (4, AWAY, HOME, false),
        ]);
    }

    #[test]
    fn takeovers_further_apart_than_a_minute_are_no_quarrel() {
        check(&[
            (0, HOME, AWAY, true),
            (59, AWAY, HOME, true),
            (60, HOME, AWAY, true),
            (120, AWAY, HOME, true),
            (121, HOME, AWAY, true),
            (181, AWAY, HOME, true),
        ]);
    }
}
