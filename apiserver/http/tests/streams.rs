//! What passes through to kubelets and pods, and what does not.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use crate::common::{Running, pod};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const PODS: &str = "/api/v1/namespaces/default/pods";

/// How something packed begins.
const PACKED: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03 and so on";

/// What a backend was asked: request line and headers.
type Asked = Arc<Mutex<Vec<String>>>;

/// A backend: echoes what is upgraded, serves logs, refuses and redirects when the query says so.
async fn backend(request: Request<Incoming>, asked: Asked) -> Result<Response<Full<Bytes>>, Infallible> {
    let line = format!("{} {} {:?}", request.method(), request.uri(), request.headers());
    asked.lock().expect("not poisoned").push(line);
    let query = request.uri().query().unwrap_or("").to_owned();
    let mut response = Response::new(Full::default());
    if query.contains("refuse") {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        *response.body_mut() = Full::from("not today");
    } else if query.contains("redirect") {
        *response.status_mut() = StatusCode::FOUND;
        response.headers_mut().insert("location", "/elsewhere".parse().expect("a value"));
    } else if query.contains("tailLines=77") {
        response.headers_mut().insert("content-encoding", "gzip".parse().expect("a value"));
        *response.body_mut() = Full::from(PACKED.to_vec());
    } else if request.headers().contains_key("upgrade") {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        for (name, value) in
            [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-protocol", "v5.channel.k8s.io")]
        {
            response.headers_mut().insert(name, value.parse().expect("a value"));
        }
        tokio::spawn(async move {
            let upgraded = hyper::upgrade::on(request).await.expect("upgrades");
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
            tokio::io::copy(&mut read, &mut write).await
        });
    } else {
        *response.body_mut() = Full::from(format!("said {}\n", request.uri().path()));
    }
    Ok(response)
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, asked: Asked) {
    while let Ok((tcp, _)) = listener.accept().await {
        let asked = asked.clone();
        let tls = tls.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| backend(request, asked.clone()));
            let http = hyper::server::conn::http1::Builder::new();
            match tls {
                None => http.serve_connection(TokioIo::new(tcp), service).with_upgrades().await,
                Some(tls) => match tls.accept(tcp).await {
                    Ok(tcp) => http.serve_connection(TokioIo::new(tcp), service).with_upgrades().await,
                    Err(_) => Ok(()),
                },
            }
        });
    }
}

pub(crate) fn acceptor(server: &Running) -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(server.kubelet.certificate_pem.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(server.kubelet.key_pem.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they fit");
    TlsAcceptor::from(Arc::new(config))
}

async fn node(server: &Running, name: &str, address: SocketAddr) {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
    assert_eq!(server.admin.post("/api/v1/nodes", &node).await.code, 201);
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": address.ip().to_string()}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": address.port()}}}});
    let merge = [("content-type", "application/merge-patch+json")];
    let patched =
        server.admin.send(true, "PATCH", &format!("/api/v1/nodes/{name}/status"), &merge, status.to_string()).await;
    assert_eq!(patched.code, 200, "{}", patched.text());
}

async fn pod_on(server: &Running, name: &str, node: &str) {
    let mut pod = pod(name);
    pod["spec"]["nodeName"] = json!(node);
    assert_eq!(server.admin.post(PODS, &pod).await.code, 201);
}

/// A server, and a kubelet at `n1` with pod `p` on it.
async fn with_kubelet() -> (Running, Asked) {
    let server = Running::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let asked = Asked::default();
    node(&server, "n1", listener.local_addr().expect("bound")).await;
    pod_on(&server, "p", "n1").await;
    tokio::spawn(serve(listener, Some(acceptor(&server)), asked.clone()));
    (server, asked)
}

const UPGRADE: &str = "host: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: v5.channel.k8s.io\r\nx-remote-user: root\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exec_is_a_tunnel_once_the_kubelet_has_switched() {
    let (server, asked) = with_kubelet().await;
    let mut stream = server.admin.connect(false).await;
    let head = format!("GET {PODS}/p/exec?command=sh&command=-c&stdin=true&stdout=true HTTP/1.1\r\n{UPGRADE}");
    stream.write_all(head.as_bytes()).await.expect("writes");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("more"));
    }
    let answer = String::from_utf8_lossy(&answer).to_lowercase();
    assert!(
        answer.starts_with("http/1.1 101") && answer.contains("sec-websocket-protocol: v5.channel.k8s.io"),
        "{answer}"
    );
    stream.write_all(b"any bytes \x00\xff").await.expect("writes");
    let mut echo = [0; 12];
    stream.read_exact(&mut echo).await.expect("echo");
    assert_eq!(&echo, b"any bytes \x00\xff");

    let line = asked.lock().expect("not poisoned").remove(0);
    assert!(line.starts_with("GET /exec/default/p/c?input=1&output=1&command=sh&command=-c "), "{line}");
    assert!(line.contains("sec-websocket-key") && !line.contains("x-remote-user"), "{line}");

    // The stop ends the tunnel.
    server.stop.cancel();
    assert_eq!(stream.read(&mut echo).await.unwrap_or(0), 0);
}

