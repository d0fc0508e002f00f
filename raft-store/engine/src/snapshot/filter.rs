//! What of a database belongs into a snapshot.

use rocksdb::Snapshot;
use store_api::{Revision, StoreError};

use crate::state::packed::{self, Pack};
use crate::state::{Position, keys, records};
use crate::{fatal, options};

/// Leaves out what no permitted read can reach, whether it is removed already or not.
pub(crate) struct Filter {
    /// The revision before the compacted one: what the events of the compacted one replaced is kept.
    gone: Revision,
    /// The key whose newest version at that revision has passed; what follows of it is older.
    settled: Vec<u8>,
}

impl Filter {
    pub(crate) fn new(compacted: Revision) -> Self {
        Self { gone: compacted.saturating_sub(1), settled: Vec::new() }
    }

    /// Decides one record, in the order of the keys.
    pub(crate) fn keeps(&mut self, key: &[u8], value: &[u8]) -> Result<bool, StoreError> {
        match key.first() {
            Some(b'v') => self.keeps_version(key, value),
            _ => Ok(true),
        }
    }

    /// Whether the events of a revision can be asked for.
    fn keeps_events(&self, revision: Revision) -> bool {
        revision > self.gone
    }

    fn keeps_version(&mut self, key: &[u8], value: &[u8]) -> Result<bool, StoreError> {
        let (prefix, revision) = keys::split_version(key).ok_or_else(damaged)?;
        if revision > self.gone {
            return Ok(true);
        }
        if self.settled == prefix {
            return Ok(false);
        }
        self.settled.clear();
        self.settled.extend_from_slice(prefix);
        // A deletion that long ago is as good as no version at all.
        Ok(records::Version::parse(value)?.is_some())
    }
}

/// The key and the content of a pack of one record.
pub(super) type Single = ([u8; 9], Vec<u8>);

/// Takes packs apart, because which entries were applied together is a replica's own affair.
pub(super) struct Apart {
    /// Answers in the places before are forgotten.
    oldest_place: u64,
}

impl Apart {
    pub(super) fn new(view: &Snapshot<'_>) -> Result<Self, StoreError> {
        let (lower, upper) = keys::tagged(keys::ANSWERS);
        let mut iterator = view.raw_iterator_opt(options::scan(&lower, &upper));
        iterator.seek_to_last();
        let Some((key, value)) = iterator.item() else {
            iterator.status().map_err(|e| fatal("reading the state failed", e))?;
            return Ok(Self { oldest_place: 0 });
        };
        let places = packed::places(key, value)?.last().map_or(0, |(last, _)| last + 1);
        Ok(Self { oldest_place: places.saturating_sub(store_core::MAX_REPLIES as u64) })
    }

    /// The records that a pack becomes, each a pack of its own; `None` when this is no pack.
    pub(super) fn records(&self, filter: &Filter, key: &[u8], value: &[u8]) -> Result<Option<Vec<Single>>, StoreError> {
        Ok(Some(match key.first() {
            Some(&keys::EVENTS) => {
                let (_, revisions) = packed::revisions(key, value)?;
                let kept = revisions.into_iter().filter(|(revision, _)| filter.keeps_events(*revision));
                kept.map(|(revision, events)| (keys::events_key(revision), Pack::of(events))).collect()
            }
            Some(&keys::ANSWERS) => {
                let answers = packed::places(key, value)?.into_iter();
                let kept = answers.filter(|(place, _)| *place >= self.oldest_place);
                kept.map(|(place, answer)| (keys::answers_key(place), Pack::of(answer))).collect()
            }
            _ => return Ok(None),
        }))
    }
}

/// Where the state is.
pub(crate) fn position(view: &Snapshot<'_>) -> Result<Position, StoreError> {
    Position::stored(view.get(keys::POSITION).map_err(|e| fatal("reading the state failed", e))?.as_deref())
}

fn damaged() -> StoreError {
    StoreError::Fatal("the state is damaged. This replica must be replaced by a new one".into())
}
