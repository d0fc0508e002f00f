//! Where the other replicas are, in a file beside the store: a store that cannot be opened says nothing of them, and
//! only they have what takes its place.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use store_api::{Member, NodeId, Store};
use store_node::RaftStore;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::installed::api_of;

/// How often it is looked whether they have changed.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// As long as no other is known: one that has just joined may be damaged the next moment.
const LOOK_FIRST: Duration = Duration::from_millis(200);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Known {
    /// `https://HOST:PORT` where admins' commands reach them.
    servers: Vec<String>,
}

fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("replicas.yaml")
}

/// As they were last known; none where that was never written down.
pub(crate) fn read(data_dir: &Path) -> Vec<String> {
    if !file(data_dir).exists() {
        return Vec::new();
    }
    match config::read::<Known>(&file(data_dir)) {
        Ok(known) => known.servers,
        Err(error) => {
            tracing::warn!(%error, "where the other replicas were is not known any more");
            Vec::new()
        }
    }
}

/// Writes them down whenever they change, until `stop`.
pub(crate) async fn keep(raft: Arc<RaftStore>, data_dir: PathBuf, stop: CancellationToken) {
    let mut written = Known { servers: read(&data_dir) };
    loop {
        let status = raft.status();
        let now = Known { servers: others(status.id, &status.members) };
        // One that has not learnt of any yet forgets nothing.
        if now != written && !now.servers.is_empty() {
            match config::write(&file(&data_dir), &now) {
                Ok(()) => written = now,
                Err(error) => tracing::warn!(%error, "cannot write down where the other replicas are"),
            }
        }
        let pause = if written.servers.is_empty() { LOOK_FIRST } else { LOOK_EVERY };
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

fn others(me: NodeId, members: &[Member]) -> Vec<String> {
    let others = members.iter().filter(|member| member.id != me);
    others.map(api_of).filter(|url| !url.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_remembered() {
        let dir = tempfile::tempdir().expect("dir");
        assert!(read(dir.path()).is_empty(), "nothing is known");
        let member = |id: NodeId, url: &str| Member { id, client_urls: vec![url.to_owned()], ..Member::default() };
        let servers = others(2, &[member(1, "https://a:2379"), member(2, "https://b:2379"), member(3, "")]);
        assert_eq!(servers, ["https://a:2379"]);
        config::write(&file(dir.path()), &Known { servers: servers.clone() }).expect("written");
        assert_eq!(read(dir.path()), servers);
        std::fs::write(file(dir.path()), "servers: [").expect("written");
        assert!(read(dir.path()).is_empty(), "it cannot be read");
    }
}
