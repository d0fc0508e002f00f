//! Attacks on the API's surface, one test per row of the project's list of them (A12 and so on).

use std::fmt::Write;
use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::common::rows::{ESCAPED, SECRETS_BY_OTHER_PATHS, doubling_copies, for_a_reader};
use crate::common::{Answer, Client, Running, pod};
use crate::streams::acceptor;
use api_auth::authn::webhook::{TokenWebhook, Version};
use api_auth::authn::{Authenticator, Credentials};
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const PODS: &str = "/api/v1/namespaces/default/pods";
const JSON: (&str, &str) = ("content-type", "application/json");
const YAML: (&str, &str) = ("content-type", "application/yaml");
const JSON_PATCH: (&str, &str) = ("content-type", "application/json-patch+json");
/// What anything may take on a busy machine; a refusal takes less than a second on one of its own.
const LATE: Duration = Duration::from_secs(10);
const MALFORMED: (u16, &str) = (400, "BadRequest");
const TOO_LARGE: (u16, &str) = (413, "RequestEntityTooLarge");

/// Code and reason of an answer, which is a Status where it refuses.
fn told(answer: &Answer) -> (u16, &'static str) {
    const REASONS: [&str; 3] = ["BadRequest", "RequestEntityTooLarge", "Invalid"];
    let status = if answer.code < 400 { Value::Null } else { answer.json() };
    let reason = REASONS.into_iter().find(|reason| status["reason"] == *reason && status["code"] == answer.code);
    (answer.code, reason.unwrap_or(""))
}

/// Code and reason of the answer to a request line that no client library would send, and the kind of what is answered.
async fn answer_to(client: &Client, target: &str, token: &str) -> (u16, String) {
    let request =
        format!("GET {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n");
    let answer = client.raw(&request).await;
    let code =
        answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{target}: {answer}"));
    let word = |field: &str| Some(answer.split_once(&format!("\"{field}\":\""))?.1.split('"').next()?.to_owned());
    (code, word("reason").or_else(|| word("kind")).unwrap_or_default())
}

