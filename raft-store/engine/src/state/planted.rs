//! What a state with a bug does. See [`crate::planted`]: nothing here happens unless somebody asks for it.

use std::fs;
use std::path::PathBuf;

use prost::Message;
use rocksdb::WriteBatch;
use store_api::{Revision, StoreError};

use super::generation::Generation;
use super::packed::{self, Pack};
use super::{Position, keys, read, records};
use crate::planted::{Bug, is_planted};
use crate::{fatal, options};

fn position_file(generation: &Generation) -> PathBuf {
    let database = generation.path();
    let name = database.file_name().unwrap_or_default().to_string_lossy();
    database.with_file_name(format!("position-of-{name}"))
}

/// The position is durable at once, by itself.
pub(super) fn keep_position_apart(generation: &Generation, position: &Position) -> Result<(), StoreError> {
    if !is_planted(Bug::PositionApart) {
        return Ok(());
    }
    let file = position_file(generation);
    fs::write(&file, position.encode_to_vec()).map_err(|e| fatal(file.display(), e))
}

/// And that is where the state goes on.
pub(super) fn take_position_apart(generation: &Generation, position: &mut Position) -> Result<(), StoreError> {
    let file = position_file(generation);
    if is_planted(Bug::PositionApart) && file.exists() {
        let raw = fs::read(&file).map_err(|e| fatal(file.display(), e))?;
        *position = records::decode("position", &raw)?;
    }
    Ok(())
}

/// What writes nothing writes no revision: it is taken to be the compacted one.
pub(super) fn forget_revision(position: &Position, batch: &mut WriteBatch) {
    if is_planted(Bug::RevisionWithDataOnly) && position.compacted > 0 {
        let forgotten = Position { revision: position.compacted, ..position.clone() };
        batch.put(keys::POSITION, forgotten.encode_to_vec());
    }
}

/// The compacted revision as this replica has carried it out, when that is what is looked at.
pub(super) fn local_compaction(generation: &Generation) -> Option<Revision> {
    is_planted(Bug::LocalCompaction).then(|| *generation.collected.lock() + 1)
}

/// The deletions of this revision go, and nothing tells of them any more.
pub(super) fn lose_deletions(generation: &Generation, of: Revision, batch: &mut WriteBatch) -> Result<(), StoreError> {
    if !is_planted(Bug::CompactsDeletions) {
        return Ok(());
    }
    let (lower, upper) = (keys::events_key(of), keys::tagged(keys::EVENTS).1);
    let mut iterator = generation.db().raw_iterator_opt(options::scan(&lower, &upper));
    iterator.seek_to_first();
    if let Some((key, value)) = iterator.item() {
        let (_, revisions) = packed::revisions(key, value)?;
        let mut pack = Pack::default();
        for (revision, events) in revisions {
            let kept = if revision == of { records::puts(events)? } else { events.to_vec() };
            pack.add(|out| out.extend_from_slice(&kept));
        }
        batch.put(key, pack.bytes());
    }
    iterator.status().map_err(read::failed)
}
