//! Whoever comes to the port where replicas talk to each other.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use kontiki_proto::log::{LogId, Vote};
use kontiki_proto::raft::raft_client::RaftClient;
use kontiki_proto::raft::{DescribeRequest, ForwardRequest, ReadIndexRequest, TransferLeaderRequest, VoteRequest};
use pki::authority::{Authority, CertifiedKey};
use serde_json::json;
use system_tests::client::{authority, now};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::exhaustion::{KIB, LATE, MAPS, MIB, meanwhile};
use crate::frames::{SETTINGS, frame};
use crate::world::World;

/// Whom a replica takes a caller for, and what it is to.
struct Caller<'a> {
    identity: Option<&'a CertifiedKey>,
    from: u64,
    cluster: &'a str,
    /// The replica's data directory.
    to: &'a str,
}

type Raft = RaftClient<tonic::service::interceptor::InterceptedService<Channel, Metadata>>;

#[derive(Clone)]
struct Metadata(Vec<(&'static str, String)>);

impl tonic::service::Interceptor for Metadata {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        for (name, value) in &self.0 {
            request.metadata_mut().insert(*name, value.parse().expect("a header value"));
        }
        Ok(request)
    }
}

impl Caller<'_> {
    /// `None`: TLS ends it.
    async fn connect(&self, world: &World) -> Option<Raft> {
        let ca = std::fs::read_to_string(world.server.dir.join("pki/peer-ca.crt")).expect("the peers' CA");
        let status = world.admin.get("/kontiki/v1/status").await.json();
        let cluster = status["clusterID"].as_str().expect("the cluster");
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca))
            .domain_name(format!("node-1.{cluster}.kontiki"));
        if let Some(identity) = self.identity {
            tls = tls.identity(Identity::from_pem(&identity.certificate_pem, &identity.key_pem));
        }
        let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{}", world.server.peer_port)).expect("a URL");
        let channel = endpoint.tls_config(tls).expect("a configuration").connect().await.ok()?;
        let metadata = vec![
            ("kontiki-wire", "1".to_owned()),
            ("kontiki-cluster", self.cluster.to_owned()),
            ("kontiki-from", self.from.to_string()),
            ("kontiki-to", "1".to_owned()),
            ("kontiki-from-incarnation", "a58".to_owned()),
            ("kontiki-to-incarnation", self.to.to_owned()),
        ];
        Some(RaftClient::with_interceptor(channel, Metadata(metadata)))
    }

    /// What it is told of who the replica is; an error says what came instead.
    async fn describe(&self, world: &World) -> Result<String, String> {
        let mut raft = self.connect(world).await.ok_or("no connection")?;
        let answer = tokio::time::timeout(LATE, raft.describe(DescribeRequest {})).await;
        let answer = answer.map_err(|_| "no answer")?.map_err(|status| format!("{:?}", status.code()))?;
        Ok(answer.into_inner().incarnation)
    }
}

async fn term(world: &World) -> u64 {
    world.admin.get("/kontiki/v1/status").await.json()["term"].as_u64().expect("the term")
}

/// A certificate for a replica of this name.
fn peer(ca: &Authority, name: &str) -> CertifiedKey {
    let request = pki::authority::Request {
        common_name: name.to_owned(),
        dns_names: vec![name.to_owned()],
        server: true,
        client: true,
        days: 1,
        ..pki::authority::Request::default()
    };
    ca.issue(&request, now()).expect("a certificate")
}

/// The peers' CA of this cluster, and the cluster's id.
async fn peers(world: &World) -> (Authority, String) {
    let read = |name: &str| std::fs::read_to_string(world.server.dir.join("pki").join(name)).expect("the CA's file");
    let ca = Authority::from_pem(&read("peer-ca.crt"), &read("peer-ca.key")).expect("the peers' CA");
    let status = world.admin.get("/kontiki/v1/status").await.json();
    (ca, status["clusterID"].as_str().expect("the cluster").to_owned())
}

