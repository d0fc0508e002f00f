//! The state of a [`super::MemStore`] and what transactions do to it: synchronous, under one lock.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Fault;
use crate::*;

/// Replies remembered for retries.
const MAX_REPLIES: usize = 65_536;

pub(super) struct State {
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
    pub(super) hash: u64,
    pub(super) faults: VecDeque<Fault>,
    max_history: u64,
    /// Versions of each key, oldest first.
    keys: BTreeMap<Bytes, Vec<Version>>,
    /// The events of every revision after `compacted`.
    history: VecDeque<Vec<Event>>,
    leases: BTreeMap<LeaseId, MemLease>,
    last_lease: LeaseId,
    replies: HashMap<RequestId, TxnReply>,
    reply_order: VecDeque<RequestId>,
}

struct Version {
    revision: Revision,
    /// `None` is a deletion.
    kv: Option<KeyValue>,
}

struct MemLease {
    ttl: Duration,
    end: Instant,
    keys: BTreeSet<Bytes>,
}

impl State {
    pub(super) fn new(max_history: u64) -> Self {
        Self {
            revision: 0,
            compacted: 0,
            hash: 0,
            faults: VecDeque::new(),
            max_history,
            keys: BTreeMap::new(),
            history: VecDeque::new(),
            leases: BTreeMap::new(),
            last_lease: 0,
            replies: HashMap::new(),
            reply_order: VecDeque::new(),
        }
    }

    pub(super) fn txn(&mut self, txn: &Txn) -> Result<TxnReply, StoreError> {
        txn.check()?;
        if let Some(reply) = txn.request.and_then(|id| self.replies.get(&id)) {
            return Ok(reply.clone());
        }
        if let Some(fence) = &txn.fence
            && self.newest(&fence.key).is_none_or(|kv| kv.create_revision != fence.epoch)
        {
            return Err(StoreError::Fenced {
                key: String::from_utf8_lossy(&fence.key).into_owned(),
                epoch: fence.epoch,
            });
        }
        let succeeded = txn.compare.iter().all(|c| holds(c, self.newest(&c.key)));
        let ops = if succeeded { &txn.success } else { &txn.failure };
        self.check_leases(ops)?;
        let mut events = Vec::new();
        let replies = ops.iter().map(|op| self.run(op, &mut events)).collect();
        self.commit(events);
        let reply = TxnReply { succeeded, revision: self.revision, replies };
        if let Some(id) = txn.request {
            self.remember(id, reply.clone());
        }
        Ok(reply)
    }

    fn check_leases(&self, ops: &[Op]) -> Result<(), StoreError> {
        for op in ops {
            if let Op::Put { lease, .. } = op
                && *lease != 0
                && !self.leases.contains_key(lease)
            {
                return Err(StoreError::LeaseNotFound(*lease));
            }
        }
        Ok(())
    }

    fn run(&mut self, op: &Op, events: &mut Vec<Event>) -> OpReply {
        match op {
            Op::Get { key } => OpReply::Got(self.newest(key).cloned()),
            Op::Put { key, value, lease } => OpReply::Put { previous: self.put(key, value, *lease, events) },
            Op::Delete { key } => OpReply::Deleted(self.delete(key, events).into_iter().collect()),
            Op::DeleteRange { start, end } => {
                let keys: Vec<Bytes> = self.live(start, end).map(|kv| kv.key.clone()).collect();
                OpReply::Deleted(keys.iter().filter_map(|key| self.delete(key, events)).collect())
            }
        }
    }

