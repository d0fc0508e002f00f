//! Three replicas in this process, each with a port for etcd's clients.

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use store_api::{DynAdmin, DynStore, NodeId};
use store_etcd::{EtcdConfig, EtcdServer};
use store_node::test_support::{self, TestCa};
use tokio_util::sync::CancellationToken;

use crate::transcript::PROGRESS_INTERVAL;

const REPLICAS: NodeId = 3;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Through {
    Leader,
    Follower,
}

pub(crate) struct Cluster {
    replicas: test_support::Cluster,
    endpoints: BTreeMap<NodeId, String>,
    tls: TlsOptions,
    stop: CancellationToken,
    _dir: tempfile::TempDir,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let replicas = test_support::Cluster::start(REPLICAS).await;
        let dir = tempfile::tempdir().expect("a directory");
        let ca = TestCa::new(dir.path());
        let (certificate, key) = ca.sign("server", "localhost");
        let (stop, mut endpoints) = (CancellationToken::new(), BTreeMap::new());
        for id in replicas.ids() {
            let config = EtcdConfig {
                listen: ([127, 0, 0, 1], 0).into(),
                ca: ca.ca_file(),
                certificate: certificate.clone(),
                key: key.clone(),
                progress_interval: PROGRESS_INTERVAL,
                min_lease_ttl: EtcdConfig::MIN_LEASE_TTL,
            };
            let server = EtcdServer::bind(config).await.expect("a port");
            let endpoint = format!("https://localhost:{}", server.local_addr().port());
            let store = replicas.store(id);
            store.announce(&format!("replica-{id}"), std::slice::from_ref(&endpoint)).await;
            endpoints.insert(id, endpoint);
            let (store, admin): (DynStore, DynAdmin) = (Arc::clone(&store) as _, store as _);
            tokio::spawn(server.serve(store, admin, stop.clone()));
        }
        let (certificate, key) = ca.sign("client", "a-client");
        let read = |path| std::fs::read(path).expect("a file");
        let tls = TlsOptions::new()
            .ca_certificate(Certificate::from_pem(read(ca.ca_file())))
            .identity(Identity::from_pem(read(certificate), read(key)));
        Self { replicas, endpoints, tls, stop, _dir: dir }
    }

    pub(crate) async fn client(&self, through: Through) -> Client {
        let id = match through {
            Through::Leader => self.replicas.leader().await,
            Through::Follower => self.replicas.follower().await,
        };
        let options = ConnectOptions::new().with_tls(self.tls.clone()).with_require_leader(true);
        Client::connect([&self.endpoints[&id]], Some(options)).await.expect("connected")
    }

    pub(crate) async fn converge(&self) {
        self.replicas.converge().await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
