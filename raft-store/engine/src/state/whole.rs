//! A hash of all that replicas agree about after the same entry, read from the disk: it finds what was applied rightly
//! and changed since, be it a version, an event, a lease, an answer that is kept for retries or where the state is.
//!
//! It is taken of what a snapshot holds, because that is the same on all replicas whatever each has removed already and
//! however it applies entries in groups. When what is hashed changes, the number by which replicas tell each other how
//! they hash must too (`SCRUB` in the node).

use sha2::{Digest, Sha256};
use store_api::StoreError;

use super::generation::Generation;
use super::pace::Pace;
use crate::{options, snapshot};

/// Tells when what is hashed is settled: what is applied after that is not in it.
pub(super) fn hash(generation: &Generation, settled: impl FnOnce()) -> Result<u64, StoreError> {
    let view = generation.db().snapshot();
    settled();
    let (mut hasher, mut pace) = (Sha256::new(), Pace::begin());
    let compacted = snapshot::position(&view)?.compacted;
    snapshot::each_record(&view, compacted, options::scan_once(b"", b"\xff"), &mut |key, value| {
        for part in [key, value] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        pace.read(key.len() + value.len());
        Ok(())
    })?;
    let digest = hasher.finalize();
    Ok(u64::from_be_bytes(std::array::from_fn(|at| digest[at])))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use store_api::{Op, RequestId, Txn};
    use store_core::Command;

    use super::super::StateMachine;
    use crate::{ApplyEntry, ApplyPayload, options};

    /// Entries of every kind: versions, deletions, leases that hold keys, answers, members that go.
    fn payloads() -> Vec<ApplyPayload> {
        let named = |seq, txn| Txn { request: Some(RequestId { client: 9, seq }), ..txn };
        let leased = Op::Put { key: "held".into(), value: "v".into(), lease: 1 };
        let members = |members: Vec<u64>| ApplyPayload::Membership { membership: "opaque".into(), members };
        let mut payloads = vec![members(vec![1, 2, 3]), ApplyPayload::Blank];
        payloads.push(ApplyPayload::Command(Command::LeaseGrant { request: None, id: 0, ttl_ms: 5_000 }));
        payloads.push(ApplyPayload::Command(Command::Txn(Txn { success: vec![leased], ..Txn::default() })));
        for n in 0..20 {
            let put = Txn::put(format!("k{}", n % 5), format!("value {n}"));
            payloads.push(ApplyPayload::Command(Command::Txn(named(n, put))));
        }
        payloads.push(ApplyPayload::Command(Command::Txn(named(20, Txn::delete("k1")))));
        payloads.push(members(vec![1, 2]));
        payloads.push(ApplyPayload::Command(Command::Compact { revision: 9 }));
        payloads
    }

    /// Applies the same in groups of this size. With so few answers no request is forgotten, so there are no floors.
    fn state(dir: &std::path::Path, group: usize) -> StateMachine {
        let state = StateMachine::open(dir).expect("open");
        let log_id = |index: u64| Bytes::copy_from_slice(&index.to_be_bytes());
        let entry = |(index, payload)| ApplyEntry { index, log_id: log_id(index), payload };
        let entries: Vec<ApplyEntry> = (0..).zip(payloads()).map(entry).collect();
        entries.chunks(group).for_each(|group| drop(state.apply(group).expect("applied")));
        state
    }

    fn hash(state: &StateMachine) -> u64 {
        state.whole_hash(|| {}).expect("read")
    }

    #[test]
    fn it_depends_on_what_was_applied_and_on_nothing_else() {
        let dirs = [(); 3].map(|()| tempfile::tempdir().expect("dir"));
        let [one, groups, collected] = [(0, 1), (1, 7), (2, 100)].map(|(n, group)| state(dirs[n].path(), group));
        while collected.collect_garbage(3).expect("collected") {}
        assert_eq!((hash(&groups), hash(&collected)), (hash(&one), hash(&one)));
        let mut settled = false;
        one.whole_hash(|| settled = true).expect("read");
        let next = ApplyEntry { index: one.next_index(), log_id: "x".into(), payload: ApplyPayload::Blank };
        one.apply(&[next]).expect("applied");
        assert!(settled && hash(&one) != hash(&groups), "where the state is counts");
    }

    /// Behind everybody's back, checksums and all.
    #[test]
    fn a_bit_that_changed_in_any_record_is_noticed() {
        let (dir, mut noticed) = (tempfile::tempdir().expect("dir"), BTreeMap::<char, u32>::new());
        let state = state(dir.path(), 3);
        while state.collect_garbage(100).expect("collected") {}
        let (before, generation) = (hash(&state), state.generation());
        let db = generation.db();
        let floor = super::super::keys::floor_key(77);
        db.put(floor, [8, 3, 16, 5]).expect("written");
        let with_floor = hash(&state);
        assert_ne!(with_floor, before, "the floor of a client's requests");
        let mut records = Vec::new();
        let mut iterator = db.raw_iterator_opt(options::scan(b"", b"\xff"));
        iterator.seek_to_first();
        while let Some((key, value)) = iterator.item() {
            records.push((key.to_vec(), value.to_vec()));
            iterator.next();
        }
        for (key, value) in &records {
            let tag = char::from(key[0]);
            // What has no content is what it is by being there.
            match value.is_empty() {
                true => db.delete(key).expect("removed"),
                false => {
                    let mut wrong = value.clone();
                    *wrong.last_mut().expect("a byte") ^= 1;
                    db.put(key, wrong).expect("written");
                }
            }
            let found = state.whole_hash(|| {});
            assert_ne!(found.as_ref(), Ok(&with_floor), "a record of {tag:?}");
            *noticed.entry(tag).or_default() += 1;
            db.put(key, value).expect("written");
        }
        assert_eq!(hash(&state), with_floor);
        println!("damage noticed by kind of record: {noticed:?}");
        assert_eq!(noticed.keys().collect::<String>(), "afgklmrv");
    }
}
