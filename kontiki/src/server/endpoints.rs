//! The endpoints of the `kubernetes` Service: the API servers that are alive, as upstream's lease reconciler keeps
//! them. Every replica holds a key that ends with it; the replica that leads the store publishes what keys there are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api_machinery::{GroupResource, ObjectKey};
use api_registry::Registry;
use store_api::{DynStore, LeaseId, Op, RangeRequest, ReadAt, StoreError, Txn};
use tokio_util::sync::CancellationToken;

const PREFIX: &str = "/leases/apiservers/";
/// Upstream's: so long after its end a replica that was not stopped in order still has an endpoint.
const TTL: Duration = Duration::from_secs(15);
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// How often the leader compares what is with what is published. A read of its own memory.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Published anew after this even when nothing changed here: somebody may have changed the endpoints.
const RECONCILE_EVERY: Duration = Duration::from_secs(60);

/// Endpoints may not name loopback addresses (they would mean another machine on every node), so a replica that is
/// only reached there has none.
pub(crate) fn publishable(advertise: &str) -> Option<SocketAddr> {
    advertise.parse::<SocketAddr>().ok().filter(|address| !address.ip().is_loopback())
}

/// Keeps this replica's endpoint, and all of them while it leads. Ends when stopped, and the endpoint with it.
pub(crate) async fn keep(registry: Arc<Registry>, own: Option<SocketAddr>, stop: CancellationToken) {
    let store = registry.store.clone();
    tokio::join!(hold(store, own, stop.clone()), publish(registry, stop));
}

/// Says that this replica is alive.
async fn hold(store: DynStore, own: Option<SocketAddr>, stop: CancellationToken) {
    let Some(own) = own else { return };
    let mut lease = None;
    while !stop.is_cancelled() {
        lease = match renewed(&store, own, lease).await {
            Ok(lease) => Some(lease),
            Err(error) => {
                tracing::debug!(%error, "cannot say yet that this API server is alive");
                None
            }
        };
        stop.run_until_cancelled(tokio::time::sleep(RENEW_EVERY)).await;
    }
    if let Some(lease) = lease
        && let Err(error) = store.lease_revoke(lease).await
    {
        tracing::debug!(%error, "the endpoint of this API server ends by itself");
    }
}

