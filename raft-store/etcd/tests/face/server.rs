//! Replicas in this process with a port for clients each, and the bare clients of the wire contract.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kontiki_proto::etcd as pb;
use pb::kv_client::KvClient;
use pb::watch_client::WatchClient;
use store_api::{DynAdmin, DynStore, NodeId};
use store_etcd::{EtcdConfig, EtcdServer};
use store_node::test_support::{Cluster, TestCa};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const PROGRESS: Duration = Duration::from_millis(200);

pub(crate) struct Servers {
    pub(crate) cluster: Cluster,
    pub(crate) ca: TestCa,
    ports: BTreeMap<NodeId, u16>,
    stops: BTreeMap<NodeId, CancellationToken>,
    dir: tempfile::TempDir,
}

impl Servers {
    pub(crate) async fn start(replicas: NodeId) -> Self {
        let cluster = Cluster::start(replicas).await;
        let dir = tempfile::tempdir().expect("a directory");
        let ca = TestCa::new(dir.path());
        let (certificate, key) = ca.sign("server", "localhost");
        let (mut ports, mut stops) = (BTreeMap::new(), BTreeMap::new());
        for id in cluster.ids() {
            let config = EtcdConfig {
                listen: ([127, 0, 0, 1], 0).into(),
                ca: ca.ca_file(),
                certificate: certificate.clone(),
                key: key.clone(),
                progress_interval: PROGRESS,
                min_lease_ttl: EtcdConfig::MIN_LEASE_TTL,
            };
            let server = EtcdServer::bind(config).await.expect("a port");
            ports.insert(id, server.local_addr().port());
            let (store, stop) = (cluster.store(id), CancellationToken::new());
            let (store, admin): (DynStore, DynAdmin) = (Arc::clone(&store) as _, store as _);
            tokio::spawn(server.serve(store, admin, stop.clone()));
            stops.insert(id, stop);
        }
        Self { cluster, ca, ports, stops, dir }
    }

    /// Ends a replica and its port.
    pub(crate) async fn kill(&mut self, id: NodeId) {
        self.stops[&id].cancel();
        self.cluster.kill(id).await;
    }

    /// With a certificate of this CA, unless it is to have none.
    pub(crate) async fn connect(&self, id: NodeId, ca: Option<&TestCa>) -> Result<Channel, tonic::transport::Error> {
        let read = |path| std::fs::read(path).expect("a file");
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read(self.ca.ca_file())))
            .domain_name("localhost");
        if let Some(ca) = ca {
            let (certificate, key) = ca.sign("client", "a-client");
            tls = tls.identity(Identity::from_pem(read(certificate), read(key)));
        }
        let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{}", self.ports[&id])).expect("a URL");
        endpoint.tls_config(tls)?.connect().await
    }

    pub(crate) async fn channel(&self, id: NodeId) -> Channel {
        self.connect(id, Some(&self.ca)).await.expect("connected")
    }

    pub(crate) async fn kv(&self, id: NodeId) -> KvClient<Channel> {
        KvClient::new(self.channel(id).await)
    }

    pub(crate) async fn watch(&self, id: NodeId) -> WatchClient<Channel> {
        WatchClient::new(self.channel(id).await).max_decoding_message_size(64 << 20)
    }

    pub(crate) fn scratch(&self) -> &std::path::Path {
        self.dir.path()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stops.values().for_each(CancellationToken::cancel);
    }
}

pub(crate) fn put(key: impl Into<bytes::Bytes>, value: impl Into<bytes::Bytes>) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: value.into(), ..pb::PutRequest::default() }
}

pub(crate) async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing happened in time")
}
