//! Priority and fairness over HTTP: who storms waits for himself, and nobody else does.

use std::time::Duration;

use crate::common::{Client, Running, pod};
use api_http::FlowConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

const EVENTS: &str = "/api/v1/namespaces/default/events";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";
const PAGES: &str = "/debug/api_priority_and_fairness";
const JSON: (&str, &str) = ("content-type", "application/json");

/// Seats of all levels together.
const SEATS: FlowConfig = FlowConfig { enabled: true, max_reads: 6, max_writes: 4, body_patience: PATIENCE };
/// A body that does not come holds its seat for as long as a test takes.
const PATIENCE: Duration = Duration::from_secs(600);

/// A server with the objects that every cluster has, and a level of one seat and three places for `storm`.
async fn start() -> Running {
    start_with(SEATS).await
}

async fn start_with(flow: FlowConfig) -> Running {
    let running = Running::with(|server| server.flow = flow).await;
    running.registry.keep_flow_control().await.expect("the objects are made");
    running.admin.post(LEVELS, &level("storm")).await;
    assert_eq!(running.admin.post(SCHEMAS, &schema("storm", "storm")).await.code, 201);
    until(&running, "its own level", |rows| rows.iter().any(|row| row.starts_with("storm 0 true false 0 0"))).await;
    let made = running.admin.get(&format!("{SCHEMAS}/storm")).await.json();
    for _ in 0..1000 {
        let list =
            running.stranger().with("/api/v1/namespaces/default/pods", &[("authorization", "Bearer storm")]).await;
        if made["metadata"]["uid"] == list.header("x-kubernetes-pf-flowschema-uid") {
            return running;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the schema is not in force");
}

fn level(name: &str) -> Value {
    let queuing = json!({"queues": 1, "handSize": 1, "queueLengthLimit": 3});
    json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
        "metadata": {"name": name}, "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 5,
            "borrowingLimitPercent": 0, "limitResponse": {"type": "Queue", "queuing": queuing}}}})
}

fn schema(name: &str, level: &str) -> Value {
    json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": name},
        "spec": {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": 50,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [{"subjects": [{"kind": "User", "user": {"name": "storm"}}],
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]}]}})
}

/// The page of levels, a line each without its commas.
async fn levels(admin: &Client) -> Vec<String> {
    let text = admin.get(&format!("{PAGES}/dump_priority_levels")).await.text();
    let line = |line: &str| line.replace(',', " ").split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().skip(1).map(line).collect()
}

async fn until(running: &Running, what: &str, is: impl Fn(&[String]) -> bool) {
    for _ in 0..1000 {
        if is(&levels(&running.admin).await) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: {:#?}", levels(&running.admin).await);
}

/// `LEVEL ACTIVE IDLE QUIESCING WAITING EXECUTING`: so many of `storm` wait and are executed.
async fn storm_is(running: &Running, waiting: usize, executing: usize) {
    let queues = usize::from(waiting > 0);
    let want = format!("storm {queues} false false {waiting} {executing} ");
    until(running, &want, |rows| rows.iter().any(|row| row.starts_with(&want))).await;
}

/// Begins to write an event and does not end: it holds whatever it is given.
async fn unfinished(running: &Running) -> TlsStream<TcpStream> {
    let mut stream = running.stranger().connect(false).await;
    let text = format!(
        "POST {EVENTS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer storm\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{{"
    );
    stream.write_all(text.as_bytes()).await.expect("writes");
    stream.flush().await.expect("writes");
    stream
}

#[tokio::test]
async fn a_storm_of_one_client_leaves_leases_alone() {
    let running = start().await;
    let first = unfinished(&running).await;
    storm_is(&running, 0, 1).await;
    let mut storm = vec![first];
    for waiting in 1..=3 {
        storm.push(unfinished(&running).await);
        storm_is(&running, waiting, 1).await;
    }
    // The queue is full: events and lists of this client are refused at once, with when to come again.
    let stranger = running.stranger();
    let bearer = [("authorization", "Bearer storm"), JSON];
    for (method, target, body) in [("POST", EVENTS, "{}"), ("GET", "/api/v1/namespaces/default/pods", "")] {
        let refused = stranger.send(true, method, target, &bearer, body).await;
        assert_eq!(refused.status(), "429 TooManyRequests: Too many requests, please try again later.");
        assert_eq!(
            (refused.header("retry-after"), refused.json()["details"]["retryAfterSeconds"].as_u64()),
            ("1", Some(1))
        );
        assert!(!refused.header("x-kubernetes-pf-prioritylevel-uid").is_empty());
    }
    // A node renews its lease all the while, and is never behind anybody.
    let node = [("authorization", "Bearer node"), JSON];
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "n1"},
        "spec": {"holderIdentity": "n1", "leaseDurationSeconds": 40}});
    let mut renewed = stranger.send(true, "POST", LEASES, &node, lease.to_string()).await;
    assert_eq!(renewed.code, 201, "{}", renewed.text());
    for _ in 0..25 {
        let body = renewed.body.clone();
        renewed = stranger.send(true, "PUT", &format!("{LEASES}/n1"), &node, body).await;
        assert_eq!(renewed.code, 200, "{}", renewed.text());
    }
    storm_is(&running, 3, 1).await;
    let rows = levels(&running.admin).await;
    let of = |name: &str| rows.iter().find(|row| row.starts_with(name)).expect("is there").clone();
    let dispatched = |name: &str| of(name).split(' ').nth(6).expect("a column").parse::<u64>().expect("a number");
    let leases = dispatched("leader-election ") + dispatched("node-high ") + dispatched("system ");
    assert_eq!(leases, 26, "each renewal was served while the storm waited: {rows:#?}");
    assert_eq!(of("storm ").split(' ').nth(7), Some("2"), "rejected: {rows:#?}");
    // Who leaves makes room.
    drop(storm.remove(0));
    storm_is(&running, 2, 1).await;
    drop(storm);
    until(&running, "calm", |rows| rows.iter().any(|row| row.starts_with("storm 0 true false 0 0 "))).await;
}

