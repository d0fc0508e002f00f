use std::time::Duration;

use bytes::Bytes;

/// A position in the store's history. An empty store is at [`FIRST_REVISION`]; the first write has the next.
pub type Revision = u64;
/// The revision before anything was written. 0 is none.
pub const FIRST_REVISION: Revision = 1;
/// A lease; 0 is "no lease".
pub type LeaseId = u64;
/// A control-plane replica. Never reused for another machine or another data directory.
pub type NodeId = u64;

/// One version of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Bytes,
    pub value: Bytes,
    /// Revision of the write that made the key exist.
    pub create_revision: Revision,
    /// Revision of the write that made this version.
    pub mod_revision: Revision,
    /// 1 for a created key, one more for each later put.
    pub version: u64,
    /// The lease that keeps the key alive, or 0.
    pub lease: LeaseId,
}

/// Names one request for ever, so that a retry is recognised when applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// Random per client process.
    pub client: u128,
    /// Grows by one per request of that client.
    pub seq: u64,
}

/// What must hold of one key, or of every key of a range, for a transaction to succeed. An absent key, and a
/// range without keys, compares as all zero; a value never compares with what is absent, not even as unequal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    pub key: Bytes,
    /// With it, every key of `[key, end)` is compared; an empty `end` is the end of the key space.
    pub end: Option<Bytes>,
    pub target: CompareTarget,
    pub op: CompareOp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompareTarget {
    Version(u64),
    CreateRevision(Revision),
    ModRevision(Revision),
    Lease(LeaseId),
    Value(Bytes),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    Equal,
    NotEqual,
    Less,
    Greater,
}

impl Compare {
    /// The key does not exist.
    pub fn absent(key: impl Into<Bytes>) -> Self {
        Self::unchanged_since(key, 0)
    }
    /// The key's newest version was written at `revision`.
    pub fn unchanged_since(key: impl Into<Bytes>, revision: Revision) -> Self {
        Self { key: key.into(), end: None, target: CompareTarget::ModRevision(revision), op: CompareOp::Equal }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Put {
        key: Bytes,
        value: Bytes,
        lease: LeaseId,
    },
    /// Puts a key that exists; what is `None` stays as it is. `KeyNotFound` for one that does not exist.
    Update {
        key: Bytes,
        value: Option<Bytes>,
        lease: Option<LeaseId>,
    },
    Delete {
        key: Bytes,
    },
    /// Deletes `[start, end)`; an empty `end` is the end of the key space.
    DeleteRange {
        start: Bytes,
        end: Bytes,
    },
    /// Reads a key inside the transaction, after the operations before it.
    Get {
        key: Bytes,
    },
    /// Reads a range inside the transaction, after the operations before it.
    Range(TxnRange),
    /// Runs one of two lists of operations.
    Txn(Box<Nested>),
}

/// [`Op::Range`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnRange {
    pub start: Bytes,
    /// Exclusive; empty means "to the end of the key space".
    pub end: Bytes,
    /// As of a revision before the transaction, without what the transaction wrote.
    pub at: Option<Revision>,
    /// 0 is "no limit".
    pub limit: usize,
    /// Leave values out.
    pub keys_only: bool,
    /// Leave keys out.
    pub count_only: bool,
}

/// A transaction in a transaction. Its comparisons look at the state before the whole transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nested {
    pub compare: Vec<Compare>,
    pub success: Vec<Op>,
    pub failure: Vec<Op>,
}

/// Refuses the whole transaction unless `key` was created at `epoch`: the writer still leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    pub key: Bytes,
    pub epoch: Revision,
}

/// `if all of compare { success } else { failure }`, atomically, at one revision.
///
/// Operations run in order and see those before them. A branch may write a key only once; see
/// [`Txn::check`] for all limits. A request seen before is answered as it was then, before the fence
/// and the comparisons are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    pub request: Option<RequestId>,
    pub fence: Option<Fence>,
    pub compare: Vec<Compare>,
    pub success: Vec<Op>,
    pub failure: Vec<Op>,
    /// Whether the replies carry what was replaced or deleted.
    pub want_previous: bool,
}

