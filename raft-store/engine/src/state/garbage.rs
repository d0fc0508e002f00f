//! Removes what compaction made unreachable.
//!
//! What there is to remove is read from the events below the compacted revision (a watch may begin at it): each
//! has replaced or deleted the version before it, which no permitted read can reach any more, and a deletion
//! itself needs no trace there. So the work is proportional to the history, not to the state, and goes on
//! after a restart where it stopped, because an event record goes in the batch of what it stands for.

use rocksdb::WriteBatch;
use store_api::{Revision, StoreError};

use super::generation::Generation;
use super::{keys, packed, planted, read, records};
use crate::{fatal, options};

/// Removes up to about `max_keys` keys; answers whether there is more to do.
pub(super) fn collect(generation: &Generation, max_keys: usize) -> Result<bool, StoreError> {
    let mut collected = generation.collected.lock();
    let compacted = generation.published().compacted.saturating_sub(1);
    if *collected >= compacted {
        return Ok(false);
    }
    // The group in which the compacted revision lies may end after it.
    let (lower, upper) = (keys::events_key(*collected + 1), keys::tagged(keys::EVENTS).1);
    let mut iterator = generation.db().raw_iterator_opt(options::scan(&lower, &upper));
    iterator.seek_to_first();
    let mut batch = WriteBatch::default();
    let mut reached = *collected;
    while let Some((raw, value)) = iterator.item() {
        if reached >= compacted || batch.len() >= max_keys {
            break;
        }
        let (last, revisions) = packed::revisions(raw, value)?;
        for (revision, events) in revisions.into_iter().filter(|(revision, _)| *revision <= compacted) {
            remove(revision, events, &mut batch)?;
        }
        if last <= compacted {
            batch.delete(raw);
        }
        reached = last.min(compacted);
        iterator.next();
    }
    let more = iterator.valid() && reached < compacted;
    iterator.status().map_err(read::failed)?;
    drop(iterator);
    if !more {
        planted::lose_deletions(generation, compacted + 1, &mut batch)?;
    }
    generation.db().write_opt(batch, &options::unlogged()).map_err(|e| fatal("removing old versions failed", e))?;
    *collected = if more { reached } else { compacted };
    Ok(more)
}

fn remove(revision: Revision, events: &[u8], batch: &mut WriteBatch) -> Result<(), StoreError> {
    for event in records::decode_events(events)? {
        if event.previous != 0 {
            batch.delete(keys::version_key(&event.key, event.previous));
        }
        if event.deleted {
            batch.delete(keys::version_key(&event.key, revision));
        }
    }
    Ok(())
}
