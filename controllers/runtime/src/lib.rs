//! Informers on the cache, work queues, executing Plans, leadership.

mod client;
mod clock;
mod events;
mod execute;
mod informers;
pub mod leadership;
mod metrics;
mod queue;
mod scheduling;
mod visible_lease;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use api_registry::Registry;
use controller_logic::Settings;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::Client;
use crate::events::Recorder;
use crate::informers::Informers;
use crate::leadership::{Elector, Held};
use crate::workers::{Dispatcher, Running, Shop};

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

/// How long the work at hand may take to end when the leadership does.
const WIND_DOWN: Duration = Duration::from_secs(2);

/// Competes for leadership and, while leading, runs every controller and the scheduler. Returns when stopped,
/// with leadership given up.
pub async fn run(registry: Arc<Registry>, config: ControllersConfig, stop: CancellationToken) {
    let elector = Arc::new(Elector {
        store: registry.store.clone(),
        identity: config.identity.clone(),
        ttl: Duration::from_secs(config.lease_seconds.max(1)),
    });
    while let Some(held) = stop.run_until_cancelled(elector.win()).await {
        tracing::info!(identity = config.identity, epoch = held.epoch, "leading: controllers and scheduler start");
        let leading = stop.child_token();
        let tasks = TaskTracker::new();
        // On a task of its own: renewing must not wait for the first lists.
        let (holder, own, token) = (elector.clone(), held.clone(), leading.clone());
        let holding = tokio::spawn(async move { holder.hold(&own, &token).await });
        // When this future is dropped without a stop, for instance because its runtime goes, renewing ends too.
        let _guard = leading.clone().drop_guard();
        tokio::select! {
            _ = holding => {}
            () = lead(&registry, &config, &held, &leading, &tasks) => {}
        }
        leading.cancel();
        tasks.close();
        if tokio::time::timeout(WIND_DOWN, tasks.wait()).await.is_err() {
            tracing::warn!("some controllers did not end in time; the fence holds their writes back");
        }
        elector.release(held).await;
        tracing::info!(identity = config.identity, "not leading any more");
    }
}

/// Starts everything and waits for the end of the leadership.
async fn lead(
    registry: &Arc<Registry>,
    config: &ControllersConfig,
    held: &Held,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) {
    // Whatever a former leader wrote, it wrote before this epoch began.
    while registry.cache.wait_for(held.epoch, Duration::from_secs(1)).await.is_err() {
        tracing::debug!(epoch = held.epoch, "the cache is still behind the start of this leadership");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let fence = Some(held.fence());
    let informers = Arc::new(Informers::new(registry.cache.clone(), registry.schema));
    let recorder = Recorder::start(registry, fence.clone(), stop);
    let shop = Arc::new(Shop { informers: informers.clone(), recorder: recorder.clone() });
    let settings = Settings { root_ca_pem: config.root_ca_pem.clone() };
    let mut controllers: Vec<_> = controller_logic::all(&settings).into_iter().map(Running::new).collect();
    let garbage = Running::new(Box::new(controller_logic::garbage_collector::GarbageCollector));
    let scheduler = scheduling::Scheduling::new(registry, fence.clone(), recorder);
    let dispatcher =
        Dispatcher { controllers: controllers.clone(), garbage: garbage.clone(), scheduler: scheduler.listener() };
    let (first, token) = (informers.clone(), stop.clone());
    // The first lists decode every object: not on a thread that others need.
    let listed = tokio::task::spawn_blocking(move || first.follow(Arc::new(dispatcher), &token)).await;
    if let Err(error) = listed {
        tracing::error!(%error, "the first lists failed");
        return;
    }
    controllers.push(garbage);
    for running in &controllers {
        let client = Client::new(registry.clone(), running.account(), fence.clone());
        workers::start(running, client, &shop, tasks, stop);
    }
    let lease_client = Client::new(registry.clone(), "leader-election", fence);
    tasks.spawn(visible_lease::keep(lease_client, config.identity.clone(), stop.clone()));
    tasks.spawn(scheduler.run(stop.clone()));
    stop.cancelled().await;
}
