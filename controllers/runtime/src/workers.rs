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
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::Client;
use crate::clock;
use crate::events::Recorder;
use crate::execute::execute;
use crate::informers::{Informers, Listener};
use crate::queue::Queue;

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
        let queue = Queue::new(controller.name());
        Arc::new(Self { controller, queue, failures: Mutex::new(HashMap::new()) })
    }
    pub(crate) fn account(&self) -> &'static str {
        self.controller.account()
    }
}

/// Hands changes to the queues of all controllers, and to whoever else listens.
pub(crate) struct Dispatcher {
    pub(crate) controllers: Vec<Arc<Running>>,
    /// The garbage collector's, which is fed by ownership instead of kinds.
    pub(crate) garbage: Arc<Running>,
    pub(crate) scheduler: Arc<dyn Fn(&Changed) + Send + Sync>,
}

impl Listener for Dispatcher {
    fn changed(&self, world: &World, change: &Changed) {
        for running in &self.controllers {
            for key in running.controller.keys(world, &change.view()) {
                running.queue.add(key);
            }
        }
        (self.scheduler)(change);
    }
    fn ownership_changed(&self, uids: Vec<Arc<str>>) {
        for uid in uids {
            self.garbage.queue.add(Key { namespace: "".into(), name: uid });
        }
    }
}

/// What every worker works with.
pub(crate) struct Shop {
    pub(crate) informers: Arc<Informers>,
    pub(crate) recorder: Recorder,
}

/// Starts the workers of a controller; they end with `stop`, after the plan at hand.
pub(crate) fn start(
    running: &Arc<Running>,
    client: Client,
    shop: &Arc<Shop>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let resync = running.controller.resync_seconds();
    let (own, again, keys) = (running.clone(), stop.clone(), shop.clone());
    tasks.spawn(async move { again.run_until_cancelled(look_at_all(&own, &keys, resync)).await });
    for _ in 0..running.controller.workers() {
        let (own, client, shop, stop) = (running.clone(), client.clone(), shop.clone(), stop.clone());
        tasks.spawn(async move {
            while let Some(key) = stop.run_until_cancelled(own.queue.next()).await {
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
    let (wrote, outcome) = execute(client, &shop.recorder, running.controller.account(), &plan).await;
    // The next look at this key must see what this one did.
    if !shop.informers.wait_shown(&wrote).await {
        tracing::warn!(controller = running.controller.name(), %key, "the cache is behind this controller's own writes");
    }
    match outcome {
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

/// Reconciles, reading from the store what the plan asks for.
async fn decide(running: &Running, client: &Client, shop: &Shop, key: &Key) -> Result<Plan> {
    let mut reads: BTreeMap<Target, Option<Value>> = BTreeMap::new();
    let failure = running.failures.lock().get(key).cloned();
    for _ in 0..READ_ROUNDS {
        let plan = {
            let context = Context { now: clock::now(), failure: failure.as_ref(), reads: &reads };
            running.controller.reconcile(&shop.informers.world(), key, &context)
        };
        if plan.read.is_empty() {
            return Ok(plan);
        }
        for target in plan.read {
            let found = client.read(&target).await?;
            reads.insert(target, found);
        }
    }
    Err(ApiError::internal("a controller keeps asking for more to read"))
}
