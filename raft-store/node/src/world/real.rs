//! The world as it is: TCP, mutual TLS, the operating system's randomness.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::statvfs::statvfs;
use parking_lot::Mutex;
use store_api::{NodeId, StoreError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{PeerChannel, PeerServer, World};
use crate::NodeConfig;
use crate::blocking::blocking;
use crate::peer::{Dial, listen, wire};
use crate::tls::PeerTls;

/// How often to look for other certificates.
const TLS_TICK: Duration = Duration::from_secs(5);

pub(crate) struct RealWorld {
    tls: Arc<PeerTls>,
    dial: Arc<dyn Dial>,
    address: std::net::SocketAddr,
    cluster: String,
    listener: Mutex<Option<TcpListener>>,
}

impl RealWorld {
    /// Reads the certificates.
    pub(crate) fn open(config: &NodeConfig, dial: Arc<dyn Dial>) -> Result<Arc<Self>, StoreError> {
        let tls = PeerTls::load(config)?;
        let (address, cluster) = (config.peer_listen, config.cluster_id.clone());
        Ok(Arc::new(Self { tls, dial, address, cluster, listener: Mutex::default() }))
    }
}

#[async_trait]
impl World for RealWorld {
    fn channels(&self, to: NodeId, addr: &str) -> [PeerChannel; 2] {
        wire(to, addr, self.tls.clone(), self.dial.clone())
    }

    async fn bind(&self) -> Result<(), StoreError> {
        let bound = TcpListener::bind(self.address).await;
        let failed = |error| StoreError::Invalid(format!("cannot listen on {} for peers: {error}", self.address));
        *self.listener.lock() = Some(bound.map_err(failed)?);
        Ok(())
    }

    fn serve(&self, server: PeerServer, stop: CancellationToken) {
        if let Some(listener) = self.listener.lock().take() {
            tokio::spawn(listen(listener, self.tls.clone(), self.cluster.clone(), server, stop));
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the shell: names the process and the data directory")]
    fn names(&self) -> (u128, String) {
        (uuid::Uuid::new_v4().as_u128(), uuid::Uuid::new_v4().to_string())
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        free_bytes(dir)
    }

    fn tend(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let tls = self.tls.clone();
        Box::pin(async move {
            loop {
                tokio::time::sleep(TLS_TICK).await;
                blocking(|| tls.reload());
            }
        })
    }
}

/// What is free of the file system that `dir` is on.
pub(crate) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let found = statvfs(dir)?;
    Ok(found.blocks_available() * found.fragment_size())
}
