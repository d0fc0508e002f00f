//! A server on loopback with TLS over an in-memory store, and a small client.

pub(crate) mod rows;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use api_admission::Chain;
use api_auth::authn::x509::X509;
use api_auth::authn::{Anonymous, Authenticator, Credentials, Union};
use api_auth::authz::{Authorizer, AuthzAttributes, Decision};
use api_cache::{Cache, CacheConfig};
use api_http::{HealthCheck, Server, ServerConfig};
use api_machinery::{ApiError, UserInfo};
use api_registry::{Body, Clock, Registry, RegistryConfig, RequestInfo as Caller, Target};
use api_schema::Schema;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use pki::authority::{Authority, Request as CertificateRequest};
use pki::tokens::TokenIssuer;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use store_api::mem::MemStore;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

pub(crate) fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "certificates of the test must be valid while it runs")]
    Timestamp::now()
}

struct Now;
impl Clock for Now {
    fn now(&self) -> Timestamp {
        now()
    }
}

/// `Bearer reader` may read pods in `default`, `Bearer runner` may `get pods/exec` only, `Bearer impersonator`
/// may become `reader`, `Bearer storm` may do everything in a namespace, `Bearer node` is a node that may do everything
/// with leases; certificates of `system:masters` may do everything.
struct Tokens;
#[async_trait]
impl Authenticator for Tokens {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, ApiError> {
        let token = credentials.bearer_token.as_deref().unwrap_or("");
        let known = ["reader", "runner", "impersonator", "storm", "node"].contains(&token);
        let mut user = UserInfo { name: token.to_owned(), ..UserInfo::default() };
        if token == "node" {
            user.name = "system:node:n1".to_owned();
            user.groups = vec!["system:nodes".to_owned(), "system:authenticated".to_owned()];
        }
        Ok(known.then_some(user))
    }
}

struct Rules;
#[async_trait]
impl Authorizer for Rules {
    async fn authorize(&self, asked: &AuthzAttributes) -> Decision {
        let reads = ["get", "list", "watch"].contains(&asked.verb.as_str());
        let allowed = asked.user.is_in(UserInfo::MASTERS)
            || match asked.user.name.as_str() {
                "reader" => {
                    reads && asked.resource == "pods" && asked.subresource.is_empty() && asked.namespace == "default"
                }
                "runner" => asked.verb == "get" && asked.resource == "pods" && asked.subresource == "exec",
                "storm" => asked.namespace == "default",
                "system:node:n1" => asked.resource == "leases",
                "impersonator" => asked.verb == "impersonate" && asked.resource == "users" && asked.name == "reader",
                _ => {
                    !asked.resource_request
                        && ["/healthz", "/readyz", "/livez", "/version"].contains(&asked.path.as_str())
                }
            };
        let reason = String::new();
        if allowed { Decision::Allow { reason } } else { Decision::NoOpinion { reason } }
    }
    fn rules_for(&self, _: &UserInfo, _: &str) -> (Vec<Value>, Vec<Value>) {
        (Vec::new(), Vec::new())
    }
}