async fn renewed(store: &DynStore, own: SocketAddr, lease: Option<LeaseId>) -> Result<LeaseId, StoreError> {
    if let Some(lease) = lease {
        match store.lease_renew(lease).await {
            Ok(_) => return Ok(lease),
            Err(StoreError::LeaseNotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let lease = store.lease_grant(TTL).await?;
    let put = Op::Put { key: format!("{PREFIX}{own}").into(), value: Default::default(), lease };
    store.txn(Txn { success: vec![put], ..Txn::default() }).await?;
    Ok(lease)
}

/// While this replica leads the store: what is alive is published.
async fn publish(registry: Arc<Registry>, stop: CancellationToken) {
    let mut published: Option<(Vec<SocketAddr>, tokio::time::Instant)> = None;
    while !stop.is_cancelled() {
        let status = registry.store.status();
        if status.leader != Some(status.id) {
            published = None;
        } else if let Some(alive) = alive(&registry).await {
            let known = published.as_ref().filter(|(_, at)| at.elapsed() < RECONCILE_EVERY);
            if known.is_none_or(|(known, _)| *known != alive) {
                published = publish_once(&registry, alive).await;
            }
        }
        stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await;
    }
}

async fn publish_once(registry: &Registry, alive: Vec<SocketAddr>) -> Option<(Vec<SocketAddr>, tokio::time::Instant)> {
    match registry.publish_endpoints(&alive).await {
        Ok(()) => Some((alive, tokio::time::Instant::now())),
        Err(error) => {
            tracing::warn!(%error, "cannot publish the API servers' endpoints yet");
            None
        }
    }
}

/// `None`: nobody is known to be, which is no reason to take away the endpoints there are.
async fn alive(registry: &Registry) -> Option<Vec<SocketAddr>> {
    let mut all = RangeRequest::prefix(PREFIX.as_bytes(), ReadAt::Local);
    all.keys_only = true;
    let keys = registry.store.range(all).await.ok()?.kvs;
    let address = |key: &[u8]| std::str::from_utf8(key).ok()?.strip_prefix(PREFIX)?.parse().ok();
    let alive: Vec<SocketAddr> = keys.iter().filter_map(|kv| address(&kv.key)).collect();
    Some(alive).filter(|alive| !alive.is_empty() || registry.peek(&published_key()).is_none())
}

fn published_key() -> ObjectKey {
    ObjectKey::new(GroupResource::new("", "endpoints"), "default", "kubernetes")
}

#[cfg(test)]
mod tests {
    use api_cache::{Cache, CacheConfig};
    use api_registry::{Clock, RegistryConfig};
    use store_api::mem::MemStore;

    use super::*;

    struct Noon;
    impl Clock for Noon {
        fn now(&self) -> jiff::Timestamp {
            jiff::Timestamp::UNIX_EPOCH
        }
    }

    async fn registry(store: DynStore, keys: &std::path::Path) -> Arc<Registry> {
        let cache = Cache::start(store.clone(), CacheConfig::default()).await.expect("a cache");
        let tokens = pki::tokens::TokenIssuer::load_or_create(keys, "i", vec!["i".to_owned()]).expect("keys");
        let config = RegistryConfig {
            service_cidr: "10.96.0.0/16".to_owned(),
            node_ports: 30000..=32767,
            allow_privileged: true,
            clock: Arc::new(Noon),
            tokens: Arc::new(tokens),
        };
        let admission = api_admission::Chain::of(Vec::new());
        Registry::new(api_schema::Schema::builtin(), store, cache, admission, config)
    }

    /// The addresses in the Endpoints, once they are `count`.
    async fn published(registry: &Registry, count: usize) -> Vec<String> {
        loop {
            let object = registry.peek(&published_key()).map(|object| object.value());
            let list = object.iter().filter_map(|object| object["subsets"][0]["addresses"].as_array()).flatten();
            let ips: Vec<String> = list.filter_map(|one| one["ip"].as_str().map(str::to_owned)).collect();
            if ips.len() == count {
                return ips;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn endpoints_are_those_that_are_alive() {
        let keys = tempfile::tempdir().expect("a directory");
        let registry = registry(MemStore::new().into_dyn(), keys.path()).await;
        let start = |own: &str| {
            let stop = CancellationToken::new();
            let task = tokio::spawn(keep(registry.clone(), publishable(own), stop.clone()));
            (task, stop)
        };
        let (first, second) = (start("192.0.2.1:6443"), start("192.0.2.2:6443"));
        let third = start("127.0.0.1:6443");
        assert_eq!(published(&registry, 2).await, ["192.0.2.1", "192.0.2.2"]);
        // Stopped in order, it is gone at once; killed, it is gone when its lease is over.
        let began = tokio::time::Instant::now();
        second.1.cancel();
        second.0.await.expect("ends");
        assert_eq!(published(&registry, 1).await, ["192.0.2.1"]);
        assert!(began.elapsed() < RENEW_EVERY, "{:?}", began.elapsed());
        let again = start("192.0.2.2:6443");
        published(&registry, 2).await;
        again.0.abort();
        assert_eq!(published(&registry, 1).await, ["192.0.2.1"]);
        assert!(began.elapsed() > TTL, "{:?}", began.elapsed());
        // The last one keeps its endpoint: who comes next is told where something was.
        first.1.cancel();
        first.0.await.expect("ends");
        tokio::time::sleep(TTL).await;
        assert_eq!(published(&registry, 1).await, ["192.0.2.1"]);
        third.1.cancel();
        third.0.await.expect("ends");
    }
}
