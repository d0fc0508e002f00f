//! The answers kept for retries, so that a request has at most one effect (C3).
//!
//! A bounded queue: the oldest answer goes when a new one comes. What goes leaves a *floor* behind, the
//! highest sequence number forgotten of its client: a request at or below the floor that is not
//! remembered is refused, because nobody can tell any more whether it was applied. An answer holds
//! references to versions in the history instead of values, so it costs some hundred bytes whatever
//! the size of the objects; when the history is compacted, such an answer is forgotten too.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use store_api::{KeyValue, LeaseId, Op, OpReply, RequestId, Revision, StoreError, Txn, TxnReply};

use crate::{Command, Reply, StateRead};

/// Answers remembered. More than all clients together may have under way at once.
pub const MAX_REPLIES: usize = 16_384;
/// Clients whose floor is remembered; the one that has been silent longest goes first.
pub const MAX_FLOORS: usize = 4_096;
/// Versions that an answer may refer to; of a larger one only the fact is remembered.
pub const MAX_ANSWER_VERSIONS: usize = 4_096;

/// An answer, with references in place of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remembered {
    Txn {
        succeeded: bool,
        revision: Revision,
        /// The oldest revision that must still be readable to answer again, when the answer refers to versions.
        needs: Revision,
        ops: Vec<OpRef>,
    },
    Lease(LeaseId),
    NodeId(u64),
    /// It took effect, and its answer is too large to be kept.
    TooLarge,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpRef {
    Put(Option<VersionRef>),
    Deleted { count: usize, previous: Vec<VersionRef> },
    Got(Option<VersionRef>),
    Ranged { versions: Vec<VersionRef>, with_values: bool, more: bool, count: usize },
    Txn { succeeded: bool, ops: Vec<OpRef> },
}

/// The version of a key that was written at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRef {
    pub key: Bytes,
    pub revision: Revision,
}

/// The highest sequence number of a client that is no longer remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    pub seq: u64,
    /// Place in the queue of the answer that went last.
    pub place: u64,
}

/// What [`Replies::insert`] pushed out, to be removed or replaced on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgot {
    pub places: Vec<u64>,
    pub floors: Vec<(u128, Floor)>,
    pub clients: Vec<u128>,
}

/// The table. All of it is replicated state: equal on all replicas after the same entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replies {
    places: BTreeMap<u64, RequestId>,
    by_request: HashMap<RequestId, Remembered>,
    floors: HashMap<u128, Floor>,
    floor_places: BTreeMap<u64, u128>,
    max_replies: Option<usize>,
}

impl Replies {
    /// With another bound than [`MAX_REPLIES`], for tests.
    pub fn with_bound(max_replies: usize) -> Self {
        Self { max_replies: Some(max_replies), ..Self::default() }
    }

    pub fn get(&self, id: &RequestId) -> Option<&Remembered> {
        self.by_request.get(id)
    }

    /// Whether the request, not remembered, may have been applied once.
    pub fn is_below_floor(&self, id: &RequestId) -> bool {
        self.floors.get(&id.client).is_some_and(|floor| id.seq <= floor.seq)
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Remembers one more answer; returns its place in the queue and what had to go.
    pub fn insert(&mut self, id: RequestId, answer: Remembered) -> (u64, Forgot) {
        let place = self.next_place();
        self.restore(place, id, answer);
        let mut forgot = Forgot::default();
        while self.places.len() > self.bound() {
            self.forget_oldest(&mut forgot);
        }
        (place, forgot)
    }

    /// Puts back an answer read from disk.
    pub fn restore(&mut self, place: u64, id: RequestId, answer: Remembered) {
        self.places.insert(place, id);
        self.by_request.insert(id, answer);
    }

    /// After [`Self::restore`]: lets go of the oldest ones beyond the bound, which were forgotten before.
    pub fn restored(&mut self) {
        while self.places.len() > self.bound() {
            let Some((_, id)) = self.places.pop_first() else { return };
            self.by_request.remove(&id);
        }
    }

    /// Place in the queue of the oldest answer.
    pub fn oldest_place(&self) -> Option<u64> {
        self.places.first_key_value().map(|(place, _)| *place)
    }

    fn bound(&self) -> usize {
        self.max_replies.unwrap_or(MAX_REPLIES).max(1)
    }

    /// Puts back a floor read from disk.
    pub fn restore_floor(&mut self, client: u128, floor: Floor) {
        if let Some(before) = self.floors.insert(client, floor) {
            self.floor_places.remove(&before.place);
        }
        self.floor_places.insert(floor.place, client);
    }

    /// Answers go oldest first and never all, so the newest one's place is the highest there was.
    fn next_place(&self) -> u64 {
        self.places.last_key_value().map_or(0, |(place, _)| place + 1)
    }

    fn forget_oldest(&mut self, forgot: &mut Forgot) {
        let Some((place, id)) = self.places.pop_first() else { return };
        self.by_request.remove(&id);
        forgot.places.push(place);
        let before = self.floors.get(&id.client).map_or(0, |floor| floor.seq);
        let floor = Floor { seq: id.seq.max(before), place };
        self.restore_floor(id.client, floor);
        forgot.floors.push((id.client, floor));
        if self.floor_places.len() > MAX_FLOORS
            && let Some((_, client)) = self.floor_places.pop_first()
        {
            self.floors.remove(&client);
            forgot.clients.push(client);
        }
    }
}

impl Remembered {
    /// What to keep of an answer; `None` for those a retry may compute anew.
    pub fn of(command: &Command, reply: &Reply) -> Option<Self> {
        match (command, reply) {
            (Command::Txn(txn), Reply::Txn(reply)) if !txn.is_read_only() => Some(Self::of_txn(txn, reply)),
            (_, Reply::Lease(id)) => Some(Self::Lease(*id)),
            (_, Reply::NodeId(id)) => Some(Self::NodeId(*id)),
            _ => None,
        }
    }

