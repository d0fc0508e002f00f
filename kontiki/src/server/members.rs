//! What admins ask below `/kontiki/v1/members/`: `kontiki member`.

use std::sync::Arc;

use api_machinery::{ApiError, Reason, UserInfo, Value};
use serde_json::json;
use store_api::{Admin as _, MemberError, NodeId, Store, StoreError};

use super::admin::Admin;
use super::heal;

impl Admin {
    /// For members of `system:masters` only.
    pub(super) async fn members(&self, what: &str, user: &UserInfo, body: &Value) -> Result<Value, ApiError> {
        if !user.is_in(UserInfo::MASTERS) {
            let why = "forbidden: only members of system:masters may change the cluster's replicas";
            return Err(ApiError::new(403, Reason::Forbidden, why));
        }
        match what {
            "remove" => self.remove(id(body)?, body["force"] == true).await,
            "promote" => self.store.member_promote(id(body)?).await.map_err(refused),
            "move-leader" => self.store.move_leader(id(body)?).await.map_err(refused),
            _ => match what.strip_prefix("heal/").and_then(|id| id.parse().ok()) {
                Some(id) => heal::begin(id, &self.config, &self.store, &self.stop).map_err(conflict),
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
        if !self.store.status().members.iter().any(|member| member.id == id) {
            return Err(refused(MemberError::NotFound.into()));
        }
        self.store.remove_member(id, force).await.map_err(refused)
    }
}

fn id(body: &Value) -> Result<NodeId, ApiError> {
    body["id"].as_u64().ok_or_else(|| ApiError::bad_request("id is missing"))
}

fn conflict(why: String) -> ApiError {
    ApiError::new(409, Reason::Conflict, why)
}

/// A store's refusal as an admin is told it.
pub(super) fn refused(error: StoreError) -> ApiError {
    match error {
        StoreError::Member(MemberError::NotFound) => ApiError::new(404, Reason::NotFound, error.to_string()),
        StoreError::Member(_) => conflict(error.to_string()),
        StoreError::Invalid(why) => conflict(why),
        StoreError::NoSpace(why) => ApiError::new(507, Reason::InsufficientStorage, format!("no space left: {why}")),
        other => ApiError::unavailable(other.to_string()),
    }
}

/// One consistent copy of the store, and what else a new cluster needs, as [`crate::backup`] reads it.
pub(super) async fn copy(admin: &Admin) -> Result<api_http::Download, ApiError> {
    use futures::StreamExt;
    // Everything acknowledged before the question is in the copy.
    admin.store.read_barrier().await.map_err(refused)?;
    let copy = admin.store.snapshot().await.map_err(refused)?;
    let head = crate::backup::contents::head(&admin.config, copy.revision, crate::now()).map_err(ApiError::internal)?;
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
