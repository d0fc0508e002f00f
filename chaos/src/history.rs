//! What workloads record.

use std::time::Duration;

/// How one write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged with this resourceVersion.
    Acknowledged(u64),
    /// Refused for certain: it has no effect.
    Refused(String),
    /// No answer, or one that does not say: it may have taken effect.
    Unknown(String),
}

/// One attempt to create an object under a name never used before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub name: String,
    /// Since the start of the run.
    pub invoked: Duration,
    pub returned: Duration,
    pub outcome: Outcome,
}

/// One event as a watcher received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub kind: &'static str,
    pub name: String,
    pub revision: u64,
}

/// Everything one watcher received over all its connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchLog {
    pub watcher: String,
    /// Events wanted are those after this.
    pub from: u64,
    pub events: Vec<Seen>,
    pub reconnects: usize,
    /// `410 Gone` answers: inside the window there must be none.
    pub gone: usize,
}

/// One object at the end of a run, from a consistent list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Final {
    pub name: String,
    pub revision: u64,
}
