//! The peer network: what replicas say to each other, over gRPC and mutual TLS.

mod caller;
mod commits;
mod connect;
mod listener;
mod network;
mod pace;
mod pool;
mod server;
mod service;
mod snapshot_transfer;

use std::time::Duration;

use kontiki_proto::too_large::TooLarge;
use store_api::NodeId;
use store_engine::planted::{Bug, is_planted};
use tonic::{Request, Status};

pub(crate) use connect::ConnectFailed;
pub use connect::{Dial, PeerIo, TcpDial};
pub(crate) use listener::listen;
pub(crate) use network::NetworkFactory;
pub(crate) use pool::{Peer, Peers, had_no_effect, wire};
pub use server::PeerServer;
pub(crate) use service::{PeerService, not_leader};

use crate::tls::PeerIdentity;

/// Largest message accepted from a peer, bytes: the largest transaction and what surrounds it.
pub(crate) const MAX_MESSAGE_BYTES: usize = 24 << 20;
const TOO_LARGE: TooLarge = TooLarge { message: None };
/// Connections accepted at once: two per peer and room for reconnects.
const MAX_CONNECTIONS: usize = 256;
/// Until a new connection has proved who it is.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Until a dialled connection is ready for use.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Between pings on a connection, also an idle one.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// A ping unanswered for so long ends the connection.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// HTTP/2 flow-control windows, bytes.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// The newest version of the peer protocol that this version understands. A call says which one is needed to
/// understand it; replicas of a newer version go on saying the older one until all are upgraded.
const NEWEST_WIRE: u32 = 1;
/// Needed to understand what this version says.
const WIRE: u32 = 1;
/// Before there was a number it was this one.
const FIRST_WIRE: u32 = 1;
/// In every call: the version of the protocol, the cluster, the calling replica, the replica meant.
const WIRE_VERSION: &str = "kontiki-wire";
const CLUSTER: &str = "kontiki-cluster";
const FROM: &str = "kontiki-from";
const TO: &str = "kontiki-to";
/// The data directory that calls, and the one that is meant, where it is known.
const FROM_INCARNATION: &str = "kontiki-from-incarnation";
const TO_INCARNATION: &str = "kontiki-to-incarnation";

/// Names caller and callee on every call.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    cluster: String,
    from: NodeId,
    to: NodeId,
    from_incarnation: String,
    to_incarnation: Option<String>,
}

impl tonic::service::Interceptor for Address {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        let text = |text: &str| text.parse().map_err(|_| Status::internal(format!("{text:?} is not a header value")));
        metadata.insert(WIRE_VERSION, WIRE.into());
        metadata.insert(CLUSTER, text(&self.cluster)?);
        metadata.insert(FROM, self.from.into());
        metadata.insert(TO, self.to.into());
        metadata.insert(FROM_INCARNATION, text(&self.from_incarnation)?);
        if let Some(incarnation) = &self.to_incarnation {
            metadata.insert(TO_INCARNATION, text(incarnation)?);
        }
        Ok(request)
    }
}

/// Lets through only calls from a replica of this cluster that its certificate names, meant for this one.
#[derive(Clone, Debug)]
struct Gate {
    me: PeerIdentity,
}

impl tonic::service::Interceptor for Gate {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(peer) = request.extensions().get::<PeerIdentity>() else {
            return Err(Status::unauthenticated("no peer certificate"));
        };
        if is_planted(Bug::AnswersAnyone) {
            return Ok(request);
        }
        check_wire(request.metadata().get(WIRE_VERSION).and_then(|value| value.to_str().ok()))?;
        let claimed = |key| request.metadata().get(key).and_then(|value| value.to_str().ok());
        let claim = |key, want: &str| match claimed(key) {
            Some(found) if found == want => Ok(()),
            found => Err(Status::permission_denied(format!("{key} is {found:?}, it must be {want:?}"))),
        };
        if peer.cluster != self.me.cluster {
            return Err(Status::permission_denied(format!("cluster {:?} is another cluster", peer.cluster)));
        }
        claim(CLUSTER, &self.me.cluster)?;
        claim(FROM, &peer.id.to_string())?;
        claim(TO, &self.me.id.to_string())?;
        Ok(request)
    }
}

/// Refuses what this version may misunderstand.
fn check_wire(said: Option<&str>) -> Result<(), Status> {
    let needed = said.map_or(Some(FIRST_WIRE), |said| said.parse().ok());
    match needed {
        Some(FIRST_WIRE..=NEWEST_WIRE) => Ok(()),
        _ => Err(Status::failed_precondition(format!(
            "it needs version {} of the peer protocol, this replica knows {NEWEST_WIRE}: upgrade this replica first",
            said.unwrap_or_default()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use tonic::service::Interceptor;

    use super::*;

    #[test]
    fn a_newer_protocol_is_refused_and_an_older_one_is_not() {
        assert!(check_wire(None).is_ok(), "of a version before the number");
        assert!(check_wire(Some("1")).is_ok());
        for said in ["2", "0", "x", ""] {
            let refused = check_wire(Some(said)).expect_err(said);
            assert!(refused.message().contains("upgrade this replica"), "{said}: {refused}");
        }
    }

    #[test]
    fn a_call_must_come_from_and_go_to_whom_it_says() {
        let peer = |id, cluster: &str| PeerIdentity { id, cluster: cluster.into() };
        let mut gate = Gate { me: peer(1, "prod") };
        let mut ask = |certificate: Option<PeerIdentity>, cluster: &str, from, to| {
            let mut request = Request::new(());
            if let Some(certificate) = certificate {
                request.extensions_mut().insert(certificate);
            }
            let (from_incarnation, to_incarnation) = ("disk".to_owned(), None);
            let mut address = Address { cluster: cluster.into(), from, to, from_incarnation, to_incarnation };
            let request = address.call(request).expect("addressed");
            gate.call(request).map(drop).map_err(|status| status.message().to_owned())
        };
        assert_eq!(ask(Some(peer(2, "prod")), "prod", 2, 1), Ok(()));
        for (certificate, cluster, from, to, want) in [
            (None, "prod", 2, 1, "no peer certificate"),
            (Some(peer(2, "dev")), "prod", 2, 1, "cluster \"dev\" is another cluster"),
            (Some(peer(2, "prod")), "dev", 2, 1, "kontiki-cluster is Some(\"dev\"), it must be \"prod\""),
            (Some(peer(2, "prod")), "prod", 3, 1, "kontiki-from is Some(\"3\"), it must be \"2\""),
            (Some(peer(2, "prod")), "prod", 2, 3, "kontiki-to is Some(\"3\"), it must be \"1\""),
        ] {
            assert_eq!(ask(certificate, cluster, from, to), Err(want.to_owned()));
        }
    }
}
