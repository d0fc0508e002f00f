//! What admission plugins see of the cluster: this replica's cache.

use std::sync::Arc;
use std::time::Duration;

use api_admission::View;
use api_machinery::{ApiError, GroupResource, ObjectKey, Value};
use async_trait::async_trait;

use crate::Registry;
use crate::errors::{from_cache, from_store};

const REFRESH_TIMEOUT: Duration = Duration::from_secs(5);

#[async_trait]
impl View for Registry {
    fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.cache.get(&ObjectKey::new(resource.clone(), namespace, name)).map(|object| object.kept_value())
    }

    fn list(&self, resource: &GroupResource, namespace: Option<&str>) -> Vec<Arc<Value>> {
        self.cache.list(resource, namespace).objects.iter().map(|object| object.kept_value()).collect()
    }

    async fn refresh(&self) -> Result<(), ApiError> {
        let revision = self.store.read_barrier().await.map_err(from_store)?;
        self.cache.wait_for(revision, REFRESH_TIMEOUT).await.map_err(from_cache)
    }
}
