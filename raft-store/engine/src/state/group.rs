//! A group of entries being applied: each sees those before it, and all are written in one batch.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use rocksdb::{DB, DBRawIterator, WriteBatch};
use store_api::{Event, KeyValue, LeaseId, Revision, StoreError, in_range};
use store_core::{Command, Effects, Lease, Replies, Reply, StateRead, Visit};

use super::generation::Generation;
use super::packed::Pack;
use super::working::Working;
use super::{keys, planted, read, records};
use crate::planted::{Bug, is_planted};
use crate::{Applied, ApplyEntry, ApplyPayload, fatal, options};

pub(super) struct Group<'a> {
    db: &'a DB,
    working: &'a mut Working,
    /// The revision of the database.
    begun: Revision,
    /// One iterator for all single reads of the group, of the database as it was before.
    reader: RefCell<DBRawIterator<'a>>,
    /// The newest version of every key read or written so far, `None` when there is none.
    newest: RefCell<BTreeMap<Bytes, Option<KeyValue>>>,
    batch: WriteBatch,
    applied: Vec<Applied>,
    /// The events of each revision since `begun`.
    events: Pack,
    scratch: Vec<u8>,
    /// Something could not be read from the database.
    unreadable: Cell<bool>,
    /// Only where it is planted.
    local_compaction: Option<Revision>,
}

impl<'a> Group<'a> {
    pub(super) fn new(generation: &'a Generation, working: &'a mut Working) -> Self {
        let db = generation.db();
        Self {
            db,
            begun: working.position.revision,
            working,
            reader: RefCell::new(db.raw_iterator_opt(options::within_key())),
            newest: RefCell::default(),
            batch: WriteBatch::default(),
            applied: Vec::new(),
            events: Pack::default(),
            scratch: Vec::new(),
            unreadable: Cell::new(false),
            local_compaction: planted::local_compaction(generation),
        }
    }

    pub(super) fn apply(&mut self, entry: &ApplyEntry) -> Result<(), StoreError> {
        let next = self.working.position.next_index;
        if entry.index != next {
            return Err(fatal(
                "the log and the state do not fit",
                format!("entry {}, not {next}, follows", entry.index),
            ));
        }
        let (reply, events) = match &entry.payload {
            ApplyPayload::Blank => (Reply::Done, Vec::new()),
            ApplyPayload::Membership { membership, members } => {
                self.working.change_membership(membership, members, &mut self.batch);
                (Reply::Done, Vec::new())
            }
            ApplyPayload::Command(command) => self.command(command)?,
        };
        if is_planted(Bug::BlindInGroup) {
            self.newest.get_mut().clear();
        }
        self.working.pass(entry.index, entry.log_id.clone());
        self.applied.push(Applied { reply, revision: self.working.position.revision, events });
        Ok(())
    }

    pub(super) fn is_unreadable(&self) -> bool {
        self.unreadable.get()
    }

    /// A failed read is remembered: it says more than that the group failed.
    fn noticed<T>(&self, read: Result<T, StoreError>) -> Result<T, StoreError> {
        read.inspect_err(|_| self.unreadable.set(true))
    }

    /// What to write, and what came of each entry.
    pub(super) fn finish(mut self) -> (WriteBatch, Vec<Applied>) {
        if self.events.count() > 0 {
            self.batch.put(keys::events_key(self.working.position.revision), self.events.bytes());
        }
        self.working.save_remembered(&mut self.batch);
        if !self.applied.is_empty() {
            self.working.save_position(&mut self.batch);
        }
        if self.events.count() == 0 {
            planted::forget_revision(&self.working.position, &mut self.batch);
        }
        (self.batch, self.applied)
    }

    fn command(&mut self, command: &Command) -> Result<(Reply, Vec<Event>), StoreError> {
        let (reply, effects) = store_core::apply(self, command)?;
        let Effects { revision, events, leases, compacted, last_lease_id, last_node_id, answered } = effects;
        if let Some(revision) = revision {
            self.write_events(revision, &events);
        }
        for change in &leases {
            self.working.change_lease(change, &mut self.batch)?;
        }
        if let Some((id, answer)) = answered {
            self.working.remember(id, answer);
        }
        let position = &mut self.working.position;
        position.compacted = compacted.unwrap_or(position.compacted);
        position.last_lease_id = last_lease_id.unwrap_or(position.last_lease_id);
        position.last_node_id = last_node_id.unwrap_or(position.last_node_id);
        Ok((reply, events))
    }