/// `reader` may read pods in `default` only: no way of writing a path shows more, and whoever may do everything is not
/// shown anything by it either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a12_paths_have_one_form() {
    let server = Running::start().await;
    let stranger = server.stranger();
    let reason = |code| match code {
        400 => "BadRequest",
        403 => "Forbidden",
        _ => "NotFound",
    };
    for (target, code) in SECRETS_BY_OTHER_PATHS {
        let (admin, reader) =
            (answer_to(&server.admin, target, "").await, answer_to(&stranger, target, "reader").await);
        println!("{target}: {admin:?} {reader:?}");
        assert_eq!(admin, (code, reason(code).to_owned()), "{target}");
        let code = for_a_reader(code);
        assert_eq!(reader, (code, reason(code).to_owned()), "{target}");
    }
    for (target, code) in ESCAPED {
        let (admin, reader) =
            (answer_to(&server.admin, target, "").await, answer_to(&stranger, target, "reader").await);
        let kind = if target.ends_with("pods") || target.ends_with("%70ods") { "PodList" } else { "SecretList" };
        assert_eq!(admin, (200, kind.to_owned()), "{target}");
        let shown = if code == 200 { kind } else { "Forbidden" };
        assert_eq!(reader, (code, shown.to_owned()), "{target}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a49_bombs_and_depth() {
    let server = Running::start().await;
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, before) in ('b'..='k').zip('a'..) {
        let aliases = vec![format!("*{before}"); 10].join(",");
        writeln!(bomb, "{name}: &{name} [{aliases}]").expect("text takes it");
    }
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let edge = |bytes: usize| {
        let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}}).to_string();
        map.push_str(&" ".repeat(bytes - map.len()));
        map
    };
    const LIMIT: usize = 3 * 1024 * 1024;
    let slow_yaml = format!("a: {}", "\"\\x41".repeat(50_000));
    for (name, header, body, wanted) in [
        ("aliases", YAML, bomb, MALFORMED),
        ("deep flow YAML", YAML, deep("[", "]"), MALFORMED),
        ("deep block YAML", YAML, "- ".repeat(100_000), MALFORMED),
        ("slow YAML", YAML, slow_yaml, MALFORMED),
        ("deep JSON", JSON, deep("[", "]"), MALFORMED),
        ("deep JSON objects", JSON, deep("{\"a\":", "}"), MALFORMED),
        ("at the limit", JSON, edge(LIMIT), (201, "")),
        ("above the limit", JSON, edge(LIMIT + 1), TOO_LARGE),
    ] {
        let started = Instant::now();
        let target = "/api/v1/namespaces/default/configmaps?dryRun=All";
        let answer = server.admin.send(true, "POST", target, &[header], body).await;
        println!("{name}: {} after {:?}", answer.code, started.elapsed());
        assert_eq!(told(&answer), wanted, "{name}: {}", answer.text());
        assert!(started.elapsed() < LATE, "{name} took {:?}", started.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a50_json_patches() {
    let server = Running::start().await;
    assert_eq!(server.admin.post(PODS, &pod("p")).await.code, 201);
    let tests = |count: usize| vec![r#"{"op":"test","path":"/kind","value":"Pod"}"#; count].join(",");
    for (name, body, wanted) in [
        ("as many as there may be", format!("[{}]", tests(10_000)), (200, "")),
        ("one more", format!("[{}]", tests(10_001)), TOO_LARGE),
        ("a hundred times as many", format!("[{}]", vec![r#"{"op":"x"}"#; 250_000].join(",")), TOO_LARGE),
        ("copies of copies", doubling_copies().to_string(), (422, "Invalid")),
    ] {
        let started = Instant::now();
        let target = format!("{PODS}/p?dryRun=All");
        let answer = server.admin.send(true, "PATCH", &target, &[JSON_PATCH], body).await;
        println!("{name}: {} after {:?}", answer.code, started.elapsed());
        assert_eq!(told(&answer), wanted, "{name}: {}", answer.text());
        assert!(started.elapsed() < LATE, "{name} took {:?}", started.elapsed());
    }
}

/// A gzip body that unpacks to more than a body may have is refused, and so are headers and queries without end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a55_headers_queries_and_gzip() {
    let server = Running::start().await;
    let bomb = packed("");
    let started = Instant::now();
    let headers = [JSON, ("content-encoding", "gzip")];
    let answer = server.admin.send(true, "POST", PODS, &headers, bomb).await;
    assert_eq!(told(&answer), MALFORMED, "it is not unpacked: {}", answer.text());
    assert!(started.elapsed() < LATE, "it took {:?}", started.elapsed());

    let header = format!("GET /version HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "b".repeat(1 << 20));
    let answer = server.admin.raw(&header).await;
    // Closed without a word while it was still written is a refusal.
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let query: String = (0..10_000).map(|index| format!("&p{index}=1")).collect();
    let request = format!("GET {PODS}?{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let answer = server.admin.raw(&request).await;
    assert!(answer.starts_with("HTTP/1.1 414"), "{answer}");
    assert_eq!(server.admin.get("/readyz").await.text(), "ok");
}

/// 64 MiB of nothing and then a text, packed.
fn packed(text: &str) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(&vec![b' '; 64 * 1024 * 1024]).expect("memory takes it");
    packer.write_all(text.as_bytes()).expect("memory takes it");
    packer.finish().expect("memory takes it")
}

/// Who knows tokens, over TLS: what is right, the same behind what unpacks to 64 MiB, or what does not end, by the
/// path.
async fn answer_reviews(listener: TcpListener, tls: TlsAcceptor) {
    const REVIEW: &str = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview",
        "status":{"authenticated":true,"user":{"username":"ann"}}}"#;
    let (bomb, mut open) = (packed(REVIEW), Vec::new());
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(mut stream) = tls.accept(stream).await else { continue };
        let mut request = Vec::new();
        while !request.ends_with(b"}") && stream.read_buf(&mut request).await.is_ok_and(|read| read > 0) {}
        let request = String::from_utf8_lossy(&request).into_owned();
        let (header, length, body) = match request.split(' ').nth(1) {
            Some("/packed") => ("content-encoding: gzip\r\n", bomb.len(), bomb.clone()),
            Some("/endless") => ("", 1 << 40, vec![b' '; 8 * 1024 * 1024]),
            _ => ("", REVIEW.len(), REVIEW.as_bytes().to_vec()),
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{header}content-length: {length}\r\nconnection: close\r\n\r\n"
        );
        // The other side may have heard enough.
        let _: std::io::Result<()> = stream.write_all(&[head.into_bytes(), body].concat()).await;
        let _: std::io::Result<()> = stream.flush().await;
        open.push(stream);
    }
}

/// An answer that unpacks to much more than it is, or that does not end, is as good as none: nothing here unpacks what
/// others say, and nothing reads more than it has room for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a55_answers_of_others() {
    let server = Running::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("bound");
    tokio::spawn(answer_reviews(listener, acceptor(&server)));
    for (path, wanted) in [("/plain", Ok(Some("ann".to_owned()))), ("/packed", Err(401)), ("/endless", Err(401))] {
        let file = server.dir.path().join("webhook.kubeconfig");
        let document = json!({"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {"server": format!("https://{at}{path}"), "certificate-authority": "ca.crt"}}],
            "users": [{"name": "u", "user": {}}]});
        std::fs::write(&file, document.to_string()).expect("written");
        let hook = TokenWebhook::load(&file, Version::V1, Duration::ZERO, vec!["api".to_owned()]).expect("a webhook");
        let started = Instant::now();
        let credentials = Credentials { bearer_token: Some("t".to_owned()), ..Credentials::default() };
        let who = hook.authenticate(&credentials).await;
        println!("{path}: {:?}", started.elapsed());
        assert_eq!(who.map(|user| user.map(|user| user.name)).map_err(|error| error.code), wanted, "{path}");
        assert!(started.elapsed() < LATE * 2, "{path} took {:?}", started.elapsed());
    }
}

/// One client opens a thousand watches: each begins or is told to come again, others are served, and all of those that
/// began hear of a write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a54_a_thousand_watches_by_one_client() {
    /// Streams of a connection.
    const EACH: usize = 100;
    let server = Running::start().await;
    let client = server.stranger();
    let bearer = [("authorization", "Bearer storm")];
    let mut watches = Vec::new();
    let mut refused = 0;
    for _ in 0..10 {
        let io = TokioIo::new(client.connect(true).await);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
        tokio::spawn(connection);
        let opened = (0..EACH).map(|_| {
            let request = client.request("GET", &format!("{PODS}?watch=1&resourceVersion=0"), &bearer, "");
            let mut sender = sender.clone();
            async move { sender.send_request(request).await.expect("an answer") }
        });
        for answer in futures::future::join_all(opened).await {
            match answer.status().as_u16() {
                200 => watches.push(answer.into_body()),
                429 => {
                    assert!(answer.headers().contains_key("retry-after"), "and is told when");
                    refused += 1;
                }
                code => panic!("a watch is answered {code}"),
            }
        }
    }
    println!("{} watches of 1000 began, {refused} are to come again", watches.len());
    assert!(watches.len() >= EACH && watches.len() + refused == 1000);
    let made = server.admin.post(PODS, &pod("seen")).await;
    assert_eq!(made.code, 201, "{}", made.status());
    let heard = watches.iter_mut().map(|watch| async {
        let frame = tokio::time::timeout(LATE * 3, watch.frame()).await.expect("in time");
        let frame = frame.expect("it goes on").expect("a frame").into_data().expect("data");
        assert!(frame.starts_with(b"{\"type\":\"ADDED\""), "{}", String::from_utf8_lossy(&frame));
    });
    futures::future::join_all(heard).await;
    let others = client.with(PODS, &[("authorization", "Bearer reader")]).await;
    assert_eq!(others.code, 200, "{}", others.status());
}
