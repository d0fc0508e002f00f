//! A client that sends what no client library would, with any credentials.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pki::authority::{Authority, CertifiedKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ServerConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub const JSON: (&str, &str) = ("content-type", "application/json");
pub const YAML: (&str, &str) = ("content-type", "application/yaml");
pub const JSON_PATCH: (&str, &str) = ("content-type", "application/json-patch+json");
pub const MERGE_PATCH: (&str, &str) = ("content-type", "application/merge-patch+json");
pub const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
pub const RBAC_GROUP: &str = "rbac.authorization.k8s.io";
const ACCESS_REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

/// How long what should come is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pause before it is looked for again.
const POLL: Duration = Duration::from_millis(20);
/// How long bytes that are no request are waited for an answer to.
const RAW_PATIENCE: Duration = Duration::from_secs(5);

/// A certificate and its key, as files.
pub type Identity = (PathBuf, PathBuf);
/// Why there is no answer.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[expect(clippy::disallowed_methods, reason = "certificates must be good while the test runs")]
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// A new certificate for a client, in files in this directory.
pub fn certify(ca: &Authority, dir: &Path, name: &str, groups: &[&str]) -> Identity {
    let request = pki::authority::Request {
        common_name: name.to_owned(),
        organizations: groups.iter().map(|group| (*group).to_owned()).collect(),
        client: true,
        days: 1,
        ..pki::authority::Request::default()
    };
    let file = name.replace([':', '/'], "-");
    ca.issue(&request, now()).expect("a certificate").write(dir, &file).expect("written");
    (dir.join(format!("{file}.crt")), dir.join(format!("{file}.key")))
}

/// What a server on this machine asks a CA for.
pub fn serving(name: &str) -> pki::authority::Request {
    pki::authority::Request {
        common_name: name.to_owned(),
        ips: vec![Ipv4Addr::LOCALHOST.into()],
        server: true,
        days: 1,
        ..pki::authority::Request::default()
    }
}

/// A server's side of TLS that asks nobody for a certificate.
pub fn acceptor(own: &CertifiedKey) -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(own.certificate_pem.as_bytes()).collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_slice(own.key_pem.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth().with_single_cert(chain.expect("a chain"), key);
    TlsAcceptor::from(Arc::new(config.expect("a certificate and its key")))
}

/// A CA that nobody knows yet.
pub fn authority(name: &str) -> Authority {
    Authority::create(name, now()).expect("a CA")
}

/// Each request on a connection of its own.
#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    bearer: Option<String>,
    h1: Arc<ClientConfig>,
    h2: Arc<ClientConfig>,
}

#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.code, self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// `404 NotFound: pods "x" not found`
    pub fn status(&self) -> String {
        let Ok(status) = serde_json::from_slice::<Value>(&self.body) else {
            return format!("{} {}", self.code, self.text().trim());
        };
        let text = |field: &str| status[field].as_str().unwrap_or("").to_owned();
        format!("{} {}: {}", self.code, text("reason"), text("message"))
    }
}

impl Client {
    /// Without credentials when there is no identity.
    pub fn new(address: SocketAddr, ca: &Path, identity: Option<&Identity>) -> Self {
        let identity = identity.map(|(certificate, key)| (certificate.as_path(), key.as_path()));
        let config = |alpn: &[u8]| pki::reload::client_config(ca, identity, &[alpn]).expect("a client configuration");
        Self { address, bearer: None, h1: config(b"http/1.1"), h2: config(b"h2") }
    }

    /// The same, with a token as well.
    pub fn with_token(&self, token: &str) -> Self {
        Self { bearer: Some(token.to_owned()), ..self.clone() }
    }

