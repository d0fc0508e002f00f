//! When leases end. Decided by the leader on its monotonic clock, carried out by a log entry.
//!
//! Every replica keeps the time it last saw each lease granted or renewed, because any may come to
//! lead; a new leader starts all leases afresh, so a lease may end late but never early. The entry
//! names the renewals its proposer knew of: a renewal that came first wins when it is applied.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use store_api::LeaseId;
use store_core::{Command, Reply};
use store_engine::planted::{Bug, is_planted};
use tokio::time::Instant;

/// Before a lease whose end was proposed is looked at again, because it was not ended or just to forget it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Longer leases are looked at again after it; clocks do not reach much further.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// When a lease was last seen alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Clock {
    ttl: Duration,
    since: Instant,
    /// When it is looked at; what is due at another time is left over from an earlier clock of the id.
    due: Instant,
}

impl Clock {
    fn ends(&self) -> Instant {
        self.since + self.ttl.min(LONGEST)
    }
}

/// The clocks of all leases. Pure: time comes from outside.
#[derive(Debug, Default)]
pub(crate) struct LeaseClocks {
    clocks: HashMap<LeaseId, Clock>,
    /// When to look at which lease: one for each clock, not later than its end. Renewals leave it as it is.
    due: BinaryHeap<Reverse<(Instant, LeaseId)>>,
}

impl LeaseClocks {
    /// All leases begin anew: at start, when leadership begins, after a snapshot. With their times to live in ms.
    pub(crate) fn restart(&mut self, leases: &[(LeaseId, u64)], now: Instant) {
        *self = Self::default();
        for (id, ttl_ms) in leases {
            self.begin(*id, *ttl_ms, now);
        }
    }

    fn begin(&mut self, id: LeaseId, ttl_ms: u64, now: Instant) {
        let ttl = Duration::from_millis(if is_planted(Bug::LeaseEndsEarly) { ttl_ms / 4 } else { ttl_ms });
        let due = now + ttl.min(LONGEST);
        self.clocks.insert(id, Clock { ttl, since: now, due });
        self.due.push(Reverse((due, id)));
    }

    /// Before the command is applied: a renewal counts from now at the latest, so that whoever sees
    /// the renewal in the state sees the new time here.
    pub(crate) fn before(&mut self, command: &Command, now: Instant) {
        if let Command::LeaseRenew { lease } = command
            && let Some(clock) = self.clocks.get_mut(lease)
        {
            clock.since = now;
        }
    }

    /// After the command was applied with this reply. What many ended at once left behind is found when it is due.
    pub(crate) fn after(&mut self, command: &Command, reply: &Reply, now: Instant) {
        match (command, reply) {
            (Command::LeaseGrant { ttl_ms, .. }, Reply::Lease(id)) => self.begin(*id, *ttl_ms, now),
            (Command::LeaseRevoke { lease, .. }, Reply::Done) => {
                self.clocks.remove(lease);
            }
            _ => {}
        }
    }

    /// How long a lease has still to go, as far as this replica knows.
    pub(crate) fn remaining(&self, id: LeaseId, now: Instant) -> Option<Duration> {
        let clock = self.clocks.get(&id)?;
        Some(clock.ttl.saturating_sub(now.duration_since(clock.since)))
    }

    /// Leases whose time is over, at most `limit`; they are not named again for a moment.
    pub(crate) fn expired(&mut self, now: Instant, limit: usize) -> Vec<LeaseId> {
        let mut expired = Vec::new();
        while expired.len() < limit
            && let Some(Reverse((at, id))) = self.due.peek().copied()
            && at <= now
        {
            self.due.pop();
            let Some(clock) = self.clocks.get_mut(&id).filter(|clock| clock.due == at) else { continue };
            let ends = clock.ends();
            if ends <= now {
                expired.push(id);
            }
            clock.due = if ends <= now { now + LOOK_AGAIN } else { ends };
            self.due.push(Reverse((clock.due, id)));
        }
        expired
    }