    fn put(&mut self, key: &Bytes, value: &Bytes, lease: LeaseId, events: &mut Vec<Event>) -> Option<KeyValue> {
        let previous = self.newest(key).cloned();
        let revision = self.revision + 1;
        let kv = KeyValue {
            key: key.clone(),
            value: value.clone(),
            create_revision: previous.as_ref().map_or(revision, |p| p.create_revision),
            mod_revision: revision,
            version: previous.as_ref().map_or(1, |p| p.version + 1),
            lease,
        };
        self.detach(previous.as_ref());
        if let Some(lease) = self.leases.get_mut(&lease) {
            lease.keys.insert(key.clone());
        }
        self.keys.entry(key.clone()).or_default().push(Version { revision, kv: Some(kv.clone()) });
        events.push(Event::Put { kv, previous: previous.clone() });
        previous
    }

    fn delete(&mut self, key: &Bytes, events: &mut Vec<Event>) -> Option<KeyValue> {
        let previous = self.newest(key).cloned()?;
        let revision = self.revision + 1;
        self.detach(Some(&previous));
        self.keys.entry(key.clone()).or_default().push(Version { revision, kv: None });
        let kv = KeyValue {
            key: key.clone(),
            value: Bytes::new(),
            create_revision: 0,
            mod_revision: revision,
            version: 0,
            lease: 0,
        };
        events.push(Event::Delete { kv, previous: previous.clone() });
        Some(previous)
    }

    fn detach(&mut self, previous: Option<&KeyValue>) {
        if let Some(kv) = previous
            && let Some(lease) = self.leases.get_mut(&kv.lease)
        {
            lease.keys.remove(&kv.key);
        }
    }

    fn commit(&mut self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let mut hasher = DefaultHasher::new();
        self.hash.hash(&mut hasher);
        for event in &events {
            let kv = event.kv();
            (&kv.key, &kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease).hash(&mut hasher);
        }
        self.hash = hasher.finish();
        self.revision += 1;
        self.history.push_back(events);
        let oldest = self.revision.saturating_sub(self.max_history);
        if oldest > self.compacted {
            self.forget_before(oldest);
        }
    }

    fn remember(&mut self, id: RequestId, reply: TxnReply) {
        self.replies.insert(id, reply);
        self.reply_order.push_back(id);
        if self.reply_order.len() > MAX_REPLIES
            && let Some(oldest) = self.reply_order.pop_front()
        {
            self.replies.remove(&oldest);
        }
    }

    pub(super) fn compact(&mut self, revision: Revision) -> Result<(), StoreError> {
        if revision > self.revision {
            return Err(StoreError::FutureRevision { requested: revision, current: self.revision });
        }
        if revision > self.compacted {
            self.forget_before(revision);
        }
        Ok(())
    }

    fn forget_before(&mut self, revision: Revision) {
        self.history.drain(..(revision - self.compacted) as usize);
        self.compacted = revision;
        self.keys.retain(|_, versions| {
            let newest = versions.iter().rposition(|v| v.revision <= revision);
            if let Some(at) = newest {
                let gone = if versions[at].kv.is_none() { at + 1 } else { at };
                versions.drain(..gone);
            }
            !versions.is_empty()
        });
    }

    pub(super) fn grant(&mut self, ttl: Duration, now: Instant) -> Result<LeaseId, StoreError> {
        if ttl.as_millis() == 0 {
            return Err(StoreError::Invalid("a lease needs a time to live of at least a millisecond".into()));
        }
        self.last_lease += 1;
        self.leases.insert(self.last_lease, MemLease { ttl, end: now + ttl, keys: BTreeSet::new() });
        Ok(self.last_lease)
    }

    pub(super) fn renew(&mut self, id: LeaseId, now: Instant) -> Result<(), StoreError> {
        let lease = self.leases.get_mut(&id).ok_or(StoreError::LeaseNotFound(id))?;
        lease.end = now + lease.ttl;
        Ok(())
    }

    pub(super) fn revoke(&mut self, id: LeaseId) -> Result<(), StoreError> {
        let lease = self.leases.remove(&id).ok_or(StoreError::LeaseNotFound(id))?;
        let mut events = Vec::new();
        for key in &lease.keys {
            self.delete(key, &mut events);
        }
        self.commit(events);
        Ok(())
    }

