//! The peer protocol of one replica as one service, however calls arrive.

use std::sync::Arc;

use kontiki_proto::raft::raft_server::RaftServer;
use store_api::NodeId;
use tonic::body::Body;
use tonic::service::interceptor::InterceptedService;
use tower::Service;

use super::{Gate, MAX_MESSAGE_BYTES, PeerService, TOO_LARGE};
use crate::replica::Replica;
use crate::tls::PeerIdentity;

/// Answers other replicas, as far as they may ask.
#[derive(Clone)]
pub struct PeerServer {
    pub(super) service: InterceptedService<RaftServer<PeerService>, Gate>,
}

impl PeerServer {
    pub(crate) fn new(replica: Arc<Replica>) -> Self {
        let me = PeerIdentity { id: replica.id(), cluster: replica.config.cluster_id.clone() };
        let raft = RaftServer::new(PeerService::new(replica))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Self { service: InterceptedService::new(raft, Gate { me }) }
    }

    /// One call, of a caller whose certificate says that it is replica `from` of `cluster`.
    pub async fn call(&self, from: NodeId, cluster: &str, mut request: http::Request<Body>) -> http::Response<Body> {
        request.extensions_mut().insert(PeerIdentity { id: from, cluster: cluster.into() });
        match self.service.clone().call(request).await {
            Ok(response) => TOO_LARGE.rewrite(response.map(Body::new)),
            Err(never) => match never {},
        }
    }
}
