//! What one entry writes, kept apart from the state until all of it is decided.

use std::collections::BTreeMap;

use bytes::Bytes;
use store_api::{Event, KeyValue, LeaseId, MAX_DELETE_BYTES, StoreError, TxnRange};

use crate::{Effects, LeaseChange, StateRead, Visit, overlay};

/// The writes of one entry, over the state before it.
pub(crate) struct Writes<'a> {
    state: &'a dyn StateRead,
    /// The newest version of each key written, `None` when deleted.
    newest: BTreeMap<Bytes, Option<KeyValue>>,
    events: Vec<Event>,
    leases: Vec<LeaseChange>,
}

impl<'a> Writes<'a> {
    pub(crate) fn new(state: &'a dyn StateRead) -> Self {
        Self { state, newest: BTreeMap::new(), events: Vec::new(), leases: Vec::new() }
    }

    pub(crate) fn get(&self, key: &Bytes) -> Result<Option<KeyValue>, StoreError> {
        match self.newest.get(key) {
            Some(written) => Ok(written.clone()),
            None => self.state.get(key),
        }
    }

    /// Visits a range as the transaction sees it: with what it wrote, unless it asks for a revision.
    pub(crate) fn scan(&self, range: &TxnRange, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let TxnRange { start, end, keys_only, count_only, .. } = range;
        let keys_only = *keys_only || *count_only;
        if let Some(at) = range.at {
            return self.state.scan(start, end, at, keys_only, visit);
        }
        let now = self.state.revision();
        overlay(&self.newest, start, end, |visit| self.state.scan(start, end, now, keys_only, visit), visit)
    }

    /// Of a key that exists.
    pub(crate) fn update(
        &mut self,
        key: &Bytes,
        value: Option<&Bytes>,
        lease: Option<LeaseId>,
    ) -> Result<Option<KeyValue>, StoreError> {
        let Some(now) = self.get(key)? else {
            return Err(StoreError::Fatal("a key that is updated was checked to exist and does not".into()));
        };
        let (value, lease) = (value.unwrap_or(&now.value).clone(), lease.unwrap_or(now.lease));
        Ok(self.put_over(key, value, lease, Some(now)))
    }

    pub(crate) fn put(&mut self, key: &Bytes, value: &Bytes, lease: LeaseId) -> Result<Option<KeyValue>, StoreError> {
        let previous = self.get(key)?;
        Ok(self.put_over(key, value.clone(), lease, previous))
    }

    fn put_over(&mut self, key: &Bytes, value: Bytes, lease: LeaseId, previous: Option<KeyValue>) -> Option<KeyValue> {
        let revision = self.state.revision() + 1;
        let kv = KeyValue {
            key: key.clone(),
            value,
            create_revision: previous.as_ref().map_or(revision, |p| p.create_revision),
            mod_revision: revision,
            version: previous.as_ref().map_or(1, |p| p.version + 1),
            lease,
        };
        self.move_lease(key, previous.as_ref().map_or(0, |p| p.lease), lease);
        self.newest.insert(key.clone(), Some(kv.clone()));
        self.events.push(Event::Put { kv, previous: previous.clone() });
        previous
    }

    /// Deletes a key and answers what it was.
    pub(crate) fn delete(&mut self, key: &Bytes) -> Result<Option<KeyValue>, StoreError> {
        let previous = self.get(key)?;
        Ok(previous.map(|previous| self.delete_known(previous)))
    }

    fn delete_known(&mut self, previous: KeyValue) -> KeyValue {
        let kv = KeyValue {
            key: previous.key.clone(),
            value: Bytes::new(),
            create_revision: 0,
            mod_revision: self.state.revision() + 1,
            version: 0,
            lease: 0,
        };
        self.move_lease(&previous.key, previous.lease, 0);
        self.newest.insert(previous.key.clone(), None);
        self.events.push(Event::Delete { kv, previous: previous.clone() });
        previous
    }

    /// No key in the range was put in this entry ([`store_api::Txn::check`]), so the state before it knows them
    /// all, and those written since were deleted. `None` when there is too much in it.
    pub(crate) fn delete_range(&mut self, start: &Bytes, end: &Bytes) -> Result<Option<Vec<KeyValue>>, StoreError> {
        let Some(found) = self.state.range(start, end, MAX_DELETE_BYTES)? else { return Ok(None) };
        let mut deleted = Vec::new();
        for kv in found {
            if !self.newest.contains_key(&kv.key) {
                deleted.push(self.delete_known(kv));
            }
        }
        Ok(Some(deleted))
    }

    fn move_lease(&mut self, key: &Bytes, from: LeaseId, to: LeaseId) {
        if from == to {
            return;
        }
        if from != 0 {
            self.leases.push(LeaseChange::Detached { id: from, key: key.clone() });
        }
        if to != 0 {
            self.leases.push(LeaseChange::Attached { id: to, key: key.clone() });
        }
    }

    pub(crate) fn into_effects(self) -> Effects {
        let revision = (!self.events.is_empty()).then(|| self.state.revision() + 1);
        Effects { revision, events: self.events, leases: self.leases, ..Effects::default() }
    }
}
