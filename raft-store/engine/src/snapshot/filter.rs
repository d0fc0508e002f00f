//! What of a database belongs into a snapshot.

use rocksdb::Snapshot;
use store_api::{Revision, StoreError};

use crate::fatal;
use crate::state::{Position, keys, records};

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
            Some(b'e') => keys::number(key).map(|(revision, _)| revision > self.gone).ok_or_else(damaged),
            _ => Ok(true),
        }
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

pub(super) fn position(view: &Snapshot<'_>) -> Result<Position, StoreError> {
    match view.get(keys::POSITION).map_err(|e| fatal("reading the state failed", e))? {
        Some(raw) => records::decode("position", &raw),
        None => Ok(Position::default()),
    }
}

fn damaged() -> StoreError {
    StoreError::Fatal("the state is damaged. This replica must be replaced by a new one".into())
}
