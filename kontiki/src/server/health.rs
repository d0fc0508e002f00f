//! What `/readyz` and `/livez` ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api_cache::Cache;
use api_http::HealthCheck;
use store_api::DynStore;
use store_node::RaftStore;

/// Entries the cache may be behind the store before the replica says it is not ready.
const MAX_LAG: u64 = 5_000;

pub(crate) struct StoreCheck(pub(crate) Arc<RaftStore>);

impl HealthCheck for StoreCheck {
    /// The name upstream's check of its store has, for tools that ask for it.
    fn name(&self) -> &str {
        "etcd"
    }
    fn check(&self) -> Result<(), String> {
        self.0.health()
    }
}

pub(crate) struct CacheCheck(pub(crate) Arc<Cache>, pub(crate) DynStore);

impl HealthCheck for CacheCheck {
    fn name(&self) -> &str {
        "informer-sync"
    }
    fn check(&self) -> Result<(), String> {
        let lag = self.1.applied_revision().saturating_sub(self.0.revision());
        if lag > MAX_LAG { Err(format!("the cache is {lag} revisions behind the store")) } else { Ok(()) }
    }
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
