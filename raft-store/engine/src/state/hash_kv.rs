//! A hash of the history, to be compared between replicas at a revision of the caller's choice.
//!
//! It depends on the revision and on the compacted one, and not on what the garbage collection has got to, nor on
//! when a replica began: unlike the rolling hash it is computed from what is there.

use sha2::{Digest, Sha256};
use store_api::{HistoryHash, Revision, StoreError};

use super::generation::Generation;
use super::{keys, read};
use crate::options;
use crate::snapshot::Filter;

pub(super) fn hash(generation: &Generation, at: Option<Revision>) -> Result<HistoryHash, StoreError> {
    loop {
        let revision = read::readable(generation.published(), at)?;
        let compacted = generation.published().compacted;
        let hash = hash_versions(generation, revision, compacted)?;
        // Compacted meanwhile, some of it may have been removed under the scan.
        if generation.published().compacted == compacted {
            return Ok(HistoryHash { hash, revision, compacted });
        }
    }
}

fn hash_versions(generation: &Generation, upto: Revision, compacted: Revision) -> Result<u64, StoreError> {
    let (lower, upper) = keys::tagged(b'v');
    let mut iterator = generation.db().raw_iterator_opt(options::scan(&lower, &upper));
    iterator.seek_to_first();
    let (mut hasher, mut filter) = (Sha256::new(), Filter::new(compacted));
    while let Some((key, value)) = iterator.item() {
        let (_, revision) = keys::split_version(key).ok_or_else(read::damaged)?;
        if revision <= upto && filter.keeps(key, value)? {
            for part in [key, value] {
                hasher.update((part.len() as u64).to_be_bytes());
                hasher.update(part);
            }
        }
        iterator.next();
    }
    iterator.status().map_err(read::failed)?;
    let digest = hasher.finalize();
    Ok(u64::from_be_bytes(std::array::from_fn(|at| digest[at])))
}
