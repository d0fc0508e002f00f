//! Transactions: fence, comparisons, the operations that run.
//!
//! Which branches run is decided first, nested ones included: all comparisons look at the state before the
//! transaction. Then everything that can refuse it is looked at, and only then are its operations run.

use std::ops::ControlFlow;

use bytes::Bytes;
use store_api::{
    Compare, CompareOp, CompareTarget, Fence, KeyValue, LeaseId, MAX_DELETE_BYTES, MAX_REPLY_BYTES, Op, OpReply,
    Revision, StoreError, Txn, TxnRange, TxnReply,
};

use crate::apply::Decided;
use crate::writes::Writes;
use crate::{Reply, StateRead};

/// Of a transaction that passed [`Txn::check`] and was not seen before.
pub(crate) fn run_txn(state: &dyn StateRead, txn: &Txn) -> Result<Decided, StoreError> {
    if let Some(fence) = &txn.fence
        && !leads(state, fence)?
    {
        let key = String::from_utf8_lossy(&fence.key).into_owned();
        return Ok(StoreError::Fenced { key, epoch: fence.epoch }.into());
    }
    let Branch { succeeded, ops } = choose(state, &txn.compare, &txn.success, &txn.failure)?;
    if let Some(refusal) = refusal(state, &ops)? {
        return Ok(refusal.into());
    }
    let mut run = Run { writes: Writes::new(state), want_previous: txn.want_previous, bytes: 0, refused: None };
    let replies = run.all(&ops)?;
    if let Some(refused) = run.refused {
        return Ok(refused.into());
    }
    if run.bytes > MAX_REPLY_BYTES {
        let why = format!("a reply of {} bytes or more, at most {MAX_REPLY_BYTES} are allowed", run.bytes);
        return Ok(StoreError::Invalid(why).into());
    }
    let effects = run.writes.into_effects();
    let revision = effects.revision.unwrap_or(state.revision());
    Ok(Decided::Done(Reply::Txn(TxnReply { succeeded, revision, replies }), effects))
}

fn leads(state: &dyn StateRead, fence: &Fence) -> Result<bool, StoreError> {
    Ok(state.get(&fence.key)?.is_some_and(|kv| kv.create_revision == fence.epoch))
}

/// The branch that runs.
struct Branch<'a> {
    succeeded: bool,
    ops: Vec<Chosen<'a>>,
}

enum Chosen<'a> {
    Op(&'a Op),
    Nested(Branch<'a>),
}

fn choose<'a>(
    state: &dyn StateRead,
    compare: &[Compare],
    success: &'a [Op],
    failure: &'a [Op],
) -> Result<Branch<'a>, StoreError> {
    let succeeded = all_hold(state, compare)?;
    let ops = if succeeded { success } else { failure };
    let chosen = |op: &'a Op| match op {
        Op::Txn(nested) => choose(state, &nested.compare, &nested.success, &nested.failure).map(Chosen::Nested),
        op => Ok(Chosen::Op(op)),
    };
    Ok(Branch { succeeded, ops: ops.iter().map(chosen).collect::<Result<_, _>>()? })
}