impl Txn {
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self { success: vec![Op::Put { key: key.into(), value: value.into(), lease: 0 }], ..Self::default() }
    }
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self { success: vec![Op::Delete { key: key.into() }], ..Self::default() }
    }
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.compare.push(compare);
        self
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpReply {
    /// Of a put or an update. `previous` only with [`Txn::want_previous`].
    Put {
        previous: Option<KeyValue>,
    },
    /// How many keys were deleted; with [`Txn::want_previous`] also what they were, in key order.
    Deleted {
        count: usize,
        previous: Vec<KeyValue>,
    },
    Got(Option<KeyValue>),
    Ranged {
        kvs: Vec<KeyValue>,
        /// Whether `limit` cut the answer.
        more: bool,
        /// Keys in the whole range, cut or not.
        count: usize,
    },
    Txn {
        succeeded: bool,
        replies: Vec<OpReply>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnReply {
    /// Whether all comparisons held.
    pub succeeded: bool,
    /// The store's revision after the transaction; the one of its own events when it changed something.
    pub revision: Revision,
    /// One per operation of the branch that ran.
    pub replies: Vec<OpReply>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadAt {
    /// Everything acknowledged before the call is seen (ReadIndex).
    Linearizable,
    /// What this replica has applied, without asking anyone.
    Local,
    /// Exactly as of a revision. One this replica has not reached is waited for, at most
    /// [`crate::FUTURE_READ_TIMEOUT`], and then answered with `FutureRevision`.
    Revision(Revision),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetReply {
    pub kv: Option<KeyValue>,
    /// The revision read at.
    pub revision: Revision,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeRequest {
    pub start: Bytes,
    /// Exclusive; empty means "to the end of the key space".
    pub end: Bytes,
    pub at: ReadAt,
    /// 0 is "no limit".
    pub limit: usize,
    /// Leave values out.
    pub keys_only: bool,
    /// Count the keys of the whole range also where `limit` cuts it: the store must look at all of them.
    pub count: bool,
    /// Leave keys out; they are counted.
    pub count_only: bool,
}

impl RangeRequest {
    /// Everything below `prefix`, counted.
    pub fn prefix(prefix: &[u8], at: ReadAt) -> Self {
        Self {
            start: Bytes::copy_from_slice(prefix),
            end: prefix_end(prefix),
            at,
            limit: 0,
            keys_only: false,
            count: true,
            count_only: false,
        }
    }
}

/// The first key after all keys that begin with `prefix`; empty when there is none.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            break;
        }
    }
    Bytes::from(end)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeReply {
    pub kvs: Vec<KeyValue>,
    /// Whether `limit` cut the answer.
    pub more: bool,
    /// Keys in the whole range, cut or not; when they were not to be counted, those in this answer.
    pub count: usize,
    pub revision: Revision,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchRequest {
    pub start: Bytes,
    /// Exclusive; empty means "to the end of the key space".
    pub end: Bytes,
    /// The first revision wanted; it may lie in the future. 0 means "from now": after what this replica
    /// has applied. Everything below the compacted revision answers `Compacted`.
    pub from: Revision,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Put {
        kv: KeyValue,
        previous: Option<KeyValue>,
    },
    /// `kv` has the key and, as `mod_revision`, the revision of the deletion; all else in it is empty or zero.
    Delete {
        kv: KeyValue,
        previous: KeyValue,
    },
}

impl Event {
    pub fn kv(&self) -> &KeyValue {
        match self {
            Event::Put { kv, .. } | Event::Delete { kv, .. } => kv,
        }
    }
}

/// All matching events of one or more whole revisions, in order. No events is a progress mark:
/// nothing that matches was written up to `revision`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchBatch {
    /// Everything up to and including this revision has been delivered.
    pub revision: Revision,
    pub events: Vec<Event>,
}

/// A lease as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    pub id: LeaseId,
    /// What it is granted and renewed for.
    pub ttl: Duration,
    /// Until it ends unless it is renewed, by the leader's clock.
    pub remaining: Duration,
    /// In byte order.
    pub keys: Vec<Bytes>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    pub id: NodeId,
    /// What the replica calls itself; empty until it has said so.
    pub name: String,
    /// `host:port` of the peer port.
    pub peer_addr: String,
    /// `https://host:port` of the API port.
    pub api_url: String,
    /// Where the replica serves etcd's clients; empty when it does not, or has not said so.
    pub client_urls: Vec<String>,
    pub voter: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStatus {
    pub id: NodeId,
    pub cluster_id: String,
    pub leader: Option<NodeId>,
    pub term: u64,
    pub last_log_index: u64,
    pub committed_index: u64,
    pub applied_index: u64,
    pub revision: Revision,
    pub compacted_revision: Revision,
    pub members: Vec<Member>,
    /// Bytes the store's files take.
    pub disk_bytes: u64,
    /// Rolling hash of the applied state at `revision`.
    pub state_hash: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The revision is older than what is remembered. `oldest` is the oldest to read at and to watch from: the
    /// compacted one.
    #[error("revision {requested} is compacted, the oldest kept is {oldest}")]
    Compacted { requested: Revision, oldest: Revision },
    #[error("revision {requested} is not reached yet, this replica has {current}")]
    FutureRevision { requested: Revision, current: Revision },
    /// Another leader holds the key of the fence. Nothing was changed.
    #[error("fenced: epoch {epoch} of {key} is over")]
    Fenced { key: String, epoch: Revision },
    #[error("lease {0} does not exist")]
    LeaseNotFound(LeaseId),
    /// The id was chosen by the caller.
    #[error("lease {0} exists already")]
    LeaseExists(LeaseId),
    /// Of an update.
    #[error("key {0:?} does not exist")]
    KeyNotFound(String),
    #[error(transparent)]
    Member(#[from] MemberError),
    /// No quorum, or no leader known, within the deadline. Nothing was changed.
    #[error("no leader: {0}")]
    Unavailable(String),
    /// The disks are nearly full. Nothing was changed; what only deletes is still accepted.
    #[error("no space left: {0}")]
    NoSpace(String),
    /// The request may or may not have taken effect.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// The request is malformed (same key put twice, too large, ...). Nothing was changed.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// A broken invariant or a failed disk; the replica is stopping.
    #[error("store failed: {0}")]
    Fatal(String),
}

/// Why a change of the members was refused. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    #[error("no such member")]
    NotFound,
    #[error("another member has this peer address")]
    AddressTaken,
    #[error("the member votes already")]
    NotLearner,
    #[error("the learner has not caught up yet")]
    NotReady,
    /// Only the leader can hand leadership over.
    #[error("this replica does not lead")]
    NotLeader,
    #[error("only a member that votes can lead")]
    NotVoter,
}
