//! Decides one entry.

use store_api::{LeaseId, RequestId, Revision, StoreError};

use crate::txn::run_txn;
use crate::writes::Writes;
use crate::{Command, Effects, LeaseChange, Remembered, Reply, StateRead};

/// Decides one entry. Deterministic: the same state and command give the same result on every replica.
///
/// An error is one of reading the state and never an answer; the replica must stop.
pub fn apply(state: &dyn StateRead, command: &Command) -> Result<(Reply, Effects), StoreError> {
    if let Command::Txn(txn) = command
        && let Err(error) = txn.check()
    {
        return Ok((Reply::Refused(error), Effects::default()));
    }
    if let Some(reply) = seen(state, command)? {
        return Ok((reply, Effects::default()));
    }
    let decided = match command {
        Command::Txn(txn) => run_txn(state, txn)?,
        Command::LeaseGrant { id, ttl_ms, .. } => grant(state, *id, *ttl_ms),
        Command::LeaseRenew { lease } => renew(state, *lease),
        Command::LeaseRevoke { lease, only_if_renewals } => revoke(state, *lease, *only_if_renewals)?,
        Command::LeasesEnd { leases } => end_leases(state, leases)?,
        Command::Compact { revision } => compact(state, *revision),
        Command::AllocateNodeId { .. } => allocate_node_id(state),
    };
    Ok(match decided {
        Decided::Refused(error) => (Reply::Refused(error), Effects::default()),
        Decided::Done(reply, mut effects) => {
            effects.answered = command.request().zip(Remembered::of(command, &reply));
            (reply, effects)
        }
    })
}

/// What became of a command that was not seen before.
pub(crate) enum Decided {
    Done(Reply, Effects),
    /// Nothing changed and nothing is remembered: trying again is as good as the first time.
    Refused(StoreError),
}

impl From<StoreError> for Decided {
    fn from(error: StoreError) -> Self {
        Decided::Refused(error)
    }
}

/// The answer to a request that was applied before, or is too old to know.
fn seen(state: &dyn StateRead, command: &Command) -> Result<Option<Reply>, StoreError> {
    let Some(id) = command.request() else { return Ok(None) };
    let replies = state.replies();
    if let Some(remembered) = replies.get(&id) {
        if *remembered == Remembered::TooLarge {
            let why = format!("request {} took effect; its answer was too large to be kept", id.seq);
            return Ok(Some(Reply::Refused(StoreError::Unknown(why))));
        }
        let reply = remembered.reply(state)?;
        return Ok(Some(reply.unwrap_or_else(|| forgotten(&id))));
    }
    Ok(replies.is_below_floor(&id).then(|| forgotten(&id)))
}

fn forgotten(id: &RequestId) -> Reply {
    let message = format!("request {} of client {:032x} is too old to tell whether it was applied", id.seq, id.client);
    Reply::Refused(StoreError::Unknown(message))
}

fn grant(state: &dyn StateRead, chosen: LeaseId, ttl_ms: u64) -> Decided {
    if ttl_ms == 0 {
        return StoreError::Invalid("a lease needs a time to live of at least a millisecond".into()).into();
    }
    if state.has_lease(chosen) {
        return StoreError::LeaseExists(chosen).into();
    }
    let last_lease_id = (chosen == 0).then(|| next_lease_id(state));
    let id = last_lease_id.unwrap_or(chosen);
    let leases = vec![LeaseChange::Granted { id, ttl_ms }];
    Decided::Done(Reply::Lease(id), Effects { leases, last_lease_id, ..Effects::default() })
}

/// The next of the counter that nobody has chosen meanwhile.
fn next_lease_id(state: &dyn StateRead) -> LeaseId {
    let mut id = state.last_lease_id() + 1;
    while state.has_lease(id) {
        id += 1;
    }
    id
}

fn renew(state: &dyn StateRead, id: LeaseId) -> Decided {
    let Some(lease) = state.lease(id) else { return StoreError::LeaseNotFound(id).into() };
    let leases = vec![LeaseChange::Renewed { id, renewals: lease.renewals + 1 }];
    Decided::Done(Reply::Renewed { ttl_ms: lease.ttl_ms }, Effects { leases, ..Effects::default() })
}

fn revoke(state: &dyn StateRead, id: LeaseId, only_if_renewals: Option<u64>) -> Result<Decided, StoreError> {
    let Some(lease) = state.lease(id) else { return Ok(StoreError::LeaseNotFound(id).into()) };
    if only_if_renewals.is_some_and(|renewals| renewals != lease.renewals) {
        return Ok(StoreError::Invalid(format!("lease {id} was renewed meanwhile")).into());
    }
    let mut writes = Writes::new(state);
    for key in &lease.keys {
        writes.delete(key)?;
    }
    let mut effects = writes.into_effects();
    effects.leases.push(LeaseChange::Revoked { id });
    Ok(Decided::Done(Reply::Done, effects))
}

fn end_leases(state: &dyn StateRead, leases: &[(LeaseId, u64)]) -> Result<Decided, StoreError> {
    let mut writes = Writes::new(state);
    let mut ended = Vec::new();
    for (id, renewals) in leases {
        let Some(lease) = state.lease(*id).filter(|lease| lease.renewals == *renewals) else { continue };
        for key in &lease.keys {
            writes.delete(key)?;
        }
        ended.push(LeaseChange::Revoked { id: *id });
    }
    let mut effects = writes.into_effects();
    effects.leases.append(&mut ended);
    Ok(Decided::Done(Reply::Done, effects))
}

fn compact(state: &dyn StateRead, revision: Revision) -> Decided {
    let current = state.revision();
    if revision > current {
        return StoreError::FutureRevision { requested: revision, current }.into();
    }
    if revision <= state.compacted() {
        return StoreError::Compacted { requested: revision, oldest: state.compacted() }.into();
    }
    Decided::Done(Reply::Done, Effects { compacted: Some(revision), ..Effects::default() })
}

fn allocate_node_id(state: &dyn StateRead) -> Decided {
    let id = state.last_node_id() + 1;
    Decided::Done(Reply::NodeId(id), Effects { last_node_id: Some(id), ..Effects::default() })
}
