//! What every entry looks at, in memory: the position, the leases, the answers for retries.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use prost::Message;
use rocksdb::{DB, WriteBatch};
use store_api::{LeaseId, RequestId, Revision, StoreError};
use store_core::{Floor, Lease, LeaseChange, Remembered, Replies};

use super::packed::{self, Pack};
use super::{Failed, Position, keys, records};
use crate::{fatal, options};

/// Entries of which the state after them is remembered, for comparisons with other replicas.
const PASSED_KEPT: usize = 65_536;

pub(super) struct Working {
    pub(super) position: Position,
    pub(super) leases: BTreeMap<LeaseId, Lease>,
    pub(super) replies: Replies,
    /// Nodes that were members once and are no more.
    pub(super) removed: BTreeSet<u64>,
    /// Revision and hash after each of the entries applied last.
    passed: VecDeque<(Revision, u64)>,
    /// First and last place of each pack of answers in the database, in order.
    packs: VecDeque<(u64, u64)>,
    unsaved: Unsaved,
    failed: Option<StoreError>,
    /// It failed because the disk does not hold what was written.
    damaged: bool,
}

/// What the group being applied changes about what is remembered.
#[derive(Default)]
struct Unsaved {
    /// Place of the first of the answers.
    first: u64,
    answers: Pack,
    /// `None`: the client is forgotten altogether.
    floors: BTreeMap<u128, Option<Floor>>,
}

impl Working {
    /// Reads it all from the database.
    pub(super) fn load(db: &DB) -> Result<Self, StoreError> {
        let position = stored_position(db)?;
        let leases = load_leases(db)?;
        let (replies, packs) = load_replies(db)?;
        let passed = position.log_id.is_some().then_some((position.revision, position.hash));
        Ok(Self {
            leases,
            replies,
            packs,
            unsaved: Unsaved::default(),
            removed: load_removed(db)?,
            passed: passed.into_iter().collect(),
            failed: None,
            damaged: false,
            position,
        })
    }

    /// One more entry is applied.
    pub(super) fn pass(&mut self, index: u64, log_id: Bytes) {
        self.position.log_id = Some(log_id);
        self.position.next_index = index + 1;
        if self.passed.len() >= PASSED_KEPT {
            self.passed.pop_front();
        }
        self.passed.push_back((self.position.revision, self.position.hash));
    }

    /// Revision and hash after the entry at `index`, as long as it is remembered.
    pub(super) fn passed(&self, index: u64) -> Option<(Revision, u64)> {
        let ago = self.position.next_index.checked_sub(index + 1)?;
        let place = self.passed.len().checked_sub(usize::try_from(ago).ok()? + 1)?;
        self.passed.get(place).copied()
    }

    /// The failure after which nothing may be applied any more.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    pub(super) fn damage(&self) -> Option<String> {
        self.failed.as_ref().filter(|_| self.damaged).map(StoreError::to_string)
    }

    /// What the group changed in memory was not written: the position is where the database is.
    pub(super) fn fail(&mut self, failed: &Failed, db: &DB) {
        self.failed = Some(failed.error.clone());
        self.damaged = failed.damaged;
        if let Ok(position) = stored_position(db) {
            self.position = position;
        }
    }

    pub(super) fn save_position(&self, batch: &mut WriteBatch) {
        batch.put(keys::POSITION, self.position.encode_to_vec());
    }

    pub(super) fn change_membership(&mut self, membership: &Bytes, members: &[u64], batch: &mut WriteBatch) {
        let before = std::mem::replace(&mut self.position.members, members.to_vec());
        for node in before.into_iter().filter(|node| !members.contains(node)) {
            self.removed.insert(node);
            batch.put(keys::removed_key(node), b"");
        }
        self.position.membership = Some(membership.clone());
    }

    pub(super) fn change_lease(&mut self, change: &LeaseChange, batch: &mut WriteBatch) -> Result<(), StoreError> {
        match change {
            LeaseChange::Granted { id, ttl_ms } => {
                let lease = Lease { id: *id, ttl_ms: *ttl_ms, renewals: 0, keys: Default::default() };
                save_lease(&lease, batch);
                self.leases.insert(*id, lease);
            }
            LeaseChange::Renewed { id, renewals } => {
                let lease = self.lease_mut(*id)?;
                lease.renewals = *renewals;
                save_lease(lease, batch);
            }
            LeaseChange::Attached { id, key } => {
                // A copy, so that one key does not keep its whole log entry in memory.
                self.lease_mut(*id)?.keys.insert(Bytes::copy_from_slice(key));
                batch.put(keys::attachment_key(*id, key), b"");
            }
            LeaseChange::Detached { id, key } => {
                self.lease_mut(*id)?.keys.remove(key);
                batch.delete(keys::attachment_key(*id, key));
            }
            LeaseChange::Revoked { id } => {
                self.leases.remove(id);
                batch.delete(keys::lease_key(*id));
            }
        }
        Ok(())
    }

    fn lease_mut(&mut self, id: LeaseId) -> Result<&mut Lease, StoreError> {
        self.leases.get_mut(&id).ok_or_else(|| fatal("the state is inconsistent", format!("lease {id} is missing")))
    }

    pub(super) fn remember(&mut self, id: RequestId, answer: Remembered) {
        let Unsaved { first, answers, floors } = &mut self.unsaved;
        answers.add(|out| records::encode_reply(&id, &answer, out));
        let (place, forgot) = self.replies.insert(id, answer);
        *first = place + 1 - answers.count();
        floors.extend(forgot.floors.into_iter().map(|(client, floor)| (client, Some(floor))));
        floors.extend(forgot.clients.into_iter().map(|client| (client, None)));
    }

    /// What was remembered and forgotten since it was saved last. A pack goes when all in it is forgotten.
    pub(super) fn save_remembered(&mut self, batch: &mut WriteBatch) {
        let Unsaved { first, answers, floors } = &mut self.unsaved;
        if answers.count() > 0 {
            batch.put(keys::answers_key(*first), answers.bytes());
            self.packs.push_back((*first, *first + answers.count() - 1));
            answers.clear();
        }
        for (client, floor) in std::mem::take(floors) {
            match floor {
                Some(floor) => batch.put(keys::floor_key(client), records::encode_floor(floor)),
                None => batch.delete(keys::floor_key(client)),
            }
        }
        let oldest = self.replies.oldest_place();
        while let Some((first, _)) = self.packs.pop_front_if(|(_, last)| oldest.is_some_and(|oldest| *last < oldest)) {
            batch.delete(keys::answers_key(first));
        }
    }
}