/// What a kubelet answers packed is passed on as it is (A55).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_packed_is_not_unpacked() {
    let (server, _) = with_kubelet().await;
    let target = format!("{PODS}/p/log?tailLines=77");
    let answer = server.admin.with(&target, &[("accept-encoding", "gzip")]).await;
    assert_eq!(answer.code, 200, "{}", answer.status());
    assert_eq!(answer.body, PACKED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_kubelet_refuses_is_not_forwarded_to() {
    let (server, asked) = with_kubelet().await;
    // What is sent behind a refused upgrade reaches nobody: the connection is closed.
    for (command, code) in [("refuse", "400"), ("redirect", "502")] {
        let text =
            format!("GET {PODS}/p/exec?command={command} HTTP/1.1\r\n{UPGRADE}GET /evil HTTP/1.1\r\nhost: x\r\n\r\n");
        let answer = server.admin.raw(&text).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")) && answer.matches("HTTP/1.1").count() == 1, "{answer}");
    }
    let asked = asked.lock().expect("not poisoned").join("\n");
    assert!(!asked.contains("/evil") && !asked.contains("/elsewhere"), "{asked}");
    let plain = server.admin.get(&format!("{PODS}/p/attach?stdout=1")).await;
    assert_eq!(plain.status(), "400 BadRequest: Upgrade request required");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs() {
    let (server, asked) = with_kubelet().await;
    let log = server.admin.get(&format!("{PODS}/p/log?tailLines=5&follow=true")).await;
    assert_eq!(
        (log.code, log.header("content-type"), log.text().as_str()),
        (200, "text/plain", "said /containerLogs/default/p/c\n")
    );
    assert!(
        asked.lock().expect("not poisoned")[0].starts_with("GET /containerLogs/default/p/c?follow=true&tailLines=5 ")
    );
    pod_on(&server, "lost", "nowhere").await;
    assert_eq!(
        server.admin.get(&format!("{PODS}/lost/log")).await.status(),
        "404 NotFound: nodes \"nowhere\" not found"
    );
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound");
    node(&server, "dead", gone).await;
    pod_on(&server, "q", "dead").await;
    assert_eq!(server.admin.get(&format!("{PODS}/q/log")).await.code, 502);
    // A node that says to be an API server gets none of our credentials.
    node(&server, "liar", server.address).await;
    pod_on(&server, "r", "liar").await;
    let answer = server.admin.get(&format!("{PODS}/r/log")).await;
    assert_eq!((answer.code, answer.text().contains("kind\":\"PodList")), (404, false), "{}", answer.text());
    // This machine is not to be reached by way of a node.
    assert_eq!(
        server.admin.get("/api/v1/nodes/n1/proxy/healthz").await.status(),
        "400 BadRequest: address not allowed"
    );
}

/// An address of this machine that is not loopback.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies() {
    let Some(ip) = own_address() else {
        println!("skipped: this machine has no address but loopback");
        return;
    };
    let server = Running::start().await;
    let listener = TcpListener::bind(SocketAddr::new(ip, 0)).await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let asked = Asked::default();
    tokio::spawn(serve(listener, None, asked.clone()));
    pod_on(&server, "web", "n1").await;
    let merge = [("content-type", "application/merge-patch+json")];
    let status = json!({"status": {"podIP": ip.to_string(), "podIPs": [{"ip": ip.to_string()}]}});
    let patched = server.admin.send(true, "PATCH", &format!("{PODS}/web/status"), &merge, status.to_string()).await;
    assert_eq!(patched.code, 200, "{}", patched.text());
    let target = format!("{PODS}/web:{port}/proxy/a//b%2Fc?x=1");
    let headers = [("authorization", "Bearer secret-is-ignored-with-a-certificate"), ("x-custom", "kept")];
    let answer = server.admin.with(&target, &headers[1..]).await;
    assert_eq!((answer.code, answer.text().as_str()), (200, "said /a//b%2Fc\n"));
    let line = asked.lock().expect("not poisoned").remove(0);
    assert!(
        line.starts_with("GET /a//b%2Fc?x=1 ") && line.contains("x-custom") && !line.contains("authorization"),
        "{line}"
    );
    let redirected = server.admin.get(&format!("{PODS}/web:{port}/proxy/?redirect")).await;
    let location = format!("{PODS}/web:{port}/proxy/elsewhere");
    assert_eq!((redirected.code, redirected.header("location")), (302, location.as_str()));

    // Every method passes, and what has no final slash is sent to where links work.
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        asked.lock().expect("not poisoned").clear();
        let answer = server.admin.send(true, method, &format!("{PODS}/web:{port}/proxy/some/path"), &[], "").await;
        let line = asked.lock().expect("not poisoned").remove(0);
        assert!(answer.code == 200 && line.starts_with(&format!("{method} /some/path ")), "{method}: {line}");
        let short = server.admin.send(true, method, &format!("{PODS}/web:{port}/proxy?x=1"), &[], "").await;
        if matches!(method, "GET" | "HEAD") {
            let location = format!("{PODS}/web:{port}/proxy/?x=1");
            assert_eq!((short.code, short.header("location")), (301, location.as_str()), "{method}");
        } else {
            let line = asked.lock().expect("not poisoned").remove(0);
            assert!(short.code == 200 && line.starts_with(&format!("{method} /?x=1 ")), "{method}: {line}");
        }
    }
    assert_eq!(server.admin.send(true, "TRACE", &format!("{PODS}/web:{port}/proxy/x"), &[], "").await.code, 405);

    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"name": "http", "port": 80}]}});
    let made = server.admin.post("/api/v1/namespaces/default/services", &service).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let through = "/api/v1/namespaces/default/services/web:http/proxy/hello";
    assert_eq!(
        server.admin.get(through).await.status(),
        "503 ServiceUnavailable: no endpoints available for service \"web\""
    );
    let slice: Value = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "ports": [{"name": "http", "port": port}], "endpoints": [{"addresses": [ip.to_string()], "conditions": {"ready": true}}]});
    let made = server.admin.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await;
    assert_eq!(made.code, 201, "{}", made.text());
    assert_eq!(server.admin.get(through).await.text(), "said /hello\n");
}
