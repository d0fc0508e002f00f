//! What all workloads of a round have in common.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::{COLOUR, NAMESPACE, ROUND, WORKLOAD};
use crate::history::{Object, Op, Selector};

/// A replica's number, and a client of it alone.
pub type Through = (usize, kube::Client);
/// The same for a client of etcd's.
pub type Store = (usize, etcd_client::Client);

#[derive(Clone)]
pub struct Stage {
    pub clients: Arc<Vec<Through>>,
    pub stores: Arc<Vec<Store>>,
    pub round: String,
    pub started: Instant,
    pub stop: CancellationToken,
    /// Of everything random in the round.
    pub seed: u64,
    /// Calls begin so much more often than the workloads' own pace.
    pub load: f64,
    /// Writes so far, of all workloads.
    pub acknowledged: Arc<AtomicUsize>,
}

impl Stage {
    pub fn count(&self, op: &Op) {
        self.acknowledged.fetch_add(usize::from(op.is_acknowledged_write()), Ordering::Relaxed);
    }

    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn dice(&self, who: &str) -> StdRng {
        StdRng::seed_from_u64(who.bytes().fold(self.seed, |seed, byte| seed.rotate_left(5) ^ u64::from(byte)))
    }

    /// Waits about `pace`, never twice the same; `false` when the round is over.
    pub async fn pause(&self, pace: Duration, dice: &mut StdRng) -> bool {
        let pause = pace.mul_f64(dice.random_range(0.5..1.5) / self.load);
        self.stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some()
    }

    pub fn labels(&self, selector: &Selector) -> String {
        let round = format!("{ROUND}={}", self.round);
        match selector {
            Selector::Round => round,
            Selector::Workload(workload) => format!("{round},{WORKLOAD}={workload}"),
            Selector::Colour(colour) => format!("{round},{COLOUR}={colour}"),
        }
    }

    /// A new version of an object; on top of a revision when there is one.
    pub fn object(&self, name: &str, value: &str, workload: &str, on: Option<u64>) -> ConfigMap {
        let labels = [(ROUND, self.round.as_str()), (WORKLOAD, workload), (COLOUR, colour(value))];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(NAMESPACE.to_owned()),
                labels: Some(BTreeMap::from(labels)),
                resource_version: on.map(|revision| revision.to_string()),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([("value".to_owned(), value.to_owned())])),
            ..ConfigMap::default()
        }
    }
}

fn colour(value: &str) -> &'static str {
    if value.bytes().fold(0_u8, u8::wrapping_add).is_multiple_of(2) { "red" } else { "blue" }
}

pub fn revision(metadata: &ObjectMeta) -> Option<u64> {
    metadata.resource_version.as_deref()?.parse().ok()
}

/// What checkers know of an object.
pub fn seen(mut object: ConfigMap) -> Option<Object> {
    let revision = revision(&object.metadata)?;
    let label = |name: &str| object.metadata.labels.as_ref()?.get(name).cloned();
    let (workload, colour) = (label(WORKLOAD).unwrap_or_default(), label(COLOUR).unwrap_or_default());
    let name = object.metadata.name.clone()?;
    let value = object.data.as_ref().and_then(|data| data.get("value")).cloned().unwrap_or_default();
    object.metadata.resource_version = None;
    Some(Object { name, revision, value, workload, colour, hash: hash(&object) })
}

/// The same for the same object, in every process.
fn hash(object: &ConfigMap) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    hasher.write(&serde_json::to_vec(object).unwrap_or_default());
    hasher.finish()
}
