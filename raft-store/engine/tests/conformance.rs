//! The engine passes the store's conformance suite.

use std::sync::Arc;

use crate::support::EngineStore;
use store_api::{DynStore, conformance};

#[tokio::test]
async fn conforms() {
    let dir = tempfile::tempdir().expect("a directory");
    let store: DynStore = Arc::new(EngineStore::open(dir.path()));
    conformance::run(|| async { store.clone() }).await;
}
