//! A hash of what the keys hold at one revision, read from the disk: it finds what was applied rightly and changed
//! since, which the rolling hash cannot. Replicas compare by it as long as some of them know no better one
//! ([`super::whole`]).
//!
//! It does not depend on what is compacted, nor on what garbage is left. Reading everything also has the database check
//! the checksums of all its blocks.

use sha2::{Digest, Sha256};
use store_api::{Revision, StoreError};

use super::generation::Generation;
use super::pace::Pace;
use super::{keys, read, records};
use crate::options;

/// `Compacted` when that revision is forgotten meanwhile, `FutureRevision` when it is not reached.
pub(super) fn hash(generation: &Generation, at: Revision) -> Result<u64, StoreError> {
    read::readable(generation.published(), Some(at))?;
    let hash = scan(generation, at)?;
    // Compacted meanwhile, what was the newest then may have been removed under the scan.
    read::readable(generation.published(), Some(at))?;
    Ok(hash)
}

fn scan(generation: &Generation, at: Revision) -> Result<u64, StoreError> {
    let (lower, upper) = keys::tagged(b'v');
    let mut iterator = generation.db().raw_iterator_opt(options::scan_once(&lower, &upper));
    iterator.seek_to_first();
    let (mut hasher, mut settled) = (Sha256::new(), Vec::new());
    let mut pace = Pace::begin();
    while let Some((key, value)) = iterator.item() {
        let (prefix, revision) = keys::split_version(key).ok_or_else(read::damaged)?;
        // Newest first, so the first one that is old enough decides.
        if revision <= at && settled != prefix {
            settled.clear();
            settled.extend_from_slice(prefix);
            if records::Version::parse(value)?.is_some() {
                for part in [key, value] {
                    hasher.update((part.len() as u64).to_be_bytes());
                    hasher.update(part);
                }
            }
        }
        pace.read(key.len() + value.len());
        iterator.next();
    }
    iterator.status().map_err(read::failed)?;
    let digest = hasher.finalize();
    Ok(u64::from_be_bytes(std::array::from_fn(|at| digest[at])))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use store_api::Txn;
    use store_core::Command;

    use super::super::{StateMachine, keys};
    use crate::{ApplyEntry, ApplyPayload};

    fn apply(state: &StateMachine, index: u64, command: Command) {
        let log_id = Bytes::copy_from_slice(&index.to_be_bytes());
        state.apply(&[ApplyEntry { index, log_id, payload: ApplyPayload::Command(command) }]).expect("applied");
    }

    fn state(dir: &std::path::Path) -> StateMachine {
        let state = StateMachine::open(dir).expect("open");
        for n in 0..20 {
            apply(&state, n, Command::Txn(Txn::put(format!("k{}", n % 5), format!("value {n}"))));
        }
        apply(&state, 20, Command::Txn(Txn::delete("k1")));
        state
    }

    #[test]
    fn it_depends_on_what_the_keys_hold_and_on_nothing_else() {
        let dirs = [tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir")];
        let [one, two] = [state(dirs[0].path()), state(dirs[1].path())];
        let newest = one.revision();
        assert_eq!(one.contents_hash(newest), two.contents_hash(newest));
        assert_ne!(one.contents_hash(newest), one.contents_hash(newest - 1));
        apply(&one, 21, Command::Compact { revision: newest });
        while one.collect_garbage(100).expect("collected") {}
        assert_eq!(one.contents_hash(newest), two.contents_hash(newest), "compaction makes no difference");
        assert!(one.contents_hash(newest - 1).is_err() && one.contents_hash(newest + 1).is_err());

        // A bit of a value changes behind everybody's back, checksums and all.
        let (rolling, before) = (two.revision_and_hash(), two.contents_hash(newest));
        let key = keys::version_key(b"k3", 20);
        let generation = two.generation();
        let mut value = generation.db().get(&key).expect("read").expect("there");
        *value.last_mut().expect("a value") ^= 1;
        generation.db().put(&key, value).expect("written");
        assert_eq!(two.revision_and_hash(), rolling);
        assert_ne!(two.contents_hash(newest), before);
    }
}
