//! Proxies, upgrades, redirects, and requests that are no requests.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pki::authority::{Authority, Request};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use system_tests::client::{Client, JSON, authority, now};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::frames::{END_HEADERS, END_STREAM, Frames, HEADERS, block, frame, request};
use crate::rows;
use crate::world::{PODS, World, pod};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// What a request to switch to WebSocket ends with.
const UPGRADE: &str = "host: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: v5.channel.k8s.io\r\n\r\n";
/// A second request behind one, of whatever kind; the connection ends with it.
const EVIL: &str = "GET /evil HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// The code of the answer to a request line that no client library would send.
async fn code_of(client: &Client, target: &str) -> u16 {
    let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    code(&client.raw(request.as_bytes()).await)
}

/// Of an answer. A connection that is closed without a word is a refusal.
fn code(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(400)
}

/// An address of this machine that is not loopback: the proxies go to no other.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let own = Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified());
    if own.is_none() {
        println!("not tried through the proxies: this machine has no address but loopback");
    }
    own
}

type Answers = Arc<dyn Fn(&str) -> String + Send + Sync>;
/// Of each connection: how many certificates the client showed, and all that was said.
type Heard = Arc<Mutex<Vec<(usize, Vec<u8>)>>>;

/// Somebody whom the server is led to: a kubelet, a pod, a webhook, or whom it must not go to.
struct Backend {
    address: SocketAddr,
    heard: Heard,
}

impl Backend {
    async fn start(ip: IpAddr, tls: Option<TlsAcceptor>, answers: Answers) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let heard = Heard::default();
        tokio::spawn(accept(listener, tls, answers, heard.clone()));
        Self { address, heard }
    }

    /// Whom nobody should go to.
    async fn canary() -> Self {
        Self::start(LOOPBACK, None, Arc::new(|_| "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned())).await
    }

    fn connections(&self) -> usize {
        self.heard.lock().len()
    }

    /// All that was said to it.
    fn heard(&self) -> String {
        self.heard.lock().iter().map(|(_, said)| String::from_utf8_lossy(said).into_owned() + "\n").collect()
    }

    /// How many certificates came with each connection.
    fn certificates(&self) -> Vec<usize> {
        self.heard.lock().iter().map(|(certificates, _)| *certificates).collect()
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, answers: Answers, heard: Heard) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (tls, answers, heard) = (tls.clone(), answers.clone(), heard.clone());
        heard.lock().push((0, Vec::new()));
        let own = heard.lock().len() - 1;
        tokio::spawn(async move {
            let note = |said: &[u8]| heard.lock()[own].1.extend_from_slice(said);
            match tls {
                None => converse(tcp, &answers, note).await,
                Some(tls) => {
                    let Ok(stream) = tls.accept(tcp).await else { return };
                    heard.lock()[own].0 = stream.get_ref().1.peer_certificates().map_or(0, <[_]>::len);
                    converse(stream, &answers, note).await;
                }
            }
        });
    }
}

