//! Creates objects under names never used before, through all replicas.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{ListParams, PostParams};
use tokio_util::sync::CancellationToken;

use super::LABEL;
use crate::history::{Final, Outcome, Write};

/// A write that takes longer counts as unknown.
const PATIENCE: Duration = Duration::from_secs(5);
/// After an answer that says nothing was done, or none at all.
const PAUSE: Duration = Duration::from_millis(20);

/// Runs `writers` writers until stopped; each begins a write at most every `pace`, and goes to the next replica
/// after a failure.
pub async fn run(
    clients: &[kube::Client],
    namespace: &str,
    run: &str,
    writers: usize,
    pace: Duration,
    started: Instant,
    stop: CancellationToken,
) -> Vec<Write> {
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            tokio::spawn(one(
                clients.to_vec(),
                namespace.to_owned(),
                run.to_owned(),
                writer,
                pace,
                started,
                stop.clone(),
            ))
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("a writer does not panic"));
    }
    all
}

async fn one(
    clients: Vec<kube::Client>,
    namespace: String,
    run: String,
    writer: usize,
    pace: Duration,
    started: Instant,
    stop: CancellationToken,
) -> Vec<Write> {
    let mut turn = tokio::time::interval(pace);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut writes = Vec::new();
    let mut replica = writer;
    for sequence in 0.. {
        if stop.run_until_cancelled(turn.tick()).await.is_none() {
            break;
        }
        let name = format!("{run}-{writer}-{sequence}");
        let api: Api<ConfigMap> = Api::namespaced(clients[replica % clients.len()].clone(), &namespace);
        let invoked = started.elapsed();
        let outcome = create(&api, &name, &run).await;
        let failed = !matches!(outcome, Outcome::Acknowledged(_));
        writes.push(Write { name, invoked, returned: started.elapsed(), outcome });
        if failed {
            replica += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }
    writes
}

async fn create(api: &Api<ConfigMap>, name: &str, run: &str) -> Outcome {
    let object = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([(LABEL.to_owned(), run.to_owned())])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("value".to_owned(), name.to_owned())])),
        ..ConfigMap::default()
    };
    match tokio::time::timeout(PATIENCE, api.create(&PostParams::default(), &object)).await {
        Err(_) => Outcome::Unknown(format!("no answer within {} s", PATIENCE.as_secs())),
        Ok(Ok(created)) => match created.metadata.resource_version.as_deref().map(str::parse) {
            Some(Ok(revision)) => Outcome::Acknowledged(revision),
            other => Outcome::Unknown(format!("an answer without resourceVersion: {other:?}")),
        },
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 400..=499) => {
            Outcome::Refused(status.message.clone())
        }
        Ok(Err(error)) => Outcome::Unknown(error.to_string()),
    }
}

/// What is there in the end, from a consistent list.
pub async fn finals(client: &kube::Client, namespace: &str, run: &str) -> Result<Vec<Final>, kube::Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let list = api.list(&ListParams::default().labels(&format!("{LABEL}={run}"))).await?;
    let revision = |object: &ConfigMap| object.metadata.resource_version.as_deref().and_then(|text| text.parse().ok());
    Ok(list
        .items
        .iter()
        .map(|object| Final {
            name: object.metadata.name.clone().unwrap_or_default(),
            revision: revision(object).expect("every object has a resourceVersion"),
        })
        .collect())
}
