//! What `/readyz` and `/livez` ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api_cache::Cache;
use api_http::HealthCheck;
use store_api::DynStore;

/// Entries the cache may be behind the store before the replica says it is not ready.
const MAX_LAG: u64 = 5_000;

/// The name upstream's check of its store has, for tools that ask for it.
pub(crate) const STORE: &str = "etcd";

/// Whether this replica is in contact with the others of the store.
pub(crate) struct StoreCheck(pub(crate) &'static str, pub(crate) DynStore);

impl HealthCheck for StoreCheck {
    fn name(&self) -> &str {
        self.0
    }
    fn check(&self) -> Result<(), String> {
        self.1.health()
    }
}

/// Whether this replica still follows its store: once it does not, only a new process does. That there is no leader
/// is no reason to end this one.
pub(crate) struct LiveCheck(pub(crate) Arc<Cache>);

impl HealthCheck for LiveCheck {
    fn name(&self) -> &str {
        STORE
    }
    fn check(&self) -> Result<(), String> {
        self.0.closed().map_or(Ok(()), Err)
    }
}

pub(crate) struct CacheCheck(pub(crate) Arc<Cache>, pub(crate) DynStore);

impl HealthCheck for CacheCheck {
    fn name(&self) -> &str {
        "informer-sync"
    }
    fn check(&self) -> Result<(), String> {
        if let Some(why) = self.0.closed() {
            return Err(format!("the cache does not follow the store any more: {why}"));
        }
        let lag = self.1.applied_revision().saturating_sub(self.0.revision());
        if lag > MAX_LAG { Err(format!("the cache is {lag} revisions behind the store")) } else { Ok(()) }
    }
}

/// What `/readyz` asks. The first objects come in one go, under the names that upstream has for parts of them.
pub(crate) fn ready(cache: &Arc<Cache>, store: &DynStore, bootstrapped: &Flag) -> Vec<Box<dyn HealthCheck>> {
    let mut all: Vec<Box<dyn HealthCheck>> = vec![
        Box::new(StoreCheck(STORE, store.clone())),
        Box::new(StoreCheck("etcd-readiness", store.clone())),
        Box::new(CacheCheck(cache.clone(), store.clone())),
    ];
    for name in [
        "poststarthook/start-system-namespaces-controller",
        "poststarthook/rbac/bootstrap-roles",
        "poststarthook/scheduling/bootstrap-system-priority-classes",
        "poststarthook/bootstrap-objects",
    ] {
        all.push(Box::new(FlagCheck(name, bootstrapped.clone())));
    }
    all
}

/// What `/livez` and `/healthz` ask.
pub(crate) fn live(cache: &Arc<Cache>) -> Vec<Box<dyn HealthCheck>> {
    vec![Box::new(LiveCheck(cache.clone()))]
}

/// Set once.
#[derive(Clone, Default)]
pub(crate) struct Flag(pub(crate) Arc<AtomicBool>);

impl Flag {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

pub(crate) struct FlagCheck(pub(crate) &'static str, pub(crate) Flag);

impl HealthCheck for FlagCheck {
    fn name(&self) -> &str {
        self.0
    }
    fn check(&self) -> Result<(), String> {
        if self.1.0.load(Ordering::Acquire) { Ok(()) } else { Err("not finished".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use api_cache::CacheConfig;
    use store_api::mem::MemStore;

    use super::*;

    #[tokio::test]
    async fn checks_go_by_the_names_tools_ask_for() {
        let store = MemStore::new().into_dyn();
        let cache = Cache::start(store.clone(), CacheConfig::default()).await.expect("started");
        let flag = Flag::default();
        let failing = |checks: Vec<Box<dyn HealthCheck>>| -> Vec<String> {
            checks.iter().filter(|check| check.check().is_err()).map(|check| check.name().to_owned()).collect()
        };
        let names: Vec<String> = live(&cache).iter().map(|check| check.name().to_owned()).collect();
        assert_eq!((names, failing(live(&cache))), (vec!["etcd".to_owned()], vec![]));
        let waiting = failing(ready(&cache, &store, &flag));
        assert!(waiting.iter().all(|name| name.starts_with("poststarthook/")) && waiting.len() == 4, "{waiting:?}");
        flag.set();
        assert_eq!(failing(ready(&cache, &store, &flag)), [""; 0]);
    }
}