/// Answers one request, and notes what comes behind it; what it has switched to is an echo.
async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, answers: &Answers, note: impl Fn(&[u8])) {
    let (mut request, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
    while !is_whole(&request) {
        let Ok(read @ 1..) = stream.read(&mut buffer).await else { return };
        note(&buffer[..read]);
        request.extend_from_slice(&buffer[..read]);
    }
    let answer = answers(&String::from_utf8_lossy(&request));
    if stream.write_all(answer.as_bytes()).await.is_err() {
        return;
    }
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        note(&buffer[..read]);
        if answer.starts_with("HTTP/1.1 101") && stream.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Whether head and body are there; of what is TLS there is neither.
fn is_whole(request: &[u8]) -> bool {
    if request.first() == Some(&0x16) {
        return true;
    }
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    match head.contains("transfer-encoding: chunked") {
        true => body.ends_with("0\r\n\r\n"),
        false => body.len() >= length.unwrap_or(0),
    }
}

/// Answers the code that the request's target names (`=404`, `/404`), else what was asked for.
fn as_told(elsewhere: &str) -> Answers {
    let elsewhere = elsewhere.to_owned();
    Arc::new(move |asked| {
        let line = asked.lines().next().unwrap_or("");
        let mut codes = line.split([' ', '/', '?', '&', '=']).filter_map(|part| part.parse::<u16>().ok());
        let told = codes.find(|code| (100..600).contains(code));
        let switched = |protocol: &str| {
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: {protocol}\r\n\
                 sec-websocket-protocol: v5.channel.k8s.io\r\n\r\n"
            )
        };
        let body = "what the backend says";
        let content = format!("content-type: text/plain\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        match told {
            Some(code @ 300..=399) => format!("HTTP/1.1 {code} Elsewhere\r\nlocation: {elsewhere}\r\n{content}"),
            Some(101) if line.contains("other") => switched("h2c"),
            Some(101) => switched("websocket"),
            Some(204) => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            Some(code) => format!("HTTP/1.1 {code} As Told\r\n{content}"),
            None if asked.to_ascii_lowercase().contains("upgrade: websocket") => switched("websocket"),
            None => format!("HTTP/1.1 200 OK\r\n{content}"),
        }
    })
}

/// With a serving certificate of this CA; clients may have one of the cluster's.
fn serving(world: &World, ca: &Authority, ip: IpAddr) -> TlsAcceptor {
    let request =
        Request { common_name: "a-backend".to_owned(), ips: vec![ip], server: true, days: 1, ..Request::default() };
    let issued = ca.issue(&request, now()).expect("a certificate");
    let certificates = |pem: &str| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(pem.as_bytes()).map(|der| der.expect("a certificate")).collect()
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(world.ca.certificate_pem()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let clients = clients.allow_unauthenticated().build().expect("a verifier");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(clients)
        .with_single_cert(
            certificates(&issued.certificate_pem),
            PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).expect("a key"),
        )
        .expect("they fit");
    TlsAcceptor::from(Arc::new(config))
}

/// The addresses that a Node says to have, and its kubelet's port; its status is refused or taken.
async fn move_node(world: &World, name: &str, addresses: Value, port: u16) -> bool {
    let status = json!({"status": {"addresses": addresses, "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    let patched = world.admin.merge(&format!("/api/v1/nodes/{name}/status"), &status).await;
    assert!(matches!(patched.code, 200 | 422), "{}", patched.status());
    patched.code == 200
}

fn internal(ip: impl ToString) -> Value {
    json!([{"type": "InternalIP", "address": ip.to_string()}])
}

/// A Node that says to be there, with a pod of the same name on it.
async fn node_at(world: &World, name: &str, address: SocketAddr) {
    world.admin.make("/api/v1/nodes", &json!({"metadata": {"name": name}})).await;
    assert!(move_node(world, name, internal(address.ip()), address.port()).await, "{name} is at {address}");
    let mut pod = pod(name);
    pod["spec"]["nodeName"] = json!(name);
    world.admin.make(PODS, &pod).await;
}

async fn node_is_gone(world: &World, name: &str) {
    world.admin.delete(&format!("{PODS}/{name}")).await;
    world.admin.delete(&format!("/api/v1/nodes/{name}")).await;
}

/// A kubelet on loopback that does as it is told, its Node and a pod on it.
async fn kubelet(world: &World, name: &str, elsewhere: &str) -> Backend {
    let kubelet = Backend::start(LOOPBACK, Some(serving(world, &world.ca, LOOPBACK)), as_told(elsewhere)).await;
    node_at(world, name, kubelet.address).await;
    kubelet
}

/// A pod that is there, of no Node in particular.
async fn pod_at(world: &World, name: &str, ip: impl ToString) {
    world.admin.make(PODS, &pod(name)).await;
    let ip = ip.to_string();
    let status = json!({"status": {"podIP": ip, "podIPs": [{"ip": ip}]}});
    let patched = world.admin.merge(&format!("{PODS}/{name}/status"), &status).await;
    assert_eq!(patched.code, 200, "{name} at {ip}: {}", patched.status());
}

/// An upgrade as a client sends it, up to the end of the answer's head, and the connection.
async fn switch(client: &Client, request: &str) -> (String, tokio_rustls::client::TlsStream<TcpStream>) {
    let mut stream = client.connect(false).await;
    stream.write_all(request.as_bytes()).await.expect("it is written");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(Duration::from_secs(10), stream.read_u8()).await;
        head.push(byte.expect("an answer in time").expect("an answer"));
    }
    (String::from_utf8_lossy(&head).into_owned(), stream)
}

/// That there is one answer, with this code, although more was asked.
fn assert_only(answer: &str, expected: u16, what: &str) {
    assert_eq!((code(answer), answer.matches("HTTP/1.1 ").count()), (expected, 1), "{what}: {answer}");
}

/// An upgrade that the kubelet does not agree to ends the connection: what is sent behind it reaches nobody. Nor are
/// other protocols than WebSocket and SPDY switched to.
pub(crate) async fn a01_refused_upgrades_are_no_tunnels(world: &World) {
    let kubelet = kubelet(world, "a01", "/elsewhere").await;
    let streams = |command: &str| {
        [
            format!("GET {PODS}/a01/exec?command={command}&stdin=true HTTP/1.1\r\n"),
            format!("POST {PODS}/a01/attach?stdin=true&container=c&tty={command} HTTP/1.1\r\n"),
        ]
    };
    let (head, mut stream) = switch(&world.admin, &(streams("sh")[0].clone() + UPGRADE)).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "what the kubelet agrees to is a tunnel: {head}");
    stream.write_all(b"echo").await.expect("it is written");
    let mut echo = [0; 4];
    stream.read_exact(&mut echo).await.expect("the echo");
    assert_eq!(&echo, b"echo");
    drop(stream);

    for (command, expected) in [
        ("400", 400),
        ("401", 401),
        ("403", 403),
        ("404", 404),
        ("500", 500),
        ("200", 502),
        ("204", 502),
        ("302", 502),
        ("101&command=other", 502),
    ] {
        let request = format!("{}{UPGRADE}{EVIL}", streams(command)[0]);
        assert_only(&world.admin.raw(request.as_bytes()).await, expected, &format!("the kubelet answered {command}"));
    }
    let before = kubelet.connections();
    for protocol in ["h2c", "TLS/1.0", "HTTP/2.0", "connect-udp", "h2c, websocket"] {
        for stream in streams("sh") {
            let request = format!("{stream}host: x\r\nconnection: Upgrade\r\nupgrade: {protocol}\r\n\r\n");
            let (head, _) = switch(&world.admin, &request).await;
            assert!(head.starts_with("HTTP/1.1 400 "), "{protocol} was not refused: {head}");
        }
    }
    let connect = format!("CONNECT {} HTTP/1.1\r\nhost: x\r\n\r\n{EVIL}", kubelet.address);
    let answer = world.admin.raw(connect.as_bytes()).await;
    assert!((400..500).contains(&code(&answer)), "CONNECT is no method here: {answer}");
    assert_eq!(kubelet.connections(), before, "nobody was connected to for a protocol that is not let through");
    assert!(!kubelet.heard().contains("/evil"), "something came behind a refused upgrade: {}", kubelet.heard());

    if let Some(ip) = own_address() {
        let backend = Backend::start(ip, None, as_told("/elsewhere")).await;
        pod_at(world, "a01-pod", ip).await;
        let proxy = format!("{PODS}/a01-pod:{}/proxy", backend.address.port());
        let (head, stream) = switch(&world.admin, &format!("GET {proxy}/x HTTP/1.1\r\n{UPGRADE}")).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "a pod may switch: {head}");
        drop(stream);
        for (told, expected) in [(403, 403), (200, 502)] {
            let request = format!("GET {proxy}/{told} HTTP/1.1\r\n{UPGRADE}{EVIL}");
            assert_only(&world.admin.raw(request.as_bytes()).await, expected, "a pod that does not switch");
        }
        // It switches although nobody asked for that.
        let request = format!("GET {proxy}/101 HTTP/1.1\r\nhost: x\r\n\r\n{EVIL}");
        let answer = world.admin.raw(request.as_bytes()).await;
        assert_eq!(code(&answer), 502, "a pod that switches unasked: {answer}");
        assert!(!backend.heard().contains("/evil"), "a pod heard what came behind: {}", backend.heard());
        world.admin.delete(&format!("{PODS}/a01-pod")).await;
    }
    node_is_gone(world, "a01").await;
}

/// A kubelet's redirect is 502, whether it was asked for logs, a stream or through the proxy, and nobody goes where it
/// leads. A pod's redirect is the client's to follow.
pub(crate) async fn a02_redirects_of_kubelets_are_not_followed(world: &World) {
    let canary = Backend::canary().await;
    let elsewhere = format!("https://{}/a02", canary.address);
    let kubelet = kubelet(world, "a02", &elsewhere).await;
    let log = world.admin.get(&format!("{PODS}/a02/log")).await;
    assert_eq!((log.code, log.text().as_str()), (200, "what the backend says"));
    for code in [301, 302, 303, 307, 308] {
        for more in ["", "&insecureSkipTLSVerifyBackend=true"] {
            let answer = world.admin.get(&format!("{PODS}/a02/log?tailLines={code}{more}")).await;
            assert_eq!((answer.code, answer.header("location")), (502, ""), "{code}{more}: {}", answer.status());
        }
        for stream in ["exec?command=", "exec?stdin=true&command="] {
            let request = format!("GET {PODS}/a02/{stream}{code} HTTP/1.1\r\n{UPGRADE}{EVIL}");
            let answer = world.admin.raw(request.as_bytes()).await;
            assert_only(&answer, 502, &format!("a redirect by {code}"));
            assert!(!answer.to_lowercase().contains("location:"), "{answer}");
        }
    }
    for code in [101, 201, 204] {
        let answer = world.admin.get(&format!("{PODS}/a02/log?tailLines={code}")).await;
        assert_eq!(answer.code, 502, "a log by {code}: {}", answer.status());
    }
    if let Some(ip) = own_address() {
        let serving = serving(world, &world.ca, ip);
        let kubelet = Backend::start(ip, Some(serving), as_told(&elsewhere)).await;
        assert!(move_node(world, "a02", internal(ip), kubelet.address.port()).await);
        let proxied = world.admin.get("/api/v1/nodes/a02/proxy/200").await;
        assert_eq!((proxied.code, proxied.text().as_str()), (200, "what the backend says"));
        for code in [301, 302, 303, 307, 308] {
            let answer = world.admin.get(&format!("/api/v1/nodes/a02/proxy/{code}")).await;
            assert_eq!((answer.code, answer.header("location")), (502, ""), "{code}: {}", answer.status());
        }
        let backend = Backend::start(ip, None, as_told(&elsewhere)).await;
        pod_at(world, "a02-pod", ip).await;
        let answer = world.admin.get(&format!("{PODS}/a02-pod:{}/proxy/302", backend.address.port())).await;
        assert_eq!((answer.code, answer.header("location")), (302, elsewhere.as_str()), "it is the client's");
        world.admin.delete(&format!("{PODS}/a02-pod")).await;
    }
    assert_eq!(canary.connections(), 0, "somebody's redirect was followed");
    assert!(!kubelet.heard().contains("/evil"), "{}", kubelet.heard());
    node_is_gone(world, "a02").await;
}

/// `nodes/proxy` and `pods/proxy` go to no address of this machine alone, to no link-local one (metadata of clouds) and
/// to none that is not one host.
pub(crate) async fn a04_nodes_on_forbidden_addresses_are_not_proxied_to(world: &World) {
    let canary = Backend::canary().await;
    let port = canary.address.port();
    node_at(world, "a04", canary.address).await;
    for address in [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "0.0.0.1",
        "169.254.169.254",
        "169.254.1.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0.0.0.0",
    ] {
        if move_node(world, "a04", internal(address), port).await {
            for name in ["a04".to_owned(), format!("a04:{port}"), "a04:80".to_owned(), "https:a04:443".to_owned()] {
                let answer = world.admin.get(&format!("/api/v1/nodes/{name}/proxy/metrics")).await;
                assert_eq!(answer.status(), "400 BadRequest: address not allowed", "{name} at {address}");
            }
        }
        let name = format!("a04-{}", address.replace([':', '.'], "x"));
        world.admin.make(PODS, &pod(&name)).await;
        let status = json!({"status": {"podIP": address, "podIPs": [{"ip": address}]}});
        let patched = world.admin.merge(&format!("{PODS}/{name}/status"), &status).await;
        let answer = world.admin.get(&format!("{PODS}/{name}:{port}/proxy/x")).await;
        assert_eq!(answer.status(), "400 BadRequest: address not allowed", "{name}: {}", patched.status());
        world.admin.delete(&format!("{PODS}/{name}")).await;
    }
    assert_eq!(canary.connections(), 0, "a proxy came to loopback");
    if let Some(ip) = own_address() {
        let backend = Backend::start(ip, Some(serving(world, &world.ca, ip)), as_told("/")).await;
        assert!(move_node(world, "a04", internal(ip), backend.address.port()).await);
        let answer = world.admin.get("/api/v1/nodes/a04/proxy/metrics").await;
        assert_eq!((answer.code, backend.connections()), (200, 1), "another address is: {}", answer.status());
    }
    node_is_gone(world, "a04").await;
}

/// A Node that says to be this API server, or its peers' port, gets none of its credentials: nothing is asked there.
pub(crate) async fn a05_a_node_does_not_turn_the_server_on_itself(world: &World) {
    node_at(world, "a05", world.admin.address).await;
    let stream = format!("GET {PODS}/a05/exec?command=sh HTTP/1.1\r\n{UPGRADE}");
    for (address, port) in [
        ("127.0.0.1", world.server.api_port),
        ("127.0.0.2", world.server.api_port),
        ("::ffff:127.0.0.1", world.server.api_port),
        ("127.0.0.1", world.server.peer_port),
    ] {
        if !move_node(world, "a05", internal(address), port).await {
            continue;
        }
        for target in [
            format!("{PODS}/a05/log"),
            format!("{PODS}/a05/log?insecureSkipTLSVerifyBackend=true"),
            "/api/v1/nodes/a05/proxy/api/v1/secrets".to_owned(),
            format!("/api/v1/nodes/https:a05:{port}/proxy/api/v1/secrets"),
        ] {
            let answer = world.admin.get(&target).await;
            assert!(matches!(answer.code, 400 | 502), "{target} at {address}:{port}: {}", answer.status());
        }
        let (head, _) = switch(&world.admin, &stream).await;
        assert!(matches!(code(&head), 400 | 502), "a stream to {address}:{port}: {head}");
    }
    let audited = world.audited();
    assert!(audited.contains("attacked-admin"), "what is asked is audited");
    let own = audited.lines().find(|line| line.contains("kube-apiserver-kubelet-client"));
    assert_eq!(own, None, "the server asked itself");
    node_is_gone(world, "a05").await;
}

/// Names in objects are never resolved, so nothing can stand behind them that was not checked: a Node has an address or
/// none, and a Service has the addresses of its endpoints.
pub(crate) async fn a06_names_are_resolved_once(world: &World) {
    const SERVICES: &str = "/api/v1/namespaces/default/services";
    const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let canary = Backend::canary().await;
    let port = canary.address.port();
    node_at(world, "a06", canary.address).await;
    let named = |kind: &str, name: &str| json!([{"type": kind, "address": name}]);
    for (kind, name) in [
        ("InternalIP", "localhost"),
        ("InternalIP", "127.1"),
        ("InternalIP", "0x7f000001"),
        ("InternalIP", "2130706433"),
        ("ExternalIP", "localhost"),
        ("InternalDNS", "localhost"),
        ("ExternalDNS", "localhost"),
        ("Hostname", "localhost"),
    ] {
        if !move_node(world, "a06", named(kind, name), port).await {
            continue;
        }
        for target in [format!("{PODS}/a06/log"), "/api/v1/nodes/a06/proxy/x".to_owned()] {
            let answer = world.admin.get(&target).await;
            assert_eq!(answer.code, 500, "{target} with {kind} {name}: {}", answer.status());
        }
    }
    let service = json!({"metadata": {"name": "a06"}, "spec": {"type": "ExternalName", "externalName": "localhost",
        "ports": [{"name": "http", "port": port}]}});
    world.admin.make(SERVICES, &service).await;
    let slice = json!({"metadata": {"name": "a06", "labels": {"kubernetes.io/service-name": "a06"}},
        "addressType": "FQDN", "ports": [{"name": "http", "port": port}],
        "endpoints": [{"addresses": ["localhost.localdomain"], "conditions": {"ready": true}}]});
    let made = world.admin.post(SLICES, &slice).await;
    assert!(matches!(made.code, 201 | 422), "{}", made.status());
    let answer = world.admin.get(&format!("{SERVICES}/a06:http/proxy/x")).await;
    let none = "503 ServiceUnavailable: no endpoints available for service \"a06\"";
    assert_eq!(answer.status(), none, "a name was resolved");
    assert_eq!(canary.connections(), 0, "a name was resolved");
    // By its address it is found.
    assert!(move_node(world, "a06", internal(LOOPBACK), port).await);
    let answer = world.admin.get(&format!("{PODS}/a06/log")).await;
    assert_eq!((answer.code, canary.connections()), (502, 1), "{}", answer.status());
    world.admin.delete(&format!("{SLICES}/a06")).await;
    world.admin.delete(&format!("{SERVICES}/a06")).await;
    node_is_gone(world, "a06").await;
}

const CANARY: &str = "a07-canary-that-is-not-logged";

/// What webhooks are asked says what they answer: whom a token is of, or whether somebody may.
fn hook(elsewhere: &str) -> Answers {
    let elsewhere = elsewhere.to_owned();
    Arc::new(move |asked| {
        let with = |head: &str, body: &str| format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if asked.contains("a07-redirect") {
            return with(&format!("307 Temporary Redirect\r\nlocation: {elsewhere}"), CANARY);
        } else if asked.contains("a07-garbage") {
            return with("200 OK", CANARY);
        } else if asked.contains("a07-refusal") {
            return with("400 Bad Request", CANARY);
        } else if asked.contains("a07-endless") {
            return format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", 1_u64 << 40, CANARY.repeat(60_000));
        }
        let good = match asked.starts_with("POST /authn") {
            true => json!({"kind": "TokenReview", "status": {"authenticated": true, "user": {"username": "a07-good"}}}),
            false => json!({"kind": "SubjectAccessReview", "status": {"allowed": asked.contains("a07-good")}}),
        };
        with("200 OK\r\ncontent-type: application/json", &good.to_string())
    })
}

/// Webhooks that say who somebody is and what they may are not followed elsewhere, what they answer is neither logged
/// nor shown, and no more than a megabyte of it is read. Admission webhooks, which are not there yet, are not tried.
pub(crate) async fn a07_webhooks_answers_are_not_logged(world: &World) {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, content: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).expect("written");
        path.display().to_string()
    };
    let canary = Backend::canary().await;
    let ca = authority("a07");
    let hook = hook(&format!("https://{}/a07", canary.address));
    let hook = Backend::start(LOOPBACK, Some(serving(world, &ca, LOOPBACK)), hook).await;
    let ca = write("ca.crt", ca.certificate_pem().to_owned());
    let kubeconfig = |path: &str| {
        let cluster = json!({"server": format!("https://{}/{path}", hook.address), "certificate-authority": ca});
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "c", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]});
        write(&format!("{path}.kubeconfig"), config.to_string())
    };
    let webhook = json!({"timeout": "3s", "subjectAccessReviewVersion": "v1", "failurePolicy": "Deny",
        "authorizedTTL": "1s", "unauthorizedTTL": "1s", "matchConditionSubjectAccessReviewVersion": "v1",
        "matchConditions": [{"expression": "request.user.startsWith('a07-')"}],
        "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": kubeconfig("authz")}});
    let authorizers = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration",
        "authorizers": [{"type": "Webhook", "name": "hook", "webhook": webhook}, {"type": "RBAC", "name": "rbac"}]});
    let own = World::with(&[
        "--authentication-token-webhook-config-file",
        &kubeconfig("authn"),
        "--authentication-token-webhook-version",
        "v1",
        "--authorization-config",
        &write("authz.yaml", authorizers.to_string()),
    ]);
    own.settle().await;
    let good = own.stranger().with_token("a07-good").get(PODS).await;
    assert_eq!(good.code, 200, "whom the webhooks know may: {}", good.status());
    let mut shown = String::new();
    for kind in ["redirect", "garbage", "refusal", "endless"] {
        let started = Instant::now();
        let name = format!("a07-{kind}");
        let answer = own.stranger().with_token(&name).get(PODS).await;
        assert_eq!(answer.code, 401, "a token of which the webhook said nothing: {}", answer.status());
        shown += &answer.text();
        let answer = own.user(&name).get(PODS).await;
        // Upstream's code for an authorizer that failed.
        assert_eq!(answer.code, 500, "somebody of whom the webhook said nothing: {}", answer.status());
        shown += &answer.text();
        assert!(started.elapsed() < Duration::from_secs(5), "{kind} took {:?}", started.elapsed());
    }
    assert_eq!(canary.connections(), 0, "a webhook's redirect was followed");
    assert!(!shown.contains("canary"), "clients are shown what a webhook answers: {shown}");
    let log = std::fs::read_to_string(own.server.dir.with_extension("log")).expect("the log");
    assert!(log.contains("webhook"), "that a webhook failed is logged");
    let leaked = log.lines().find(|line| line.contains(CANARY));
    assert_eq!(leaked, None, "what a webhook answers is logged");
}

