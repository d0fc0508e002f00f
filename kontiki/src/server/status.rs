//! What one replica says of itself: `/kontiki/v1/status`.

use std::sync::Arc;

use serde_json::{Value, json};
use store_api::{Member, Store, StoreStatus};
use store_node::RaftStore;

use super::identity::Identity;
use crate::installed::{Installed, api_of};

pub(crate) struct Source {
    pub(crate) config: Arc<dyn Installed>,
    pub(crate) identity: Identity,
    pub(crate) raft: Arc<RaftStore>,
}

impl Source {
    pub(crate) fn json(&self) -> Value {
        let status = self.raft.status();
        let (last_term, _) = self.raft.last_log();
        let certificates: Vec<Value> = super::certificates::expiries(&*self.config, &self.identity)
            .into_iter()
            .map(|(name, end)| json!({"name": name, "expires": end.to_string()}))
            .collect();
        json!({
            "id": status.id, "clusterID": status.cluster_id, "pid": std::process::id(),
            "kind": self.config.kind(), "api": self.config.api_url(), "peer": self.config.peer(),
            "leader": status.leader == Some(status.id), "leaderID": status.leader, "term": status.term,
            "revision": status.revision, "compactedRevision": status.compacted_revision,
            "lastLogIndex": status.last_log_index, "lastLogTerm": last_term,
            "zone": self.config.zone(), "health": self.raft.health().err().or_else(|| self.raft.doubt()), "committedIndex": status.committed_index,
            "appliedIndex": status.applied_index, "diskBytes": status.disk_bytes,
            "stateHash": format!("{:016x}", status.state_hash), "certificates": certificates,
            "members": members(&status),
        })
    }
}

fn members(status: &StoreStatus) -> Vec<Value> {
    let member = |member: &Member| json!({"id": member.id, "peer": member.peer_addr, "api": api_of(member), "voter": member.voter});
    status.members.iter().map(member).collect()
}
