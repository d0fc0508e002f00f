//! What admission plugins see of the cluster: this replica's cache.

use std::sync::Arc;
use std::time::Duration;

use api_admission::{Notes, Place, View};
use api_machinery::{ApiError, GroupResource, GroupVersion, GroupVersionKind, ObjectKey, Reason, Value};
use async_trait::async_trait;
use serde_json::json;

use crate::errors::{from_cache, from_store};
use crate::{Body, Registry, RequestInfo, Target};

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

    fn place_of(&self, api_version: &str, kind: &str) -> Option<Place> {
        let gv = GroupVersion::parse(api_version);
        let gvk = GroupVersionKind { group: gv.group, version: gv.version, kind: kind.into() };
        let resource = self.schema.resource_of_kind(&gvk)?;
        Some(Place {
            resource: resource.group_resource(),
            version: resource.gv.version.to_string(),
            namespaced: resource.namespaced,
        })
    }

    async fn make_namespace(&self, name: &str) -> Result<(), ApiError> {
        let resource = self.schema.own("", "v1", "namespaces").ok_or_else(ApiError::no_such_path)?;
        let (info, notes) = (RequestInfo::internal("system:apiserver"), Notes::default());
        let target = Target { resource, namespace: "", name: "", subresource: "" };
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let made = self.create_from_body(&self.scope(&info, &target, &notes), Body::Value(body)).await;
        match made {
            Err(error) if error.reason != Reason::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }
}