/// Objects whose fields name hosts and URLs make no controller connect to them.
pub(crate) async fn a08_controllers_fetch_nothing_for_objects(world: &World) {
    let canary = Backend::canary().await;
    let (host, port) = (canary.address.ip().to_string(), canary.address.port());
    let url = format!("https://{}/a08", canary.address);
    let peer = canary.address.to_string();
    let nobody = json!({"matchLabels": {"a08": "nobody"}});
    let volume = |kind: &str, source: Value| {
        let mut spec = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "storageClassName": "a08", "persistentVolumeReclaimPolicy": "Delete"});
        spec[kind] = source;
        spec
    };
    let mut with_volumes = pod("a08");
    with_volumes["spec"]["volumes"] = json!([
        {"name": "nfs", "nfs": {"server": host, "path": "/"}},
        {"name": "iscsi", "iscsi": {"targetPortal": peer, "iqn": "iqn.2001-04.com.example:a08", "lun": 0}},
        {"name": "claim", "persistentVolumeClaim": {"claimName": "a08"}}]);
    with_volumes["spec"]["containers"][0]["image"] = json!(format!("{peer}/a08"));
    let version = json!({"name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
    let named = json!({"name": "a08"});
    let Value::Array(objects) = json!([
        {"in": "/api/v1/namespaces/default/services", "metadata": named,
            "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}},
        {"in": "/api/v1/namespaces/default/persistentvolumeclaims", "metadata": named, "spec": {
            "storageClassName": "a08", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}},
        {"in": "/apis/storage.k8s.io/v1/storageclasses", "metadata": named,
            "provisioner": "kubernetes.io/glusterfs", "parameters": {"resturl": url, "registry": peer, "gateway": url}},
        {"in": "/api/v1/persistentvolumes", "metadata": {"name": "a08-nfs"},
            "spec": volume("nfs", json!({"server": host, "path": "/"}))},
        {"in": "/api/v1/persistentvolumes", "metadata": {"name": "a08-iscsi"},
            "spec": volume("iscsi", json!({"targetPortal": peer, "iqn": "iqn.2001-04.com.example:a08", "lun": 0}))},
        {"in": "/api/v1/nodes", "metadata": named, "spec": {"providerID": url}},
        {"in": "/apis/apiregistration.k8s.io/v1/apiservices", "metadata": {"name": "v1.a08.example.com"}, "spec": {
            "version": "v1", "group": "a08.example.com", "groupPriorityMinimum": 100, "versionPriority": 100,
            "insecureSkipTLSVerify": true, "service": {"namespace": "default", "name": "a08", "port": port}}},
        {"in": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "metadata": {"name": "a08s.a08.example.com"},
            "spec": {"group": "a08.example.com", "scope": "Namespaced", "versions": [version],
            "names": {"plural": "a08s", "singular": "a08", "kind": "A08"}, "conversion": {"strategy": "Webhook",
            "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": {"url": url}}}}},
        {"in": "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", "metadata": named, "webhooks": [
            {"name": "a08.example.com", "clientConfig": {"url": url}, "sideEffects": "None", "failurePolicy": "Ignore",
            "admissionReviewVersions": ["v1"], "namespaceSelector": nobody, "objectSelector": nobody, "rules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["events"]}]}]},
        {"in": "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", "metadata": named, "spec": {
            "maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a08"},
            "metrics": [{"type": "External", "external": {"metric": {"name": "a08"},
            "target": {"type": "Value", "value": "1"}}}]}},
        {"in": "/apis/networking.k8s.io/v1/namespaces/default/ingresses", "metadata": named, "spec": {"rules": [
            {"host": "localhost", "http": {"paths": [{"path": "/", "pathType": "Prefix",
            "backend": {"service": {"name": "a08", "port": {"number": port}}}}]}}]}},
    ]) else {
        unreachable!("it is a list")
    };
    let mut made = Vec::new();
    for mut object in objects {
        let resource = object.as_object_mut().and_then(|object| object.remove("in"));
        let resource = resource.as_ref().and_then(Value::as_str).expect("where it goes").to_owned();
        let own = world.admin.make(&resource, &object).await;
        made.push(format!("{resource}/{}", own["metadata"]["name"].as_str().expect("a name")));
    }
    world.admin.make(PODS, &with_volumes).await;
    // Longer than any controller waits before it looks at a new object.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(canary.connections(), 0, "somebody went where an object says: {}", canary.heard());
    drop(TcpStream::connect(canary.address).await.expect("it listens"));
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if canary.connections() > 0 {
            break;
        }
    }
    assert_eq!(canary.connections(), 1, "who does is noticed");
    world.admin.delete(&format!("{PODS}/a08")).await;
    for object in made.iter().rev() {
        world.admin.delete(object).await;
    }
}

/// A pod behind `https:` may show any certificate, so it is shown nothing: neither the server's certificate nor the
/// client's token. It is told where it is in the very words of the client.
pub(crate) async fn a09_proxied_pods_get_no_credentials(world: &World) {
    let kubelet = kubelet(world, "a09-node", "/").await;
    let log = world.admin.get(&format!("{PODS}/a09-node/log")).await;
    assert_eq!((log.code, kubelet.certificates()), (200, vec![1]), "a kubelet is shown a certificate");
    node_is_gone(world, "a09-node").await;
    let Some(ip) = own_address() else { return };
    let backend = Backend::start(ip, Some(serving(world, &authority("a09"), ip)), as_told("/")).await;
    pod_at(world, "a09", ip).await;
    world.admin.make("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "a09"}})).await;
    let rules = json!([{"verbs": ["get", "create"], "apiGroups": [""], "resources": ["pods/proxy"]}]);
    world.grant("system:serviceaccount:default:a09", rules).await;
    let token = world.token("a09", json!({})).await.json()["status"]["token"].as_str().expect("a token").to_owned();
    let client = world.stranger().with_token(&token);
    let base = format!("{PODS}/https:a09:{}/proxy", backend.address.port());
    for tail in ["/a%20b?token=mine", "/a%0d%0ax-evil:%201", "/%2e%2e/secrets", "/..%2f..%2fsecrets"] {
        let answer = client.get(&format!("{base}{tail}")).await;
        let expected = if tail.starts_with("/a%20b") { 200 } else { 400 };
        assert_eq!(answer.code, expected, "{tail}: {}", answer.status());
    }
    let body = json!({"a": "b"}).to_string();
    let posted = client.send("POST", &format!("{base}/posted"), &[JSON], body.clone()).await;
    assert_eq!(posted.code, 200, "{}", posted.status());
    let heard = backend.heard();
    assert_eq!(backend.certificates(), [0, 0], "a pod was shown a certificate of the server's");
    assert!(heard.starts_with("GET /a%20b?token=mine ") && heard.contains(&body), "{heard}");
    assert!(!heard.contains(&token) && !heard.to_lowercase().contains("authorization"), "a pod got a token: {heard}");
    assert!(heard.contains(&format!("x-forwarded-uri: {base}/a%20b\r\n")), "it is told where it is: {heard}");
    world.admin.delete(&format!("{PODS}/a09")).await;
    world.admin.delete("/api/v1/namespaces/default/serviceaccounts/a09").await;
}

/// What concerns one connection, and who somebody is to this server, goes no further: neither to a pod nor, with an
/// upgrade, to a kubelet.
pub(crate) async fn a10_headers_of_proxies_are_stripped(world: &World) {
    let rules = json!([{"verbs": ["*"], "apiGroups": [""], "resources": ["pods/proxy", "pods/exec"]}]);
    world.grant("a10", rules).await;
    let named = "x-a10-kept: 1\r\nx-a10-named: 1\r\nkeep-alive: timeout=5\r\nproxy-authorization: Basic YTE=\r\n\
        proxy-connection: keep-alive\r\nte: trailers\r\nimpersonate-user: a10\r\nimpersonate-group: system:authenticated\r\n\
        impersonate-uid: 7\r\nimpersonate-extra-a: b\r\nx-remote-user: root\r\nx-remote-group: system:masters\r\n\
        x-remote-uid: 0\r\nx-remote-extra-scopes: all\r\nauthorization: Bearer not-for-you\r\nx-forwarded-uri: /evil\r\n\
        x-forwarded-host: evil\r\nx-forwarded-proto: gopher\r\n";
    let check = |heard: &str, who: &str| {
        let heard = heard.to_lowercase();
        assert!(heard.contains("x-a10-kept: 1"), "{who} is told the rest: {heard}");
        for gone in [
            "x-a10-named",
            "keep-alive",
            "proxy-",
            "te:",
            "impersonate-",
            "x-remote-",
            "authorization",
            "not-for-you",
            "base64url.bearer",
        ] {
            let found = heard.lines().find(|line| line.starts_with(gone) || line.contains("not-for-you"));
            assert_eq!(found, None, "{who} was told: {heard}");
        }
    };
    let kubelet = kubelet(world, "a10-node", "/").await;
    let token = "base64url.bearer.authorization.k8s.io.bm90LWZvci15b3U";
    let request = format!(
        "GET {PODS}/a10-node/exec?command=sh HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, x-a10-named\r\nupgrade: \
         websocket\r\nsec-websocket-protocol: {token}, v5.channel.k8s.io\r\n{named}\r\n"
    );
    let (head, stream) = switch(&world.admin, &request).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    drop(stream);
    check(&kubelet.heard(), "a kubelet");
    assert!(!kubelet.heard().contains("base64url"), "a kubelet got a token: {}", kubelet.heard());
    node_is_gone(world, "a10-node").await;

    let Some(ip) = own_address() else { return };
    let backend = Backend::start(ip, None, as_told("/")).await;
    pod_at(world, "a10", ip).await;
    let target = format!("{PODS}/a10:{}/proxy/x", backend.address.port());
    let request = format!(
        "GET {target} HTTP/1.1\r\nhost: api\r\nconnection: close, x-a10-named\r\ntrailer: x-a10\r\n{named}\r\n"
    );
    let answer = world.admin.raw(request.as_bytes()).await;
    assert_eq!(code(&answer), 200, "{answer}");
    let heard = backend.heard();
    check(&heard, "a pod");
    for told in [format!("x-forwarded-uri: {target}\r\n"), "x-forwarded-proto: https\r\n".to_owned()] {
        assert!(heard.contains(&told), "{told}: {heard}");
    }
    assert!(!heard.contains("evil") && !heard.contains("gopher"), "a client says where a pod is: {heard}");
    world.admin.delete(&format!("{PODS}/a10")).await;
}

/// A request that could be read in two ways is refused, and the connection with it; one of HTTP/2 brings no line breaks
/// into what a pod is sent by HTTP/1.1.
pub(crate) async fn a11_requests_are_not_smuggled(world: &World) {
    let fine = "GET /version HTTP/1.1\r\nhost: x\r\n\r\nGET /version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = world.admin.raw(fine.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 2, "two requests are two: {answer}");
    let post = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews HTTP/1.1\r\nhost: x\r\n\
                content-type: application/json\r\n";
    let both = format!("{post}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{EVIL}");
    let turned = format!("{post}transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n{EVIL}");
    for (what, request) in [("a length and chunks", both), ("chunks and a length", turned)] {
        let answer = world.admin.raw(request.as_bytes()).await;
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{what}: what came behind was a request: {answer}");
    }
    for (what, head) in [
        ("two lengths", "content-length: 4\r\ncontent-length: 5\r\n\r\n{}  "),
        ("a list of lengths", "content-length: 4, 5\r\n\r\n{}  "),
        ("a signed length", "content-length: +4\r\n\r\n{}  "),
        ("a negative length", "content-length: -1\r\n\r\n{}  "),
        ("a length that is no number", "content-length: 0x4\r\n\r\n{}  "),
        ("a coding that is not known", "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("chunks that are not last", "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        ("a space before the colon", "transfer-encoding : chunked\r\n\r\n0\r\n\r\n"),
        ("a folded line", "x-a: b\r\n content-length: 4\r\n\r\n{}  "),
        ("a folded coding", "transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
        ("a NUL in a value", "x-a: b\0c\r\n\r\n"),
        ("a bare CR in a value", "x-a: b\rcontent-length: 4\r\n\r\n"),
        ("a line without a colon", "x-a\r\n\r\n"),
        ("a name with a space", "x a: b\r\n\r\n"),
        ("an empty name", ": b\r\n\r\n"),
        ("a chunk whose size is ended by LF", "transfer-encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n"),
        ("a chunk's extension with LF", "transfer-encoding: chunked\r\n\r\n2;a\nb\r\n{}\r\n0\r\n\r\n"),
        ("a chunk of no size", "transfer-encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n"),
        ("a chunk of too many digits", "transfer-encoding: chunked\r\n\r\n11111111111111112\r\n{}\r\n0\r\n\r\n"),
        ("a chunk that is longer than it says", "transfer-encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n"),
    ] {
        let answer = world.admin.raw(format!("{post}{head}{EVIL}").as_bytes()).await;
        let (code, answers) = (code(&answer), answer.matches("HTTP/1.1 ").count());
        assert!(code == 400 && answers <= 1, "{what} was not refused: {answer}");
    }
    let old = "POST /version HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned() + EVIL;
    assert_eq!(code(&world.admin.raw(old.as_bytes()).await), 400, "HTTP/1.0 knows no chunks");

    let Some(ip) = own_address() else { return };
    let backend = Backend::start(ip, None, as_told("/")).await;
    pod_at(world, "a11", ip).await;
    let target = format!("{PODS}/a11:{}/proxy/x", backend.address.port());
    // To a pod goes what was understood, said in one way.
    let body = format!("{:x}\r\n{EVIL}\r\n0\r\n\r\n", EVIL.len());
    let two_lengths = format!(
        "POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n{body}GET / HTTP/1.1\r\n\
         host: x\r\n\r\n"
    );
    let answer = world.admin.raw(two_lengths.as_bytes()).await;
    let heard = backend.heard().to_lowercase();
    assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{answer}");
    assert!(!(heard.contains("content-length:") && heard.contains("transfer-encoding:")), "{heard}");
    let before = backend.connections();
    let pseudo = |target: &str, more: &[(&str, &str)]| [request("GET", target), block(more)].concat();
    let broken = format!("{target} HTTP/1.1\r\nx-evil: 1");
    for (what, fields) in [
        ("a value with a line break", pseudo(&target, &[("x-a", "b\r\nx-evil: 1")])),
        ("a value with LF", pseudo(&target, &[("x-a", "b\nx-evil: 1")])),
        ("a value with NUL", pseudo(&target, &[("x-a", "b\0x-evil: 1")])),
        ("a name with a colon", pseudo(&target, &[("x-evil: 1\r\nx-a", "b")])),
        ("a name in capitals", pseudo(&target, &[("X-Evil", "1")])),
        ("an empty name", pseudo(&target, &[("", "x-evil")])),
        ("a target with a line break", pseudo(&broken, &[])),
        ("a method with a space", request("GET /evil HTTP/1.1\r\nx-evil:", &target)),
        ("a transfer coding", pseudo(&target, &[("transfer-encoding", "chunked"), ("x-evil", "1")])),
        ("a connection", pseudo(&target, &[("connection", "upgrade"), ("upgrade", "websocket"), ("x-evil", "1")])),
        ("a pseudo-header that is late", pseudo(&target, &[("x-evil", "1"), (":path", "/evil")])),
        ("two targets", pseudo(&target, &[(":path", "/evil")])),
        ("a length that is not the body's", pseudo(&target, &[("content-length", "7"), ("x-evil", "1")])),
    ] {
        let mut frames = Frames::open(&world.admin).await;
        frames.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields)).await.expect("it is written");
        assert!(!frames.is_answered(1).await, "{what} was not refused");
    }
    assert_eq!(backend.connections(), before, "a pod was asked: {}", backend.heard());
    let mut frames = Frames::open(&world.admin).await;
    frames
        .send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &pseudo(&target, &[("x-a", "b")])))
        .await
        .expect("it is written");
    assert!(frames.is_answered(1).await, "what is right is answered");
    assert!(backend.heard().contains("x-a: b\r\n"), "and reaches the pod: {}", backend.heard());
    world.admin.delete(&format!("{PODS}/a11")).await;
}

/// Who may read pods in `default` only: no way of writing a path shows more.
pub(crate) async fn a12_paths_have_one_form(world: &World) {
    let rules = serde_json::json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}]);
    let reader = world.user_with("a12", rules).await;
    assert_eq!(code_of(&reader, PODS).await, 200);
    for (target, code) in rows::SECRETS_BY_OTHER_PATHS {
        assert_eq!(code_of(&world.admin, target).await, code, "{target}");
        assert_eq!(code_of(&reader, target).await, rows::for_a_reader(code), "{target}");
    }
    for (target, code) in rows::ESCAPED {
        assert_eq!(code_of(&world.admin, target).await, 200, "{target}");
        assert_eq!(code_of(&reader, target).await, code, "{target}");
    }
}
