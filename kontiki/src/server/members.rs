//! What admins, and replicas that join, ask of a running replica, of either kind: `kontiki member` below
//! `/kontiki/v1/members/`, a copy for `kontiki backup`, and `/kontiki/v1/join/`.

use std::sync::Arc;

use api_machinery::{ApiError, Reason, UserInfo, Value};
use serde_json::json;
use store_api::{Admin as _, Member, MemberError, NodeId, Store, StoreError};
use store_node::RaftStore;
use tokio_util::sync::CancellationToken;

use super::heal;
use crate::backup::contents;
use crate::installed::{Installed, api_of};

/// A replica that runs.
pub(crate) struct Running<'a> {
    pub(crate) config: &'a dyn Installed,
    pub(crate) store: &'a Arc<RaftStore>,
    /// Ends the process in order.
    pub(crate) stop: &'a CancellationToken,
}

impl Running<'_> {
    /// For members of `system:masters` only.
    pub(crate) async fn members(&self, what: &str, user: &UserInfo, body: &Value) -> Result<Value, ApiError> {
        if !user.is_in(UserInfo::MASTERS) {
            let why = "forbidden: only members of system:masters may change the cluster's replicas";
            return Err(ApiError::new(403, Reason::Forbidden, why));
        }
        match what {
            "remove" => self.remove(id(body)?, body["force"] == true).await,
            "promote" => self.store.member_promote(id(body)?).await.map_err(refused),
            "move-leader" => self.store.move_leader(id(body)?).await.map_err(refused),
            _ => match what.strip_prefix("heal/").and_then(|id| id.parse().ok()) {
                Some(id) => heal::begin(id, self.config, self.store, self.stop).map_err(conflict),
                None => Err(ApiError::no_such_path()),
            },
        }?;
        Ok(json!({"members": self.store.status().members.len()}))
    }

    async fn remove(&self, id: NodeId, force: bool) -> Result<(), ApiError> {
        // A forced removal must be possible without a quorum that could confirm what this replica knows.
        if !force {
            self.store.read_barrier().await.map_err(refused)?;
        }
        if self.member(id).is_none() {
            return Err(refused(MemberError::NotFound.into()));
        }
        self.store.remove_member(id, force).await.map_err(refused)
    }

    fn member(&self, id: NodeId) -> Option<Member> {
        self.store.status().members.into_iter().find(|member| member.id == id)
    }

    /// Where admins' commands reach the members.
    pub(crate) fn apis(&self) -> Vec<String> {
        self.store.status().members.iter().map(api_of).collect()
    }

    /// A node id, and the keys every replica shares. The caller starts its replica, then asks for [`Self::add`].
    pub(crate) async fn new_member(&self) -> Result<Value, ApiError> {
        let id = self.store.allocate_node_id().await.map_err(|error| ApiError::unavailable(error.to_string()))?;
        let files = contents::keys(self.config.pki_dir()).map_err(ApiError::internal)?;
        Ok(json!({"id": id, "clusterID": self.config.cluster_id(), "files": files, "servers": self.apis()}))
    }

    /// Adds a started replica: learner, catch up, voter. It may take the place of a member that is dead.
    pub(crate) async fn add(&self, body: &Value) -> Result<Value, ApiError> {
        let text = |field: &str| {
            body[field].as_str().map(str::to_owned).ok_or_else(|| ApiError::bad_request(format!("{field} is missing")))
        };
        let (id, voter) = (id(body)?, body["voter"] != false);
        let member = Member { id, peer_addr: text("peer")?, api_url: text("api")?, voter, ..Member::default() };
        match (voter, body["replaces"].as_u64()) {
            (true, Some(dead)) => self.store.replace_member(member, dead).await.map_err(refused)?,
            (false, Some(dead)) => self.replace_learner(member, dead).await?,
            (_, None) => self.store.add_member(member, voter).await.map_err(refused)?,
        }
        Ok(json!({"members": self.store.status().members.len()}))
    }

    /// A learner counts for no quorum: it may come before the one goes whose place it takes.
    async fn replace_learner(&self, member: Member, dead: NodeId) -> Result<(), ApiError> {
        let before = self.member(dead);
        if before.as_ref().is_some_and(|before| before.voter) {
            return Err(ApiError::bad_request("a learner takes no voter's place"));
        }
        self.store.add_member(member, false).await.map_err(refused)?;
        match before {
            Some(before) => self.store.remove_member(before.id, false).await.map_err(refused),
            None => Ok(()),
        }
    }

    /// One consistent copy of the store, and what else a new cluster needs, as [`crate::backup`] reads it.
    pub(crate) async fn copy(&self) -> Result<api_http::Download, ApiError> {
        use futures::StreamExt;
        // Everything acknowledged before the question is in the copy.
        self.store.read_barrier().await.map_err(refused)?;
        let copy = self.store.snapshot().await.map_err(refused)?;
        let head = contents::head(self.config, copy.revision, crate::now()).map_err(ApiError::internal)?;
        let file = tokio::fs::File::open(&copy.path).await.map_err(ApiError::internal)?;
        let bytes = head.len() as u64 + copy.bytes;
        // The copy is removed when it is sent, or nobody wants it any more.
        let copy = Arc::new(copy);
        let content = tokio_util::io::ReaderStream::with_capacity(file, SEND_BYTES).map(move |part| {
            let _kept = &copy;
            part
        });
        let head = futures::stream::iter([Ok(bytes::Bytes::from(head))]);
        Ok(api_http::Download { bytes, content: head.chain(content).boxed() })
    }
}

fn id(body: &Value) -> Result<NodeId, ApiError> {
    body["id"].as_u64().ok_or_else(|| ApiError::bad_request("id is missing"))
}

fn conflict(why: String) -> ApiError {
    ApiError::new(409, Reason::Conflict, why)
}

/// A store's refusal as an admin is told it.
fn refused(error: StoreError) -> ApiError {
    match error {
        StoreError::Member(MemberError::NotFound) => ApiError::new(404, Reason::NotFound, error.to_string()),
        StoreError::Member(_) => conflict(error.to_string()),
        StoreError::Invalid(why) => conflict(why),
        StoreError::NoSpace(why) => ApiError::new(507, Reason::InsufficientStorage, format!("no space left: {why}")),
        other => ApiError::unavailable(other.to_string()),
    }
}

/// Bytes read from disk at once.
const SEND_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_whether_to_come_again() {
        let code = |error: StoreError| refused(error).code;
        assert_eq!(code(MemberError::NotFound.into()), 404);
        assert_eq!(code(MemberError::NotReady.into()), 409);
        assert_eq!(code(StoreError::Invalid("no".into())), 409);
        assert_eq!(code(StoreError::Unavailable("not now".into())), 503);
    }
}
