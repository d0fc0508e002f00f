//! Maintenance: how a replica is, what its history hashes to, a copy of it, its space, who leads.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use kontiki_proto::etcd as pb;
use pb::alarm_request::AlarmAction;
use store_api::HistoryHash;
use tonic::{Request, Response, Status};

use crate::errors::{self, from_store};
use crate::face::{Face, given, signed};
use crate::{ETCD_VERSION, snapshot};

pub(crate) struct MaintenanceService(pub(crate) Arc<Face>);

type Parts = Pin<Box<dyn Stream<Item = Result<pb::SnapshotResponse, Status>> + Send>>;

/// What etcd calls a store in which nothing was ever compacted.
const NEVER_COMPACTED: i64 = -1;

fn version() -> String {
    format!("{ETCD_VERSION}+kontiki.{}", env!("CARGO_PKG_VERSION"))
}

/// etcd's hashes are shorter.
fn short(hash: u64) -> u32 {
    (hash >> 32) as u32
}

fn compact_revision(hash: &HistoryHash) -> i64 {
    if hash.compacted == 0 { NEVER_COMPACTED } else { signed(hash.compacted) }
}

#[tonic::async_trait]
impl pb::maintenance_server::Maintenance for MaintenanceService {
    type SnapshotStream = Parts;

    /// There are none that anybody could raise or must disarm: what is wrong shows, and goes, by itself.
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        self.0.admit(&request)?;
        match request.get_ref().action() {
            AlarmAction::Activate => Err(Status::unimplemented("alarms are not raised by hand here")),
            AlarmAction::Get | AlarmAction::Deactivate => {
                Ok(Response::new(pb::AlarmResponse { header: self.0.header_now(), alarms: Vec::new() }))
            }
        }
    }

    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        let status = self.0.store.status();
        let me = status.members.iter().find(|member| member.id == status.id);
        let leader = status.leader.filter(|_| self.0.knows_leader());
        let errors = if leader.is_none() { vec![errors::NO_LEADER.text().to_owned()] } else { Vec::new() };
        Ok(Response::new(pb::StatusResponse {
            header: self.0.header(status.revision),
            version: version(),
            db_size: signed(status.disk_bytes),
            leader: leader.unwrap_or_default(),
            raft_index: status.committed_index,
            raft_term: status.term,
            raft_applied_index: status.applied_index,
            errors,
            db_size_in_use: signed(status.disk_bytes),
            is_learner: me.is_some_and(|member| !member.voter),
        }))
    }

    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.0.admit(&request)?;
        self.0.admin.defragment().await.map_err(from_store)?;
        Ok(Response::new(pb::DefragmentResponse { header: self.0.header_now() }))
    }

    async fn hash(&self, request: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        self.0.admit(&request)?;
        let hash = self.0.admin.hash_at(None).await.map_err(from_store)?;
        let header = self.0.header(hash.revision);
        Ok(Response::new(pb::HashResponse { header, hash: short(hash.hash) }))
    }

    async fn hash_kv(&self, request: Request<pb::HashKvRequest>) -> Result<Response<pb::HashKvResponse>, Status> {
        self.0.admit(&request)?;
        let hash = self.0.admin.hash_at(given(request.get_ref().revision)).await.map_err(from_store)?;
        Ok(Response::new(pb::HashKvResponse {
            header: self.0.header_now(),
            hash: short(hash.hash),
            compact_revision: compact_revision(&hash),
            hash_revision: signed(hash.revision),
        }))
    }

    async fn snapshot(&self, request: Request<pb::SnapshotRequest>) -> Result<Response<Parts>, Status> {
        self.0.admit(&request)?;
        let copy = self.0.admin.snapshot().await.map_err(from_store)?;
        let header = self.0.header(copy.revision);
        Ok(Response::new(Box::pin(snapshot::stream(copy, header))))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        self.0.admit(&request)?;
        self.0.admin.move_leader(request.get_ref().target_id).await.map_err(from_store)?;
        Ok(Response::new(pb::MoveLeaderResponse { header: self.0.header_now() }))
    }
}