struct Check;
impl HealthCheck for Check {
    fn name(&self) -> &str {
        "etcd"
    }
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

pub(crate) struct Running {
    pub address: SocketAddr,
    pub registry: Arc<Registry>,
    pub store: MemStore,
    pub stop: CancellationToken,
    pub served: tokio::task::JoinHandle<std::io::Result<()>>,
    pub admin: Client,
    pub ca: Authority,
    /// What a kubelet serves with: (certificate, key) PEM.
    pub kubelet: pki::authority::CertifiedKey,
    pub dir: tempfile::TempDir,
}

fn write(dir: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("the temporary directory is writable");
    path
}

async fn registry_serving(schema: &'static Schema, dir: &Path, store: MemStore, admission: Chain) -> Arc<Registry> {
    let store = store.into_dyn();
    let cache = Cache::start(store.clone(), CacheConfig::default()).await.expect("the cache starts");
    let audiences = vec!["https://kubernetes.default.svc".to_owned()];
    let tokens = TokenIssuer::load_or_create(dir, "https://kubernetes.default.svc", audiences).expect("keys are made");
    let config = RegistryConfig {
        service_cidr: "10.96.0.0/16".to_owned(),
        node_ports: 30000..=32767,
        // Upstream's default.
        allow_privileged: false,
        clock: Arc::new(Now),
        tokens: Arc::new(tokens),
    };
    Registry::new(schema, store, cache, admission, config)
}

async fn make_namespace(registry: &Registry) {
    let resource = registry.schema.resource("", "v1", "namespaces").expect("is served");
    let target = Target { resource, namespace: "", name: "", subresource: "" };
    let body = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}});
    let created = registry.create(&Caller::internal("test"), &target, Body::Value(body)).await;
    created.expect("the namespace is made");
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// Started as `change` wants it.
    pub(crate) async fn with(change: impl FnOnce(&mut Server)) -> Self {
        Self::of(Schema::builtin(), Chain::of(Vec::new()), change).await
    }

    /// With these admission plugins.
    pub(crate) async fn admitting(admission: Chain) -> Self {
        Self::of(Schema::builtin(), admission, |_| {}).await
    }

    /// Serves what a `--runtime-config` switches on.
    pub(crate) async fn serving(runtime_config: &str) -> Self {
        Self::featuring(runtime_config, "").await
    }

    /// The same, with what `--feature-gates` switches.
    pub(crate) async fn featuring(runtime_config: &str, feature_gates: &str) -> Self {
        let schema = Schema::serving(runtime_config, feature_gates).expect("it can be served");
        Self::of(Box::leak(Box::new(schema)), Chain::of(Vec::new()), |_| {}).await
    }

    pub(crate) async fn of(schema: &'static Schema, admission: Chain, change: impl FnOnce(&mut Server)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = MemStore::new();
        let registry = registry_serving(schema, dir.path(), store.clone(), admission).await;
        make_namespace(&registry).await;
        let ca = Authority::create("test-ca", now()).expect("a CA");
        let issue = |name: &str, organization: &str, server: bool| {
            let request = CertificateRequest {
                common_name: name.to_owned(),
                organizations: if organization.is_empty() { vec![] } else { vec![organization.to_owned()] },
                ips: vec!["127.0.0.1".parse().expect("an address")],
                server,
                client: !server,
                days: 1,
                ..CertificateRequest::default()
            };
            ca.issue(&request, now()).expect("a certificate")
        };
        let (own, admin, kubelet) =
            (issue("server", "", true), issue("admin", "system:masters", false), issue("kubelet", "", true));
        let ca_file = write(dir.path(), "ca.crt", ca.certificate_pem());
        let methods: Vec<Box<dyn Authenticator>> = vec![Box::new(X509), Box::new(Tokens)];
        let config = ServerConfig {
            listen: "127.0.0.1:0".parse().expect("an address"),
            certificate: write(dir.path(), "server.crt", &own.certificate_pem),
            key: write(dir.path(), "server.key", &own.key_pem),
            client_ca: ca_file.clone(),
            front_proxy: None,
            kubelet_client_certificate: write(dir.path(), "client.crt", &admin.certificate_pem),
            kubelet_client_key: write(dir.path(), "client.key", &admin.key_pem),
            kubelet_ca: ca_file.clone(),
            advertise_url: "https://10.0.0.1:6443".to_owned(),
            flags: vec![("allowPrivileged".to_owned(), "false".to_owned())],
        };
        let listener = TcpListener::bind(config.listen).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let identity = (config.kubelet_client_certificate.clone(), config.kubelet_client_key.clone());
        let mut server = Server {
            config,
            registry: registry.clone(),
            authenticator: Arc::new(Union { methods, anonymous: Anonymous::everywhere() }),
            authorizer: Arc::new(Rules),
            audit: None,
            flow: api_http::FlowConfig::default(),
            crowd: tokio::runtime::Handle::current(),
            ready_checks: vec![Box::new(Check)],
            live_checks: vec![Box::new(Check)],
            metrics: Arc::new(|| "up 1\n".to_owned()),
            status: Arc::new(|| serde_json::json!({"replicas": []})),
            admin: None,
        };
        change(&mut server);
        let stop = CancellationToken::new();
        let served = tokio::spawn(server.serve_on(listener, stop.clone()));
        let admin = Client::new(address, &ca_file, Some((&identity.0, &identity.1)));
        Self { address, registry, store, stop, served, admin, ca, kubelet, dir }
    }

    /// A client without a certificate.
    pub(crate) fn stranger(&self) -> Client {
        Client::new(self.address, &self.dir.path().join("ca.crt"), None)
    }
}