fn all_hold(state: &dyn StateRead, compares: &[Compare]) -> Result<bool, StoreError> {
    for compare in compares {
        let holds = match &compare.end {
            None => holds(compare, state.get(&compare.key)?.as_ref()),
            Some(end) => all_of_range_hold(state, compare, end)?,
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

fn all_of_range_hold(state: &dyn StateRead, compare: &Compare, end: &[u8]) -> Result<bool, StoreError> {
    let keys_only = !matches!(compare.target, CompareTarget::Value(_));
    let (mut any, mut all) = (false, true);
    state.scan(&compare.key, end, state.revision(), keys_only, &mut |kv| {
        any = true;
        all = holds(compare, Some(&kv));
        if all { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(if any { all } else { holds(compare, None) })
}

/// An absent key compares as all zero, and its value with nothing.
fn holds(compare: &Compare, kv: Option<&KeyValue>) -> bool {
    let ordering = match &compare.target {
        CompareTarget::Version(n) => kv.map_or(0, |kv| kv.version).cmp(n),
        CompareTarget::CreateRevision(n) => kv.map_or(0, |kv| kv.create_revision).cmp(n),
        CompareTarget::ModRevision(n) => kv.map_or(0, |kv| kv.mod_revision).cmp(n),
        CompareTarget::Lease(n) => kv.map_or(0, |kv| kv.lease).cmp(n),
        CompareTarget::Value(value) => match kv {
            Some(kv) => kv.value.cmp(value),
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

/// The first reason not to run these operations, in their order.
fn refusal(state: &dyn StateRead, ops: &[Chosen<'_>]) -> Result<Option<StoreError>, StoreError> {
    for op in ops {
        let refused = match op {
            Chosen::Nested(branch) => refusal(state, &branch.ops)?,
            Chosen::Op(op) => refusal_of(state, op)?,
        };
        if refused.is_some() {
            return Ok(refused);
        }
    }
    Ok(None)
}

fn refusal_of(state: &dyn StateRead, op: &Op) -> Result<Option<StoreError>, StoreError> {
    Ok(match op {
        Op::Put { lease, .. } => missing_lease(state, *lease),
        Op::Update { key, lease, .. } => match state.get(key)? {
            None => Some(StoreError::KeyNotFound(String::from_utf8_lossy(key).into_owned())),
            Some(_) => missing_lease(state, lease.unwrap_or_default()),
        },
        Op::Range(TxnRange { at: Some(requested), .. }) => unreadable(state, *requested),
        _ => None,
    })
}

fn missing_lease(state: &dyn StateRead, lease: LeaseId) -> Option<StoreError> {
    (lease != 0 && !state.has_lease(lease)).then_some(StoreError::LeaseNotFound(lease))
}

fn unreadable(state: &dyn StateRead, requested: Revision) -> Option<StoreError> {
    let (current, oldest) = (state.revision(), state.compacted());
    if requested > current {
        return Some(StoreError::FutureRevision { requested, current });
    }
    (requested < oldest).then_some(StoreError::Compacted { requested, oldest })
}

/// The operations of a transaction, being run.
struct Run<'a> {
    writes: Writes<'a>,
    want_previous: bool,
    /// Of keys and values in the replies so far.
    bytes: usize,
    /// Why all of it comes to nothing.
    refused: Option<StoreError>,
}

impl Run<'_> {
    fn all(&mut self, ops: &[Chosen<'_>]) -> Result<Vec<OpReply>, StoreError> {
        let one = |op: &Chosen<'_>| match op {
            Chosen::Op(op) => self.one(op),
            Chosen::Nested(Branch { succeeded, ops }) => {
                Ok(OpReply::Txn { succeeded: *succeeded, replies: self.all(ops)? })
            }
        };
        ops.iter().map(one).collect()
    }

    fn one(&mut self, op: &Op) -> Result<OpReply, StoreError> {
        Ok(match op {
            Op::Get { key } => {
                let kv = self.writes.get(key)?;
                self.bytes += kv.as_ref().map_or(0, bytes);
                OpReply::Got(kv)
            }
            Op::Range(range) => self.range(range)?,
            Op::Put { key, value, lease } => {
                let previous = self.writes.put(key, value, *lease)?;
                self.put(previous)
            }
            Op::Update { key, value, lease } => {
                let previous = self.writes.update(key, value.as_ref(), *lease)?;
                self.put(previous)
            }
            Op::Delete { key } => {
                let deleted = self.writes.delete(key)?.into_iter().collect();
                self.deleted(deleted)
            }
            Op::DeleteRange { start, end } => {
                let deleted = self.writes.delete_range(start, end)?;
                if deleted.is_none() {
                    let why =
                        format!("more than {MAX_DELETE_BYTES} bytes would be deleted at once; delete smaller ranges");
                    self.refused = Some(StoreError::Invalid(why));
                }
                self.deleted(deleted.unwrap_or_default())
            }
            Op::Txn(_) => return Err(StoreError::Fatal("a nested transaction was not chosen from".into())),
        })
    }

    fn put(&mut self, previous: Option<KeyValue>) -> OpReply {
        let previous = previous.filter(|_| self.want_previous);
        self.bytes += previous.as_ref().map_or(0, bytes);
        OpReply::Put { previous }
    }

    fn deleted(&mut self, deleted: Vec<KeyValue>) -> OpReply {
        let count = deleted.len();
        let previous = if self.want_previous { deleted } else { Vec::new() };
        self.bytes += previous.iter().map(bytes).sum::<usize>();
        OpReply::Deleted { count, previous }
    }

    fn range(&mut self, range: &TxnRange) -> Result<OpReply, StoreError> {
        let (mut kvs, mut more, mut count) = (Vec::new(), false, 0);
        let total = &mut self.bytes;
        self.writes.scan(range, &mut |mut kv| {
            count += 1;
            if range.count_only {
                return ControlFlow::Continue(());
            }
            if range.limit != 0 && count > range.limit {
                more = true;
                return ControlFlow::Continue(());
            }
            if range.keys_only {
                kv.value = Bytes::new();
            }
            *total += bytes(&kv);
            kvs.push(kv);
            // Refused when all is run: no need to read on.
            if *total > MAX_REPLY_BYTES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(OpReply::Ranged { kvs, more, count })
    }
}

fn bytes(kv: &KeyValue) -> usize {
    kv.key.len() + kv.value.len()
}