/// Those who wait are served in turn, and answered.
#[tokio::test]
async fn who_waits_is_served() {
    let running = start().await;
    let holder = unfinished(&running).await;
    storm_is(&running, 0, 1).await;
    let mut waiting = running.stranger().connect(false).await;
    let list = "GET /api/v1/namespaces/default/pods HTTP/1.1\r\nhost: x\r\nauthorization: Bearer storm\r\nconnection: close\r\n\r\n";
    waiting.write_all(list.as_bytes()).await.expect("writes");
    storm_is(&running, 1, 1).await;
    drop(holder);
    let mut text = String::new();
    waiting.read_to_string(&mut text).await.expect("an answer");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
}

/// A slow body has no seat while it is on its way, and one when it is there.
#[tokio::test]
async fn slow_bodies_keep_nobody_waiting() {
    let running = start_with(FlowConfig { body_patience: Duration::from_millis(300), ..SEATS }).await;
    let calm = |rows: &[String]| rows.iter().any(|row| row.starts_with("storm 0 true false 0 0 "));
    let slowly = async || {
        let stream = unfinished(&running).await;
        storm_is(&running, 0, 1).await;
        until(&running, "its seat is given back", calm).await;
        stream
    };
    let mut slow = vec![slowly().await];
    let bearer = [("authorization", "Bearer storm")];
    let answer = running.stranger().with("/api/v1/namespaces/default/pods", &bearer).await;
    assert_eq!(answer.code, 200, "{}", answer.text());
    let mut first = slow.remove(0);
    first.write_all(format!("}}{}", " ".repeat(998)).as_bytes()).await.expect("writes");
    let mut words = vec![0; 12];
    first.read_exact(&mut words).await.expect("an answer");
    assert_eq!(words, b"HTTP/1.1 422", "what came at last is looked at");
    // The bound on those without a seat is the number of seats.
    for _ in 0..SEATS.max_reads + SEATS.max_writes {
        slow.push(slowly().await);
    }
    let mut further = unfinished(&running).await;
    further.read_exact(&mut words).await.expect("an answer");
    assert_eq!(words, b"HTTP/1.1 429");
}

#[tokio::test]
async fn answers_say_how_a_request_was_classified() {
    let running = start().await;
    let uid = async |target: &str| {
        running.admin.get(target).await.json()["metadata"]["uid"].as_str().expect("uid").to_owned()
    };
    let storm = [("authorization", "Bearer storm")];
    let answer = running.stranger().with("/api/v1/namespaces/default/pods", &storm).await;
    assert_eq!(answer.header("x-kubernetes-pf-flowschema-uid"), uid(&format!("{SCHEMAS}/storm")).await);
    assert_eq!(answer.header("x-kubernetes-pf-prioritylevel-uid"), uid(&format!("{LEVELS}/storm")).await);
    let answer = running.admin.get("/version").await;
    assert_eq!(answer.header("x-kubernetes-pf-flowschema-uid"), uid(&format!("{SCHEMAS}/exempt")).await);
    // Streams are not counted; a watch is until it has begun, and then holds nothing.
    let watch = running.stranger();
    let mut open = Vec::new();
    for _ in 0..5 {
        let request = watch.request("GET", "/api/v1/namespaces/default/pods?watch=true", &storm, "");
        open.push(watch.open(true, request).await);
    }
    assert!(open.iter().all(|answer| answer.status() == 200));
    let pages = [format!("{PAGES}/dump_queues"), format!("{PAGES}/dump_requests?includeRequestDetails=1")];
    let queues = running.admin.get(&pages[0]).await.text();
    assert!(queues.starts_with("PriorityLevelName, Index, "), "{queues}");
    let requests = running.admin.get(&pages[1]).await.text();
    assert!(requests.contains("/debug/api_priority_and_fairness/dump_requests"), "it shows itself: {requests}");
    assert_eq!(running.admin.get(&format!("{PAGES}/other")).await.code, 404);
    assert_eq!(running.stranger().get(&pages[0]).await.code, 403);
}

