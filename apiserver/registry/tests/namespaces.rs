//! New objects and the end of their namespace: whatever a replica shows, nothing is made in a namespace that is
//! going away or gone.

use crate::common::{Harness, refusal};
use api_admission::{Attributes, Chain, Operation, Plugin, View};
use api_machinery::{ApiError, GroupResource, ObjectKey, Value};
use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::json;
use store_api::mem::MemStore;
use store_api::{ReadAt, Store, Txn};

const MAPS: &str = "v1/configmaps";

/// Writes once, as another replica, after admission has looked and before the object is written.
struct Meddler {
    store: MemStore,
    write: Mutex<Option<Txn>>,
}

#[async_trait]
impl Plugin for Meddler {
    fn name(&self) -> &'static str {
        "Meddler"
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        _object: Option<&Value>,
        _view: &dyn View,
    ) -> Result<(), ApiError> {
        let mine = attributes.operation == Operation::Create && attributes.resource.plural == "configmaps";
        let write = if mine { self.write.lock().take() } else { None };
        if let Some(write) = write {
            self.store.txn(write).await.map_err(ApiError::internal)?;
        }
        Ok(())
    }
}

fn key() -> String {
    ObjectKey::new(GroupResource::new("", "namespaces"), "", "n").store_key()
}

/// A namespace `n`, and one more write to it in the middle of the next create.
async fn harness(write: impl FnOnce(Value) -> Txn) -> Harness {
    let store = MemStore::new();
    let first = Harness::with(store.clone(), Chain::standard()).await;
    first.create("v1/namespaces", "", json!({"metadata": {"name": "n"}})).await.expect("created");
    let kv = store.get(key().as_bytes(), ReadAt::Local).await.expect("read").kv.expect("there");
    let write = Mutex::new(Some(write(serde_json::from_slice(&kv.value).expect("JSON"))));
    let mut chain = Chain::standard();
    chain.push(Box::new(Meddler { store: store.clone(), write }));
    Harness::with(store, chain).await
}

fn put(namespace: &Value) -> Txn {
    Txn::put(key(), namespace.to_string())
}

#[tokio::test]
async fn a_namespace_that_ends_meanwhile_takes_nothing() {
    let gone = harness(|_| Txn::delete(key())).await;
    let refused = refusal(gone.create(MAPS, "n/", json!({"metadata": {"name": "x"}})).await);
    assert_eq!(refused, r#"404 NotFound: namespaces "n" not found"#);
    let ending = harness(|mut namespace| {
        namespace["metadata"]["deletionTimestamp"] = "2027-01-15T08:00:00Z".into();
        put(&namespace)
    })
    .await;
    let error = ending.create(MAPS, "n/", json!({"metadata": {"name": "x"}})).await.expect_err("it is ending");
    let status = error.to_status();
    assert_eq!((error.code, &status["details"]["causes"][0]["reason"]), (403, &json!("NamespaceTerminating")));
    for h in [gone, ending] {
        let key = ObjectKey::new(GroupResource::new("", "configmaps"), "n", "x").store_key();
        assert_eq!(h.store.get(key.as_bytes(), ReadAt::Local).await.expect("read").kv, None, "nothing is left behind");
    }
}

#[tokio::test]
async fn other_changes_of_a_namespace_are_looked_at_and_passed() {
    let h = harness(|mut namespace| {
        namespace["metadata"]["labels"]["color"] = "red".into();
        put(&namespace)
    })
    .await;
    h.create(MAPS, "n/", json!({"metadata": {"name": "x"}})).await.expect("created at the second try");
    let taken = refusal(h.create(MAPS, "n/", json!({"metadata": {"name": "x"}})).await);
    assert_eq!(taken, r#"409 AlreadyExists: configmaps "x" already exists"#);
}