fn stored_position(db: &DB) -> Result<Position, StoreError> {
    Position::stored(db.get_pinned(keys::POSITION).map_err(failed_read)?.as_deref())
}

fn save_lease(lease: &Lease, batch: &mut WriteBatch) {
    let record = records::LeaseRecord { ttl_ms: lease.ttl_ms, renewals: lease.renewals };
    batch.put(keys::lease_key(lease.id), record.encode_to_vec());
}

fn load_leases(db: &DB) -> Result<BTreeMap<LeaseId, Lease>, StoreError> {
    let mut leases = BTreeMap::new();
    each(db, b'l', |key, value| {
        let (id, _) = keys::number(key).ok_or_else(|| damaged("lease"))?;
        let records::LeaseRecord { ttl_ms, renewals } = records::decode("lease", value)?;
        leases.insert(id, Lease { id, ttl_ms, renewals, keys: Default::default() });
        Ok(())
    })?;
    each(db, b'k', |key, _| {
        let (id, key) = keys::number(key).ok_or_else(|| damaged("lease"))?;
        let lease = leases.get_mut(&id).ok_or_else(|| damaged("lease"))?;
        lease.keys.insert(Bytes::copy_from_slice(key));
        Ok(())
    })?;
    Ok(leases)
}

fn load_removed(db: &DB) -> Result<BTreeSet<u64>, StoreError> {
    let mut removed = BTreeSet::new();
    each(db, b'r', |key, _| {
        removed.insert(keys::number(key).ok_or_else(|| damaged("removed node"))?.0);
        Ok(())
    })?;
    Ok(removed)
}

/// And the packs that they lie in.
fn load_replies(db: &DB) -> Result<(Replies, VecDeque<(u64, u64)>), StoreError> {
    let (mut replies, mut packs) = (Replies::default(), VecDeque::new());
    each(db, keys::ANSWERS, |key, value| {
        let answers = packed::places(key, value)?;
        if let (Some((first, _)), Some((last, _))) = (answers.first(), answers.last()) {
            packs.push_back((*first, *last));
        }
        for (place, answer) in answers {
            let (id, answer) = records::decode_reply(answer)?;
            replies.restore(place, id, answer);
        }
        Ok(())
    })?;
    // The oldest pack may hold some that are forgotten, and have their floors.
    replies.restored();
    each(db, b'f', |key, value| {
        let client = keys::client(key).ok_or_else(|| damaged("floor of requests"))?;
        replies.restore_floor(client, records::decode_floor(value)?);
        Ok(())
    })?;
    Ok((replies, packs))
}

fn each(db: &DB, tag: u8, mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let (lower, upper) = keys::tagged(tag);
    let mut iterator = db.raw_iterator_opt(options::scan(&lower, &upper));
    iterator.seek_to_first();
    while let Some((key, value)) = iterator.item() {
        visit(key, value)?;
        iterator.next();
    }
    iterator.status().map_err(failed_read)
}

fn damaged(what: &str) -> StoreError {
    fatal("the state is damaged", format!("at a {what}"))
}

fn failed_read(error: rocksdb::Error) -> StoreError {
    fatal("reading the state failed", error)
}