async fn condition(running: &Running, name: &str, want: &str) -> Value {
    for _ in 0..1000 {
        let schema = running.admin.get(&format!("{SCHEMAS}/{name}")).await.json();
        let condition = schema["status"]["conditions"][0].clone();
        if condition["status"] == want {
            return condition;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the condition of {name} does not become {want}");
}

#[tokio::test]
async fn a_schema_without_a_level_dangles() {
    let running = start().await;
    running.admin.post(SCHEMAS, &schema("early", "later")).await;
    let dangling = condition(&running, "early", "True").await;
    assert_eq!((&dangling["type"], &dangling["reason"]), (&json!("Dangling"), &json!("NotFound")));
    running.admin.post(LEVELS, &level("later")).await;
    let found = condition(&running, "early", "False").await;
    assert_eq!(found["reason"], "Found");
    assert_eq!(condition(&running, "catch-all", "False").await["type"], "Dangling");
}

#[tokio::test]
async fn the_objects_of_every_cluster_are_kept() {
    let running = start().await;
    for name in ["storm", "exempt", "catch-all", "service-accounts"] {
        condition(&running, name, "False").await;
    }
    let revision = async || {
        running.registry.keep_flow_control().await.expect("keeps");
        running.admin.get(SCHEMAS).await.json()["metadata"]["resourceVersion"].clone()
    };
    let (one, two) = (revision().await, revision().await);
    assert_eq!(one, two, "nothing is written when nothing is to be done");
    let own = format!("{SCHEMAS}/service-accounts");
    let merge = [("content-type", "application/merge-patch+json")];
    let change = async |target: &str, body: &str| {
        let answer = running.admin.send(true, "PATCH", target, &merge, body.to_owned()).await;
        assert_eq!(answer.code, 200, "{}", answer.text());
    };
    let precedence = async || running.admin.get(&own).await.json()["spec"]["matchingPrecedence"].clone();
    change(&own, r#"{"spec":{"matchingPrecedence":9001}}"#).await;
    revision().await;
    assert_eq!(precedence().await, 9000, "kept while its annotation says so");
    change(&own, r#"{"metadata":{"annotations":{"apf.kubernetes.io/autoupdate-spec":"false"}},"spec":{"matchingPrecedence":9001}}"#).await;
    revision().await;
    assert_eq!(precedence().await, 9001, "an operator's");
    running.admin.send(true, "DELETE", &own, &[], "").await;
    revision().await;
    assert_eq!(precedence().await, 9000, "made again");
    let mut stale = schema("of-another-version", "storm");
    stale["metadata"]["annotations"] = json!({"apf.kubernetes.io/autoupdate-spec": "true"});
    running.admin.post(SCHEMAS, &stale).await;
    revision().await;
    assert_eq!(running.admin.get(&format!("{SCHEMAS}/of-another-version")).await.code, 404);
}

#[tokio::test]
async fn without_it_there_are_two_bounds() {
    let off = FlowConfig { enabled: false, max_reads: 1, max_writes: 1, body_patience: PATIENCE };
    let running = Running::with(|server| server.flow = off).await;
    let _held = unfinished(&running).await;
    let bearer = [("authorization", "Bearer storm"), JSON];
    for _ in 0..1000 {
        let body = pod("p").to_string();
        let answer = running.stranger().send(true, "POST", "/api/v1/namespaces/default/pods", &bearer, body).await;
        if answer.code == 429 {
            assert_eq!(answer.header("retry-after"), "1");
            let read = running.stranger().with("/api/v1/namespaces/default/pods", &bearer).await;
            assert_eq!((read.code, read.header("x-kubernetes-pf-flowschema-uid")), (200, ""));
            assert_eq!(running.admin.get(&format!("{PAGES}/dump_queues")).await.code, 404);
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the bound is not reached");
}
