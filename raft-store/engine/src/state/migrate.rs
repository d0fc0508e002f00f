//! Older states become new ones.
//!
//! Up to format 4 every revision's events and every answer had a key of its own; they have one for each group of
//! entries since ([`super::packed`]). What is old is read, written in its new form and removed in one batch, piece by
//! piece, so a crash leaves some of it for the next start.

use rocksdb::{DB, WriteBatch};
use store_api::StoreError;

use super::keys;
use super::packed::Pack;
use crate::{fatal, options};

/// Bytes of one batch.
const BATCH_BYTES: usize = 4 << 20;

/// The form a record has now, when it had another.
pub(crate) fn renewed(key: &[u8], value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let tag = match *key.first()? {
        keys::OLD_EVENTS => keys::EVENTS,
        keys::OLD_ANSWER => keys::ANSWERS,
        _ => return None,
    };
    let mut renewed = key.to_vec();
    renewed[0] = tag;
    Some((renewed, Pack::of(value)))
}

/// Gives every record the form it has now. Not durable before the database is flushed.
pub(super) fn records(db: &DB) -> Result<(), StoreError> {
    for tag in [keys::OLD_EVENTS, keys::OLD_ANSWER] {
        let (lower, upper) = keys::tagged(tag);
        let mut iterator = db.raw_iterator_opt(options::scan(&lower, &upper));
        let mut batch = WriteBatch::default();
        iterator.seek_to_first();
        while let Some((key, value)) = iterator.item() {
            if let Some((new, value)) = renewed(key, value) {
                batch.put(new, value);
                batch.delete(key);
            }
            if batch.size_in_bytes() >= BATCH_BYTES {
                write(db, std::mem::take(&mut batch))?;
            }
            iterator.next();
        }
        iterator.status().map_err(|e| fatal("migrating the state failed", e))?;
        write(db, batch)?;
    }
    Ok(())
}

fn write(db: &DB, batch: WriteBatch) -> Result<(), StoreError> {
    db.write_opt(batch, &options::unlogged()).map_err(|e| fatal("migrating the state failed", e))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use store_api::{RequestId, Txn};
    use store_core::Command;

    use super::super::{StateMachine, packed};
    use super::*;
    use crate::{ApplyEntry, ApplyPayload};

    fn entry(index: u64) -> ApplyEntry {
        let request = Some(RequestId { client: 3, seq: index });
        let command = Command::Txn(Txn { request, ..Txn::put(format!("k{}", index % 5), format!("value {index}")) });
        ApplyEntry { index, log_id: Bytes::from(format!("id {index}")), payload: ApplyPayload::Command(command) }
    }

    /// The form of the versions before.
    fn make_old(db: &DB) {
        for (tag, old) in [(keys::EVENTS, keys::OLD_EVENTS), (keys::ANSWERS, keys::OLD_ANSWER)] {
            let (lower, upper) = keys::tagged(tag);
            let mut iterator = db.raw_iterator_opt(options::scan(&lower, &upper));
            iterator.seek_to_first();
            while let Some((key, value)) = iterator.item() {
                let records = match tag {
                    keys::EVENTS => packed::revisions(key, value).expect("a pack").1,
                    _ => packed::places(key, value).expect("a pack"),
                };
                for (number, record) in records {
                    db.put(keys::numbered(old, number), record).expect("written");
                }
                db.delete(key).expect("removed");
                iterator.next();
            }
        }
    }

    #[test]
    fn what_an_older_version_wrote_is_all_there() {
        let dir = tempfile::tempdir().expect("dir");
        let state = StateMachine::open(dir.path()).expect("open");
        let entries: Vec<ApplyEntry> = (0..40).map(entry).collect();
        entries.chunks(7).for_each(|group| drop(state.apply(group).expect("applied")));
        let events = state.events(1, u64::MAX, usize::MAX).expect("events");
        let replies = state.working.lock().replies.clone();
        assert!(!replies.is_empty() && events.len() == 40);
        make_old(state.generation().db());
        state.make_durable().expect("durable");
        drop(state);
        std::fs::write(dir.path().join("state/FORMAT"), "kontiki state 4\n").expect("written");

        let state = StateMachine::open(dir.path()).expect("migrated");
        assert_eq!(state.events(1, u64::MAX, usize::MAX).expect("events"), events);
        assert_eq!(state.working.lock().replies, replies);
        let (lower, upper) = (vec![keys::OLD_ANSWER], vec![keys::OLD_EVENTS + 1]);
        let generation = state.generation();
        let mut iterator = generation.db().raw_iterator_opt(options::scan(&lower, &upper));
        iterator.seek_to_first();
        assert!(!iterator.valid(), "nothing of the old form is left");
        state.apply(&[entry(40)]).expect("it goes on");
        assert_eq!(state.events(1, u64::MAX, usize::MAX).expect("events").len(), 41);
    }
}