/// The peers' port talks to replicas of this cluster only: not to garbage, clients of the API, other clusters or
/// whoever has made a certificate of their own. Whoever holds a certificate of the peers' CA and is no member writes
/// nothing, and neither gets a vote nor raises the term of a server that leads.
pub(crate) async fn a58_strangers_on_the_peers_port(world: &World) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, world.server.peer_port));
    let garbage: Vec<u8> = (0..64 * KIB).map(|index| (index * 31 % 251) as u8).collect();
    let h2 = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat();
    for (what, said) in [("garbage", garbage), ("HTTP/2 without TLS", h2), ("nothing", Vec::new())] {
        let attack = async {
            let mut tcp = TcpStream::connect(address).await.expect("it listens");
            // It may be closed before all is written.
            let _: std::io::Result<()> = tcp.write_all(&said).await;
            let mut heard = Vec::new();
            let ended = tokio::time::timeout(2 * LATE, tcp.read_to_end(&mut heard)).await;
            (ended.is_ok(), heard)
        };
        let (ended, heard) = meanwhile(world, what, 32 * MIB, attack).await;
        // An alert of TLS at most.
        assert!(ended && (heard.is_empty() || heard[0] == 21), "{what} was answered: {heard:?}");
    }
    let (ca, cluster) = peers(world).await;
    let name = format!("node-2.{cluster}.kontiki");
    let (of_api, forged) = (peer(&world.ca, &name), peer(&authority("kontiki-peer-ca"), &name));
    let (nameless, elsewhere) = (peer(&ca, "node-2"), peer(&ca, "node-2.another.kontiki"));
    for (what, identity) in [
        ("nobody", None),
        ("a client of the API", Some(&of_api)),
        ("a CA of their own", Some(&forged)),
        ("a certificate without a replica", Some(&nameless)),
        ("another cluster", Some(&elsewhere)),
    ] {
        let told = Caller { identity, from: 2, cluster: &cluster, to: "a58" }.describe(world).await;
        assert!(told.is_err(), "{what} is told what a replica is: {told:?}");
    }
    // What it could do to a server, it may do to one of its own.
    let own = World::with(&[]);
    own.settle().await;
    replicas_that_are_no_members(&own).await;
}

async fn replicas_that_are_no_members(world: &World) {
    let before = term(world).await;
    let (ca, cluster) = peers(world).await;
    let identity = peer(&ca, &format!("node-9.{cluster}.kontiki"));
    let caller = |from, cluster, to| Caller { identity: Some(&identity), from, cluster, to };
    let told = caller(9, &cluster, "a58").describe(world).await;
    let own = told.expect("a replica that may become a member is told who this is");
    for (what, caller) in
        [("another's number", caller(1, &cluster, &own)), ("another cluster", caller(9, "another", &own))]
    {
        assert_eq!(caller.describe(world).await, Err("PermissionDenied".to_owned()), "{what}");
    }
    let mut raft = caller(9, &cluster, &own).connect(world).await.expect("a connection");
    let last = Some(LogId { term: 1_000_000, node: 9, index: u64::MAX / 2 });
    for leadership_transfer in [false, true] {
        let vote = Some(Vote { term: 1_000_000, node: 9, committed: false });
        let request = VoteRequest { vote, last, leadership_transfer };
        let granted = raft.vote(request).await.is_ok_and(|answer| answer.into_inner().granted);
        assert!(!granted, "a replica that is no member got a vote (handed over: {leadership_transfer})");
        raft.pre_vote(request).await.ok();
        assert_eq!(term(world).await, before, "a replica that is no member raised the term");
    }
    let from = Some(Vote { term: 1_000_000, node: 9, committed: true });
    raft.transfer_leader(TransferLeaderRequest { from, to: 1, last }).await.ok();
    assert_eq!(term(world).await, before, "a replica that is no member raised the term");
    let code = |status: tonic::Status| format!("{:?}", status.code());
    let denied = Err("PermissionDenied".to_owned());
    assert_eq!(raft.read_index(ReadIndexRequest {}).await.map(drop).map_err(code), denied);
    let forward = ForwardRequest { commands: vec![Bytes::from_static(b"a58")], deadline_ms: 1_000 };
    assert_eq!(raft.forward(forward).await.map(drop).map_err(code), denied);
    // A message beyond what there may be.
    let huge = ForwardRequest { commands: vec![Bytes::from(vec![0; 32 * MIB])], deadline_ms: 1_000 };
    let answer = meanwhile(world, "a huge message", 64 * MIB, raft.forward(huge)).await;
    assert!(answer.is_err(), "a message of 32 MiB was read");
    world.admin.make(MAPS, &json!({"metadata": {"name": "a58"}})).await;
    assert_eq!(world.admin.delete(&format!("{MAPS}/a58")).await.code, 200, "the server leads and writes");
}
