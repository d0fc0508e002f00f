//! The engine passes the store's conformance suite.

mod support;

use std::sync::Arc;

use store_api::{DynStore, conformance};
use support::EngineStore;

#[tokio::test]
async fn conforms() {
    let dir = tempfile::tempdir().expect("a directory");
    let store: DynStore = Arc::new(EngineStore::open(dir.path()));
    conformance::run(|| async { store.clone() }).await;
}
