//! L4: a lease ends by an entry of the log, not before its time has passed since it was last renewed, whoever leads;
//! and it ends some time after nobody renews it.

use std::collections::BTreeMap;

use bytes::Bytes;
use store_api::{Event, LeaseId, Revision};

use super::Checker;
use crate::facts::{Answer, CallId, Fact, What};
use crate::view::View;

/// Names the keys that only leases delete.
pub(crate) const LEASED: &[u8] = b"l/";

#[derive(Default)]
pub(super) struct Leases {
    granting: BTreeMap<CallId, u64>,
    renewing: BTreeMap<CallId, (LeaseId, u64)>,
    /// Milliseconds to live, and when it was last surely alive, microseconds.
    leases: BTreeMap<LeaseId, (u64, u64)>,
    holds: BTreeMap<Bytes, LeaseId>,
    seen: Revision,
}

impl Checker for Leases {
    fn name(&self) -> &'static str {
        "L4 leases"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        match fact {
            Fact::Called { call, what: What::Grant { ttl_ms }, .. } => {
                self.granting.insert(*call, *ttl_ms);
            }
            Fact::Called { call, what: What::Renew { lease }, .. } => {
                self.renewing.insert(*call, (*lease, view.now));
            }
            Fact::Returned { call, answer: Answer::Granted(lease), .. } => {
                if let Some(ttl_ms) = self.granting.remove(call) {
                    // It may have been granted at any time since it was asked for; it counts from when it is used.
                    self.leases.insert(*lease, (ttl_ms, 0));
                }
            }
            Fact::Returned { call, answer: Answer::Renewed, .. } => {
                if let Some((lease, at)) = self.renewing.remove(call)
                    && let Some(known) = self.leases.get_mut(&lease)
                {
                    known.1 = known.1.max(at);
                }
            }
            Fact::Committed { .. } => return self.look(view),
            Fact::Rested => return self.all_over(view),
            _ => {}
        }
        Ok(())
    }
}

impl Leases {
    fn look(&mut self, view: &View) -> Result<(), String> {
        for (revision, events) in view.truth.events.range(self.seen + 1..) {
            self.seen = *revision;
            for event in events.iter().filter(|event| event.kv().key.starts_with(LEASED)) {
                match event {
                    Event::Put { kv, .. } => {
                        self.holds.insert(kv.key.clone(), kv.lease);
                    }
                    Event::Delete { kv, .. } => self.ended(&kv.key, view)?,
                }
            }
        }
        Ok(())
    }

    fn ended(&mut self, key: &Bytes, view: &View) -> Result<(), String> {
        let Some(lease) = self.holds.remove(key) else { return Ok(()) };
        let Some((ttl_ms, alive)) = self.leases.get(&lease).copied().filter(|(_, alive)| *alive > 0) else {
            return Ok(());
        };
        let lived = (view.now - alive) / 1_000;
        // A clock that runs ahead ends leases early by that much: they are bounded by the drift of clocks.
        match lived < ttl_ms && !view.skewed {
            true => Err(format!("lease {lease} of {ttl_ms} ms ended {lived} ms after it was renewed")),
            false => Ok(()),
        }
    }

    fn all_over(&self, view: &View) -> Result<(), String> {
        let limit =
            |lease: &LeaseId| self.leases.get(lease).map(|(ttl_ms, alive)| alive + (2 * ttl_ms + 5_000) * 1_000);
        let late = self.holds.iter().find(|(_, lease)| limit(lease).is_some_and(|limit| view.now > limit));
        match late {
            Some((key, lease)) => Err(format!("lease {lease} has not ended, {key:?} is still there")),
            None => Ok(()),
        }
    }
}
