//! What was recorded of leases and of compactions, through etcd's interface.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::{Op, WatchLog};
use crate::truth::Truth;

/// A key that was written or deleted, as etcd's watchers are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Keyed {
    pub revision: u64,
    pub key: String,
    /// `None`: it was deleted.
    pub value: Option<String>,
    /// 0: none.
    pub lease: i64,
}

/// What was asked for a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum LeaseAsk {
    Grant,
    /// Puts a key that no other lease ever has.
    Attach(String),
    KeepAlive,
    Revoke,
    TimeToLive,
    /// Reads a key of it, linearizable.
    Look(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum LeaseAnswer {
    /// It is granted or renewed, or the key is there.
    Alive,
    /// It is there, with these keys.
    AliveWith(Vec<String>),
    /// The key was put at this revision.
    Attached(u64),
    /// There is no such lease, or it was revoked; or the key is not there.
    Ended,
    /// For certain: nothing was done.
    Refused(String),
    /// It may have been done, or may still.
    Unknown(String),
}

/// One call about one lease. The lease's owner makes one call at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaseCall {
    pub process: String,
    pub replica: usize,
    pub invoked: Duration,
    pub returned: Duration,
    /// Chosen by the owner, for one lease only.
    pub lease: i64,
    pub ttl: Duration,
    pub ask: LeaseAsk,
    pub answer: LeaseAnswer,
}

impl LeaseCall {
    /// The lease's time begins anew with it.
    pub fn renews(&self) -> bool {
        matches!(self.ask, LeaseAsk::Grant | LeaseAsk::KeepAlive)
    }

    /// Whoever answered knew the lease as alive.
    pub fn says_alive(&self) -> bool {
        matches!(self.answer, LeaseAnswer::Alive | LeaseAnswer::AliveWith(_) | LeaseAnswer::Attached(_))
    }
}

/// Everything about leases with a time to live, and their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TtlLog {
    pub calls: Vec<LeaseCall>,
    /// What each watcher was told of the keys, and when.
    pub seen: Vec<Vec<(Duration, Keyed)>>,
    /// What happened to the keys, as each replica tells it afterwards.
    pub told: Vec<(usize, Vec<Keyed>)>,
    /// When nobody had renewed any lease for long enough.
    pub over: Duration,
    /// Leases of the round that were there then.
    pub left: Vec<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum CompactionOutcome {
    Done,
    /// For certain: it has no effect.
    Refused(String),
    Unknown(String),
}

/// One request to forget everything before a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compaction {
    pub replica: usize,
    pub revision: u64,
    pub invoked: Duration,
    pub returned: Duration,
    pub outcome: CompactionOutcome,
}

/// How one of etcd's watches ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Ending {
    /// Everything was told that there was to tell.
    Whole,
    /// The watcher had enough.
    Left,
    /// The server ended it: what it begins with is forgotten up to this revision.
    Compacted(u64),
    Broken(String),
}

/// One of etcd's watches of a prefix that begins in the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resume {
    pub replica: usize,
    pub prefix: String,
    /// The first revision that is wanted.
    pub start: u64,
    /// It is whole when it was told this.
    pub upto: u64,
    /// A linearizable read through the same replica was over before it was opened, and had begun then.
    pub invoked: Duration,
    pub returned: Duration,
    pub messages: Vec<Vec<Keyed>>,
    pub ending: Ending,
}

/// What was read of a prefix at a revision of the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum PastState {
    /// Values by key.
    Found(BTreeMap<String, String>),
    Compacted,
    Unknown(String),
}

/// One read of the past through etcd's interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PastRead {
    pub replica: usize,
    pub prefix: String,
    pub revision: u64,
    /// As of a [`Resume`].
    pub invoked: Duration,
    pub returned: Duration,
    pub state: PastState,
}

/// Compactions, and what those saw that went on behind them.
///
/// While faults strike, only a strip of history is compacted that was written for it before the round, so that
/// everything in the round is kept; after the round, its own first half.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CompactionLog {
    pub compactions: Vec<Compaction>,
    /// The objects of the strip, whose revisions all are before the round.
    pub truth: Truth,
    /// Calls that made them, and lists of them at revisions of the past.
    pub ops: Vec<Op>,
    /// Kubernetes' watches of them.
    pub watch: Option<WatchLog>,
    /// What happened to the keys of the strip and of the round.
    pub told: Vec<Keyed>,
    pub resumes: Vec<Resume>,
    pub reads: Vec<PastRead>,
}

impl CompactionLog {
    /// Whether it may be that at this time everything before a revision later than `revision` is forgotten.
    pub fn may_have_forgotten(&self, revision: u64, at: Duration) -> bool {
        self.compactions.iter().any(|one| {
            let possible = !matches!(one.outcome, CompactionOutcome::Refused(_));
            possible && one.invoked <= at && one.revision > revision
        })
    }

    /// Up to where everything was forgotten for certain at this time.
    pub fn forgotten(&self, at: Duration) -> u64 {
        let done = self.compactions.iter().filter(|one| one.outcome == CompactionOutcome::Done && one.returned < at);
        done.map(|one| one.revision).max().unwrap_or(0)
    }
}
