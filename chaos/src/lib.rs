//! Workloads and faults against running clusters, and checkers of what was seen.
//!
//! A workload acts and records; a fault strikes and proves that it bites; a checker is a pure function over
//! records and answers violations. A run puts them together on a cluster made for it.

pub mod checkers;
pub mod cluster;
pub mod faults;
pub mod history;
pub mod judge;
pub mod plant;
mod proxy;
pub mod report;
pub mod round;
pub mod run;
pub mod sim;
pub mod strike;
pub mod truth;
pub mod workloads;

use std::path::Path;
use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use kube::config::{KubeConfigOptions, Kubeconfig};

/// What a run can fail with, which is not the cluster's fault: a sentence for people.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Until a replica that is there has answered.
const CONNECT: Duration = Duration::from_secs(1);
/// A connection on which nothing comes back for that long is dead.
const ALIVE: Duration = Duration::from_secs(2);

/// A client of one replica, without retries of its own: what happened must reach the record.
pub async fn client(kubeconfig: &Path) -> Result<kube::Client, Failure> {
    // Another part of the process may have chosen the provider already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = None;
    config.default_retry = false;
    Ok(kube::Client::try_from(config)?)
}

/// One of etcd's clients, with the files that a replica makes for them. Connects when it is used.
pub async fn etcd_client(data: &Path, endpoint: String) -> Result<etcd_client::Client, Failure> {
    let read = |below: &str| std::fs::read(data.join(below));
    let tls = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(read("pki/etcd-ca.crt")?))
        .identity(Identity::from_pem(read("certificates/etcd-client.crt")?, read("certificates/etcd-client.key")?));
    let options = ConnectOptions::new()
        .with_tls(tls)
        .with_connect_timeout(CONNECT)
        .with_keep_alive(ALIVE, ALIVE)
        .with_keep_alive_while_idle(true)
        .with_require_leader(true);
    Ok(etcd_client::Client::connect([endpoint], Some(options)).await?)
}
