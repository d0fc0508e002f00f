//! Watches objects of a run, resuming at the last revision seen, on the next replica, after every end.

use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{WatchEvent, WatchParams};
use tokio_util::sync::CancellationToken;

use super::LABEL;
use crate::history::{Seen, WatchLog};

/// Before connecting again.
const PAUSE: Duration = Duration::from_millis(50);

/// Watches from after `from` until `stop`; begins at replica `first`. Ends early once `until` events are seen.
pub async fn run(
    clients: Vec<kube::Client>,
    namespace: String,
    run: String,
    first: usize,
    from: u64,
    stop: CancellationToken,
) -> WatchLog {
    let mut log = WatchLog { watcher: format!("watcher {first}"), from, ..WatchLog::default() };
    let mut position = from;
    let mut replica = first;
    while !stop.is_cancelled() {
        let api: Api<ConfigMap> = Api::namespaced(clients[replica % clients.len()].clone(), &namespace);
        stop.run_until_cancelled(follow(&api, &run, &mut position, &mut log)).await;
        log.reconnects += 1;
        replica += 1;
        stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
    }
    log
}

/// One connection, until it ends.
async fn follow(api: &Api<ConfigMap>, run: &str, position: &mut u64, log: &mut WatchLog) {
    let parameters = WatchParams::default().labels(&format!("{LABEL}={run}")).timeout(290);
    let Ok(stream) = api.watch(&parameters, &position.to_string()).await else { return };
    let mut stream = std::pin::pin!(stream);
    while let Ok(Some(event)) = stream.try_next().await {
        let (kind, object) = match event {
            WatchEvent::Added(object) => ("ADDED", object),
            WatchEvent::Modified(object) => ("MODIFIED", object),
            WatchEvent::Deleted(object) => ("DELETED", object),
            WatchEvent::Bookmark(bookmark) => {
                if let Ok(revision) = bookmark.metadata.resource_version.parse::<u64>() {
                    *position = (*position).max(revision);
                }
                continue;
            }
            WatchEvent::Error(status) => {
                log.gone += usize::from(status.code == 410);
                return;
            }
        };
        let revision = object.metadata.resource_version.as_deref().and_then(|text| text.parse().ok());
        let revision = revision.expect("every event has a resourceVersion");
        *position = revision;
        log.events.push(Seen { kind, name: object.metadata.name.unwrap_or_default(), revision });
    }
}
