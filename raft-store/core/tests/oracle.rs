//! Random commands do to a plain model of the state what they do to the in-memory store.

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use store_api::*;
use store_core::*;
use support::{Oracle, everything, same_reply};

/// The state as apply sees it, in maps.
struct Model {
    revision: Revision,
    compacted: Revision,
    newest: BTreeMap<Bytes, KeyValue>,
    /// `None` is a deletion.
    versions: BTreeMap<(Bytes, Revision), Option<KeyValue>>,
    leases: BTreeMap<LeaseId, Lease>,
    last_lease_id: LeaseId,
    last_node_id: u64,
    replies: Replies,
    /// Ranges are too large to be read.
    huge: bool,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            revision: FIRST_REVISION,
            compacted: 0,
            newest: BTreeMap::new(),
            versions: BTreeMap::new(),
            leases: BTreeMap::new(),
            last_lease_id: 0,
            last_node_id: 0,
            replies: Replies::default(),
            huge: false,
        }
    }
}

impl StateRead for Model {
    fn revision(&self) -> Revision {
        self.revision
    }
    fn compacted(&self) -> Revision {
        self.compacted
    }
    fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        Ok(self.newest.get(key).cloned())
    }
    fn range(&self, start: &[u8], end: &[u8], max_bytes: usize) -> Result<Option<Vec<KeyValue>>, StoreError> {
        let inside = self.newest.values().filter(|kv| in_range(&kv.key, start, end));
        let found: Vec<KeyValue> = inside.cloned().collect();
        let bytes: usize = found.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
        Ok((bytes <= max_bytes && !self.huge).then_some(found))
    }
    fn version(&self, key: &[u8], revision: Revision) -> Result<Option<KeyValue>, StoreError> {
        Ok(self.versions.get(&(Bytes::copy_from_slice(key), revision)).cloned().flatten())
    }
    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        at: Revision,
        keys_only: bool,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        assert!(at >= self.compacted && at <= self.revision, "read at {at}");
        let mut then = BTreeMap::new();
        for ((key, revision), version) in &self.versions {
            if *revision <= at && in_range(key, start, end) {
                then.insert(key.clone(), version.clone());
            }
        }
        let _ = then.into_values().flatten().try_for_each(|kv| {
            let value = if keys_only { Bytes::new() } else { kv.value.clone() };
            visit(KeyValue { value, ..kv })
        });
        Ok(())
    }
    fn has_lease(&self, id: LeaseId) -> bool {
        self.leases.contains_key(&id)
    }
    fn lease(&self, id: LeaseId) -> Option<&Lease> {
        self.leases.get(&id)
    }
    fn last_lease_id(&self) -> LeaseId {
        self.last_lease_id
    }
    fn last_node_id(&self) -> u64 {
        self.last_node_id
    }
    fn replies(&self) -> &Replies {
        &self.replies
    }
}

impl Model {
    fn apply(&mut self, command: &Command) -> (Reply, Effects) {
        let (reply, effects) = apply(self, command).expect("the model cannot fail");
        assert_eq!(effects.revision.is_some(), !effects.events.is_empty());
        self.revision = effects.revision.unwrap_or(self.revision);
        for event in &effects.events {
            match event {
                Event::Put { kv, .. } => {
                    self.versions.insert((kv.key.clone(), kv.mod_revision), Some(kv.clone()));
                    self.newest.insert(kv.key.clone(), kv.clone())
                }
                Event::Delete { kv, .. } => {
                    self.versions.insert((kv.key.clone(), kv.mod_revision), None);
                    self.newest.remove(&kv.key)
                }
            };
        }
        for change in &effects.leases {
            self.change_lease(change);
        }
        self.compacted = effects.compacted.unwrap_or(self.compacted);
        self.last_lease_id = effects.last_lease_id.unwrap_or(self.last_lease_id);
        self.last_node_id = effects.last_node_id.unwrap_or(self.last_node_id);
        if let Some((id, answer)) = effects.answered.clone() {
            self.replies.insert(id, answer);
        }
        (reply, effects)
    }

    fn change_lease(&mut self, change: &LeaseChange) {
        let mut lease = |id: &LeaseId| self.leases.get_mut(id).expect("a change of a lease that exists").clone();
        let changed = match change {
            LeaseChange::Granted { id, ttl_ms } => {
                Lease { id: *id, ttl_ms: *ttl_ms, renewals: 0, keys: Default::default() }
            }
            LeaseChange::Renewed { id, renewals } => Lease { renewals: *renewals, ..lease(id) },
            LeaseChange::Attached { id, key } => {
                let mut lease = lease(id);
                assert!(lease.keys.insert(key.clone()));
                lease
            }
            LeaseChange::Detached { id, key } => {
                let mut lease = lease(id);
                assert!(lease.keys.remove(key));
                lease
            }
            LeaseChange::Revoked { id } => {
                assert_eq!(self.leases.remove(id).expect("there").keys.len(), 0);
                return;
            }
        };
        self.leases.insert(changed.id, changed);
    }

