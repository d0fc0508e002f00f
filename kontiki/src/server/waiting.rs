//! What a replica answers before it has a quorum: that it lives, that it is not ready, and how it stands.
//! Without that, nobody could ask a cluster that has lost its majority what it lacks.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use api_auth::authn::x509::user_of;
use api_machinery::{ApiError, UserInfo};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::heal;
use super::identity::{self, Identity};
use super::status::Source;
use crate::Failure;
use crate::config::ServerConfiguration;

/// From accept to the end of a connection: it carries one request.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 256;
/// What a replica whose data is damaged can be told also while it waits; its number follows.
const HEAL: &str = "/kontiki/v1/members/heal/";
/// Seconds after which clients are to come again.
const RETRY_AFTER: &str = "1";

pub(super) struct Waiting {
    tls: TlsAcceptor,
    source: Source,
    stop: CancellationToken,
}

impl Waiting {
    pub(super) fn new(
        config: &ServerConfiguration,
        identity: &Identity,
        source: Source,
        stop: CancellationToken,
    ) -> Result<Self, Failure> {
        let (certificate, key) = (identity.certificate(identity::SERVER), identity.key(identity::SERVER));
        let ca = config.pki_dir.join("ca.crt");
        let tls = pki::reload::server_config(&certificate, &key, &ca, false, &[b"http/1.1"])?;
        Ok(Self { tls: TlsAcceptor::from(tls), source, stop })
    }

    /// Answers until dropped, with every connection that is still open.
    pub(super) async fn serve(self, listener: &TcpListener) -> Infallible {
        let this = Arc::new(self);
        let mut connections = JoinSet::new();
        loop {
            if connections.len() >= MAX_CONNECTIONS {
                connections.join_next().await;
            }
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, _)) => drop(connections.spawn(this.clone().connection(stream))),
                // Out of file descriptors or the like: pause, so that the loop does not spin.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let served = async {
            let stream = self.tls.accept(stream).await.ok()?;
            let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let user = certificate.and_then(|certificate| user_of(certificate));
            let service = hyper::service::service_fn(|request: Request<Incoming>| {
                let (method, path) = (request.method(), request.uri().path());
                let heal = |id| heal::begin(id, &*self.source.config, &self.source.raft, &self.stop);
                let answer = respond(method, path, user.as_ref(), || self.source.json(), heal);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            // One request a connection: the next one finds the API server, once there is one.
            let http = http.timer(TokioTimer::new()).keep_alive(false);
            http.serve_connection(TokioIo::new(stream), service).await.ok()
        };
        // Whoever is too slow may come again.
        let _ = tokio::time::timeout(CONNECTION_TIMEOUT, served).await;
    }
}

type Answer = Response<Full<Bytes>>;

fn respond(
    method: &Method,
    path: &str,
    user: Option<&UserInfo>,
    status: impl FnOnce() -> Value,
    heal: impl FnOnce(u64) -> Result<(), String>,
) -> Answer {
    const TEXT: &str = "text/plain; charset=utf-8";
    let path = path.trim_end_matches('/');
    match path {
        "/livez" | "/healthz" => answer(200, TEXT, "ok".to_owned()),
        "/readyz" => answer(500, TEXT, "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n".to_owned()),
        "/kontiki/v1/status" if method == Method::GET => match admin(user) {
            Ok(()) => answer(200, "application/json", status().to_string()),
            Err(error) => failure(&error),
        },
        _ if method == Method::POST && path.starts_with(HEAL) => {
            let healed = admin(user).and_then(|()| heal(path[HEAL.len()..].parse().unwrap_or(0)).map_err(conflict));
            healed.map_or_else(|error| failure(&error), |()| answer(200, "application/json", "{}".to_owned()))
        }
        _ => failure(&ApiError::unavailable("this replica waits for a quorum of replicas")),
    }
}

fn admin(user: Option<&UserInfo>) -> Result<(), ApiError> {
    match user {
        Some(user) if user.is_in(UserInfo::MASTERS) => Ok(()),
        Some(_) => Err(ApiError::new(403, api_machinery::Reason::Forbidden, "forbidden")),
        None => Err(ApiError::unauthorized()),
    }
}

fn conflict(why: String) -> ApiError {
    ApiError::new(409, api_machinery::Reason::Conflict, why)
}

fn failure(error: &ApiError) -> Answer {
    let mut answer = answer(error.code, "application/json", error.to_status().to_string());
    if error.code == 503 {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    }
    answer
}

fn answer(code: u16, kind: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn code(method: &Method, path: &str, user: Option<&UserInfo>) -> u16 {
        let heal = |id| if id == 7 { Ok(()) } else { Err("another".to_owned()) };
        respond(method, path, user, || json!({"id": 1}), heal).status().as_u16()
    }

    #[test]
    fn lives_is_not_ready_and_tells_admins_how_it_stands() {
        let user = |group: &str| UserInfo { name: "u".into(), groups: vec![group.to_owned()], ..UserInfo::default() };
        let (admin, node) = (user(UserInfo::MASTERS), user("system:nodes"));
        let get = &Method::GET;
        assert_eq!(
            (code(get, "/livez", None), code(get, "/healthz/", None), code(get, "/readyz", None)),
            (200, 200, 500)
        );
        let status = "/kontiki/v1/status";
        let codes = [Some(&admin), Some(&node), None].map(|user| code(get, status, user));
        assert_eq!(codes, [200, 403, 401]);
        let post = &Method::POST;
        let heal = ["/kontiki/v1/members/heal/7", "/kontiki/v1/members/heal/8", "/kontiki/v1/members/heal/x"];
        assert_eq!(heal.map(|path| code(post, path, Some(&admin))), [200, 409, 409]);
        assert_eq!((code(post, heal[0], Some(&node)), code(post, heal[0], None)), (403, 401));
        for (method, path) in [(get, "/api/v1/pods"), (post, status), (get, "/"), (get, heal[0])] {
            let answer = respond(method, path, Some(&admin), || json!({}), |_| Ok(()));
            assert_eq!((answer.status().as_u16(), answer.headers().contains_key("retry-after")), (503, true), "{path}");
        }
    }
}
