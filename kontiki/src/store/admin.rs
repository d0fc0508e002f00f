//! What admins ask of a replica of a stand-alone store: HTTP/1.1 on the port of etcd's clients, below `/kontiki/v1/`,
//! answered as `kontiki server` answers it. Only for members of `system:masters`: what else has a certificate of the
//! store's CA may read and write keys, and do to the cluster what etcd's own API lets it do.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use api_auth::authn::x509::user_of;
use api_machinery::{ApiError, Reason, UserInfo, Value};
use bytes::Bytes;
use futures::TryStreamExt;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use store_etcd::Visitor;
use store_node::RaftStore;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::server::certificates;
use crate::server::members::Running;
use crate::server::status::Source;

/// Visitors that wait to be served.
pub(super) const QUEUE: usize = 16;
/// Bytes of a request's body.
const MAX_BODY_BYTES: usize = 1 << 20;
/// From the first wait for a request to the end of its headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const OWN: &str = "/kontiki/v1/";

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// What is asked about, and of.
pub(super) struct Admin {
    pub(super) source: Source,
    pub(super) stop: CancellationToken,
}

/// Serves everybody that comes until `stop`.
pub(super) async fn serve(admin: Admin, mut visitors: mpsc::Receiver<Visitor>) {
    let (admin, stop) = (Arc::new(admin), CancellationToken::new());
    let _ends_with_this = stop.clone().drop_guard();
    while let Some(visitor) = visitors.recv().await {
        let (admin, stop) = (admin.clone(), stop.clone());
        tokio::spawn(async move { stop.run_until_cancelled(connection(admin, visitor)).await });
    }
}

async fn connection(admin: Arc<Admin>, Visitor { certificate, stream }: Visitor) {
    let user = user_of(&certificate);
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let (admin, user) = (admin.clone(), user.clone());
        async move {
            let answered = answer(&admin, user.as_ref(), request).await;
            Ok::<_, Infallible>(answered.unwrap_or_else(|error| failure(&error)))
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    let http = http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "the connection of an admin ended");
    }
}

async fn answer(
    admin: &Admin,
    user: Option<&UserInfo>,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let user = master(user)?;
    let (head, body) = request.into_parts();
    let path = head.uri.path().strip_prefix(OWN).ok_or_else(ApiError::no_such_path)?.to_owned();
    match head.method {
        Method::GET if path == "status" => Ok(json(200, &admin.source.json())),
        Method::POST if path == "backup" => admin.running().copy().await.map(sent),
        Method::POST => admin.post(&path, user, &read(body).await?).await.map(|answer| json(200, &answer)),
        _ => Err(ApiError::no_such_path()),
    }
}

fn master(user: Option<&UserInfo>) -> Result<&UserInfo, ApiError> {
    let why = "forbidden: only members of system:masters may do this (admin.kubeconfig), not every client of the store";
    user.filter(|user| user.is_in(UserInfo::MASTERS)).ok_or_else(|| ApiError::new(403, Reason::Forbidden, why))
}

impl Admin {
    fn raft(&self) -> &Arc<RaftStore> {
        &self.source.raft
    }

    fn running(&self) -> Running<'_> {
        Running { config: &*self.source.config, store: self.raft(), stop: &self.stop }
    }

    async fn post(&self, path: &str, user: &UserInfo, body: &Value) -> Result<Value, ApiError> {
        match path {
            "join/server" => self.running().new_member().await,
            "join/server/ready" => self.running().add(body).await,
            _ => match (path.strip_prefix("members/"), path.strip_prefix("certificates/")) {
                (Some(what), _) => self.running().members(what, user, body).await,
                (_, Some(what)) => certificates::call(&*self.source.config, what, body, crate::now()),
                _ => Err(ApiError::no_such_path()),
            },
        }
    }
}

async fn read(body: Incoming) -> Result<Value, ApiError> {
    let bytes = Limited::new(body, MAX_BODY_BYTES).collect().await;
    let bytes = bytes.map_err(|error| ApiError::bad_request(error.to_string()))?.to_bytes();
    match bytes.is_empty() {
        true => Ok(Value::Null),
        false => serde_json::from_slice(&bytes).map_err(|error| ApiError::bad_request(error.to_string())),
    }
}

fn json(code: u16, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed_unsync();
    respond(code, "application/json", body)
}

fn failure(error: &ApiError) -> Response<Body> {
    json(error.code, &error.to_status())
}

fn sent(download: api_http::Download) -> Response<Body> {
    let body = StreamBody::new(download.content.map_ok(Frame::data)).boxed_unsync();
    let mut response = respond(200, "application/octet-stream", body);
    response.headers_mut().insert(header::CONTENT_LENGTH, download.bytes.into());
    response
}

fn respond(code: u16, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_of_the_store_is_no_admin() {
        let user = |group: &str| UserInfo { name: "u".into(), groups: vec![group.to_owned()], ..UserInfo::default() };
        assert!(master(Some(&user(UserInfo::MASTERS))).is_ok());
        for other in [Some(user("dev")), None] {
            let error = master(other.as_ref()).expect_err("no admin");
            assert_eq!(error.code, 403);
            assert_eq!(failure(&error).status(), 403);
        }
    }
}
