//! What the peer port answers to those who are no members, and to what is no message of the protocol.

use std::path::PathBuf;

use bytes::Bytes;
use http::uri::PathAndQuery;
use kontiki_proto::{log as log_proto, raft as proto};
use prost::Message;
use store_api::NodeId;
use store_node::test_support::{Cluster, Raw, TestCa};
use tonic::client::Grpc;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

/// Somebody who calls replica 1 of a cluster.
struct Caller<'a> {
    cluster: &'a Cluster,
    id: NodeId,
    files: Option<(PathBuf, PathBuf)>,
}

impl<'a> Caller<'a> {
    /// With a certificate of the cluster's CA for the name.
    fn named(cluster: &'a Cluster, id: NodeId, dns: &str) -> Self {
        Self { cluster, id, files: Some(cluster.ca.sign(&format!("caller-{dns}"), dns)) }
    }

    fn channel(&self) -> Channel {
        let read = |path| std::fs::read_to_string(path).expect("a PEM file");
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read(self.cluster.ca.ca_file())))
            .assume_http2(true)
            .domain_name("node-1.test.kontiki");
        let tls = match self.files.clone() {
            Some((certificate, key)) => tls.identity(Identity::from_pem(read(certificate), read(key))),
            None => tls,
        };
        let endpoint = Endpoint::from_shared(format!("https://{}", self.cluster.member(1, true).peer_addr));
        endpoint.expect("an address").tls_config(tls).expect("a configuration").connect_lazy()
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let incarnation = |id| self.cluster.store(id).inspect().incarnation;
        let mine = if self.cluster.ids().contains(&self.id) { incarnation(self.id) } else { "a disk".into() };
        for (key, value) in [
            ("kontiki-cluster", "test".to_owned()),
            ("kontiki-from", self.id.to_string()),
            ("kontiki-to", "1".to_owned()),
            ("kontiki-from-incarnation", mine),
            ("kontiki-to-incarnation", incarnation(1)),
        ] {
            request.metadata_mut().insert(key, value.parse().expect("text"));
        }
        request
    }

    /// What becomes of one message of a method, whether it takes a stream of them or one.
    async fn call(&self, method: &'static str, message: impl Into<Bytes>) -> Result<Bytes, Status> {
        let mut grpc = Grpc::new(self.channel());
        grpc.ready().await.map_err(|error| Status::unavailable(format!("{error:?}")))?;
        let path = PathAndQuery::try_from(format!("/kontiki.raft.v1.Raft/{method}")).expect("a path");
        let one = self.request(futures::stream::iter([message.into()]));
        let answers = grpc.streaming(one, path, Raw).await?;
        answers.into_inner().message().await.map(Option::unwrap_or_default)
    }

    async fn code(&self, method: &'static str, message: impl Into<Bytes>) -> Code {
        let answer = self.call(method, message).await;
        println!("{method}: {answer:.200?}");
        answer.err().map_or(Code::Ok, |status| status.code())
    }
}

/// One byte more than fits.
fn oversized() -> Vec<u8> {
    const LIMIT: usize = 24 << 20;
    vec![0; LIMIT + 1]
}

/// A field whose content is longer than the message.
const MALFORMED: &[u8] = &[0x0a, 0xff, 0xff, 0x7f, 0x01];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_none_get_the_code_that_says_so() {
    let cluster = Cluster::start(2).await;
    let member = Caller { cluster: &cluster, id: 2, files: Some(cluster.ca.sign("again", "node-2.test.kontiki")) };
    assert_eq!(member.code("Describe", Bytes::new()).await, Code::Ok, "so far all is well");
    for method in ["Forward", "Vote", "Exchange", "AppendEntries", "InstallSnapshot"] {
        assert_eq!(member.code(method, oversized()).await, Code::ResourceExhausted, "{method}");
        assert_eq!(member.code(method, MALFORMED).await, Code::Internal, "{method}");
    }
    let refused = member.call("Forward", oversized()).await.expect_err("refused");
    let why = "Error, decoded message length too large: found 25165825 bytes, the limit is: 25165824 bytes";
    assert_eq!(refused.message(), why);
    // Messages of the protocol, with what cannot be meant.
    let vote = Some(log_proto::Vote { term: 1, node: 2, committed: true });
    let no_entry = proto::AppendRequest { vote, entries: vec!["no entry".into()], ..Default::default() };
    assert_eq!(member.code("AppendEntries", no_entry.encode_to_vec()).await, Code::InvalidArgument);
    assert_eq!(member.code("Vote", proto::VoteRequest::default().encode_to_vec()).await, Code::InvalidArgument);
    assert_eq!(member.code("ChangeMember", Bytes::new()).await, Code::InvalidArgument);
    assert_eq!(member.code("InstallSnapshot", Bytes::new()).await, Code::InvalidArgument);
    assert_eq!(member.code("NoSuchMethod", Bytes::new()).await, Code::Unimplemented);
    // Nobody was harmed.
    let store = cluster.store(2);
    crate::support::put(&store, "a", "1").await;
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_member_is_refused() {
    let cluster = Cluster::start(1).await;
    let mut foreign = Caller { cluster: &cluster, id: 1, files: None };
    let other_ca = tempfile::tempdir().expect("a directory");
    for (what, files) in [
        ("no certificate", None),
        ("one of another CA", Some(TestCa::new(other_ca.path()).sign("node-1", "node-1.test.kontiki"))),
        ("one of another cluster", Some(cluster.ca.sign("other", "node-1.other.kontiki"))),
        ("one of no replica", Some(cluster.ca.sign("client", "kubernetes.default.svc"))),
    ] {
        foreign.files = files;
        let refused = foreign.call("Describe", Bytes::new()).await.expect_err(what);
        println!("{what}: {refused:?}");
        // There never is a connection on which anything could be asked.
        let cause = std::error::Error::source(&refused);
        assert!(cause.is_some_and(|cause| cause.is::<tonic::transport::Error>()), "{refused:?}");
    }
    // A certificate that is right, of a replica that was never made a member.
    let stranger = Caller::named(&cluster, 9, "node-9.test.kontiki");
    for method in ["Forward", "ReadIndex", "ChangeMember", "LeaseRemaining", "Removed", "Exchange"] {
        let refused = stranger.call(method, Bytes::new()).await.expect_err(method);
        assert_eq!((refused.code(), refused.message()), (Code::PermissionDenied, "replica 9 is not a member"));
    }
    // As somebody else than its certificate says.
    let liar = Caller { id: 1, ..Caller::named(&cluster, 9, "node-9.test.kontiki") };
    let refused = liar.call("Describe", Bytes::new()).await.expect_err("refused");
    let why = "kontiki-from is Some(\"1\"), it must be \"9\"";
    assert_eq!((refused.code(), refused.message()), (Code::PermissionDenied, why));
}
