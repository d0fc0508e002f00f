//! Keeps the RBAC index in step with the cache.

use std::sync::Arc;
use std::time::Duration;

use api_auth::authz::rbac::{Index, Objects, Rbac};
use api_cache::Cache;
use api_machinery::{GroupResource, Value};
use tokio_util::sync::CancellationToken;

const GROUP: &str = "rbac.authorization.k8s.io";
const RESOURCES: [&str; 4] = ["clusterroles", "roles", "clusterrolebindings", "rolebindings"];
/// Changes that come close together make one new index.
const SETTLE: Duration = Duration::from_millis(5);
/// Before opening watches again that the cache has ended.
const RETRY: Duration = Duration::from_millis(100);

pub(crate) fn rebuild(cache: &Cache, rbac: &Rbac) {
    let list = |resource: &str| -> Vec<Arc<Value>> {
        let listing = cache.list(&GroupResource::new(GROUP, resource), None);
        listing.objects.iter().map(|object| object.kept_value()).collect()
    };
    let [cluster_roles, roles, cluster_role_bindings, role_bindings] = RESOURCES.map(list);
    rbac.update(Index::build(&Objects { cluster_roles, roles, cluster_role_bindings, role_bindings }));
}

/// Follows the four resources until stopped.
pub(crate) async fn follow(cache: Arc<Cache>, rbac: Arc<Rbac>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        stop.run_until_cancelled(follow_once(&cache, &rbac)).await;
        stop.run_until_cancelled(tokio::time::sleep(RETRY)).await;
    }
}

/// Until the cache ends a watch.
async fn follow_once(cache: &Arc<Cache>, rbac: &Rbac) {
    let from = cache.revision();
    let mut watchers = Vec::with_capacity(RESOURCES.len());
    for resource in RESOURCES {
        match cache.watch(&GroupResource::new(GROUP, resource), None, from) {
            Ok(watcher) => watchers.push(watcher),
            Err(error) => return tracing::warn!(%error, resource, "cannot watch"),
        }
    }
    loop {
        rebuild(cache, rbac);
        let next = futures::future::select_all(watchers.iter_mut().map(|watcher| Box::pin(watcher.next())));
        if let (Err(error), _, _) = next.await {
            return tracing::info!(%error, "the RBAC index starts over");
        }
        tokio::time::sleep(SETTLE).await;
    }
}
