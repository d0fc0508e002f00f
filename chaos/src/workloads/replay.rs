//! After a round: the history of its objects as one replica tells it, from the beginning.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::stage::{Stage, Through, revision};
use super::watch::{self, Manner, connect};
use super::{NAMESPACE, leases};
use crate::Failure;
use crate::history::{End, Event, LeaseVersion, Message, Selector, Start};

/// Until a replica has told everything.
const PATIENCE: Duration = Duration::from_secs(30);
const MANNER: Manner = Manner { timeout: Duration::from_secs(3), asleep: Duration::ZERO };

/// The cluster's revision, linearizable.
pub async fn head(clients: &[Through]) -> Result<u64, Failure> {
    let mut last: Failure = "no replicas".into();
    for (_, client) in clients.iter().cycle().take(clients.len() * 3) {
        let api: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
        let list = tokio::time::timeout(Duration::from_secs(6), api.list(&ListParams::default().limit(1))).await;
        match list {
            Ok(Ok(list)) => {
                let revision = list.metadata.resource_version.as_deref().and_then(|text| text.parse().ok());
                return revision.ok_or_else(|| "a list without resourceVersion".into());
            }
            Ok(Err(error)) => last = error.into(),
            Err(late) => last = late.into(),
        }
    }
    Err(last)
}

/// Every event of the round's objects after `from`, up to `upto`.
pub async fn objects(stage: &Stage, through: &Through, from: u64, upto: u64) -> Result<Vec<Event>, Failure> {
    let deadline = Instant::now() + PATIENCE;
    let (never, mut position, mut events) = (CancellationToken::new(), from, Vec::new());
    while position < upto {
        let start = Start::After(position);
        let connection = connect(stage, through, &Selector::Round, start, MANNER, Some(upto), &never).await;
        position = watch::position(&connection).unwrap_or(position).max(position);
        events.extend(connection.messages.into_iter().filter_map(|message| match message {
            Message::Event(event) if event.revision() <= upto => Some(event),
            _ => None,
        }));
        let (replica, end) = (through.0, connection.end);
        if Instant::now() > deadline || matches!(end, End::Error { code: 410, .. }) {
            return Err(format!("replica {replica} tells the history up to {position}, not to {upto} ({end:?})").into());
        }
    }
    Ok(events)
}

/// Every version of the round's Lease after `from`, up to `upto`.
pub async fn lease(stage: &Stage, through: &Through, from: u64, upto: u64) -> Result<Vec<LeaseVersion>, Failure> {
    use futures::TryStreamExt;
    let api: Api<Lease> = Api::namespaced(through.1.clone(), NAMESPACE);
    let parameters = WatchParams::default().labels(&stage.labels(&Selector::Round)).timeout(3);
    let deadline = Instant::now() + PATIENCE;
    let (mut position, mut versions) = (from, Vec::new());
    while position < upto && Instant::now() < deadline {
        let stream = api.watch(&parameters, &position.to_string()).await?;
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.try_next().await? {
            let at = match event {
                WatchEvent::Added(lease) | WatchEvent::Modified(lease) => {
                    let at = revision(&lease.metadata);
                    versions.extend(leases::version(&lease).filter(|version| version.revision <= upto));
                    at
                }
                WatchEvent::Deleted(lease) => revision(&lease.metadata),
                WatchEvent::Bookmark(bookmark) => bookmark.metadata.resource_version.parse().ok(),
                WatchEvent::Error(status) => {
                    let (replica, why) = (through.0, &status.message);
                    return Err(format!("replica {replica} does not tell the Lease's history: {why}").into());
                }
            };
            position = position.max(at.unwrap_or(0));
            if position >= upto {
                break;
            }
        }
    }
    match position >= upto {
        true => Ok(versions),
        false => Err(format!("replica {} tells the Lease's history up to {position}, not to {upto}", through.0).into()),
    }
}