    fn of_txn(txn: &Txn, reply: &TxnReply) -> Self {
        if reply.replies.iter().map(versions).sum::<usize>() > MAX_ANSWER_VERSIONS {
            return Self::TooLarge;
        }
        let TxnReply { succeeded, revision, .. } = *reply;
        let oldest = oldest_read(&txn.success).min(oldest_read(&txn.failure));
        let ops = if succeeded { &txn.success } else { &txn.failure };
        Self::Txn { succeeded, revision, needs: oldest.min(revision - 1), ops: op_refs(ops, &reply.replies) }
    }

    /// The answer as it was given, or `None` when the history it refers to is compacted. What a transaction
    /// replaced is kept as long as its revision is above the mark; whether it still lies on disk below the
    /// mark depends on the replica, so there the answer must not depend on it.
    pub(crate) fn reply(&self, state: &dyn StateRead) -> Result<Option<Reply>, StoreError> {
        let (succeeded, revision, needs, ops) = match self {
            Self::Lease(id) => return Ok(Some(Reply::Lease(*id))),
            Self::NodeId(id) => return Ok(Some(Reply::NodeId(*id))),
            Self::TooLarge => return Ok(None),
            Self::Txn { succeeded, revision, needs, ops } => (*succeeded, *revision, *needs, ops),
        };
        if needs < state.compacted() && ops.iter().any(OpRef::has_versions) {
            return Ok(None);
        }
        let replies = ops.iter().map(|op| op.reply(state)).collect::<Result<_, _>>()?;
        Ok(Some(Reply::Txn(TxnReply { succeeded, revision, replies })))
    }
}

/// The oldest revision that ranges among these operations read at.
fn oldest_read(ops: &[Op]) -> Revision {
    let one = |op: &Op| match op {
        Op::Range(range) => range.at.unwrap_or(Revision::MAX),
        Op::Txn(nested) => oldest_read(&nested.success).min(oldest_read(&nested.failure)),
        _ => Revision::MAX,
    };
    ops.iter().map(one).min().unwrap_or(Revision::MAX)
}

fn versions(reply: &OpReply) -> usize {
    match reply {
        OpReply::Put { previous: kv } | OpReply::Got(kv) => usize::from(kv.is_some()),
        OpReply::Deleted { previous: kvs, .. } | OpReply::Ranged { kvs, .. } => kvs.len(),
        OpReply::Txn { replies, .. } => replies.iter().map(versions).sum(),
    }
}

fn op_refs(ops: &[Op], replies: &[OpReply]) -> Vec<OpRef> {
    ops.iter().zip(replies).map(|(op, reply)| op_ref(op, reply)).collect()
}

fn op_ref(op: &Op, reply: &OpReply) -> OpRef {
    match reply {
        OpReply::Put { previous } => OpRef::Put(previous.as_ref().map(version_ref)),
        OpReply::Deleted { count, previous } => {
            OpRef::Deleted { count: *count, previous: previous.iter().map(version_ref).collect() }
        }
        OpReply::Got(kv) => OpRef::Got(kv.as_ref().map(version_ref)),
        OpReply::Ranged { kvs, more, count } => OpRef::Ranged {
            versions: kvs.iter().map(version_ref).collect(),
            with_values: !matches!(op, Op::Range(range) if range.keys_only),
            more: *more,
            count: *count,
        },
        OpReply::Txn { succeeded, replies } => {
            let ops = match op {
                Op::Txn(nested) if *succeeded => &nested.success[..],
                Op::Txn(nested) => &nested.failure[..],
                _ => &[],
            };
            OpRef::Txn { succeeded: *succeeded, ops: op_refs(ops, replies) }
        }
    }
}

/// A key of its own, so that remembering it does not keep a whole log entry in memory.
fn version_ref(kv: &KeyValue) -> VersionRef {
    VersionRef { key: Bytes::copy_from_slice(&kv.key), revision: kv.mod_revision }
}

impl OpRef {
    fn has_versions(&self) -> bool {
        match self {
            Self::Put(version) | Self::Got(version) => version.is_some(),
            Self::Deleted { previous: versions, .. } | Self::Ranged { versions, .. } => !versions.is_empty(),
            Self::Txn { ops, .. } => ops.iter().any(Self::has_versions),
        }
    }

    fn reply(&self, state: &dyn StateRead) -> Result<OpReply, StoreError> {
        let version = |v: &VersionRef| match state.version(&v.key, v.revision)? {
            Some(kv) => Ok(kv),
            None => Err(lost(v)),
        };
        let optional = |v: &Option<VersionRef>| v.as_ref().map(version).transpose();
        Ok(match self {
            Self::Put(v) => OpReply::Put { previous: optional(v)? },
            Self::Deleted { count, previous } => {
                OpReply::Deleted { count: *count, previous: previous.iter().map(version).collect::<Result<_, _>>()? }
            }
            Self::Got(v) => OpReply::Got(optional(v)?),
            Self::Ranged { versions, with_values, more, count } => {
                let mut kvs = versions.iter().map(version).collect::<Result<Vec<_>, _>>()?;
                if !with_values {
                    kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
                }
                OpReply::Ranged { kvs, more: *more, count: *count }
            }
            Self::Txn { succeeded, ops } => {
                let replies = ops.iter().map(|op| op.reply(state)).collect::<Result<_, _>>()?;
                OpReply::Txn { succeeded: *succeeded, replies }
            }
        })
    }
}

fn lost(version: &VersionRef) -> StoreError {
    let key = String::from_utf8_lossy(&version.key);
    StoreError::Fatal(format!("version {} of {key} is above the compacted revision and missing", version.revision))
}
