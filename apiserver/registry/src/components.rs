//! `componentstatuses`: not stored, but found out when they are asked for. Upstream probes ports; here the
//! Leases say whether a scheduler and controllers are at work, and a read barrier whether the store is.

use std::sync::Arc;

use api_cache::{Listing, Object};
use api_machinery::{ApiError, GroupResource, ObjectKey, Reason, Value, object, time};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::read::{FRESHNESS_TIMEOUT, page};
use crate::scope::Scope;
use crate::select::Selection;
use crate::{List, ListOptions, Registry, Target};

pub(crate) const PLURAL: &str = "componentstatuses";
/// Upstream's names, in order, with the Lease that each one's leader keeps.
const LED: [(&str, &str); 2] = [("controller-manager", "kube-controller-manager"), ("scheduler", "kube-scheduler")];
const STORE: &str = "etcd-0";

/// Why a component is not healthy.
type Health = Result<(), String>;

impl Registry {
    /// A name that no component has is an error of the server, as upstream.
    pub(crate) async fn get_component(&self, scope: &Scope<'_>) -> Result<Arc<Object>, ApiError> {
        let mut all = self.components(scope.now).await.into_iter();
        let found = all.find(|component| &*component.key.name == scope.name);
        found.ok_or_else(|| ApiError::new(500, Reason::Unknown, format!("Component not found: {}", scope.name)))
    }

    pub(crate) async fn list_components(&self, target: &Target<'_>, options: ListOptions) -> Result<List, ApiError> {
        let kind = api_kinds::of(&target.resource.storage);
        let selection = Selection::new(kind, options.label_selector, options.field_selector)?;
        let objects = self.components(self.config.clock.now()).await;
        let listing = Listing { objects, revision: self.store.applied_revision() };
        Ok(page(listing, &selection, 0, target.resource))
    }

    async fn components(&self, now: Timestamp) -> Vec<Arc<Object>> {
        // Before the Leases are looked at, so that they are not those of long ago.
        let store = self.store_health().await;
        let mut all: Vec<(&str, Health)> =
            LED.iter().map(|(name, lease)| (*name, leads(self.lease(lease).as_deref(), lease, now))).collect();
        all.push((STORE, store));
        all.sort_unstable_by_key(|(name, _)| *name);
        let revision = self.store.applied_revision();
        all.into_iter().map(|(name, health)| Arc::new(status(name, &health, revision))).collect()
    }

    async fn store_health(&self) -> Health {
        match tokio::time::timeout(FRESHNESS_TIMEOUT, self.barrier()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.message),
            Err(_) => Err("context deadline exceeded".to_owned()),
        }
    }

    fn lease(&self, name: &str) -> Option<Arc<Value>> {
        let key = ObjectKey::new(GroupResource::new("coordination.k8s.io", "leases"), "kube-system", name);
        self.cache.get(&key).map(|object| object.value())
    }
}

/// Whether somebody holds a Lease and renewed it in time.
fn leads(lease: Option<&Value>, name: &str, now: Timestamp) -> Health {
    let holder = lease.map_or("", |lease| object::str_at(lease, "spec.holderIdentity"));
    if holder.is_empty() {
        return Err(format!("nobody holds the lease kube-system/{name}"));
    }
    let renewed = lease.and_then(|lease| time::parse(object::str_at(lease, "spec.renewTime")));
    let seconds = lease.and_then(|lease| object::at(lease, "spec.leaseDurationSeconds")).and_then(Value::as_i64);
    let lasts = SignedDuration::from_secs(seconds.unwrap_or(0));
    match renewed.and_then(|renewed| renewed.checked_add(lasts).ok()) {
        Some(end) if end >= now => Ok(()),
        _ => Err(format!("{holder} did not renew the lease kube-system/{name} in time")),
    }
}

fn status(name: &str, health: &Health, revision: store_api::Revision) -> Object {
    let condition = match health {
        Ok(()) => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        Err(why) => json!({"type": "Healthy", "status": "False", "error": why}),
    };
    let value = json!({
        "kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name}, "conditions": [condition],
    });
    let key = ObjectKey::new(GroupResource::new("", PLURAL), "", name);
    Object::new(key, revision, Bytes::from(value.to_string()))
}
