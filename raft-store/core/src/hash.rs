//! The rolling hash by which replicas notice that they have parted ways.

use sha2::{Digest, Sha256};
use store_api::{Event, KeyValue};

/// The hash after one more revision: of the hash before it and everything its events write.
///
/// It depends on the history of revisions only, so replicas compare it at equal revisions, and a
/// snapshot carries it along.
pub fn fold_hash(before: u64, events: &[Event]) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(before.to_be_bytes());
    for event in events {
        let kind = match event {
            Event::Put { .. } => 1,
            Event::Delete { .. } => 2,
        };
        hash_kv(&mut hasher, kind, event.kv());
    }
    let digest = hasher.finalize();
    u64::from_be_bytes(digest[..8].try_into().expect("SHA-256 has more than eight bytes"))
}

fn hash_kv(hasher: &mut Sha256, kind: u8, kv: &KeyValue) {
    hasher.update([kind]);
    for number in
        [kv.key.len() as u64, kv.value.len() as u64, kv.create_revision, kv.mod_revision, kv.version, kv.lease]
    {
        hasher.update(number.to_be_bytes());
    }
    hasher.update(&kv.key);
    hasher.update(&kv.value);
}
