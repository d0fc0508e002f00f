//! What workloads record. All times are since the start of the round; revisions are resourceVersions.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

mod store;

pub use store::{
    Compaction, CompactionLog, CompactionOutcome, Ending, Keyed, LeaseAnswer, LeaseAsk, LeaseCall, PastRead, PastState,
    Resume, TtlLog,
};

/// One version of one object. Every write of a round has a value of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Version {
    pub revision: u64,
    pub value: String,
}

/// How old a list may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Age {
    /// No resourceVersion: linearizable.
    Latest,
    /// resourceVersion 0: any state there was, though not before what this replica has shown already.
    Any,
    NotOlderThan(u64),
    Exact(u64),
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Call {
    Create {
        name: String,
        value: String,
    },
    /// On top of exactly this version.
    Update {
        name: String,
        value: String,
        on: Version,
    },
    /// On top of whatever is there.
    Put {
        name: String,
        value: String,
    },
    /// Of exactly this version.
    Delete {
        name: String,
        on: Version,
    },
    Get {
        name: String,
    },
    /// Of one workload's objects.
    List {
        workload: String,
        age: Age,
    },
}

impl Call {
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Create { name, .. }
            | Self::Update { name, .. }
            | Self::Put { name, .. }
            | Self::Delete { name, .. }
            | Self::Get { name } => Some(name),
            Self::List { .. } => None,
        }
    }

    /// What it would write.
    pub fn value(&self) -> Option<&str> {
        match self {
            Self::Create { value, .. } | Self::Update { value, .. } | Self::Put { value, .. } => Some(value),
            Self::Delete { .. } | Self::Get { .. } | Self::List { .. } => None,
        }
    }

    pub fn is_write(&self) -> bool {
        !matches!(self, Self::Get { .. } | Self::List { .. })
    }
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// Acknowledged with this resourceVersion.
    Written(u64),
    Deleted,
    Got(Option<Version>),
    Listed {
        revision: u64,
        objects: Vec<(String, Version)>,
    },
    /// Pages of one list that show different states.
    Torn {
        first: u64,
        then: u64,
    },
    /// Refused for certain: it has no effect. The code is HTTP's, 0 when nothing was sent.
    Refused {
        code: u16,
        why: String,
    },
    /// No answer, or one that does not say: it may have taken effect, or may still.
    Unknown(String),
}

/// One call of one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Op {
    /// A client makes one call at a time (probes excepted).
    pub process: String,
    /// Which replica was asked, counted from 1.
    pub replica: usize,
    pub invoked: Duration,
    pub returned: Duration,
    pub call: Call,
    pub outcome: Outcome,
}

impl Op {
    pub fn is_acknowledged_write(&self) -> bool {
        self.call.is_write() && matches!(self.outcome, Outcome::Written(_) | Outcome::Deleted)
    }
}

/// An object as lists and events show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Object {
    pub name: String,
    pub revision: u64,
    pub value: String,
    pub workload: String,
    /// Changes with the value, so that selectors are entered and left.
    pub colour: String,
    /// Hash of the whole object but for its resourceVersion.
    pub hash: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Kind {
    Added,
    Modified,
    Deleted,
}

/// What happened at one revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    pub kind: Kind,
    pub object: Object,
}

impl Event {
    pub fn revision(&self) -> u64 {
        self.object.revision
    }
}

/// Which of a round's objects a watcher asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Selector {
    Round,
    Workload(String),
    Colour(String),
}

impl Selector {
    pub fn matches(&self, object: &Object) -> bool {
        match self {
            Self::Round => true,
            Self::Workload(workload) => object.workload == *workload,
            Self::Colour(colour) => object.colour == *colour,
        }
    }
}

/// Where a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Start {
    /// Changes after this revision.
    After(u64),
    /// `sendInitialEvents`: the state first, then changes.
    Initial,
}

/// One line of a watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Message {
    Event(Event),
    Bookmark { revision: u64, initial_end: bool },
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum End {
    /// The watcher stopped.
    Cancelled,
    /// In order, by the server: its timeout.
    Closed,
    /// It broke, or could not be made.
    Broken(String),
    /// The server said so, in a `Status`.
    Error { code: u16, why: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Connection {
    pub replica: usize,
    pub start: Start,
    pub opened: Duration,
    pub closed: Duration,
    pub messages: Vec<Message>,
    pub end: End,
}

/// Everything one watcher received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WatchLog {
    pub watcher: String,
    pub selector: Selector,
    /// Each connection continues where the one before ended. Otherwise they are apart.
    pub resumes: bool,
    pub connections: Vec<Connection>,
    /// It was asked to follow until a certain revision, and did.
    pub caught_up: bool,
}

/// One version of the contended Lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaseVersion {
    pub revision: u64,
    /// Empty when it was released.
    pub holder: String,
    pub transitions: u64,
    /// Names the attempt that wrote it.
    pub attempt: String,
}

/// One attempt of a candidate to write the Lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaseAttempt {
    pub attempt: String,
    pub candidate: String,
    pub invoked: Duration,
    pub returned: Duration,
    pub outcome: Outcome,
}

/// A candidate believed that it led.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reign {
    pub candidate: String,
    pub epoch: u64,
    pub from: Duration,
    pub until: Duration,
}

/// What the candidates recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeaseLog {
    pub attempts: Vec<LeaseAttempt>,
    pub reigns: Vec<Reign>,
    /// The Lease's versions as one replica tells them afterwards.
    pub versions: Vec<LeaseVersion>,
}

/// One transaction of a client of etcd's interface: appends to some lists on top of exactly what they were, and reads
/// others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Txn {
    pub process: String,
    pub replica: usize,
    pub invoked: Duration,
    pub returned: Duration,
    /// The revision that each list is compared with; 0: that there is none.
    pub on: BTreeMap<String, u64>,
    /// What the lists become when all compare equal. The last element is this transaction's own.
    pub writes: BTreeMap<String, String>,
    pub outcome: TxnOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum TxnOutcome {
    Done {
        /// Whether all compared equal.
        succeeded: bool,
        /// The revision after it.
        revision: u64,
        /// The lists that it read.
        read: BTreeMap<String, Option<Version>>,
    },
    /// For certain: it has no effect.
    Refused(String),
    /// It may have taken effect, or may still.
    Unknown(String),
}

/// A list that was written, as etcd's watchers are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stored {
    pub revision: u64,
    pub key: String,
    pub value: String,
}

/// Everything one of etcd's watchers received, over all its connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StoreWatch {
    pub watcher: String,
    /// It was to be told what happened after this.
    pub from: u64,
    pub messages: Vec<Vec<Stored>>,
    /// The server ended the watch: the revision that it was compacted at, and why.
    pub cancelled: Vec<(i64, String)>,
    pub caught_up: bool,
}

impl StoreWatch {
    pub fn after(from: u64) -> Self {
        Self { from, ..Self::default() }
    }

    /// Everything up to here was told.
    pub fn position(&self) -> u64 {
        let last = self.messages.last().and_then(|message| message.last());
        last.map_or(self.from, |stored| stored.revision)
    }
}

/// What was seen through etcd's interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TxnLog {
    pub txns: Vec<Txn>,
    pub watches: Vec<StoreWatch>,
    /// What happened, as each replica tells it.
    pub told: Vec<(usize, Vec<Stored>)>,
}