    async fn dial(&self, h2: bool) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        // Small requests go at once.
        tcp.set_nodelay(true)?;
        let config = if h2 { &self.h2 } else { &self.h1 };
        TlsConnector::from(config.clone()).connect(ServerName::from(self.address.ip()), tcp).await
    }

    pub async fn connect(&self, h2: bool) -> TlsStream<TcpStream> {
        self.dial(h2).await.expect("the server listens, and speaks TLS")
    }

    /// The answer with its body still to come; `Err` when the server closes the connection instead.
    pub async fn open(
        &self,
        h2: bool,
        request: Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>, hyper::Error> {
        exchange(self.connect(h2).await, h2, request).await
    }

    /// One connection for many requests at once.
    pub async fn session(&self) -> Session {
        let sender = shake(self.connect(true).await).await.expect("HTTP/2");
        Session { client: self.clone(), sender }
    }

    pub fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = Method::from_bytes(method.as_bytes()).expect("a method");
        *request.uri_mut() = format!("https://{}{target}", self.address).parse().expect("a target");
        let all = request.headers_mut();
        all.insert("host", self.address.to_string().parse().expect("a host"));
        if let Some(token) = &self.bearer {
            all.insert("authorization", format!("Bearer {token}").parse().expect("a token"));
        }
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().expect("a header name");
            all.append(name, value.parse().expect("a header value"));
        }
        request
    }

    /// `Err` when there is no connection, or it ends before the answer does.
    async fn answer(&self, h2: bool, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let answer = exchange(self.dial(h2).await?, h2, request).await?;
        Ok(whole(answer).await?)
    }

    /// By HTTP/2 or HTTP/1.1.
    pub async fn send_by(
        &self,
        h2: bool,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let answer = self.answer(h2, self.request(method, target, headers, body)).await;
        answer.unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    }

    pub async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        self.send_by(true, method, target, headers, body).await
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], "").await
    }

    pub async fn post(&self, target: &str, body: &Value) -> Answer {
        self.send("POST", target, &[JSON], body.to_string()).await
    }

    pub async fn put(&self, target: &str, body: &Value) -> Answer {
        self.send("PUT", target, &[JSON], body.to_string()).await
    }

    pub async fn merge(&self, target: &str, patch: &Value) -> Answer {
        self.send("PATCH", target, &[MERGE_PATCH], patch.to_string()).await
    }

    /// At once, without a grace period.
    pub async fn delete(&self, target: &str) -> Answer {
        self.send("DELETE", target, &[JSON], r#"{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0}"#)
            .await
    }

    /// What is there, once it is: a server that starts, and controllers, take a moment.
    pub async fn until(&self, target: &str) -> Answer {
        self.until_is(target, |answer| answer.code == 200).await
    }

    /// What is answered, once it fits.
    pub async fn until_is(&self, target: &str, fits: impl Fn(&Answer) -> bool) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // A server that is not ready speaks no HTTP/2, and may end a connection when it begins to serve.
            match self.answer(false, self.request("GET", target, &[], "")).await {
                Ok(answer) if fits(&answer) => return answer,
                Ok(answer) => assert!(Instant::now() < deadline, "{target}: {}", answer.status()),
                Err(error) => assert!(Instant::now() < deadline, "{target}: {error}"),
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The object that is made; anything but 201 ends the test.
    pub async fn make(&self, target: &str, body: &Value) -> Value {
        let made = self.post(target, body).await;
        assert_eq!(made.code, 201, "POST {target}: {}", made.status());
        made.json()
    }

    /// Gives a user a role of its own with these rules, in one namespace or everywhere. Returns once they are in force.
    pub async fn grant(&self, namespace: Option<&str>, user: &str, rules: Value) {
        let kind = if namespace.is_some() { "Role" } else { "ClusterRole" };
        self.make(&rbac(namespace, "s"), &json!({"metadata": {"name": user}, "rules": rules})).await;
        self.bind(namespace, kind, user, user).await;
        let mut spec = first_of(&rules[0], namespace.unwrap_or(""));
        spec["user"] = user.into();
        let review = json!({"spec": spec});
        let deadline = Instant::now() + PATIENCE;
        while self.make(ACCESS_REVIEWS, &review).await["status"]["allowed"] != true {
            assert!(Instant::now() < deadline, "{user} may not what it was given: {rules}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Gives a user a role that is there, by a binding of the user's name. It is in force within a moment.
    pub async fn bind(&self, namespace: Option<&str>, kind: &str, role: &str, user: &str) {
        let binding = json!({"metadata": {"name": user},
            "roleRef": {"apiGroup": RBAC_GROUP, "kind": kind, "name": role},
            "subjects": [{"kind": "User", "apiGroup": RBAC_GROUP, "name": user}]});
        self.make(&rbac(namespace, "bindings"), &binding).await;
    }

    /// What the server answers to these very bytes, until it closes the connection or has been silent for long.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect(false).await;
        // The server may refuse before it has read everything.
        let _: std::io::Result<()> = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _: Result<_, _> = tokio::time::timeout(RAW_PATIENCE, stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Roles or their bindings, of one namespace or the cluster's.
fn rbac(namespace: Option<&str>, what: &str) -> String {
    match namespace {
        None => format!("{RBAC}/clusterrole{what}"),
        Some(namespace) => format!("{RBAC}/namespaces/{namespace}/role{what}"),
    }
}

async fn shake(stream: TlsStream<TcpStream>) -> Result<http2::SendRequest<Full<Bytes>>, hyper::Error> {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn exchange(
    stream: TlsStream<TcpStream>,
    h2: bool,
    mut request: Request<Full<Bytes>>,
) -> Result<http::Response<Incoming>, hyper::Error> {
    if h2 {
        return shake(stream).await?.send_request(request).await;
    }
    *request.uri_mut() = request.uri().path_and_query().expect("a path").as_str().parse().expect("a target");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await
}

async fn whole(answer: http::Response<Incoming>) -> Result<Answer, hyper::Error> {
    let (head, body) = answer.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Answer { code: head.status.as_u16(), headers: head.headers, body })
}

/// The first thing that a rule allows, as a review asks for it.
fn first_of(rule: &Value, namespace: &str) -> Value {
    let first = |field: &str| rule[field][0].as_str().unwrap_or("");
    if !rule["nonResourceURLs"].is_null() {
        return json!({"nonResourceAttributes": {"path": first("nonResourceURLs"), "verb": first("verbs")}});
    }
    let resource = first("resources");
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    json!({"resourceAttributes": {"verb": first("verbs"), "group": first("apiGroups"), "resource": resource,
        "subresource": subresource, "name": first("resourceNames"), "namespace": namespace}})
}

/// A connection that is kept.
#[derive(Clone)]
pub struct Session {
    client: Client,
    sender: http2::SendRequest<Full<Bytes>>,
}

impl Session {
    pub async fn answer(&mut self, request: Request<Full<Bytes>>) -> Answer {
        let what = format!("{} {}", request.method(), request.uri());
        let answer = self.sender.send_request(request).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        whole(answer).await.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    pub async fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.answer(self.client.request(method, target, headers, body)).await
    }
}
