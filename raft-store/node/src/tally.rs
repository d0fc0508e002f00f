//! What applied entries came to, as a metric: a log that grows while nothing changes says here what it is made of.

use store_core::{Command, Reply};
use store_engine::{Applied, ApplyEntry, ApplyPayload};

const METRIC: &str = "kontiki_store_applied_entries_total";

/// Counts of one group of entries, few as their kinds are.
#[derive(Default)]
pub(crate) struct Tally(Vec<(Counted, u64)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    entry: &'static str,
    outcome: &'static str,
}

impl Tally {
    pub(crate) fn of<'a>(entries: impl Iterator<Item = (&'a ApplyEntry, &'a Applied)>) -> Self {
        let mut tally = Self::default();
        for (entry, applied) in entries {
            tally.add(Counted { entry: name(&entry.payload), outcome: outcome(applied) });
        }
        tally
    }

    fn add(&mut self, counted: Counted) {
        match self.0.iter_mut().find(|(known, _)| *known == counted) {
            Some((_, count)) => *count += 1,
            None => self.0.push((counted, 1)),
        }
    }

    pub(crate) fn publish(self) {
        for (Counted { entry, outcome }, count) in self.0 {
            metrics::counter!(METRIC, "entry" => entry, "outcome" => outcome).increment(count);
        }
    }
}

fn name(payload: &ApplyPayload) -> &'static str {
    match payload {
        ApplyPayload::Blank => "blank",
        ApplyPayload::Membership { .. } => "membership",
        ApplyPayload::Command(command) => match command {
            Command::Txn(_) => "txn",
            Command::LeaseGrant { .. } => "lease_grant",
            Command::LeaseRenew { .. } => "lease_renew",
            Command::LeaseRevoke { .. } => "lease_revoke",
            Command::LeasesEnd { .. } => "leases_end",
            Command::Compact { .. } => "compact",
            Command::AllocateNodeId { .. } => "allocate_node_id",
        },
    }
}

fn outcome(applied: &Applied) -> &'static str {
    match &applied.reply {
        _ if !applied.events.is_empty() => "written",
        Reply::Refused(_) => "refused",
        Reply::Txn(reply) if !reply.succeeded => "lost",
        _ => "nothing_written",
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use store_api::{Event, KeyValue, StoreError, TxnReply};

    use super::*;

    fn kv() -> KeyValue {
        let (key, value) = (Bytes::from_static(b"k"), Bytes::from_static(b"v"));
        KeyValue { key, value, create_revision: 7, mod_revision: 7, version: 1, lease: 0 }
    }

    #[test]
    fn entries_are_counted_by_what_they_came_to() {
        let put_event = Event::Put { kv: kv(), previous: None };
        let applied = |reply, events| Applied { reply, revision: 7, events };
        let txn = |succeeded| Reply::Txn(TxnReply { revision: 7, succeeded, replies: Vec::new() });
        let put = || ApplyPayload::Command(Command::Txn(store_api::Txn::put("k", "v")));
        let renew = ApplyPayload::Command(Command::LeaseRenew { lease: 1 });
        let all = [
            (put(), applied(txn(true), vec![put_event])),
            (put(), applied(txn(false), Vec::new())),
            (put(), applied(txn(false), Vec::new())),
            (put(), applied(txn(true), Vec::new())),
            (renew, applied(Reply::Refused(StoreError::LeaseNotFound(1)), Vec::new())),
            (ApplyPayload::Blank, applied(Reply::Done, Vec::new())),
        ];
        let all = all.map(|(payload, applied)| (ApplyEntry { index: 1, log_id: Bytes::new(), payload }, applied));
        let tally = Tally::of(all.iter().map(|(entry, applied)| (entry, applied)));
        let counts: Vec<_> = tally.0.iter().map(|(of, count)| (of.entry, of.outcome, *count)).collect();
        assert_eq!(
            counts,
            [
                ("txn", "written", 1),
                ("txn", "lost", 2),
                ("txn", "nothing_written", 1),
                ("lease_renew", "refused", 1),
                ("blank", "nothing_written", 1)
            ]
        );
    }
}
