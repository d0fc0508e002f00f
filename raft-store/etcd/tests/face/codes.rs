//! Who may connect, and what is answered to what is no request.

use bytes::Bytes;
use kontiki_proto::etcd as pb;
use store_node::test_support::{Raw, TestCa};
use tonic::{Code, Request};

use crate::server::{Servers, patiently, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_clients_of_the_ca_are_heard() {
    let servers = Servers::start(1).await;
    let other = TestCa::new(&servers.scratch().join("other"));
    for ca in [None, Some(&other)] {
        // TLS 1.3 lets a client know with its first answer only.
        let heard = match servers.connect(1, ca).await {
            Err(_) => false,
            Ok(channel) => pb::kv_client::KvClient::new(channel).put(put("a", "1")).await.is_ok(),
        };
        assert!(!heard, "a certificate is needed: {}", ca.is_some());
    }
    servers.kv(1).await.put(put("a", "1")).await.expect("with a certificate of the CA");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_has_the_code_clients_expect() {
    let servers = Servers::start(1).await;
    let channel = servers.channel(1).await;
    let call = |path: &'static str, message: Bytes| {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        async move {
            grpc.ready().await.expect("ready");
            let answer = grpc.unary(Request::new(message), path.parse().expect("a path"), Raw).await;
            answer.map(drop).map_err(|status| status.code())
        }
    };
    let large = Bytes::from(vec![0; 3 << 20]);
    for (path, message, want) in [
        ("/etcdserverpb.KV/Put", Bytes::from_static(&[0x0a, 0x7f]), Err(Code::Internal)),
        ("/etcdserverpb.KV/Put", large.clone(), Err(Code::ResourceExhausted)),
        ("/etcdserverpb.KV/Nothing", Bytes::new(), Err(Code::Unimplemented)),
        ("/etcdserverpb.Nothing/Put", Bytes::new(), Err(Code::Unimplemented)),
        ("/etcdserverpb.Cluster/MemberList", Bytes::from_static(&[0xf8, 0x01, 0x01]), Ok(())),
    ] {
        assert_eq!(call(path, message.clone()).await, want, "{path}, {} bytes", message.len());
    }
    let create = pb::WatchCreateRequest { key: large, ..pb::WatchCreateRequest::default() };
    let request = pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
    let mut watch = servers.watch(1).await;
    let mut stream = watch.watch(tokio_stream::iter([request])).await.expect("a stream").into_inner();
    let ended = patiently(stream.message()).await.expect_err("it is too large");
    assert_eq!(ended.code(), Code::ResourceExhausted, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_too_long_are_no_keys() {
    let servers = Servers::start(1).await;
    let mut kv = servers.kv(1).await;
    kv.put(put(vec![b'k'; store_api::MAX_KEY_BYTES], "v")).await.expect("the longest key");
    let refused = kv.put(put(vec![b'k'; store_api::MAX_KEY_BYTES + 1], "v")).await.expect_err("too long");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
}
