//! Transactions: fence, comparisons, the branch that runs.

use std::collections::BTreeMap;

use bytes::Bytes;
use store_api::{
    Compare, CompareOp, CompareTarget, Event, Fence, KeyValue, LeaseId, MAX_DELETE_BYTES, Op, OpReply, StoreError, Txn,
    TxnReply,
};

use crate::apply::Decided;
use crate::{Effects, LeaseChange, Reply, StateRead};

/// Of a transaction that passed [`Txn::check`] and was not seen before.
pub(crate) fn run_txn(state: &dyn StateRead, txn: &Txn) -> Result<Decided, StoreError> {
    if let Some(fence) = &txn.fence
        && !leads(state, fence)?
    {
        let key = String::from_utf8_lossy(&fence.key).into_owned();
        return Ok(StoreError::Fenced { key, epoch: fence.epoch }.into());
    }
    let succeeded = all_hold(state, &txn.compare)?;
    let ops = if succeeded { &txn.success } else { &txn.failure };
    if let Some(lease) = missing_lease(state, ops) {
        return Ok(StoreError::LeaseNotFound(lease).into());
    }
    let mut writes = Writes::new(state);
    let mut replies = Vec::new();
    for op in ops {
        let Some(reply) = run_op(&mut writes, op)? else {
            let why = format!("more than {MAX_DELETE_BYTES} bytes would be deleted at once; delete smaller ranges");
            return Ok(StoreError::Invalid(why).into());
        };
        replies.push(reply);
    }
    let effects = writes.into_effects();
    let revision = effects.revision.unwrap_or(state.revision());
    Ok(Decided::Done(Reply::Txn(TxnReply { succeeded, revision, replies }), effects))
}

fn leads(state: &dyn StateRead, fence: &Fence) -> Result<bool, StoreError> {
    Ok(state.get(&fence.key)?.is_some_and(|kv| kv.create_revision == fence.epoch))
}

fn all_hold(state: &dyn StateRead, compares: &[Compare]) -> Result<bool, StoreError> {
    for compare in compares {
        if !holds(compare, state.get(&compare.key)?.as_ref()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// An absent key compares as all zero, and as the empty value.
fn holds(compare: &Compare, kv: Option<&KeyValue>) -> bool {
    let ordering = match &compare.target {
        CompareTarget::Version(n) => kv.map_or(0, |kv| kv.version).cmp(n),
        CompareTarget::CreateRevision(n) => kv.map_or(0, |kv| kv.create_revision).cmp(n),
        CompareTarget::ModRevision(n) => kv.map_or(0, |kv| kv.mod_revision).cmp(n),
        CompareTarget::Lease(n) => kv.map_or(0, |kv| kv.lease).cmp(n),
        CompareTarget::Value(value) => kv.map_or(&b""[..], |kv| &kv.value).cmp(value),
    };
    match compare.op {
        CompareOp::Equal => ordering.is_eq(),
        CompareOp::NotEqual => ordering.is_ne(),
        CompareOp::Less => ordering.is_lt(),
        CompareOp::Greater => ordering.is_gt(),
    }
}

fn missing_lease(state: &dyn StateRead, ops: &[Op]) -> Option<LeaseId> {
    ops.iter().find_map(|op| match op {
        Op::Put { lease, .. } if *lease != 0 && !state.has_lease(*lease) => Some(*lease),
        _ => None,
    })
}

/// `None` when it would do too much.
fn run_op(writes: &mut Writes<'_>, op: &Op) -> Result<Option<OpReply>, StoreError> {
    Ok(Some(match op {
        Op::Get { key } => OpReply::Got(writes.get(key)?),
        Op::Put { key, value, lease } => OpReply::Put { previous: writes.put(key, value, *lease)? },
        Op::Delete { key } => OpReply::Deleted(writes.delete(key)?.into_iter().collect()),
        Op::DeleteRange { start, end } => return Ok(writes.delete_range(start, end)?.map(OpReply::Deleted)),
    }))
}

/// The writes of one entry, over the state before it.
pub(crate) struct Writes<'a> {
    state: &'a dyn StateRead,
    /// The newest version of each key written, `None` when deleted.
    newest: BTreeMap<Bytes, Option<KeyValue>>,
    events: Vec<Event>,
    leases: Vec<LeaseChange>,
}

impl<'a> Writes<'a> {
    pub(crate) fn new(state: &'a dyn StateRead) -> Self {
        Self { state, newest: BTreeMap::new(), events: Vec::new(), leases: Vec::new() }
    }

    fn get(&self, key: &Bytes) -> Result<Option<KeyValue>, StoreError> {
        match self.newest.get(key) {
            Some(written) => Ok(written.clone()),
            None => self.state.get(key),
        }
    }

    fn put(&mut self, key: &Bytes, value: &Bytes, lease: LeaseId) -> Result<Option<KeyValue>, StoreError> {
        let previous = self.get(key)?;
        let revision = self.state.revision() + 1;
        let kv = KeyValue {
            key: key.clone(),
            value: value.clone(),
            create_revision: previous.as_ref().map_or(revision, |p| p.create_revision),
            mod_revision: revision,
            version: previous.as_ref().map_or(1, |p| p.version + 1),
            lease,
        };
        self.move_lease(key, previous.as_ref().map_or(0, |p| p.lease), lease);
        self.newest.insert(key.clone(), Some(kv.clone()));
        self.events.push(Event::Put { kv, previous: previous.clone() });
        Ok(previous)
    }

    /// Deletes a key and answers what it was.
    pub(crate) fn delete(&mut self, key: &Bytes) -> Result<Option<KeyValue>, StoreError> {
        let previous = self.get(key)?;
        Ok(previous.map(|previous| self.delete_known(previous)))
    }

    fn delete_known(&mut self, previous: KeyValue) -> KeyValue {
        let kv = KeyValue {
            key: previous.key.clone(),
            value: Bytes::new(),
            create_revision: 0,
            mod_revision: self.state.revision() + 1,
            version: 0,
            lease: 0,
        };
        self.move_lease(&previous.key, previous.lease, 0);
        self.newest.insert(previous.key.clone(), None);
        self.events.push(Event::Delete { kv, previous: previous.clone() });
        previous
    }

    /// No key in the range was put in this entry ([`Txn::check`]), so the state before it knows them all,
    /// and those written since were deleted. `None` when there is too much in it.
    fn delete_range(&mut self, start: &Bytes, end: &Bytes) -> Result<Option<Vec<KeyValue>>, StoreError> {
        let Some(found) = self.state.range(start, end, MAX_DELETE_BYTES)? else { return Ok(None) };
        let mut deleted = Vec::new();
        for kv in found {
            if !self.newest.contains_key(&kv.key) {
                deleted.push(self.delete_known(kv));
            }
        }
        Ok(Some(deleted))
    }

    fn move_lease(&mut self, key: &Bytes, from: LeaseId, to: LeaseId) {
        if from == to {
            return;
        }
        if from != 0 {
            self.leases.push(LeaseChange::Detached { id: from, key: key.clone() });
        }
        if to != 0 {
            self.leases.push(LeaseChange::Attached { id: to, key: key.clone() });
        }
    }

    pub(crate) fn into_effects(self) -> Effects {
        let revision = (!self.events.is_empty()).then(|| self.state.revision() + 1);
        Effects { revision, events: self.events, leases: self.leases, ..Effects::default() }
    }
}
