//! Attacks on the API's surface, one test per row of the project's list of them (A12 and so on).

use std::fmt::Write;
use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::common::rows::{SECRETS_BY_OTHER_PATHS, doubling_copies};
use crate::common::{Running, pod};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

const PODS: &str = "/api/v1/namespaces/default/pods";
const JSON: (&str, &str) = ("content-type", "application/json");
const YAML: (&str, &str) = ("content-type", "application/yaml");
const JSON_PATCH: (&str, &str) = ("content-type", "application/json-patch+json");
/// What a refusal may take.
const SOON: Duration = Duration::from_secs(1);

/// The code of the answer to a request line that no client library would send.
async fn code_of(server: &Running, target: &str, token: &str) -> u16 {
    let request =
        format!("GET {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n");
    let answer = server.stranger().raw(&request).await;
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(400)
}

/// `reader` may read pods in `default` only: no way of writing a path shows more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a12_paths_have_one_form() {
    let server = Running::start().await;
    assert_eq!(code_of(&server, PODS, "reader").await, 200);
    for target in SECRETS_BY_OTHER_PATHS {
        let code = code_of(&server, target, "reader").await;
        assert!((300..500).contains(&code), "{code}: {target}");
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
    for (name, header, body, codes) in [
        ("aliases", YAML, bomb, 400..=413),
        ("deep flow YAML", YAML, deep("[", "]"), 400..=413),
        ("deep block YAML", YAML, "- ".repeat(100_000), 400..=413),
        ("slow YAML", YAML, slow_yaml, 400..=413),
        ("deep JSON", JSON, deep("[", "]"), 400..=413),
        ("deep JSON objects", JSON, deep("{\"a\":", "}"), 400..=413),
        ("at the limit", JSON, edge(LIMIT), 201..=201),
        ("above the limit", JSON, edge(LIMIT + 1), 413..=413),
    ] {
        let started = Instant::now();
        let target = "/api/v1/namespaces/default/configmaps?dryRun=All";
        let answer = server.admin.send(true, "POST", target, &[header], body).await;
        assert!(codes.contains(&answer.code), "{name}: {} {}", answer.code, answer.text());
        assert!(started.elapsed() < SOON * 5, "{name} took {:?}", started.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a50_json_patches() {
    let server = Running::start().await;
    assert_eq!(server.admin.post(PODS, &pod("p")).await.code, 201);
    let tests = |count: usize| vec![r#"{"op":"test","path":"/kind","value":"Pod"}"#; count].join(",");
    for (name, body, codes) in [
        ("as many as there may be", format!("[{}]", tests(10_000)), 200..=200),
        ("one more", format!("[{}]", tests(10_001)), 413..=413),
        ("copies of copies", doubling_copies().to_string(), 400..=422),
    ] {
        let started = Instant::now();
        let target = format!("{PODS}/p?dryRun=All");
        let answer = server.admin.send(true, "PATCH", &target, &[JSON_PATCH], body).await;
        assert!(codes.contains(&answer.code), "{name}: {}", answer.status());
        assert!(started.elapsed() < SOON * 10, "{name} took {:?}", started.elapsed());
    }
}

/// A gzip body that unpacks to more than a body may have is refused, and so are headers and queries without end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a55_headers_queries_and_gzip() {
    let server = Running::start().await;
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(&vec![b' '; 64 * 1024 * 1024]).expect("memory takes it");
    let bomb = packer.finish().expect("memory takes it");
    let started = Instant::now();
    let headers = [JSON, ("content-encoding", "gzip")];
    let answer = server.admin.send(true, "POST", PODS, &headers, bomb).await;
    assert!((400..500).contains(&answer.code), "{}", answer.status());
    assert!(started.elapsed() < SOON * 5, "it took {:?}", started.elapsed());

    let header = format!("GET /version HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "b".repeat(1 << 20));
    let answer = server.admin.raw(&header).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    let query: String = (0..10_000).map(|index| format!("&p{index}=1")).collect();
    let request = format!("GET {PODS}?{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let answer = server.admin.raw(&request).await;
    let code: u16 = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(431);
    assert!(code == 200 || (400..500).contains(&code), "{code}");
    assert_eq!(server.admin.get("/readyz").await.text(), "ok");
}
