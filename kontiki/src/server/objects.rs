//! The cache as authentication and authorization see it.

use std::sync::Arc;

use api_admission::View;
use api_auth::authz::node::References;
use api_machinery::{ApiError, GroupResource, ObjectKey, Value};
use api_registry::Registry;
use async_trait::async_trait;

pub(crate) struct CachedObjects(pub(crate) Arc<Registry>);

#[async_trait]
impl api_auth::Objects for CachedObjects {
    fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let key = ObjectKey::new(resource.clone(), namespace, name);
        self.0.peek(&key).map(|object| object.kept_value())
    }

    fn references_on_node(&self, node: &str) -> Vec<Arc<References>> {
        self.0.cache.pods_on_node(node).objects.iter().filter_map(|pod| pod.typed()).collect()
    }

    async fn refresh(&self) -> Result<(), ApiError> {
        View::refresh(&*self.0).await
    }
}
