//! Writes through every replica at a steady pace, whether the ones before were answered or not: from these it is
//! seen for how long nobody got through.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::session::written;
use super::stage::{Stage, Through};
use super::{NAMESPACE, session};
use crate::history::{Call, Op, Outcome};

pub const WORKLOAD: &str = "probe";
/// Between two probes through one replica.
const EVERY: Duration = Duration::from_millis(60);
/// Without an answer, through one replica. A paused replica answers none.
const UNDER_WAY: usize = 40;

pub async fn run(stage: Stage) -> Vec<Op> {
    let ops: Arc<Mutex<Vec<Op>>> = Arc::default();
    let probers = stage.clients.iter().map(|through| prober(&stage, through, &ops));
    futures::future::join_all(probers).await;
    std::mem::take(&mut *ops.lock())
}

async fn prober(stage: &Stage, through: &Through, ops: &Arc<Mutex<Vec<Op>>>) {
    let slots = Arc::new(Semaphore::new(UNDER_WAY));
    let mut turn = tokio::time::interval(EVERY.div_f64(stage.load.min(1.0)));
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    for number in 0_u64.. {
        if stage.stop.run_until_cancelled(turn.tick()).await.is_none() {
            break;
        }
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        let (stage, through, ops) = (stage.clone(), through.clone(), ops.clone());
        tokio::spawn(async move {
            let op = probe(&stage, &through, number).await;
            stage.count(&op);
            ops.lock().push(op);
            drop(slot);
        });
    }
    // All of them: what is not written down here would look like nobody's.
    let all = u32::try_from(UNDER_WAY).expect("few");
    let _ = slots.acquire_many(all).await;
}

/// The first creates this prober's object, the others replace whatever is there.
async fn probe(stage: &Stage, through: &Through, number: u64) -> Op {
    let (replica, client) = through;
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let process = format!("probe{replica}");
    let (name, value) = (format!("{}-{process}", stage.round), format!("{process}-{number}"));
    let object = stage.object(&name, &value, WORKLOAD, None);
    let (invoked, parameters) = (stage.now(), PostParams::default());
    let answer = tokio::time::timeout(session::PATIENCE, async {
        match number {
            0 => api.create(&parameters, &object).await,
            _ => api.replace(&name, &parameters, &object).await,
        }
    });
    let outcome = answer.await.map_or_else(|_| Outcome::Unknown("no answer in time".to_owned()), written);
    let call = if number == 0 { Call::Create { name, value } } else { Call::Put { name, value } };
    Op { process, replica: *replica, invoked, returned: stage.now(), call, outcome }
}
