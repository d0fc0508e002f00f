//! A small API server for nodes: objects in memory, watches, several listeners over one state.

// Each test file uses a part of this.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use parking_lot::Mutex;
use pki::authority::{Authority, Request as CertificateRequest};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;

type Body = UnsyncBoxBody<Bytes, Infallible>;

#[expect(clippy::disallowed_methods, reason = "a test's shell")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Certificates of a cluster in a directory of its own.
pub(crate) struct Cluster {
    pub(crate) dir: PathBuf,
    authority: Authority,
    pub(crate) state: Arc<State>,
}

/// Objects and what happened to them.
pub(crate) struct State {
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    revision: u64,
    /// By path of the object.
    objects: BTreeMap<String, Value>,
    history: Vec<(u64, &'static str, Address, Value)>,
    /// Requests that were answered, by method and resource.
    counts: BTreeMap<String, usize>,
    /// Requests that are refused, as `counts` names them.
    refused: BTreeMap<String, StatusCode>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    prefix: String,
    namespace: Option<String>,
    resource: String,
    name: Option<String>,
    sub: Option<String>,
}

impl Address {
    fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let depth = if parts.first() == Some(&"api") { 2 } else { 3 };
        let (prefix, rest) = parts.split_at_checked(depth)?;
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let text = |n: usize| rest.get(n).map(|s| (*s).to_owned());
        Some(Self { prefix: prefix.join("/"), namespace, resource: text(0)?, name: text(1), sub: text(2) })
    }

    fn key(&self) -> String {
        let name = self.name.as_deref().unwrap_or("");
        format!("{}/{}/{}/{name}", self.prefix, self.namespace.as_deref().unwrap_or(""), self.resource)
    }

    fn holds(&self, other: &Address) -> bool {
        self.prefix == other.prefix
            && self.resource == other.resource
            && (self.namespace.is_none() || self.namespace == other.namespace)
    }
}

impl Cluster {
    pub(crate) fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("kontiki-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a directory");
        let authority = Authority::create("test-ca", now()).expect("an authority");
        std::fs::write(dir.join("ca.crt"), authority.certificate_pem()).expect("written");
        let state = State { inner: Mutex::default(), changed: watch::channel(0).0 };
        Self { dir, authority, state: Arc::new(state) }
    }

    /// `NAME.crt` and `NAME.key` in the directory.
    pub(crate) fn certificate(&self, name: &str, common_name: &str, organization: &str) -> (PathBuf, PathBuf) {
        let request = CertificateRequest {
            common_name: common_name.to_owned(),
            organizations: vec![organization.to_owned()],
            ips: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            server: true,
            client: true,
            days: 1,
            ..Default::default()
        };
        self.authority.issue(&request, now()).expect("issued").write(&self.dir, name).expect("written");
        (self.dir.join(format!("{name}.crt")), self.dir.join(format!("{name}.key")))
    }

    pub(crate) fn kubeconfig(&self, node: &str, server: SocketAddr) -> PathBuf {
        self.certificate(node, &format!("system:node:{node}"), "system:nodes");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {"server": format!("https://{server}"), "certificate-authority": "ca.crt"}}],
            "users": [{"name": "u", "user": {"client-certificate": format!("{node}.crt"), "client-key": format!("{node}.key")}}],
        });
        let path = self.dir.join(format!("{node}.kubeconfig"));
        std::fs::write(&path, config.to_string()).expect("written");
        path
    }

    /// Serves the state on a port of its own.
    pub(crate) async fn serve(&self, name: &str) -> Server {
        let (certificate, key) = self.certificate(name, "kube-apiserver", "system:masters");
        let tls =
            pki::reload::server_config(&certificate, &key, &self.dir.join("ca.crt"), false, &[b"h2"]).expect("TLS");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = self.state.clone();
        let connections: Arc<Mutex<Vec<AbortHandle>>> = Arc::default();
        let open = connections.clone();
        let accepting = tokio::spawn(async move {
            let acceptor = tokio_rustls::TlsAcceptor::from(tls);
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, state) = (acceptor.clone(), state.clone());
                let task = tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = hyper::service::service_fn(move |request| {
                        let state = state.clone();
                        async move { Ok::<_, Infallible>(state.respond(request).await) }
                    });
                    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
                open.lock().push(task.abort_handle());
            }
        });
        Server { address, accepting: accepting.abort_handle(), connections }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    accepting: AbortHandle,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Server {
    /// As `kill -9` would.
    pub(crate) fn kill(&self) {
        self.accepting.abort();
        self.connections.lock().drain(..).for_each(|c| c.abort());
    }
}

