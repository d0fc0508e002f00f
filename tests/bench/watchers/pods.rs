//! Pods that are there, and change.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use system_tests::client::{JSON, MERGE_PATCH, Session};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::Failure;
use crate::cluster::Cluster;
use crate::marks::Mark;

const NAMESPACE: &str = "/api/v1/namespaces/watch-load";
pub(crate) const PODS: &str = "/api/v1/namespaces/watch-load/pods";
/// Pods that are made at once.
const MAKERS: usize = 32;
/// Connections for changes: to each replica some.
const SESSIONS: usize = 6;
/// Changes without an answer: more would only wait.
const UNDER_WAY: usize = 64;
/// Bytes beside the fields that a pod needs: 5 KB in all.
const PADDING: usize = 30;

/// What became of the changes.
pub(crate) struct Changed {
    /// Those that were acknowledged.
    pub(crate) written: Vec<usize>,
    pub(crate) failed: usize,
    /// Microseconds from sent to acknowledged, sorted.
    pub(crate) took: Vec<u32>,
}

/// Nobody schedules it, and no node is missed.
fn pod(number: usize) -> Value {
    let padding: serde_json::Map<String, Value> =
        (0..PADDING).map(|line| (format!("bench.example.com/{line}"), "x".repeat(100).into())).collect();
    let variables: Vec<Value> =
        (0..10).map(|line| json!({"name": format!("VARIABLE_{line}"), "value": format!("value {line}")})).collect();
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{number}"), "labels": {"app": "watch-load"}, "annotations": padding},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "main", "image": "registry.example.com/bench:1",
            "env": variables, "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
            "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}],
            "volumes": [{"name": "scratch", "emptyDir": {}}]}})
}

async fn make(session: &mut Session, target: &str, object: &Value) -> Result<(), Failure> {
    let answer = session.send("POST", target, &[JSON], object.to_string()).await;
    match answer.code {
        // It may be there from a run before.
        201 | 409 => Ok(()),
        _ => Err(format!("POST {target}: {}", answer.status()).into()),
    }
}

/// Makes them; answers the revision from which a watch sees all later changes.
pub(crate) async fn fill(cluster: &Arc<Cluster>, pods: usize) -> Result<String, Failure> {
    let mut session = cluster.replica(0).session().await;
    make(&mut session, "/api/v1/namespaces", &json!({"metadata": {"name": "watch-load"}})).await?;
    // A controller makes it, where there is one.
    make(&mut session, &format!("{NAMESPACE}/serviceaccounts"), &json!({"metadata": {"name": "default"}})).await?;
    let mut makers = JoinSet::new();
    for first in 0..MAKERS {
        let cluster = cluster.clone();
        makers.spawn(async move {
            let mut session = cluster.replica(first).session().await;
            for number in (first..pods).step_by(MAKERS) {
                make(&mut session, PODS, &pod(number)).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(made) = makers.join_next().await {
        made??;
    }
    let list = session.send("GET", &format!("{PODS}?limit=1"), &[], "").await;
    let revision = list.json()["metadata"]["resourceVersion"].as_str().map(str::to_owned);
    revision.ok_or_else(|| format!("a list without a revision: {}", list.status()).into())
}

/// Changes pods in turns, so many a second, for so long.
pub(crate) async fn change(
    cluster: Arc<Cluster>,
    pods: usize,
    changes: u64,
    time: Duration,
    clock: Instant,
) -> Result<Changed, Failure> {
    let mut sessions = Vec::new();
    for number in 0..SESSIONS {
        sessions.push(cluster.replica(number).session().await);
    }
    let (places, mut under_way) = (Arc::new(Semaphore::new(UNDER_WAY)), JoinSet::new());
    let mut changed = Changed { written: Vec::new(), failed: 0, took: Vec::new() };
    let mut tick = interval(Duration::from_secs(1) / u32::try_from(changes)?);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ends = Instant::now() + time;
    for number in 0.. {
        tick.tick().await;
        if Instant::now() >= ends {
            break;
        }
        let place = places.clone().acquire_owned().await?;
        let mut session = sessions[number % SESSIONS].clone();
        under_way.spawn(async move {
            let sent = Instant::now();
            let micros = u64::try_from((sent - clock).as_micros()).unwrap_or(u64::MAX);
            let mark = Mark { number, sent: micros }.to_string();
            let patch = json!({"metadata": {"annotations": {"bench.example.com/mark": mark}}}).to_string();
            let target = format!("{PODS}/pod-{}", number % pods);
            let answer = session.send("PATCH", &target, &[MERGE_PATCH], patch).await;
            drop(place);
            (number, answer.code, u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX))
        });
        while let Some(done) = under_way.try_join_next() {
            changed.note(done?);
        }
    }
    while let Some(done) = under_way.join_next().await {
        changed.note(done?);
    }
    changed.took.sort_unstable();
    Ok(changed)
}

impl Changed {
    fn note(&mut self, (number, code, took): (usize, u16, u32)) {
        if code == 200 {
            self.written.push(number);
            self.took.push(took);
        } else {
            self.failed += 1;
        }
    }
}
