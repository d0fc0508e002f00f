//! Whether a replica of the store serves: asked as any client of etcd would, with the client's own files.

use std::path::Path;
use std::time::Duration;

use kontiki_proto::etcd::RangeRequest;
use kontiki_proto::etcd::kv_client::KvClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::Failure;

/// One question at most.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct Client {
    tls: ClientTlsConfig,
}

impl Client {
    pub(super) fn new(dir: &Path) -> Result<Self, Failure> {
        let read = |name: &str| std::fs::read(dir.join(name));
        let identity = Identity::from_pem(read("client.crt")?, read("client.key")?);
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read("ca.crt")?)).identity(identity);
        Ok(Self { tls })
    }

    async fn channel(&self, url: &str) -> Result<Channel, Failure> {
        let endpoint = Endpoint::from_shared(url.to_owned())?.tls_config(self.tls.clone())?;
        Ok(endpoint.connect_timeout(ASK_TIMEOUT).timeout(ASK_TIMEOUT).connect().await?)
    }

    /// Reads what is not there, linearizably.
    pub(super) async fn reads(&self, url: &str) -> Result<(), Failure> {
        let mut client = KvClient::new(self.channel(url).await?);
        let request = RangeRequest { key: vec![0].into(), ..RangeRequest::default() };
        client.range(request).await.map_err(|status| status.message().to_owned())?;
        Ok(())
    }
}
