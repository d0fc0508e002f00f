//! When leases end. Decided by the leader on its monotonic clock, carried out by a log entry.
//!
//! Every replica keeps the time it last saw each lease granted or renewed, because any may come to
//! lead; a new leader starts all leases afresh, so a lease may end late but never early. The entry
//! names the renewals its proposer knew of: a renewal that came first wins when it is applied.

use std::collections::HashMap;
use std::time::Duration;

use store_api::LeaseId;
use store_core::{Command, Lease, Reply};
use tokio::time::Instant;

/// When a lease was last seen alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Clock {
    ttl: Duration,
    since: Instant,
}

/// The clocks of all leases. Pure: time comes from outside.
#[derive(Debug, Default)]
pub(crate) struct LeaseClocks {
    clocks: HashMap<LeaseId, Clock>,
}

impl LeaseClocks {
    /// All leases begin anew: at start, when leadership begins, after a snapshot.
    pub(crate) fn restart(&mut self, leases: &[Lease], now: Instant) {
        let clock = |lease: &Lease| Clock { ttl: Duration::from_millis(lease.ttl_ms), since: now };
        self.clocks = leases.iter().map(|lease| (lease.id, clock(lease))).collect();
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

    /// After the command was applied with this reply.
    pub(crate) fn after(&mut self, command: &Command, reply: &Reply, now: Instant) {
        match (command, reply) {
            (Command::LeaseGrant { ttl_ms, .. }, Reply::Lease(id)) => {
                self.clocks.insert(*id, Clock { ttl: Duration::from_millis(*ttl_ms), since: now });
            }
            (Command::LeaseRevoke { lease, .. }, Reply::Done) => {
                self.clocks.remove(lease);
            }
            _ => {}
        }
    }

    /// Leases whose time is over, at most `limit`.
    pub(crate) fn expired(&self, now: Instant, limit: usize) -> Vec<LeaseId> {
        let over = |(_, clock): &(&LeaseId, &Clock)| now.duration_since(clock.since) >= clock.ttl;
        self.clocks.iter().filter(over).map(|(id, _)| *id).take(limit).collect()
    }

    /// The entries that end these leases, with the renewals the state has now. Leases that are gone
    /// from the state are forgotten.
    pub(crate) fn revocations(&mut self, expired: &[LeaseId], state: &[Lease], now: Instant) -> Vec<Command> {
        let mut commands = Vec::new();
        for id in expired {
            let Some(lease) = state.iter().find(|lease| lease.id == *id) else {
                self.clocks.remove(id);
                continue;
            };
            // Asked again after the state was read: it may hold a renewal that `expired` did not know.
            if self.clocks.get(id).is_some_and(|clock| now.duration_since(clock.since) >= clock.ttl) {
                commands.push(Command::LeaseRevoke { lease: *id, only_if_renewals: Some(lease.renewals) });
            }
        }
        commands
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(id: u64, ttl_ms: u64, renewals: u64) -> Lease {
        Lease { id, ttl_ms, renewals, keys: Default::default() }
    }

    #[test]
    fn a_lease_ends_its_ttl_after_it_was_last_seen_alive() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut clocks = LeaseClocks::default();
        clocks.after(&Command::LeaseGrant { request: None, ttl_ms: 100 }, &Reply::Lease(1), at(0));
        assert_eq!(clocks.expired(at(99), 10), [0u64; 0]);
        assert_eq!(clocks.expired(at(100), 10), [1]);
        clocks.before(&Command::LeaseRenew { lease: 1 }, at(90));
        assert_eq!(clocks.expired(at(189), 10), [0u64; 0]);
        // The renewal that came between looking at the clocks and reading the state wins.
        let expired = clocks.expired(at(200), 10);
        clocks.before(&Command::LeaseRenew { lease: 1 }, at(195));
        assert!(clocks.revocations(&expired, &[lease(1, 100, 2)], at(200)).is_empty());
        let revoke = Command::LeaseRevoke { lease: 1, only_if_renewals: Some(2) };
        assert_eq!(clocks.revocations(&[1], &[lease(1, 100, 2)], at(300)), std::slice::from_ref(&revoke));
        clocks.after(&revoke, &Reply::Done, at(301));
        assert_eq!(clocks.expired(at(999), 10), [0u64; 0]);
    }

    #[test]
    fn a_new_leader_starts_every_lease_afresh_and_forgets_what_is_gone() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut clocks = LeaseClocks::default();
        clocks.after(&Command::LeaseGrant { request: None, ttl_ms: 100 }, &Reply::Lease(1), at(0));
        clocks.restart(&[lease(1, 100, 0), lease(2, 50, 0)], at(90));
        assert_eq!(clocks.expired(at(140), 10), [2]);
        assert!(clocks.revocations(&[1, 2], &[lease(1, 100, 0)], at(150)).is_empty());
        assert_eq!(clocks.expired(at(150), 10), [0u64; 0]);
    }
}
