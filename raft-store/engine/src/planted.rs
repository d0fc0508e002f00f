//! Bugs planted on purpose, in the running code: whoever checks replicas shows with each of them that it is found.
//!
//! Nothing is planted unless the thread asks for it, and only a simulation does, which has all its replicas on one
//! thread. To ask whether something is costs a look at the thread, once for a group of entries or less often.

use std::cell::Cell;

/// A bug, with the one of another store that it is made after, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The position is durable apart from the data (etcd 13766).
    PositionApart,
    /// Compaction removes the deletions of the compacted revision itself (etcd 18089, 19179).
    CompactsDeletions,
    /// The revision is written down with data only, and not with a compaction (etcd 17780).
    RevisionWithDataOnly,
    /// What is decided depends on how far this replica has collected its garbage (etcd 18667).
    LocalCompaction,
    /// Entries do not see those before them in their group.
    BlindInGroup,
    /// Snapshots hold what compaction made unreachable, as long as it is there.
    SnapshotKeepsGarbage,

    // Above the engine.
    /// The vote is not written down.
    VoteNotKept,
    /// Reads do not ask whether this replica is behind.
    ReadWithoutAsking,
    /// A read that got no answer in time goes on with what it has (etcd 20418).
    ReadAfterFailedRound,
    /// Of several revisions published at once, watchers get one (etcd 17529).
    WatchDropsWhenFull,
    /// A watch goes on one revision too late.
    ResumeTooLate,
    /// A watch tells progress before the event (etcd 15220).
    ProgressTooEarly,
    /// A watch from a revision that is not there yet begins at once (etcd 20221).
    FutureIsNow,
    /// Watchers do not notice that a snapshot took the place of the state (etcd 15271).
    WatchOverSnapshot,
    /// Whoever forwards a write gives it a new name each time.
    RetryIsAnother,
    /// Leases end early.
    LeaseEndsEarly,
    /// The log is purged beyond the snapshot, to its end.
    PurgesTooFar,
    /// Whoever calls is answered, whatever its certificate and its words say.
    AnswersAnyone,
    /// A change of the voters is left where both the old and the new ones count, and nobody completes it.
    ChangesHalfWay,
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// From here on this thread has the bug, or none.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

pub fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}