pub(crate) struct Client {
    address: SocketAddr,
    h1: Arc<ClientConfig>,
    h2: Arc<ClientConfig>,
}

pub(crate) struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }
    /// `404 NotFound: pods "x" not found`
    pub(crate) fn status(&self) -> String {
        let Ok(status) = serde_json::from_slice::<Value>(&self.body) else {
            return format!("{} {}", self.code, self.text().trim());
        };
        assert!(self.code < 400 || status["code"] == self.code, "{}", self.text());
        let text = |field: &str| status[field].as_str().unwrap_or("").to_owned();
        format!("{} {}: {}", self.code, text("reason"), text("message"))
    }
}

impl Client {
    pub(crate) fn new(address: SocketAddr, ca: &Path, identity: Option<(&Path, &Path)>) -> Self {
        let config = |alpn: &[u8]| pki::reload::client_config(ca, identity, &[alpn]).expect("a client configuration");
        Self { address, h1: config(b"http/1.1"), h2: config(b"h2") }
    }

    pub(crate) async fn connect(&self, h2: bool) -> TlsStream<TcpStream> {
        let tcp = TcpStream::connect(self.address).await.expect("the server listens");
        let config = if h2 { &self.h2 } else { &self.h1 };
        let name = ServerName::from(self.address.ip());
        TlsConnector::from(config.clone()).connect(name, tcp).await.expect("TLS")
    }

    /// The answer with its body still to come.
    pub(crate) async fn open(&self, h2: bool, request: Request<Full<Bytes>>) -> http::Response<Incoming> {
        let io = TokioIo::new(self.connect(h2).await);
        if h2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
            tokio::spawn(connection);
            sender.send_request(request).await.expect("an answer")
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.expect("HTTP/1.1");
            tokio::spawn(connection.with_upgrades());
            sender.send_request(request).await.expect("an answer")
        }
    }

    pub(crate) fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = Method::from_bytes(method.as_bytes()).expect("a method");
        *request.uri_mut() = format!("https://{}{target}", self.address).parse().expect("a target");
        request.headers_mut().insert("host", self.address.to_string().parse().expect("a host"));
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().expect("a header name");
            request.headers_mut().append(name, value.parse().expect("a header value"));
        }
        request
    }

    pub(crate) async fn send(
        &self,
        h2: bool,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = self.request(method, target, headers, body);
        if !h2 {
            let path = request.uri().path_and_query().expect("a path").as_str().parse().expect("a target");
            *request.uri_mut() = path;
        }
        let (head, body) = self.open(h2, request).await.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Answer { code: head.status.as_u16(), headers: head.headers, body }
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send(true, "GET", target, &[], "").await
    }

    pub(crate) async fn with(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(true, "GET", target, headers, "").await
    }

    pub(crate) async fn post(&self, target: &str, body: &Value) -> Answer {
        self.send(true, "POST", target, &[("content-type", "application/json")], body.to_string()).await
    }

    /// What the server answers to these very bytes.
    pub(crate) async fn raw(&self, text: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = self.connect(false).await;
        // The server may refuse before it has read everything.
        let _: std::io::Result<()> = stream.write_all(text.as_bytes()).await;
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        let _: Result<_, _> = tokio::time::timeout(std::time::Duration::from_secs(5), reading).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

pub(crate) fn pod(name: &str) -> Value {
    serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "busybox"}]}})
}