    /// What ends these leases, with the renewals the state has now. Leases that are gone from the state are
    /// forgotten.
    pub(crate) fn ends(&mut self, expired: &[LeaseId], state: &[(LeaseId, u64)], now: Instant) -> Vec<(LeaseId, u64)> {
        let renewals: HashMap<LeaseId, u64> = state.iter().copied().collect();
        let mut ends = Vec::new();
        for id in expired {
            let Some(renewals) = renewals.get(id) else {
                self.clocks.remove(id);
                continue;
            };
            // Asked again after the state was read: it may hold a renewal that `expired` did not know.
            if self.clocks.get(id).is_some_and(|clock| clock.ends() <= now) {
                ends.push((*id, *renewals));
            }
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_its_ttl_after_it_was_last_seen_alive() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut clocks = LeaseClocks::default();
        clocks.after(&Command::LeaseGrant { request: None, id: 0, ttl_ms: 100 }, &Reply::Lease(1), at(0));
        assert_eq!(clocks.expired(at(99), 10), [0u64; 0]);
        let left = |clocks: &LeaseClocks, ms| clocks.remaining(1, at(ms)).map(|left| left.as_millis());
        assert_eq!((left(&clocks, 30), left(&clocks, 150), clocks.remaining(2, at(0))), (Some(70), Some(0), None));
        clocks.before(&Command::LeaseRenew { lease: 1 }, at(90));
        assert_eq!(clocks.expired(at(189), 10), [0u64; 0]);
        // The renewal that came between looking at the clocks and reading the state wins.
        let expired = clocks.expired(at(200), 10);
        assert_eq!(expired, [1]);
        clocks.before(&Command::LeaseRenew { lease: 1 }, at(195));
        assert!(clocks.ends(&expired, &[(1, 2)], at(200)).is_empty());
        assert_eq!(clocks.ends(&[1], &[(1, 2)], at(300)), [(1, 2)]);
        clocks.after(&Command::LeaseRevoke { lease: 1, only_if_renewals: Some(2) }, &Reply::Done, at(301));
        assert_eq!(clocks.expired(at(9_999), 10), [0u64; 0]);
        assert!(clocks.due.is_empty());
    }

    #[test]
    fn a_lease_whose_end_came_to_nothing_is_named_again() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut clocks = LeaseClocks::default();
        clocks.restart(&[(1, 100), (2, 100), (3, 100), (4, u64::MAX)], at(0));
        assert_eq!(clocks.expired(at(100), 2), [1, 2]);
        assert_eq!(clocks.expired(at(100), 2), [3]);
        assert_eq!(clocks.expired(at(1_099), 9), [0u64; 0]);
        assert_eq!(clocks.ends(&[1], &[], at(1_100)), [(0, 0); 0], "it is gone");
        assert_eq!(clocks.expired(at(1_100), 9), [2, 3]);
        assert_eq!((clocks.clocks.len(), clocks.due.len()), (3, 3));
    }

    #[test]
    fn an_id_that_is_chosen_again_has_a_new_clock() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let grant = |ttl_ms| Command::LeaseGrant { request: None, id: 7, ttl_ms };
        let mut clocks = LeaseClocks::default();
        clocks.after(&grant(100), &Reply::Lease(7), at(0));
        assert_eq!(clocks.expired(at(100), 9), [7]);
        // It ended together with others, which leaves the clock behind.
        clocks.after(&grant(5_000), &Reply::Lease(7), at(110));
        assert_eq!(clocks.expired(at(5_109), 9), [0u64; 0]);
        assert_eq!(clocks.expired(at(5_110), 9), [7]);
        clocks.after(&grant(50), &Reply::Lease(7), at(5_120));
        assert_eq!(clocks.expired(at(5_170), 9), [7]);
        clocks.after(&grant(10), &Reply::Lease(7), at(5_180));
        assert_eq!(clocks.expired(at(9_999), 9), [7], "named once");
    }

    #[test]
    fn a_new_leader_starts_every_lease_afresh_and_forgets_what_is_gone() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut clocks = LeaseClocks::default();
        clocks.after(&Command::LeaseGrant { request: None, id: 0, ttl_ms: 100 }, &Reply::Lease(1), at(0));
        clocks.restart(&[(1, 100), (2, 50)], at(90));
        assert_eq!(clocks.expired(at(140), 10), [2]);
        assert!(clocks.ends(&[1, 2], &[(1, 0)], at(150)).is_empty());
        assert_eq!(clocks.expired(at(189), 10), [0u64; 0]);
        assert_eq!(clocks.expired(at(190), 10), [1]);
    }
}
