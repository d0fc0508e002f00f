//! What one replica says of itself: `/kontiki/v1/status`.

use std::sync::Arc;

use serde_json::{Value, json};
use store_api::{Store, StoreStatus};
use store_node::RaftStore;

use super::identity::Identity;
use crate::config::ServerConfiguration;

pub(crate) struct Source {
    pub(crate) config: ServerConfiguration,
    pub(crate) identity: Identity,
    pub(crate) raft: Arc<RaftStore>,
}

impl Source {
    pub(crate) fn json(&self) -> Value {
        let status = self.raft.status();
        let (last_term, _) = self.raft.last_log();
        let certificates: Vec<Value> = super::certificates::expiries(&self.config, &self.identity)
            .into_iter()
            .map(|(name, end)| json!({"name": name, "expires": end.to_string()}))
            .collect();
        json!({
            "id": status.id, "clusterID": status.cluster_id, "pid": std::process::id(),
            "api": format!("https://{}", self.config.api.advertise), "peer": self.config.peer.advertise,
            "leader": status.leader == Some(status.id), "leaderID": status.leader, "term": status.term,
            "revision": status.revision, "compactedRevision": status.compacted_revision,
            "lastLogIndex": status.last_log_index, "lastLogTerm": last_term,
            "zone": self.config.zone, "health": self.raft.health().err().or_else(|| self.raft.doubt()), "committedIndex": status.committed_index,
            "appliedIndex": status.applied_index, "diskBytes": status.disk_bytes,
            "stateHash": format!("{:016x}", status.state_hash), "certificates": certificates,
            "members": members(&status),
        })
    }
}

fn members(status: &StoreStatus) -> Vec<Value> {
    let member = |member: &store_api::Member| json!({"id": member.id, "peer": member.peer_addr, "api": member.api_url, "voter": member.voter});
    status.members.iter().map(member).collect()
}
