//! One request of HTTP/1.1, on a connection of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::Failure;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Who is asked.
pub(crate) struct Server<'a> {
    /// A name or an address, an IPv6 one in brackets.
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// Without it the request goes unprotected.
    pub(crate) tls: Option<&'a Arc<ClientConfig>>,
}

impl Server<'_> {
    /// The answer with its body still to come. It waits for ever for one: whoever asks knows how long that may take.
    pub(crate) async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        let (host, port) = (self.host.trim_matches(['[', ']']), self.port);
        let at = format!("{}:{port}", self.host);
        let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect((host, port))).await;
        let stream = connecting.map_err(|_| format!("cannot connect to {at} in time"))?;
        let stream = stream.map_err(|error| format!("cannot connect to {at}: {error}"))?;
        let Some(tls) = self.tls else { return exchange(stream, request).await };
        let name = ServerName::try_from(host.to_owned())?;
        let stream = TlsConnector::from(tls.clone()).connect(name, stream).await;
        exchange(stream.map_err(|error| format!("{at}: {error}"))?, request).await
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, Failure> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}