    pub(super) fn lease_end(&self, id: LeaseId) -> Option<Instant> {
        self.leases.get(&id).map(|lease| lease.end)
    }

    pub(super) fn get_at(&self, key: &[u8], revision: Revision) -> Result<Option<KeyValue>, StoreError> {
        self.check_readable(revision)?;
        Ok(self.keys.get(key).and_then(|versions| version_at(versions, revision)).cloned())
    }

    pub(super) fn range_at(&self, range: &RangeRequest, revision: Revision) -> Result<RangeReply, StoreError> {
        self.check_readable(revision)?;
        let mut reply = RangeReply { kvs: Vec::new(), more: false, count: 0, revision };
        for kv in self.slice(&range.start, &range.end).filter_map(|(_, v)| version_at(v, revision)) {
            reply.count += 1;
            if range.limit != 0 && reply.count > range.limit {
                reply.more = true;
                if range.count {
                    continue;
                }
                reply.count = range.limit;
                break;
            }
            let mut kv = kv.clone();
            if range.keys_only {
                kv.value = Bytes::new();
            }
            reply.kvs.push(kv);
        }
        Ok(reply)
    }

    /// The events of `from` and later revisions, oldest first.
    pub(super) fn history_from(&self, from: Revision) -> impl Iterator<Item = (Revision, &Vec<Event>)> {
        let skip = from - self.compacted - 1;
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        (self.compacted + 1..).zip(self.history.iter()).skip(skip)
    }

    /// A watch needs every event from `from` on, and those up to the compaction are gone.
    pub(super) fn check_watchable(&self, from: Revision) -> Result<(), StoreError> {
        if from <= self.compacted {
            return Err(StoreError::Compacted { requested: from, oldest: self.compacted + 1 });
        }
        Ok(())
    }

    fn check_readable(&self, revision: Revision) -> Result<(), StoreError> {
        if revision < self.compacted {
            return Err(StoreError::Compacted { requested: revision, oldest: self.compacted });
        }
        Ok(())
    }

    fn newest(&self, key: &[u8]) -> Option<&KeyValue> {
        self.keys.get(key)?.last()?.kv.as_ref()
    }

    fn live(&self, start: &[u8], end: &[u8]) -> impl Iterator<Item = &KeyValue> {
        self.slice(start, end).filter_map(|(_, versions)| versions.last()?.kv.as_ref())
    }

    fn slice(&self, start: &[u8], end: &[u8]) -> impl Iterator<Item = (&Bytes, &Vec<Version>)> {
        // BTreeMap::range refuses a start after the end.
        let empty = !end.is_empty() && start >= end;
        let upper = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) };
        (!empty).then(|| self.keys.range::<[u8], _>((Bound::Included(start), upper))).into_iter().flatten()
    }
}

fn version_at(versions: &[Version], revision: Revision) -> Option<&KeyValue> {
    versions.iter().rev().find(|v| v.revision <= revision)?.kv.as_ref()
}

fn holds(compare: &Compare, kv: Option<&KeyValue>) -> bool {
    let number = |of: fn(&KeyValue) -> u64, wanted: &u64| kv.map_or(0, of).cmp(wanted);
    let ordering = match &compare.target {
        CompareTarget::Version(n) => number(|kv| kv.version, n),
        CompareTarget::CreateRevision(n) => number(|kv| kv.create_revision, n),
        CompareTarget::ModRevision(n) => number(|kv| kv.mod_revision, n),
        CompareTarget::Lease(n) => number(|kv| kv.lease, n),
        CompareTarget::Value(wanted) => kv.map_or(&[][..], |kv| kv.value.as_ref()).cmp(wanted.as_ref()),
    };
    match compare.op {
        CompareOp::Equal => ordering.is_eq(),
        CompareOp::NotEqual => ordering.is_ne(),
        CompareOp::Less => ordering.is_lt(),
        CompareOp::Greater => ordering.is_gt(),
    }
}