impl State {
    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        let address = Address::parse(path)?;
        self.inner.lock().objects.get(&address.key()).cloned()
    }

    pub(crate) fn put(&self, path: &str, object: Value) {
        let address = Address::parse(path).expect("a path");
        self.store(address, object);
    }

    pub(crate) fn list(&self, path: &str) -> Vec<Value> {
        let address = Address::parse(path).expect("a path");
        let inner = self.inner.lock();
        let all = inner.objects.iter().filter(|(key, _)| Address::parse_key(key).is_some_and(|a| address.holds(&a)));
        all.map(|(_, object)| object.clone()).collect()
    }

    /// Requests so far, such as `PATCH pods/status`.
    pub(crate) fn count(&self, what: &str) -> usize {
        self.inner.lock().counts.get(what).copied().unwrap_or(0)
    }

    /// From now on such requests, named as for `count`, are refused.
    pub(crate) fn refuse(&self, what: &str, status: StatusCode) {
        self.inner.lock().refused.insert(what.to_owned(), status);
    }

    /// Deletes as `kubectl delete` does.
    pub(crate) fn delete(&self, path: &str, grace: i64) {
        let mut object = self.get(path).expect("an object");
        object["metadata"]["deletionTimestamp"] = json!(api_machinery::time::seconds(now()));
        object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        self.put(path, object);
    }

    /// Waits until the object is as wished.
    pub(crate) async fn wait(&self, path: &str, what: &str, wished: impl Fn(Option<&Value>) -> bool) -> Option<Value> {
        let mut changed = self.changed.subscribe();
        let waiting = async {
            loop {
                let object = self.get(path);
                if wished(object.as_ref()) {
                    return object;
                }
                changed.changed().await.expect("the state lives");
            }
        };
        match tokio::time::timeout(Duration::from_secs(60), waiting).await {
            Ok(object) => object,
            Err(_) => panic!("{path} does not become {what}: {:#}", self.get(path).unwrap_or_default()),
        }
    }

    fn store(&self, address: Address, mut object: Value) -> Value {
        let mut inner = self.inner.lock();
        inner.revision += 1;
        let revision = inner.revision;
        let key = address.key();
        let kind = if inner.objects.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(address.name);
        if let Some(namespace) = &address.namespace {
            metadata["namespace"] = json!(namespace);
        }
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(format!("00000000-0000-0000-0000-{:08}{revision:04}", std::process::id()));
            metadata["creationTimestamp"] = json!(api_machinery::time::seconds(now()));
        }
        metadata["resourceVersion"] = json!(revision.to_string());
        inner.objects.insert(key, object.clone());
        inner.history.push((revision, kind, address, object.clone()));
        drop(inner);
        self.changed.send_replace(revision);
        object
    }

    fn remove(&self, address: &Address) -> Option<Value> {
        let mut inner = self.inner.lock();
        let object = inner.objects.remove(&address.key())?;
        inner.revision += 1;
        let revision = inner.revision;
        inner.history.push((revision, "DELETED", address.clone(), object.clone()));
        drop(inner);
        self.changed.send_replace(revision);
        Some(object)
    }

    async fn respond(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let method = request.method().clone();
        let query = request.uri().query().unwrap_or("").to_owned();
        let Some(address) = Address::parse(request.uri().path()) else { return refuse(StatusCode::NOT_FOUND) };
        let what = address.sub.as_ref().map_or(address.resource.clone(), |sub| format!("{}/{sub}", address.resource));
        let what = format!("{method} {what}");
        *self.inner.lock().counts.entry(what.clone()).or_default() += 1;
        let refused = self.inner.lock().refused.get(&what).copied();
        if let Some(status) = refused {
            return refuse(status);
        }
        if method == Method::GET && query.contains("watch=true") {
            return self.watch(address, &query);
        }
        let body = request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        match (method, &address.name) {
            (Method::GET, None) => self.list_answer(&address, &query),
            (Method::GET, Some(_)) => {
                self.inner.lock().objects.get(&address.key()).map_or_else(|| refuse(StatusCode::NOT_FOUND), answer)
            }
            (Method::POST, Some(_)) if address.sub.as_deref() == Some("token") => answer(&token(body)),
            (Method::POST, None) if address.resource.ends_with("reviews") => answer(&review(body)),
            (Method::POST, None) => {
                let name = body["metadata"]["name"].as_str().map(str::to_owned);
                let address = Address { name, ..address };
                if self.inner.lock().objects.contains_key(&address.key()) {
                    return refuse(StatusCode::CONFLICT);
                }
                answer(&self.store(address, body))
            }
            (Method::PUT, Some(_)) => answer(&self.store(address, body)),
            (Method::PATCH, Some(_)) => {
                let Some(mut object) = self.inner.lock().objects.get(&address.key()).cloned() else {
                    return refuse(StatusCode::NOT_FOUND);
                };
                merge(&mut object, &body);
                answer(&self.store(Address { sub: None, ..address }, object))
            }
            (Method::DELETE, Some(_)) => {
                self.remove(&address).map_or_else(|| refuse(StatusCode::NOT_FOUND), |o| answer(&o))
            }
            _ => refuse(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    fn list_answer(&self, address: &Address, query: &str) -> Response<Body> {
        let inner = self.inner.lock();
        let items: Vec<_> = inner
            .objects
            .iter()
            .filter(|(key, object)| {
                Address::parse_key(key).is_some_and(|a| address.holds(&a)) && selected(object, query)
            })
            .map(|(_, object)| object.clone())
            .collect();
        answer(&json!({"metadata": {"resourceVersion": inner.revision.to_string()}, "items": items}))
    }

    fn watch(self: Arc<Self>, address: Address, query: &str) -> Response<Body> {
        let from = query.split('&').find_map(|p| p.strip_prefix("resourceVersion=")).and_then(|v| v.parse().ok());
        let query = query.to_owned();
        let changed = self.changed.subscribe();
        let events = futures::stream::unfold((from.unwrap_or(0), changed), move |(seen, mut changed)| {
            let (state, address, query) = (self.clone(), address.clone(), query.clone());
            async move {
                loop {
                    let (newest, text) = state.since(seen, &address, &query);
                    if !text.is_empty() {
                        return Some((Bytes::from(text), (newest, changed)));
                    }
                    changed.changed().await.ok()?;
                }
            }
        });
        let body = StreamBody::new(events.map(|chunk| Ok::<_, Infallible>(Frame::data(chunk))));
        Response::new(body.boxed_unsync())
    }

    fn since(&self, seen: u64, address: &Address, query: &str) -> (u64, String) {
        let inner = self.inner.lock();
        let mut text = String::new();
        for (revision, kind, of, object) in &inner.history {
            if *revision > seen && address.holds(of) && selected(object, query) {
                text.push_str(&json!({"type": kind, "object": object}).to_string());
                text.push('\n');
            }
        }
        (inner.revision, text)
    }
}

impl Address {
    fn parse_key(key: &str) -> Option<Self> {
        let parts: Vec<&str> = key.split('/').collect();
        let [prefix @ .., namespace, resource, name] = parts.as_slice() else { return None };
        let namespace = (!namespace.is_empty()).then(|| (*namespace).to_owned());
        let (resource, name) = ((*resource).to_owned(), Some((*name).to_owned()));
        Some(Self { prefix: prefix.join("/"), namespace, resource, name, sub: None })
    }
}

fn selected(object: &Value, query: &str) -> bool {
    match query.split('&').find_map(|p| p.strip_prefix("fieldSelector=spec.nodeName%3D")) {
        Some(node) => object["spec"]["nodeName"] == node,
        None => true,
    }
}

fn token(mut request: Value) -> Value {
    let expires = now().checked_add(jiff::SignedDuration::from_secs(3600)).expect("in range");
    request["status"] = json!({"token": "a-token", "expirationTimestamp": api_machinery::time::seconds(expires)});
    request
}

/// The token of a scraper that may read metrics and nothing else.
pub(crate) const SCRAPER: &str = "scraper-token";

fn review(mut review: Value) -> Value {
    let spec = &review["spec"];
    review["status"] = match &spec["token"] {
        Value::Null => {
            let metrics = spec["resourceAttributes"]["subresource"] == "metrics";
            json!({"allowed": metrics && spec["user"] == "scraper"})
        }
        token => json!({"authenticated": token == SCRAPER, "user": {"username": "scraper"}}),
    };
    review
}

/// As much of a strategic merge patch as kubelets send.
fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (key, value) in fields {
        match value {
            Value::Null => {
                object.as_object_mut().expect("an object").remove(key);
            }
            Value::Array(list) if key == "conditions" => {
                let mut merged = object[key].as_array().cloned().unwrap_or_default();
                for item in list {
                    merged.retain(|old| old["type"] != item["type"]);
                    let mut item = item.clone();
                    item.as_object_mut().expect("a condition").retain(|_, v| !v.is_null());
                    merged.push(item);
                }
                object[key] = json!(merged);
            }
            Value::Array(list) => {
                object[key] = list.iter().filter(|item| item["$patch"].is_null()).cloned().collect();
            }
            Value::Object(_) => merge(&mut object[key], value),
            other => object[key] = other.clone(),
        }
    }
}

fn answer(value: &Value) -> Response<Body> {
    Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync())
}

fn refuse(status: StatusCode) -> Response<Body> {
    let mut response = answer(&json!({"kind": "Status", "code": status.as_u16(), "message": status.to_string()}));
    *response.status_mut() = status;
    response
}

/// Whether a pod's condition Ready is True.
pub(crate) fn ready(pod: Option<&Value>) -> bool {
    let conditions = pod.and_then(|p| p["status"]["conditions"].as_array()).cloned().unwrap_or_default();
    conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
}
