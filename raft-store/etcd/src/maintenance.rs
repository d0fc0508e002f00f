//! Maintenance: how a replica is, what its history hashes to, a copy of it, its space, who leads.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use kontiki_proto::etcd as pb;
use pb::alarm_request::AlarmAction;
use store_api::{Alarm, AlarmKind, HistoryHash};
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

fn name(kind: AlarmKind) -> pb::AlarmType {
    match kind {
        AlarmKind::NoSpace => pb::AlarmType::Nospace,
        AlarmKind::Corrupt => pb::AlarmType::Corrupt,
    }
}

fn to_proto(alarm: &Alarm) -> pb::AlarmMember {
    pb::AlarmMember { member_id: alarm.member, alarm: name(alarm.kind).into() }
}

/// As etcd has it among the errors of a status.
fn said(alarm: &Alarm) -> String {
    format!("memberID:{} alarm:{}", alarm.member, name(alarm.kind).as_str_name())
}

/// Alarms of one kind, or all; to disarm, of one member, or all.
fn asked_for(request: &pb::AlarmRequest, mut alarms: Vec<Alarm>) -> Vec<Alarm> {
    let (kind, member) = (request.alarm(), request.member_id);
    alarms.retain(|alarm| kind == pb::AlarmType::None || name(alarm.kind) == kind);
    if request.action() == AlarmAction::Deactivate && member != 0 {
        alarms.retain(|alarm| alarm.member == member);
    }
    alarms
}

/// Why an alarm cannot be disarmed.
fn stays(alarm: &Alarm) -> String {
    let member = alarm.member;
    let until = match alarm.kind {
        AlarmKind::NoSpace => {
            "until its disk has room again: delete keys and compact, or free some of the disk".to_owned()
        }
        AlarmKind::Corrupt => format!("until it is healed: kontiki member heal {member}"),
    };
    format!("alarm {} of member {member} cannot be disarmed and stays {until}", name(alarm.kind).as_str_name())
}

#[tonic::async_trait]
impl pb::maintenance_server::Maintenance for MaintenanceService {
    type SnapshotStream = Parts;

    /// None that anybody could raise or must disarm: what is wrong shows, and goes, by itself.
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        self.0.admit(&request)?;
        let alarms = asked_for(request.get_ref(), self.0.admin.alarms());
        match (request.get_ref().action(), alarms.first()) {
            (AlarmAction::Activate, _) => Err(Status::unimplemented("alarms are not raised by hand here")),
            (AlarmAction::Deactivate, Some(alarm)) => Err(Status::failed_precondition(stays(alarm))),
            (AlarmAction::Get | AlarmAction::Deactivate, _) => {
                let alarms = alarms.iter().map(to_proto).collect();
                Ok(Response::new(pb::AlarmResponse { header: self.0.header_now(), alarms }))
            }
        }
    }

    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        let status = self.0.store.status();
        let me = status.members.iter().find(|member| member.id == status.id);
        let leader = status.leader.filter(|_| self.0.knows_leader());
        let mut errors: Vec<String> =
            leader.is_none().then(|| errors::NO_LEADER.text().to_owned()).into_iter().collect();
        errors.extend(self.0.admin.alarms().iter().map(said));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_are_found_as_etcd_finds_them() {
        let all = vec![
            Alarm { member: 1, kind: AlarmKind::NoSpace },
            Alarm { member: 2, kind: AlarmKind::NoSpace },
            Alarm { member: 2, kind: AlarmKind::Corrupt },
        ];
        let ask = |action: AlarmAction, member_id, alarm: pb::AlarmType| {
            let request = pb::AlarmRequest { action: action.into(), member_id, alarm: alarm.into() };
            asked_for(&request, all.clone()).iter().map(said).collect::<Vec<_>>()
        };
        let (get, disarm) = (AlarmAction::Get, AlarmAction::Deactivate);
        assert_eq!(ask(get, 1, pb::AlarmType::None).len(), 3, "whatever the member");
        assert_eq!(ask(get, 0, pb::AlarmType::Corrupt), ["memberID:2 alarm:CORRUPT"]);
        assert_eq!(ask(disarm, 2, pb::AlarmType::Nospace), ["memberID:2 alarm:NOSPACE"]);
        assert_eq!(ask(disarm, 1, pb::AlarmType::Corrupt).len(), 0);
        assert_eq!(ask(disarm, 0, pb::AlarmType::None).len(), 3);
        assert!(stays(&all[2]).ends_with("until it is healed: kontiki member heal 2"));
    }
}
