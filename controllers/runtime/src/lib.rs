//! Informers on the cache, work queues, executing Plans, leadership.

mod client;
mod clock;
mod events;
mod execute;
mod informers;
pub mod leadership;
mod metrics;
mod powers;
mod queue;
mod scheduling;
mod visible_lease;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use api_registry::Registry;
use controller_logic::garbage_collector::GarbageCollector;
use controller_logic::{Controller as _, Settings};
use store_api::NodeId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::Client;
use crate::events::Recorder;
use crate::informers::{Informers, Listener};
use crate::leadership::{Elector, Held};
pub use crate::powers::{Powers, Signer};
use crate::scheduling::Scheduling;
use crate::workers::{Dispatcher, Running, Shop};
pub use controller_logic::Chosen;
pub use controller_logic::plan::Signing;

/// How the controllers of one replica are run.
#[derive(Clone, Debug)]
pub struct ControllersConfig {
    /// Which replica of the store this is.
    pub replica: NodeId,
    /// Unique per process: who holds the leadership.
    pub identity: String,
    /// Seconds after which an unrenewed leadership ends.
    pub lease_seconds: u64,
    /// PEM of the cluster CA, published to every namespace as `kube-root-ca.crt`.
    pub root_ca_pem: String,
    /// What controllers may ask of this replica beyond the API.
    pub powers: Powers,
    pub chosen: Chosen,
}

/// How long the work at hand may take to end when the leadership does: one write.
const WIND_DOWN: Duration = Duration::from_secs(1);

/// Follows the cache all the time, competes for leadership and, while leading, runs every controller and the
/// scheduler. Returns when stopped, with leadership given up. Where none of them is to run, it only waits: a typed form
/// of every object takes as much memory as the object.
pub async fn run(registry: Arc<Registry>, config: ControllersConfig, stop: CancellationToken) {
    if config.chosen.runs_nothing() {
        return stop.cancelled().await;
    }
    let following = stop.child_token();
    // When this future is dropped without a stop, for instance because its runtime goes, all of it ends too.
    let _guard = following.clone().drop_guard();
    let Some(informers) = start_informers(&registry, following).await else { return };
    let elector = Arc::new(Elector {
        store: registry.store.clone(),
        replica: config.replica,
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
        let _guard = leading.clone().drop_guard();
        tokio::select! {
            _ = holding => {}
            () = lead(&registry, &informers, &config, &held, &leading, &tasks) => {}
        }
        leading.cancel();
        informers.detach();
        tasks.close();
        if tokio::time::timeout(WIND_DOWN, tasks.wait()).await.is_err() {
            tracing::warn!("some controllers did not end in time; the fence holds their writes back");
        }
        elector.release(held).await;
        tracing::info!(identity = config.identity, "not leading any more");
    }
}

async fn start_informers(registry: &Arc<Registry>, stop: CancellationToken) -> Option<Arc<Informers>> {
    let informers = Arc::new(Informers::new(registry.cache.clone(), registry.schema));
    let own = informers.clone();
    // The first lists decode every object: not on a thread that others need.
    let listed = tokio::task::spawn_blocking(move || own.start(&stop)).await;
    listed.inspect_err(|error| tracing::error!(%error, "the first lists failed")).ok().map(|()| informers)
}

/// Starts everything and waits for the end of the leadership.
async fn lead(
    registry: &Arc<Registry>,
    informers: &Arc<Informers>,
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
    informers.caught_up(held.epoch).await;
    let fence = Some(held.fence());
    let recorder = Recorder::start(registry, fence.clone(), stop);
    let shop = Arc::new(Shop { informers: informers.clone(), recorder: recorder.clone(), stop: stop.clone() });
    let settings = Settings { root_ca_pem: config.root_ca_pem.clone() };
    let chosen = &config.chosen;
    let all = controller_logic::all(&settings).into_iter();
    let mut controllers: Vec<_> = all.filter(|one| chosen.runs(one.name())).map(Running::new).collect();
    let garbage = chosen.runs(GarbageCollector.name()).then(|| Running::new(Box::new(GarbageCollector)));
    let scheduler = chosen.runs_scheduler().then(|| Scheduling::new(registry, fence.clone(), recorder));
    let dispatcher = Dispatcher {
        controllers: controllers.clone(),
        garbage: garbage.clone(),
        scheduler: scheduler.as_ref().map(Scheduling::listener),
    };
    if let Err(error) = attach(informers, dispatcher, stop).await {
        tracing::error!(%error, "the controllers could not be told what there is");
        return;
    }
    controllers.extend(garbage);
    for running in &controllers {
        let client = Client::new(registry.clone(), running.account(), fence.clone()).with_powers(&config.powers);
        workers::start(running, client, &shop, tasks);
    }
    let lease_client = Client::new(registry.clone(), "leader-election", fence);
    let leases = visible_lease::names(chosen);
    tasks.spawn(visible_lease::keep(leases, lease_client, config.identity.clone(), stop.clone()));
    if let Some(scheduler) = scheduler {
        tasks.spawn(scheduler.run(stop.clone()));
    }
    stop.cancelled().await;
}

/// Maps every object to keys: not on a thread that others need.
async fn attach(
    informers: &Arc<Informers>,
    dispatcher: Dispatcher,
    stop: &CancellationToken,
) -> Result<(), tokio::task::JoinError> {
    let (informers, stop, dispatcher) = (informers.clone(), stop.clone(), Arc::new(dispatcher) as Arc<dyn Listener>);
    tokio::task::spawn_blocking(move || informers.attach(&dispatcher, &stop)).await
}