    /// What the entries before this one have written up to a revision.
    fn written_by(&self, at: Revision) -> BTreeMap<Bytes, Option<KeyValue>> {
        let events =
            self.applied.iter().take_while(|applied| applied.revision <= at).flat_map(|applied| &applied.events);
        let newest = |event: &Event| match event {
            Event::Put { kv, .. } => (kv.key.clone(), Some(kv.clone())),
            Event::Delete { kv, .. } => (kv.key.clone(), None),
        };
        events.map(newest).collect()
    }

    fn write_events(&mut self, revision: Revision, events: &[Event]) {
        let newest = self.newest.get_mut();
        for event in events {
            let key = &event.kv().key;
            records::encode_version(event, &mut self.scratch);
            self.batch.put(keys::version_key(key, revision), &self.scratch);
            let kv = match event {
                Event::Put { kv, .. } => Some(kv.clone()),
                Event::Delete { .. } => None,
            };
            newest.insert(key.clone(), kv);
        }
        self.events.add(|out| records::encode_events(events, out));
        let position = &mut self.working.position;
        position.revision = revision;
        position.hash = store_core::fold_hash(position.hash, events);
    }
}

impl StateRead for Group<'_> {
    fn revision(&self) -> Revision {
        self.working.position.revision
    }

    fn compacted(&self) -> Revision {
        self.local_compaction.unwrap_or(self.working.position.compacted)
    }

    fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        if let Some(known) = self.newest.borrow().get(key) {
            return Ok(known.clone());
        }
        let key = Bytes::copy_from_slice(key);
        let kv = self.noticed(read::find(&mut self.reader.borrow_mut(), &key, Revision::MAX))?;
        self.newest.borrow_mut().insert(key, kv.clone());
        Ok(kv)
    }

    fn range(&self, start: &[u8], end: &[u8], max_bytes: usize) -> Result<Option<Vec<KeyValue>>, StoreError> {
        let newest = self.newest.borrow();
        let (mut found, mut bytes) = (BTreeMap::new(), 0);
        self.noticed(read::scan(self.db, start, end, Revision::MAX, |version| {
            let key = version.key()?;
            if !newest.contains_key(&key) {
                let kv = version.into_kv(key, false);
                bytes += kv.key.len() + kv.value.len();
                found.insert(kv.key.clone(), kv);
            }
            Ok(if bytes > max_bytes { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        }))?;
        let from = (Bound::Included(start), Bound::Unbounded);
        let written = newest.range::<[u8], _>(from).take_while(|(key, _)| in_range(key, start, end));
        for kv in written.filter_map(|(_, kv)| kv.as_ref()) {
            bytes += kv.key.len() + kv.value.len();
            found.insert(kv.key.clone(), kv.clone());
        }
        Ok((bytes <= max_bytes).then(|| found.into_values().collect()))
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        at: Revision,
        keys_only: bool,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        let written = self.written_by(at);
        let scan = |visit: &mut Visit<'_>| {
            self.noticed(read::scan(self.db, start, end, at.min(self.begun), |version| {
                let key = version.key()?;
                Ok(visit(version.into_kv(key, keys_only)))
            }))
        };
        store_core::overlay(&written, start, end, scan, visit)
    }

    fn version(&self, key: &[u8], revision: Revision) -> Result<Option<KeyValue>, StoreError> {
        let of_group = self.applied.iter().flat_map(|applied| &applied.events).find_map(|event| match event {
            Event::Put { kv, .. } if kv.mod_revision == revision && kv.key == key => Some(kv.clone()),
            _ => None,
        });
        match of_group {
            Some(kv) => Ok(Some(kv)),
            None => self.noticed(read::version(self.db, Bytes::copy_from_slice(key), revision)),
        }
    }

    fn has_lease(&self, id: LeaseId) -> bool {
        self.working.leases.contains_key(&id)
    }

    fn lease(&self, id: LeaseId) -> Option<&Lease> {
        self.working.leases.get(&id)
    }

    fn last_lease_id(&self) -> LeaseId {
        self.working.position.last_lease_id
    }

    fn last_node_id(&self) -> u64 {
        self.working.position.last_node_id
    }

    fn replies(&self) -> &Replies {
        &self.working.replies
    }
}
