//! What happened, in the order it happened. Checkers see every fact once.

use bytes::Bytes;
use kontiki_proto::log as log_proto;
use kontiki_proto::raft as proto;
use prost::Message as _;
use store_api::{Event, LeaseId, NodeId, Revision, StoreError};
use store_node::{Place, Promise};

/// One entry of a raft log, as it lies on disk and travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    pub(crate) bytes: Bytes,
}

impl Entry {
    /// `None` for what is no entry.
    pub(crate) fn decode(bytes: &Bytes) -> Option<Self> {
        let entry = log_proto::Entry::decode(bytes.clone()).ok()?;
        Some(Self { place: place(entry.id?), bytes: bytes.clone() })
    }
}

pub(crate) fn place(id: log_proto::LogId) -> Place {
    Place { term: id.term, leader: id.node, index: id.index }
}

pub(crate) fn promise(vote: log_proto::Vote) -> Promise {
    Promise { term: vote.term, leader: vote.node, granted: vote.committed }
}

/// What replicas say to each other, as far as it concerns the log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    Append(proto::AppendRequest),
    Appended(proto::AppendResponse),
    Vote(proto::VoteRequest),
    Voted(proto::VoteResponse),
}

/// One call of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallId(pub u64);

#[derive(Clone, Debug)]
pub(crate) enum Fact {
    // On one disk.
    Appended {
        host: NodeId,
        entries: Vec<Entry>,
    },
    Synced {
        host: NodeId,
    },
    Voted {
        host: NodeId,
        promise: Promise,
    },
    Truncated {
        host: NodeId,
        from: u64,
    },
    Purged {
        host: NodeId,
        to: u64,
    },

    // On the wire.
    Sent {
        from: NodeId,
        to: NodeId,
        message: Message,
    },
    /// A caller that is not what it says asked something.
    Stranger {
        host: NodeId,
        how: &'static str,
        refused: bool,
    },

    // Of one replica.
    Started {
        host: NodeId,
    },
    /// It may not, or cannot, be a replica any more.
    Refused {
        host: NodeId,
        why: String,
    },
    /// Its data is gone.
    Wiped {
        host: NodeId,
    },
    /// It was let run for a moment.
    Stepped {
        host: NodeId,
    },

    // Of the cluster.
    /// A replica says that it is committed, and nobody said so before.
    Committed {
        host: NodeId,
        index: u64,
    },
    /// Every fault is over.
    Healed,
    /// Replicas had time to come to rest.
    Rested,
    /// The run is over. Every replica that is a member, with the hash of a snapshot of it.
    Ended {
        snapshots: Vec<(NodeId, u64, [u8; 32])>,
    },

    // Of clients.
    Called {
        call: CallId,
        host: NodeId,
        what: What,
    },
    Returned {
        call: CallId,
        host: NodeId,
        answer: Answer,
    },
    /// The replica it was sent to is no more.
    Lost {
        call: CallId,
    },
    Watched {
        watcher: u64,
        host: NodeId,
        seen: Seen,
    },
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Puts `value`, which no other write puts, under the keys; when `expects` is there, only if the first of them is
    /// at that revision, and only if the history reaches back to `reads`. `request` is the same for retries.
    Write {
        keys: Vec<Bytes>,
        value: Bytes,
        expects: Option<Revision>,
        reads: Option<Revision>,
        request: u64,
        lease: LeaseId,
    },
    Delete {
        key: Bytes,
        request: u64,
    },
    /// Reads these keys, all at one revision.
    Read {
        keys: Vec<Bytes>,
        how: How,
    },
    Grant {
        ttl_ms: u64,
    },
    Renew {
        lease: LeaseId,
    },
    Compact {
        revision: Revision,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Linearizable,
    Local,
    At(Revision),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Wrote {
        succeeded: bool,
        revision: Revision,
    },
    /// Values by key, with the revisions they were written at.
    Read {
        revision: Revision,
        found: Vec<Option<(Bytes, Revision)>>,
    },
    Granted(LeaseId),
    Renewed,
    Done,
    NodeId(NodeId),
    Failed(StoreError),
}

/// What a watch says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Opened { from: Revision },
    Batch { revision: Revision, events: Vec<Event> },
    Ended(StoreError),
}
