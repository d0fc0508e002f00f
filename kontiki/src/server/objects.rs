//! The cache as authentication and authorization see it.

use std::sync::Arc;

use api_machinery::{ApiError, GroupResource, ObjectKey, Value};
use api_registry::Registry;
use async_trait::async_trait;

pub(crate) struct CachedObjects(pub(crate) Arc<Registry>);

/// How long a look-up waits for this replica to catch up.
const REFRESH: std::time::Duration = std::time::Duration::from_secs(3);

#[async_trait]
impl api_auth::Objects for CachedObjects {
    fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let key = ObjectKey::new(resource.clone(), namespace, name);
        self.0.peek(&key).map(|object| object.value())
    }

    fn pods_on_node(&self, node: &str) -> Vec<Arc<Value>> {
        self.0.cache.pods_on_node(node).objects.iter().map(|object| object.value()).collect()
    }

    async fn refresh(&self) -> Result<(), ApiError> {
        let unavailable = |error: &dyn std::fmt::Display| ApiError::unavailable(error.to_string()).retry_after(1);
        let revision = self.0.store.read_barrier().await.map_err(|error| unavailable(&error))?;
        self.0.cache.wait_for(revision, REFRESH).await.map_err(|error| unavailable(&error))
    }
}
