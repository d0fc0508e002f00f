//! etcd's clients, served besides the API where that was asked for.
//!
//! They see and may change everything in the store, so their certificates have a CA of their own.

use std::sync::Arc;

use store_etcd::{EtcdConfig, EtcdServer};
use store_node::RaftStore;
use tokio_util::sync::CancellationToken;

use super::identity::{self, Identity};
use crate::Failure;
use crate::config::ServerConfiguration;

/// Takes the port and serves it in the background until `stop`.
pub(super) async fn start(
    config: &ServerConfiguration,
    identity: &Identity,
    raft: &Arc<RaftStore>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let Some(listen) = config.etcd_listen else { return Ok(()) };
    let server = EtcdServer::bind(EtcdConfig {
        listen,
        ca: config.pki_dir.join(format!("{}.crt", identity::ETCD_CA)),
        certificate: identity.certificate(identity::ETCD),
        key: identity.key(identity::ETCD),
        progress_interval: EtcdConfig::PROGRESS_INTERVAL,
        min_lease_ttl: EtcdConfig::MIN_LEASE_TTL,
    })
    .await?;
    tracing::info!(%listen, client = %identity.certificate(identity::ETCD_CLIENT).display(), "serving etcd's clients");
    let (name, url) = (format!("server-{}", config.id), client_url(&config.api.advertise, listen.port()));
    let (announced, stopped) = (raft.clone(), stop.clone());
    tokio::spawn(async move { stopped.run_until_cancelled(announced.announce(&name, &[url])).await });
    tokio::spawn(server.serve(raft.clone(), raft.clone(), stop.clone()));
    Ok(())
}

/// Where the API is reached, with another port.
fn client_url(advertise: &str, port: u16) -> String {
    let host = advertise.rsplit_once(':').map_or(advertise, |(host, _)| host);
    format!("https://{host}:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_use_the_host_of_the_api() {
        assert_eq!(client_url("10.0.0.1:6443", 2379), "https://10.0.0.1:2379");
        assert_eq!(client_url("[::1]:6443", 2379), "https://[::1]:2379");
        assert_eq!(client_url("api.example:6443", 1), "https://api.example:1");
    }
}
