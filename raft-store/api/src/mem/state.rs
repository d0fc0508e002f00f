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
    /// The events of every revision from `remembered` on.
    history: VecDeque<Vec<Event>>,
    remembered: Revision,
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
            revision: FIRST_REVISION,
            compacted: 0,
            hash: 0,
            faults: VecDeque::new(),
            max_history,
            keys: BTreeMap::new(),
            // The first revision has no events.
            history: VecDeque::from([Vec::new()]),
            remembered: FIRST_REVISION,
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
        let (succeeded, ops) = self.path(&txn.compare, &txn.success, &txn.failure);
        self.check(&ops)?;
        let mut events = Vec::new();
        let replies: Vec<OpReply> = ops.iter().map(|op| self.run(op, txn.want_previous, &mut events)).collect();
        let bytes = replies.iter().map(reply_bytes).sum::<usize>();
        if bytes > MAX_REPLY_BYTES {
            self.undo(events);
            return Err(StoreError::Invalid(format!(
                "a reply of {bytes} bytes, at most {MAX_REPLY_BYTES} are allowed"
            )));
        }
        self.commit(events);
        let reply = TxnReply { succeeded, revision: self.revision, replies };
        if let Some(id) = txn.request.filter(|_| !txn.is_read_only()) {
            self.remember(id, reply.clone());
        }
        Ok(reply)
    }

    /// Which operations run, also inside nested transactions: all comparisons look at the state before.
    fn path<'a>(&self, compare: &[Compare], success: &'a [Op], failure: &'a [Op]) -> (bool, Vec<Step<'a>>) {
        let succeeded = compare.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { success } else { failure };
        let step = |op: &'a Op| match op {
            Op::Txn(nested) => {
                let (succeeded, ops) = self.path(&nested.compare, &nested.success, &nested.failure);
                Step::Nested(succeeded, ops)
            }
            op => Step::One(op),
        };
        (succeeded, ops.iter().map(step).collect())
    }

    fn holds(&self, compare: &Compare) -> bool {
        match &compare.end {
            None => holds(compare, self.newest(&compare.key)),
            Some(end) => {
                let mut kvs = self.live(&compare.key, end).peekable();
                match kvs.peek() {
                    None => holds(compare, None),
                    Some(_) => kvs.all(|kv| holds(compare, Some(kv))),
                }
            }
        }
    }

    fn check(&self, steps: &[Step<'_>]) -> Result<(), StoreError> {
        for step in steps {
            match step {
                Step::Nested(_, steps) => self.check(steps)?,
                Step::One(Op::Put { lease, .. }) => self.check_lease(*lease)?,
                Step::One(Op::Update { key, lease, .. }) => {
                    if self.newest(key).is_none() {
                        return Err(StoreError::KeyNotFound(String::from_utf8_lossy(key).into_owned()));
                    }
                    self.check_lease(lease.unwrap_or_default())?;
                }
                Step::One(Op::Range(TxnRange { at: Some(requested), .. })) if *requested > self.revision => {
                    return Err(StoreError::FutureRevision { requested: *requested, current: self.revision });
                }
                Step::One(Op::Range(TxnRange { at: Some(at), .. })) => self.check_readable(*at)?,
                Step::One(_) => {}
            }
        }
        Ok(())
    }

    fn check_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        match lease == 0 || self.leases.contains_key(&lease) {
            true => Ok(()),
            false => Err(StoreError::LeaseNotFound(lease)),
        }
    }

    fn run(&mut self, step: &Step<'_>, want_previous: bool, events: &mut Vec<Event>) -> OpReply {
        let op = match step {
            Step::One(op) => op,
            Step::Nested(succeeded, steps) => {
                let replies = steps.iter().map(|step| self.run(step, want_previous, events)).collect();
                return OpReply::Txn { succeeded: *succeeded, replies };
            }
        };
        let kept = |kvs: Vec<KeyValue>| OpReply::Deleted {
            count: kvs.len(),
            previous: if want_previous { kvs } else { Vec::new() },
        };
        match op {
            Op::Get { key } => OpReply::Got(self.newest(key).cloned()),
            Op::Range(range) => self.ranged(range),
            Op::Put { key, value, lease } => {
                let previous = self.put(key, value, *lease, events);
                OpReply::Put { previous: previous.filter(|_| want_previous) }
            }
            Op::Update { key, value, lease } => {
                let now = self.newest(key).cloned().expect("the key was checked to exist");
                let value = value.as_ref().unwrap_or(&now.value);
                let previous = self.put(key, value, lease.unwrap_or(now.lease), events);
                OpReply::Put { previous: previous.filter(|_| want_previous) }
            }
            Op::Delete { key } => kept(self.delete(key, events).into_iter().collect()),
            Op::DeleteRange { start, end } => {
                let keys: Vec<Bytes> = self.live(start, end).map(|kv| kv.key.clone()).collect();
                kept(keys.iter().filter_map(|key| self.delete(key, events)).collect())
            }
            Op::Txn(_) => unreachable!("nested transactions are steps of their own"),
        }
    }

    /// Without a revision, it sees what the transaction wrote before it.
    fn ranged(&self, range: &TxnRange) -> OpReply {
        let TxnRange { start, end, at, limit, keys_only, count_only } = range.clone();
        let found = RangeRequest { start, end, at: ReadAt::Local, limit, keys_only, count: true, count_only };
        let RangeReply { kvs, more, count, .. } = self.select(&found, at.unwrap_or(Revision::MAX));
        OpReply::Ranged { kvs, more, count }
    }

    /// Takes back what a transaction that is not to be has written.
    fn undo(&mut self, events: Vec<Event>) {
        for event in events.into_iter().rev() {
            let key = event.kv().key.clone();
            let versions = self.keys.get_mut(&key).expect("written by the event");
            versions.pop();
            if versions.is_empty() {
                self.keys.remove(&key);
            }
            let (written, previous) = match event {
                Event::Put { kv, previous } => (Some(kv), previous),
                Event::Delete { previous, .. } => (None, Some(previous)),
            };
            self.detach(written.as_ref());
            if let Some(lease) = previous.and_then(|kv| self.leases.get_mut(&kv.lease)) {
                lease.keys.insert(key);
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
        if revision <= self.compacted {
            return Err(StoreError::Compacted { requested: revision, oldest: self.compacted });
        }
        self.forget_before(revision);
        Ok(())
    }

    /// Keeps the events of `revision`, and so what they replaced.
    fn forget_before(&mut self, revision: Revision) {
        self.compacted = revision;
        let gone = revision.saturating_sub(self.remembered);
        self.history.drain(..gone as usize);
        self.remembered += gone;
        self.keys.retain(|_, versions| {
            let newest = versions.iter().rposition(|v| v.revision < revision);
            if let Some(at) = newest {
                let gone = if versions[at].kv.is_none() { at + 1 } else { at };
                versions.drain(..gone);
            }
            !versions.is_empty()
        });
    }

    pub(super) fn grant(&mut self, chosen: LeaseId, ttl: Duration, now: Instant) -> Result<LeaseId, StoreError> {
        if ttl.as_millis() == 0 {
            return Err(StoreError::Invalid("a lease needs a time to live of at least a millisecond".into()));
        }
        if self.leases.contains_key(&chosen) {
            return Err(StoreError::LeaseExists(chosen));
        }
        let id = if chosen == 0 { self.next_lease() } else { chosen };
        self.leases.insert(id, MemLease { ttl, end: now + ttl, keys: BTreeSet::new() });
        Ok(id)
    }

    fn next_lease(&mut self) -> LeaseId {
        self.last_lease += 1;
        while self.leases.contains_key(&self.last_lease) {
            self.last_lease += 1;
        }
        self.last_lease
    }

    pub(super) fn renew(&mut self, id: LeaseId, now: Instant) -> Result<Duration, StoreError> {
        let lease = self.leases.get_mut(&id).ok_or(StoreError::LeaseNotFound(id))?;
        lease.end = now + lease.ttl;
        Ok(lease.ttl)
    }

    pub(super) fn lease(&self, id: LeaseId, now: Instant) -> Result<LeaseInfo, StoreError> {
        let lease = self.leases.get(&id).ok_or(StoreError::LeaseNotFound(id))?;
        let remaining = lease.end.saturating_duration_since(now);
        Ok(LeaseInfo { id, ttl: lease.ttl, remaining, keys: lease.keys.iter().cloned().collect() })
    }

    pub(super) fn leases(&self) -> Vec<LeaseId> {
        self.leases.keys().copied().collect()
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
        Ok(self.select(range, revision))
    }

    fn select(&self, range: &RangeRequest, revision: Revision) -> RangeReply {
        let mut reply = RangeReply { kvs: Vec::new(), more: false, count: 0, revision };
        for kv in self.slice(&range.start, &range.end).filter_map(|(_, v)| version_at(v, revision)) {
            reply.count += 1;
            if range.count_only {
                continue;
            }
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
        reply
    }

    /// The events of `from` and later revisions, oldest first.
    pub(super) fn history_from(&self, from: Revision) -> impl Iterator<Item = (Revision, &Vec<Event>)> {
        let skip = usize::try_from(from.saturating_sub(self.remembered)).unwrap_or(usize::MAX);
        (self.remembered..).zip(self.history.iter()).skip(skip)
    }

    pub(super) fn check_readable(&self, revision: Revision) -> Result<(), StoreError> {
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

/// An operation of the path a transaction takes.
enum Step<'a> {
    One(&'a Op),
    Nested(bool, Vec<Step<'a>>),
}

fn reply_bytes(reply: &OpReply) -> usize {
    let bytes = |kv: &KeyValue| kv.key.len() + kv.value.len();
    match reply {
        OpReply::Put { previous: kv } | OpReply::Got(kv) => kv.as_ref().map_or(0, bytes),
        OpReply::Deleted { previous: kvs, .. } | OpReply::Ranged { kvs, .. } => kvs.iter().map(bytes).sum(),
        OpReply::Txn { replies, .. } => replies.iter().map(reply_bytes).sum(),
    }
}

fn holds(compare: &Compare, kv: Option<&KeyValue>) -> bool {
    let number = |of: fn(&KeyValue) -> u64, wanted: &u64| kv.map_or(0, of).cmp(wanted);
    let ordering = match &compare.target {
        CompareTarget::Version(n) => number(|kv| kv.version, n),
        CompareTarget::CreateRevision(n) => number(|kv| kv.create_revision, n),
        CompareTarget::ModRevision(n) => number(|kv| kv.mod_revision, n),
        CompareTarget::Lease(n) => number(|kv| kv.lease, n),
        CompareTarget::Value(wanted) => match kv {
            Some(kv) => kv.value.cmp(wanted),
            None => return false,
        },
    };
    match compare.op {
        CompareOp::Equal => ordering.is_eq(),
        CompareOp::NotEqual => ordering.is_ne(),
        CompareOp::Less => ordering.is_lt(),
        CompareOp::Greater => ordering.is_gt(),
    }
}
