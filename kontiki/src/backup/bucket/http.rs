//! One request of the protocol, on a connection of its own, tried again where that may help.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::http::{Request, Response, header};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;
use url::{Position, Url};

use crate::exchange::Server;
use crate::{Failure, client};

/// Until the answer to a request begins, which may carry a part over a slow line.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
/// Of an answer that is no object.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Before a request is tried again.
const PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(5)];

pub(super) struct Http {
    tls: Arc<ClientConfig>,
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) etag: Option<String>,
    body: Bytes,
}

impl Answer {
    pub(super) async fn whole(response: Response<Incoming>) -> Result<Self, Failure> {
        let etag = response.headers().get(header::ETAG).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await?.to_bytes();
        Ok(Self { status, etag, body })
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Why it is none of the answers that were hoped for, as far as it says: `AccessDenied: Access Denied`.
    pub(super) fn said(&self) -> Option<String> {
        let text = self.text();
        let of = |name: &str| {
            let rest = text.split_once(&format!("<{name}>"))?.1;
            Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
        };
        Some(format!("{}: {}", of("Code")?, of("Message").unwrap_or_default()))
    }

    pub(super) fn failure(&self, of: &dyn fmt::Display) -> Failure {
        let said = self.said().unwrap_or_else(|| "it does not say why".to_owned());
        format!("{of}: the service answered {}: {said}", self.status).into()
    }

    pub(super) fn ok(self, of: &dyn fmt::Display) -> Result<Self, Failure> {
        if self.status < 300 { Ok(self) } else { Err(self.failure(of)) }
    }

    /// Trying again may help.
    fn is_passing(&self) -> bool {
        self.status >= 500 || matches!(self.status, 408 | 429)
    }
}

impl Http {
    /// Trusts the CAs in a file, or those that the system trusts.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, Failure> {
        let roots = match ca_file {
            Some(file) => {
                let named = |error: &dyn fmt::Display| format!("{}: {error}", file.display());
                let pem = std::fs::read_to_string(file).map_err(|error| named(&error))?;
                client::roots(&pem).map_err(|error| named(&error))?
            }
            None => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                roots
            }
        };
        let config = ClientConfig::builder_with_provider(client::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(config) })
    }

    /// Each try is signed anew.
    pub(super) async fn ask(&self, method: &str, url: impl Fn() -> Url, body: &[u8]) -> Result<Answer, Failure> {
        let body = Bytes::copy_from_slice(body);
        let mut pauses = PAUSES.into_iter();
        loop {
            let answer = match self.open(method, &url(), body.clone()).await {
                Ok(response) => Answer::whole(response).await,
                Err(error) => Err(error),
            };
            let is_final = answer.as_ref().is_ok_and(|answer| !answer.is_passing());
            let Some(pause) = pauses.next().filter(|_| !is_final) else { return answer };
            tokio::time::sleep(pause).await;
        }
    }

    /// The answer with its body still to come.
    pub(super) async fn open(&self, method: &str, url: &Url, body: Bytes) -> Result<Response<Incoming>, Failure> {
        let host = url.host().ok_or("the address of the service has no host")?.to_string();
        let port = url.port_or_known_default().ok_or("the address of the service has no port")?;
        // As it was signed: with the port only where that is not the scheme's own.
        let authority = url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        let target = &url[Position::BeforePath..Position::AfterQuery];
        let request = Request::builder().method(method).uri(target).header(header::HOST, authority);
        let request = request.header(header::USER_AGENT, "kontiki").body(Full::new(body))?;
        let server = Server { host: &host, port, tls: (url.scheme() != "http").then_some(&self.tls) };
        let answer = timeout(ANSWER_TIMEOUT, server.ask(request)).await;
        answer.map_err(|_| format!("{host}:{port} did not answer within {} s", ANSWER_TIMEOUT.as_secs()))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_service_says_is_told() {
        let answer =
            |status, body: &'static str| Answer { status, etag: None, body: Bytes::from_static(body.as_bytes()) };
        let denied = "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
        assert_eq!(
            answer(403, denied).ok(&"s3://b/k").err().map(|error| error.to_string()).as_deref(),
            Some("s3://b/k: the service answered 403: AccessDenied: Access Denied")
        );
        assert_eq!(answer(200, "<a/>").said(), None);
        let odd = answer(502, "<html>Bad Gateway").failure(&"x").to_string();
        assert_eq!(odd, "x: the service answered 502: it does not say why");
        assert!(answer(503, "").is_passing() && answer(429, "").is_passing() && !answer(404, "").is_passing());
    }
}
