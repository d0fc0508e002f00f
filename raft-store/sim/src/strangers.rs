//! Callers that are not what they say.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::Full;
use kontiki_proto::log as log_proto;
use kontiki_proto::raft as proto;
use prost::Message as _;
use store_api::NodeId;
use store_node::world::PeerServer;
use tonic::body::Body;

use crate::facts::Fact;
use crate::host::CLUSTER;
use crate::shared::Shared;

/// How a caller is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Cluster,
    Name,
    Receiver,
    ReceiversDisk,
    OwnDisk,
}

impl How {
    pub(crate) const ALL: [Self; 5] = [Self::Cluster, Self::Name, Self::Receiver, Self::ReceiversDisk, Self::OwnDisk];

    fn words(self) -> &'static str {
        match self {
            Self::Cluster => "of another cluster",
            Self::Name => "with another name than its certificate's",
            Self::Receiver => "who means another replica",
            Self::ReceiversDisk => "who means another disk",
            Self::OwnDisk => "with another disk than the member it says it is",
        }
    }
}

/// Two members, by id and disk.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) from: (NodeId, String),
    pub(crate) to: (NodeId, String),
}

/// Asks for a vote in a term far away, as `pair.from`, but for one thing.
pub(crate) async fn knock(shared: Arc<Shared>, server: PeerServer, pair: Pair, how: How) {
    let wrong = |this: How| how == this;
    let request = request(&pair, wrong);
    let cluster = if wrong(How::Cluster) { "another" } else { CLUSTER };
    let response = server.call(pair.from.0, cluster, request).await;
    let status = response.headers().get("grpc-status");
    let refused = status.is_some_and(|status| status != "0");
    shared.tell(Fact::Stranger { host: pair.to.0, how: how.words(), refused });
}

fn request(pair: &Pair, wrong: impl Fn(How) -> bool) -> http::Request<Body> {
    let Pair { from, to } = pair;
    let id = |id: NodeId, wrong: bool| if wrong { (id + 17).to_string() } else { id.to_string() };
    let disk = |disk: &str, wrong: bool| if wrong { "no-such-disk".to_owned() } else { disk.to_owned() };
    let cluster = if wrong(How::Cluster) { "another" } else { CLUSTER };
    let request = http::Request::post("/kontiki.raft.v1.Raft/PreVote")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("kontiki-cluster", cluster)
        .header("kontiki-from", id(from.0, wrong(How::Name)))
        .header("kontiki-to", id(to.0, wrong(How::Receiver)))
        .header("kontiki-from-incarnation", disk(&from.1, wrong(How::OwnDisk)))
        .header("kontiki-to-incarnation", disk(&to.1, wrong(How::ReceiversDisk)));
    let body = Body::new(Full::new(frame(from.0)));
    request.body(body).expect("headers are plain text")
}

fn frame(candidate: NodeId) -> Bytes {
    let vote = log_proto::Vote { term: 1, node: candidate, committed: false };
    let message = proto::VoteRequest { vote: Some(vote), ..Default::default() }.encode_to_vec();
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.extend_from_slice(&message);
    frame.freeze()
}
