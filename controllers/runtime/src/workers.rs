//! Running controllers: changes become keys, keys become plans, plans are performed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api_machinery::Value;
use api_machinery::error::{ApiError, Reason, Result};
use controller_logic::plan::{Plan, Target};
use controller_logic::world::Changed;
use controller_logic::{Context, Controller, Failure, Key, World};
use parking_lot::Mutex;
use store_api::Revision;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::Client;
use crate::clock;
use crate::events::Recorder;
use crate::execute::{Performed, execute};
use crate::informers::{Informers, Listener};
use crate::queue::Queue;

/// Between two tries to learn what became of a write.
const BARRIER_PAUSE: Duration = Duration::from_millis(100);
/// Rounds of reading before a plan must decide.
const READ_ROUNDS: usize = 4;

/// One controller with its queue.
pub(crate) struct Running {
    controller: Box<dyn Controller>,
    queue: Queue<Key>,
    /// Of keys whose last plan was not completed.
    failures: Mutex<HashMap<Key, Failure>>,
}

impl Running {
    pub(crate) fn new(controller: Box<dyn Controller>) -> Arc<Self> {
        let queue = Queue::new(controller.name(), controller.pace());
        Arc::new(Self { controller, queue, failures: Mutex::new(HashMap::new()) })
    }

    pub(crate) fn account(&self) -> &'static str {
        self.controller.account()
    }
}

/// Who is told of every change.
pub(crate) type Told = Arc<dyn Fn(&Changed) + Send + Sync>;

/// Hands changes to the queues of all controllers, and to whoever else listens.
pub(crate) struct Dispatcher {
    pub(crate) controllers: Vec<Arc<Running>>,
    /// The garbage collector's, which is fed by ownership instead of kinds.
    pub(crate) garbage: Option<Arc<Running>>,
    pub(crate) scheduler: Option<Told>,
}

impl Listener for Dispatcher {
    fn changed(&self, world: &World, change: &Changed) {
        for running in &self.controllers {
            for key in running.controller.keys(world, &change.view()) {
                running.queue.add(key);
            }
        }
        if let Some(tell) = &self.scheduler {
            tell(change);
        }
    }
    fn ownership_changed(&self, uids: Vec<Arc<str>>) {
        let Some(garbage) = &self.garbage else { return };
        for uid in uids {
            garbage.queue.add(Key { namespace: "".into(), name: uid });
        }
    }
}

/// What every worker works with.
pub(crate) struct Shop {
    pub(crate) informers: Arc<Informers>,
    pub(crate) recorder: Recorder,
    /// Cancelled when the leadership is over.
    pub(crate) stop: CancellationToken,
}

/// Starts the workers of a controller; they end with the leadership, after the actions at hand.
pub(crate) fn start(running: &Arc<Running>, client: Client, shop: &Arc<Shop>, tasks: &TaskTracker) {
    let resync = running.controller.resync_seconds();
    let (own, keys) = (running.clone(), shop.clone());
    tasks.spawn(async move { keys.stop.run_until_cancelled(look_at_all(&own, &keys, resync)).await });
    for _ in 0..running.controller.workers() {
        let (own, client, shop) = (running.clone(), client.clone(), shop.clone());
        tasks.spawn(async move {
            while let Some(key) = shop.stop.run_until_cancelled(own.queue.next()).await {
                let began = Instant::now();
                work(&own, &client, &shop, &key).await;
                own.queue.done(&key, began);
            }
        });
    }
}

async fn look_at_all(running: &Running, shop: &Shop, resync: u64) {
    loop {
        let keys = running.controller.all_keys(&shop.informers.world());
        keys.into_iter().for_each(|key| running.queue.add(key));
        if resync == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_secs(resync)).await;
    }
}

async fn work(running: &Running, client: &Client, shop: &Shop, key: &Key) {
    let plan = match decide(running, client, shop, key).await {
        Ok(plan) => plan,
        Err(error) => return failed(running, key, Failure { reason: "", message: error.message.clone() }, &error),
    };
    let done = execute(client, &shop.recorder, running.controller.account(), &shop.stop, &plan).await;
    // The next look at this key must see what this one did.
    if shop.stop.run_until_cancelled(settle(running, client, shop, key, &done)).await.is_none() {
        return;
    }
    match done.outcome {
        Ok(()) => {
            running.failures.lock().remove(key);
            running.queue.forget(key);
            if let Some(after) = plan.requeue_after {
                running.queue.add_after(key.clone(), after);
            }
        }
        Err(stopped) => failed(running, key, stopped.failure, &stopped.error),
    }
}

/// Waits until the world shows what a plan wrote, or may have written.
async fn settle(running: &Running, client: &Client, shop: &Shop, key: &Key, done: &Performed) {
    let controller = running.controller.name();
    while !shop.informers.wait_shown(&done.wrote).await {
        tracing::warn!(controller, %key, "the cache is behind this controller's own writes");
    }
    if done.uncertain {
        let revision = barrier(client).await;
        shop.informers.caught_up(revision).await;
    }
}

/// A revision that has whatever a write without an answer did.
async fn barrier(client: &Client) -> Revision {
    loop {
        match client.barrier().await {
            Ok(revision) => return revision,
            Err(error) => tracing::debug!(%error, "not known yet what was written"),
        }
        tokio::time::sleep(BARRIER_PAUSE).await;
    }
}

fn failed(running: &Running, key: &Key, failure: Failure, error: &ApiError) {
    let controller = running.controller.name();
    match error.reason {
        // Someone else was faster: that is how optimistic concurrency works.
        Reason::Conflict => tracing::debug!(controller, %key, %error, "will look again"),
        _ => tracing::warn!(controller, %key, %error, "could not complete a plan"),
    }
    running.failures.lock().insert(key.clone(), failure);
    running.queue.retry(key.clone());
}

/// Reconciles, reading from the store and waiting for what the plan asks for.
async fn decide(running: &Running, client: &Client, shop: &Shop, key: &Key) -> Result<Plan> {
    let mut reads: BTreeMap<Target, Option<Value>> = BTreeMap::new();
    let failure = running.failures.lock().get(key).cloned();
    let (mut level, mut shown) = (false, 0);
    for _ in 0..READ_ROUNDS {
        let plan = {
            let context = Context { now: clock::now(), failure: failure.as_ref(), reads: &reads, level, shown };
            running.controller.reconcile(&shop.informers.world(), key, &context)
        };
        if plan.read.is_empty() && !plan.level {
            return Ok(plan);
        }
        if plan.level {
            shown = client.shown_now().await?;
            shop.informers.caught_up(shown).await;
            level = true;
        }
        for target in plan.read {
            let found = client.read(&target).await?;
            reads.insert(target, found);
        }
    }
    Err(ApiError::internal("a controller keeps asking for more to read"))
}
