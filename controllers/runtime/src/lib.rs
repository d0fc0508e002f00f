//! Informers on the cache, work queues, executing Plans, leadership.

use std::sync::Arc;

use api_registry::Registry;
use tokio_util::sync::CancellationToken;

/// How the controllers of one replica are run.
#[derive(Clone, Debug)]
pub struct ControllersConfig {
    /// Unique per process: who holds the leadership.
    pub identity: String,
    /// Seconds after which an unrenewed leadership ends.
    pub lease_seconds: u64,
    /// PEM of the cluster CA, published to every namespace as `kube-root-ca.crt`.
    pub root_ca_pem: String,
}

/// Competes for leadership and, while leading, runs every controller and the scheduler. Returns when stopped,
/// with leadership given up.
pub async fn run(_registry: Arc<Registry>, _config: ControllersConfig, _stop: CancellationToken) {
    todo!()
}
