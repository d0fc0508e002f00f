//! The connections of many clients, spread evenly over the replicas.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::Failure;
use crate::servers::Server;

/// Clients beyond these share connections, as the processes of a large cluster do.
const MAX_CONNECTIONS: usize = 100;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers of some hundred KiB are not to wait for the window.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

pub(crate) struct Fleet {
    channels: Vec<Channel>,
}

impl Fleet {
    pub(crate) async fn connect(server: &Server, clients: usize) -> Result<Self, Failure> {
        Self::connect_to(server, server.endpoints.iter(), clients).await
    }

    /// To some of the replicas only.
    pub(crate) async fn connect_to<'a>(
        server: &Server,
        endpoints: impl Iterator<Item = &'a String> + Clone,
        clients: usize,
    ) -> Result<Self, Failure> {
        let mut channels = Vec::new();
        for (_, url) in (0..clients.min(MAX_CONNECTIONS)).zip(endpoints.cycle()) {
            channels.push(connect(server, url).await?);
        }
        Ok(Self { channels })
    }

    pub(crate) fn channel(&self, client: usize) -> Channel {
        self.channels[client % self.channels.len()].clone()
    }
}

pub(crate) async fn connect(server: &Server, url: &str) -> Result<Channel, Failure> {
    let endpoint = Endpoint::from_shared(url.to_owned())?
        .tls_config(server.tls.clone())?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    Ok(endpoint.connect().await?)
}
