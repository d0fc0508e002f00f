//! What is committed, and what it comes to: every entry applied once, one by one, where nothing ever fails.

use std::collections::BTreeMap;

use bytes::Bytes;
use kontiki_proto::log as proto;
use prost::Message as _;
use store_api::{Event, NodeId, Revision};
use store_core::Command;
use store_engine::{ApplyEntry, ApplyPayload, StateMachine};
use tempfile::TempDir;

use crate::facts::{Entry, place};

/// The state after one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct After {
    pub(crate) revision: Revision,
    pub(crate) hash: u64,
    pub(crate) compacted: Revision,
    pub(crate) last_node_id: NodeId,
}

pub(crate) struct Truth {
    engine: StateMachine,
    dir: TempDir,
    /// By index, without a hole.
    pub(crate) committed: Vec<Entry>,
    pub(crate) after: Vec<After>,
    /// The memberships committed, with their index.
    pub(crate) memberships: Vec<(u64, proto::Membership)>,
    pub(crate) events: BTreeMap<Revision, Vec<Event>>,
    /// What every key was, by revision; `None` is a deletion.
    history: BTreeMap<Bytes, BTreeMap<Revision, Option<Bytes>>>,
    /// When each revision was seen committed, microseconds.
    pub(crate) times: BTreeMap<Revision, u64>,
}

impl Truth {
    pub(crate) fn new() -> std::io::Result<Self> {
        let dir = tempfile::tempdir_in(crate::scratch())?;
        let engine = StateMachine::open(dir.path()).map_err(std::io::Error::other)?;
        Ok(Self {
            engine,
            dir,
            committed: Vec::new(),
            after: Vec::new(),
            memberships: Vec::new(),
            events: BTreeMap::new(),
            history: BTreeMap::new(),
            times: BTreeMap::new(),
        })
    }

    pub(crate) fn revision(&self) -> Revision {
        self.engine.revision()
    }

    pub(crate) fn compacted(&self) -> Revision {
        self.engine.compacted()
    }

    /// The next entry is committed.
    pub(crate) fn commit(&mut self, entry: &Entry, now: u64) -> Result<(), String> {
        let (apply, membership) = decode(entry)?;
        let applied = self.engine.apply(&[apply]).map_err(|error| error.to_string())?;
        for applied in applied.into_iter().filter(|applied| !applied.events.is_empty()) {
            self.remember(applied.revision, applied.events, now);
        }
        if let Some(membership) = membership {
            self.memberships.push((entry.place.index, membership));
        }
        let (revision, hash) = self.engine.revision_and_hash();
        let (compacted, last_node_id) = (self.engine.compacted(), self.engine.last_node_id());
        self.after.push(After { revision, hash, compacted, last_node_id });
        self.committed.push(entry.clone());
        Ok(())
    }

    fn remember(&mut self, revision: Revision, events: Vec<Event>, now: u64) {
        for event in &events {
            let value = match event {
                Event::Put { kv, .. } => Some(kv.value.clone()),
                Event::Delete { .. } => None,
            };
            self.history.entry(event.kv().key.clone()).or_default().insert(revision, value);
        }
        self.events.insert(revision, events);
        self.times.insert(revision, now);
    }

    /// Value of a key at a revision, with the revision it was written at.
    pub(crate) fn value(&self, key: &[u8], at: Revision) -> Option<(Bytes, Revision)> {
        let (written, value) = self.history.get(key)?.range(..=at).next_back()?;
        value.clone().map(|value| (value, *written))
    }

    /// Everything the keys held at a revision.
    pub(crate) fn contents(&self, at: Revision) -> BTreeMap<Bytes, (Bytes, Revision)> {
        self.history.keys().filter_map(|key| Some((key.clone(), self.value(key, at)?))).collect()
    }

    /// The same log again, in groups of these sizes one after the other: the hash of a snapshot of what it comes to.
    pub(crate) fn replay(&self, mut group: impl FnMut() -> usize) -> Result<[u8; 32], String> {
        let dir = tempfile::tempdir_in(crate::scratch()).map_err(|error| error.to_string())?;
        let again = StateMachine::open(dir.path()).map_err(|error| error.to_string())?;
        let mut rest = self.committed.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(group().clamp(1, rest.len()));
            let entries: Result<Vec<_>, String> = now.iter().map(|entry| Ok(decode(entry)?.0)).collect();
            again.apply(&entries?).map_err(|error| error.to_string())?;
            rest = later;
        }
        snapshot_hash(&again, dir.path())
    }

    /// The hash of a snapshot of all that is committed.
    pub(crate) fn snapshot(&self) -> Result<[u8; 32], String> {
        snapshot_hash(&self.engine, self.dir.path())
    }
}

fn snapshot_hash(engine: &StateMachine, dir: &std::path::Path) -> Result<[u8; 32], String> {
    let file = dir.join("snapshot");
    engine.build_snapshot(&file).map_err(|error| error.to_string())?;
    let hash = crate::hash_file(&file).map_err(|error| error.to_string());
    std::fs::remove_file(&file).map_err(|error| error.to_string())?;
    hash
}

fn decode(entry: &Entry) -> Result<(ApplyEntry, Option<proto::Membership>), String> {
    use proto::entry::Payload;
    let decoded = proto::Entry::decode(entry.bytes.clone()).map_err(|error| error.to_string())?;
    let id = decoded.id.ok_or("an entry without an id")?;
    let mut membership_of = None;
    let payload = match decoded.payload.ok_or("an entry without a payload")? {
        Payload::Blank(_) => ApplyPayload::Blank,
        Payload::Command(bytes) => ApplyPayload::Command(command(bytes)?),
        Payload::Membership(membership) => {
            let members = membership.nodes.iter().map(|node| node.id).collect();
            membership_of = Some(membership.clone());
            let stored = proto::StoredMembership { log_id: Some(id), membership: Some(membership) };
            ApplyPayload::Membership { membership: stored.encode_to_vec().into(), members }
        }
    };
    let log_id = id.encode_to_vec().into();
    Ok((ApplyEntry { index: place(id).index, log_id, payload }, membership_of))
}

fn command(bytes: Bytes) -> Result<Command, String> {
    store_node::codec::command_from_bytes(bytes).map_err(|error| error.to_string())
}
