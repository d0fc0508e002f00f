//! Cluster: the members, with etcd's URLs for our addresses.

use std::sync::Arc;

use kontiki_proto::etcd as pb;
use store_api::{MemberError, MemberUpdate, StoreError};
use tonic::{Request, Response, Status};

use crate::errors::{self, from_store};
use crate::face::Face;

pub(crate) struct ClusterService(pub(crate) Arc<Face>);

const SCHEME: &str = "https://";

fn member(member: store_api::Member) -> pb::Member {
    pb::Member {
        id: member.id,
        name: member.name,
        peer_urls: vec![format!("{SCHEME}{}", member.peer_addr)],
        client_urls: member.client_urls,
        is_learner: !member.voter,
    }
}

/// The one peer address a member has here, `host:port`.
fn peer_addr(urls: &[String]) -> Result<String, Status> {
    let [url] = urls else { return Err(errors::BAD_URLS.into()) };
    let addr = url.strip_prefix(SCHEME).or_else(|| url.strip_prefix("http://")).unwrap_or_default();
    match addr.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok() => {
            Ok(addr.to_owned())
        }
        _ => Err(errors::BAD_URLS.into()),
    }
}

impl ClusterService {
    fn members(&self) -> Vec<pb::Member> {
        self.0.store.status().members.into_iter().map(member).collect()
    }
}

#[tonic::async_trait]
impl pb::cluster_server::Cluster for ClusterService {
    /// Gives out an id. The member is one when a replica that was started with this id has asked to be.
    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        self.0.admit(&request)?;
        let pb::MemberAddRequest { peer_urls, is_learner } = request.into_inner();
        peer_addr(&peer_urls)?;
        self.0.store.read_barrier().await.map_err(from_store)?;
        let mut members = self.members();
        if members.iter().any(|member| member.peer_urls == peer_urls) {
            return Err(from_store(MemberError::AddressTaken.into()));
        }
        let id = self.0.admin.new_member_id().await.map_err(from_store)?;
        let added = pb::Member { id, peer_urls, is_learner, ..pb::Member::default() };
        members.push(added.clone());
        let header = self.0.header_now();
        Ok(Response::new(pb::MemberAddResponse { header, member: Some(added), members }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        self.0.admit(&request)?;
        let removed = self.0.admin.member_remove(request.get_ref().id).await;
        removed.map_err(|error| match error {
            // It says which members do not answer; etcd's clients know one sentence for it.
            StoreError::Invalid(why) => {
                tracing::info!(why, "a member is not removed");
                errors::NOT_ENOUGH_STARTED.into()
            }
            error => from_store(error),
        })?;
        let (header, members) = (self.0.header_now(), self.members());
        Ok(Response::new(pb::MemberRemoveResponse { header, members }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        self.0.admit(&request)?;
        let pb::MemberUpdateRequest { id, peer_urls } = request.into_inner();
        let update = MemberUpdate { peer_addr: Some(peer_addr(&peer_urls)?), ..MemberUpdate::default() };
        self.0.admin.member_update(id, update).await.map_err(from_store)?;
        let (header, members) = (self.0.header_now(), self.members());
        Ok(Response::new(pb::MemberUpdateResponse { header, members }))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        self.0.admit(&request)?;
        if request.get_ref().linearizable {
            self.0.store.read_barrier().await.map_err(from_store)?;
        }
        // Members are no part of the history: etcd names no revision here.
        let (header, members) = (self.0.header(0), self.members());
        Ok(Response::new(pb::MemberListResponse { header, members }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        self.0.admit(&request)?;
        self.0.admin.member_promote(request.get_ref().id).await.map_err(from_store)?;
        let (header, members) = (self.0.header_now(), self.members());
        Ok(Response::new(pb::MemberPromoteResponse { header, members }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_has_one_peer_address() {
        let addr = |urls: &[&str]| peer_addr(&urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>()).ok();
        for (urls, want) in [
            (&["https://10.0.0.1:2380"][..], Some("10.0.0.1:2380")),
            (&["https://[::1]:2380"], Some("[::1]:2380")),
            (&["http://host:1"], Some("host:1")),
            (&[], None),
            (&["https://a:1", "https://b:1"], None),
            (&["a:1"], None),
            (&["https://a"], None),
            (&["https://a:70000"], None),
            (&["https://a:1/path"], None),
            (&["unix://a:1"], None),
        ] {
            assert_eq!(addr(urls).as_deref(), want, "{urls:?}");
        }
    }
}
