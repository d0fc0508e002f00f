//! One request, on whichever server answers.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Client, Connection};

/// Longest wait for an answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for an answer to begin on one server while there are others to ask.
const FIRST_ANSWER: Duration = Duration::from_secs(4);
/// The first word is who manages the fields that a node writes: standard kubelets have the same.
const USER_AGENT: &str = concat!("kubelet/v1.36 (linux) kontiki/", env!("CARGO_PKG_VERSION"));
/// Largest answer.
const MAX_BODY: usize = 64 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiFailure {
    /// No server could be reached, or it broke off.
    #[error("{0}")]
    Transport(String),
    /// The server refused.
    #[error("{message}")]
    Status { code: u16, reason: String, message: String },
    #[error("unexpected answer: {0}")]
    Decode(String),
    #[error("{0}")]
    Config(String),
}

impl ApiFailure {
    /// What was meant is not there any more.
    pub(crate) fn gone(what: &str) -> Self {
        Self::Status { code: 404, reason: "NotFound".to_owned(), message: format!("{what} is gone") }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { code: 404, .. })
    }

    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Status { code: 409, .. })
    }

    /// The `resourceVersion` is too old to watch from.
    pub(crate) fn is_expired(&self) -> bool {
        matches!(self, Self::Status { code: 410, .. })
    }

    /// Worth another try later, unchanged.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Transport(_) => true,
            Self::Status { code, .. } => *code == 429 || *code >= 500,
            Self::Decode(_) | Self::Config(_) => false,
        }
    }
}

impl Client {
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiFailure> {
        decode(&self.call(Method::GET, path, None).await?)
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ApiFailure> {
        decode(&self.call(Method::POST, path, Some(("application/json", encode(body)?))).await?)
    }

    pub(crate) async fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ApiFailure> {
        decode(&self.call(Method::PUT, path, Some(("application/json", encode(body)?))).await?)
    }

    /// A strategic merge patch.
    pub(crate) async fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ApiFailure> {
        let body = ("application/strategic-merge-patch+json", encode(body)?);
        decode(&self.call(Method::PATCH, path, Some(body)).await?)
    }

    pub(crate) async fn delete(&self, path: &str, options: &impl Serialize) -> Result<(), ApiFailure> {
        self.call(Method::DELETE, path, Some(("application/json", encode(options)?))).await.map(drop)
    }

    /// Asks, and asks the other servers when one breaks off. All our writes may be sent twice:
    /// they carry names, versions or the whole wished state.
    async fn call(&self, method: Method, path: &str, body: Option<(&str, Bytes)>) -> Result<Bytes, ApiFailure> {
        let attempt = async {
            let mut last = ApiFailure::Transport("no server was asked".into());
            for _ in 0..=self.servers() {
                match self.call_once(&method, path, body.clone()).await {
                    Err(error @ ApiFailure::Transport(_)) => last = error,
                    other => return other,
                }
            }
            Err(last)
        };
        tokio::time::timeout(REQUEST_TIMEOUT, attempt)
            .await
            .unwrap_or_else(|_| Err(ApiFailure::Transport(format!("{method} {path}: no answer in time"))))
    }

    async fn call_once(&self, method: &Method, path: &str, body: Option<(&str, Bytes)>) -> Result<Bytes, ApiFailure> {
        let (connection, response) = self.send(method, path, body).await?;
        let status = response.status();
        let body = match Limited::new(response.into_body(), MAX_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                self.leave(&connection).await;
                return Err(ApiFailure::Transport(format!("{method} {path}: {error}")));
            }
        };
        if status.is_success() {
            return Ok(body);
        }
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT) {
            // It is there but of no use now: another replica may be.
            self.leave(&connection).await;
        }
        Err(refusal(status, &body))
    }

    /// Sends and waits for the head of the answer.
    pub(super) async fn send(
        &self,
        method: &Method,
        path: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<(Connection, Response<Incoming>), ApiFailure> {
        let mut connection = self.connection().await?;
        let request = self.build(&connection, method, path, body)?;
        let sent = tokio::time::timeout(FIRST_ANSWER, connection.sender.send_request(request)).await;
        let failure = match sent {
            Ok(Ok(response)) => return Ok((connection, response)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        self.leave(&connection).await;
        Err(ApiFailure::Transport(format!("{method} {path}: {failure}")))
    }

    fn build(
        &self,
        connection: &Connection,
        method: &Method,
        path: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<Request<Full<Bytes>>, ApiFailure> {
        let uri = format!("https://{}{path}", connection.server.authority());
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, USER_AGENT);
        if let Some(authorization) = &connection.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let body = body.map_or_else(Bytes::new, |(kind, bytes)| {
            if let Some(headers) = request.headers_mut()
                && let Ok(kind) = kind.parse()
            {
                headers.insert(header::CONTENT_TYPE, kind);
            }
            bytes
        });
        request.body(Full::new(body)).map_err(|e| ApiFailure::Config(e.to_string()))
    }
}

/// What the server says in its Status, or the bare code.
pub(super) fn refusal(status: StatusCode, body: &[u8]) -> ApiFailure {
    let parsed: Option<Status> = serde_json::from_slice(body).ok();
    let message = parsed.as_ref().and_then(|s| s.message.clone());
    ApiFailure::Status {
        code: status.as_u16(),
        reason: parsed.and_then(|s| s.reason).unwrap_or_default(),
        message: message.unwrap_or_else(|| format!("the server answered {status}")),
    }
}

fn encode(body: &impl Serialize) -> Result<Bytes, ApiFailure> {
    serde_json::to_vec(body).map(Bytes::from).map_err(|e| ApiFailure::Decode(e.to_string()))
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiFailure> {
    serde_json::from_slice(body).map_err(|e| ApiFailure::Decode(e.to_string()))
}