    /// What must hold of the state after every entry.
    fn check(&self) {
        let mut attached: BTreeMap<LeaseId, Vec<Bytes>> = BTreeMap::new();
        for kv in self.newest.values().filter(|kv| kv.lease != 0) {
            attached.entry(kv.lease).or_default().push(kv.key.clone());
        }
        for lease in self.leases.values() {
            let keys: Vec<Bytes> = lease.keys.iter().cloned().collect();
            assert_eq!(keys, attached.remove(&lease.id).unwrap_or_default());
        }
        assert!(attached.is_empty(), "keys of leases that have ended: {attached:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn apply_agrees_with_the_oracle(commands in prop::collection::vec(support::command(), 1..60)) {
        let oracle = Oracle::new();
        let mut model = Model::default();
        for command in &commands {
            let before = model.revision;
            let expected = oracle.apply(command);
            let (reply, effects) = model.apply(command);
            prop_assert!(
                same_reply(command, &reply, &expected, model.compacted),
                "{command:?}: {reply:?}, not {expected:?}"
            );
            prop_assert_eq!(model.revision, oracle.store.applied_revision());
            if model.revision > before {
                prop_assert_eq!(effects.events, oracle.events(model.revision).unwrap());
            }
            model.check();
        }
        let kvs: Vec<KeyValue> = model.newest.values().cloned().collect();
        prop_assert_eq!(kvs, oracle.range(everything(model.revision)).unwrap().kvs);
    }
}

fn put(seq: u64, value: &str) -> Command {
    let request = Some(RequestId { client: 1, seq });
    Command::Txn(Txn { request, want_previous: true, ..Txn::put("a", value.to_owned()) })
}

#[test]
fn forgotten_requests_are_refused_and_never_applied_twice() {
    let mut model = Model { replies: Replies::with_bound(3), ..Model::default() };
    let first: Vec<Reply> = (1..=5).map(|seq| model.apply(&put(seq, "v")).0).collect();
    for (seq, first) in (1..).zip(&first) {
        let (reply, effects) = model.apply(&put(seq, "v"));
        assert_eq!(effects, Effects::default());
        match seq {
            1..=2 => assert!(matches!(reply, Reply::Refused(StoreError::Unknown(_))), "{reply:?}"),
            _ => assert_eq!(&reply, first),
        }
    }
    assert_eq!(model.revision, 6);
    let other = RequestId { client: 2, seq: 1 };
    assert!(!model.replies.is_below_floor(&other), "another client has a floor of its own");
}

#[test]
fn an_answer_is_the_same_until_its_history_is_compacted() {
    let mut model = Model::default();
    model.apply(&put(1, "one"));
    let (second, _) = model.apply(&put(2, "two"));
    model.apply(&put(3, "three"));
    model.apply(&Command::Compact { revision: 2 });
    assert_eq!(model.apply(&put(2, "two")).0, second);
    model.apply(&Command::Compact { revision: 3 });
    let (reply, effects) = model.apply(&put(2, "two"));
    assert!(matches!(reply, Reply::Refused(StoreError::Unknown(_))), "{reply:?}");
    assert_eq!(effects, Effects::default());
    let (first, _) = model.apply(&put(1, "one"));
    assert!(matches!(first, Reply::Txn(_)), "an answer without values does not need the history: {first:?}");
}

/// Of an answer that refers to more than is kept, only the fact is kept, and a retry still does nothing.
#[test]
fn too_large_an_answer_is_not_repeated_and_neither_is_its_effect() {
    let mut model = Model::default();
    for round in 0..=MAX_ANSWER_VERSIONS / MAX_TXN_OPS {
        let put = |n| Op::Put { key: format!("{round}/{n}").into(), value: Bytes::new(), lease: 0 };
        model.apply(&Command::Txn(Txn { success: (0..MAX_TXN_OPS).map(put).collect(), ..Txn::default() }));
    }
    let request = Some(RequestId { client: 1, seq: 1 });
    let all = Op::Range(TxnRange::default());
    let put = Op::Put { key: "a".into(), value: Bytes::new(), lease: 0 };
    let txn = Command::Txn(Txn { request, success: vec![put, all], ..Txn::default() });
    assert!(matches!(model.apply(&txn).0, Reply::Txn(_)));
    let (reply, effects) = model.apply(&txn);
    assert!(matches!(reply, Reply::Refused(StoreError::Unknown(_))), "{reply:?}");
    assert_eq!(effects, Effects::default());
}

#[test]
fn a_stale_expiry_is_refused() {
    let mut model = Model::default();
    let (granted, _) = model.apply(&Command::LeaseGrant { request: None, id: 0, ttl_ms: 1000 });
    assert_eq!(granted, Reply::Lease(1));
    assert_eq!(model.apply(&Command::LeaseRenew { lease: 1 }).0, Reply::Renewed { ttl_ms: 1000 });
    let expire = |renewals| Command::LeaseRevoke { lease: 1, only_if_renewals: Some(renewals) };
    assert!(matches!(model.apply(&expire(0)).0, Reply::Refused(StoreError::Invalid(_))));
    assert_eq!(model.apply(&expire(1)).0, Reply::Done);
    assert_eq!(model.apply(&expire(1)).0, Reply::Refused(StoreError::LeaseNotFound(1)));
}

#[test]
fn ids_are_given_out_once() {
    let mut model = Model::default();
    let request = |seq| Some(RequestId { client: 9, seq });
    let node = |seq| Command::AllocateNodeId { request: request(seq) };
    assert_eq!(model.apply(&node(1)).0, Reply::NodeId(1));
    assert_eq!(model.apply(&node(1)).0, Reply::NodeId(1));
    assert_eq!(model.apply(&node(2)).0, Reply::NodeId(2));
    let grant = |seq| Command::LeaseGrant { request: request(seq), id: 0, ttl_ms: 5 };
    assert_eq!(model.apply(&grant(3)).0, Reply::Lease(1));
    assert_eq!(model.apply(&grant(3)).0, Reply::Lease(1));
}

#[test]
fn the_hash_depends_on_every_field() {
    let kv = KeyValue {
        key: Bytes::from("k"),
        value: Bytes::from("v"),
        create_revision: 1,
        mod_revision: 2,
        version: 3,
        lease: 4,
    };
    let put = |kv: KeyValue| vec![Event::Put { kv, previous: None }];
    let variants = [
        put(kv.clone()),
        put(KeyValue { key: Bytes::from("kv"), value: Bytes::new(), ..kv.clone() }),
        put(KeyValue { value: Bytes::from("w"), ..kv.clone() }),
        put(KeyValue { create_revision: 9, ..kv.clone() }),
        put(KeyValue { mod_revision: 9, ..kv.clone() }),
        put(KeyValue { version: 9, ..kv.clone() }),
        put(KeyValue { lease: 9, ..kv.clone() }),
        vec![Event::Delete { kv: kv.clone(), previous: kv.clone() }],
    ];
    let hashes: std::collections::BTreeSet<u64> = variants.iter().map(|events| fold_hash(0, events)).collect();
    assert_eq!(hashes.len(), variants.len());
    assert_ne!(fold_hash(0, &variants[0]), fold_hash(1, &variants[0]));
    // The value is part of the data format: replicas of different versions compare it.
    assert_eq!(format!("{:016x}", fold_hash(0, &variants[0])), "269b5c9acf115427");
}

#[test]
fn many_leases_end_at_once_but_for_those_that_were_renewed() {
    let mut model = Model::default();
    for lease in 1..=3 {
        model.apply(&Command::LeaseGrant { request: None, id: 0, ttl_ms: 1 });
        let put = Op::Put { key: format!("k{lease}").into(), value: "v".into(), lease };
        model.apply(&Command::Txn(Txn { success: vec![put], ..Txn::default() }));
    }
    model.apply(&Command::LeaseRenew { lease: 2 });
    let end = Command::LeasesEnd { leases: vec![(1, 0), (2, 0), (3, 0), (9, 0)] };
    let (reply, effects) = model.apply(&end);
    assert_eq!((reply, effects.revision, effects.events.len()), (Reply::Done, Some(5), 2));
    assert_eq!(model.leases.keys().copied().collect::<Vec<_>>(), [2]);
    assert_eq!(model.newest.keys().cloned().collect::<Vec<_>>(), ["k2"]);
    model.check();
    let (reply, effects) = model.apply(&end);
    assert_eq!((reply, effects.revision), (Reply::Done, None), "once more changes nothing");
}

#[test]
fn too_large_a_deletion_is_refused() {
    let mut model = Model::default();
    model.apply(&Command::Txn(Txn::put("a", "v")));
    model.huge = true;
    let all = Op::DeleteRange { start: Bytes::new(), end: Bytes::new() };
    let success = vec![Op::Delete { key: "a".into() }, all];
    let (reply, effects) = model.apply(&Command::Txn(Txn { success, ..Txn::default() }));
    assert!(matches!(reply, Reply::Refused(StoreError::Invalid(_))), "{reply:?}");
    assert_eq!(effects, Effects::default());
}
