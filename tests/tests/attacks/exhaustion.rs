//! Bombs, floods, and clients that take their time. Measured are the server's memory and how long others wait.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt;
use http::{HeaderMap, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use system_tests::client::{Answer, Client, JSON, JSON_PATCH, YAML, authority};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frames, HEADERS, PING, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, block, frame, request,
};
use crate::rows;
use crate::world::{PODS, World, pod};

pub(crate) const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PROTOBUF: (&str, &str) = ("content-type", "application/vnd.kubernetes.protobuf");
const APPLY: (&str, &str) = ("content-type", "application/apply-patch+yaml");
/// What a refusal may take, and how long other clients may wait.
const SOON: Duration = Duration::from_secs(1);
/// What anything may take on a busy machine.
pub(crate) const LATE: Duration = Duration::from_secs(5);
pub(crate) const KIB: usize = 1024;
pub(crate) const MIB: usize = KIB * 1024;
/// The largest body.
const LIMIT: usize = 3 * MIB;

const MALFORMED: (u16, &str) = (400, "BadRequest");
const TOO_LARGE: (u16, &str) = (413, "RequestEntityTooLarge");
/// A patch that cannot be carried out.
const UNFIT: (u16, &str) = (422, "Invalid");

/// Code and reason of an answer, which is a Status of that code where it refuses.
fn told(answer: &Answer) -> (u16, &'static str) {
    if answer.code < 400 {
        return (answer.code, "");
    }
    let status = answer.json();
    assert_eq!((&status["kind"], &status["code"]), (&json!("Status"), &json!(answer.code)));
    let known = [MALFORMED, TOO_LARGE, UNFIT].into_iter().find(|(_, reason)| status["reason"] == *reason);
    (answer.code, known.map_or("another", |(_, reason)| reason))
}

fn started() -> Instant {
    Instant::now()
}

/// Bytes of memory that the server has now.
fn memory(world: &World) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.server.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").trim().parse::<usize>().expect("a number") * KIB
}

/// While this goes on others are served soon, and the server takes no more memory than `most`.
pub(crate) async fn meanwhile<T>(world: &World, what: &str, most: usize, attack: impl Future<Output = T>) -> T {
    let (before, mut waits) = (memory(world), Vec::new());
    let others = async {
        loop {
            let asked = started();
            let answer = tokio::time::timeout(LATE, world.admin.get("/api/v1/namespaces/default")).await;
            let answer = answer.unwrap_or_else(|_| panic!("{what}: another client waits for longer than {LATE:?}"));
            assert_eq!(answer.code, 200, "{what}: {}", answer.status());
            waits.push(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let done = tokio::select! {
        done = attack => done,
        () = others => unreachable!("others ask without end"),
    };
    let after = memory(world);
    let grown = after.saturating_sub(before);
    assert!(grown <= most, "{what}: memory grew by {} MiB, to {} MiB", grown / MIB, after / MIB);
    waits.sort();
    // A neighbour of the whole machine is not the server's fault: nine of ten.
    let nine = waits.get(waits.len() * 9 / 10).copied().unwrap_or_default();
    assert!(nine < SOON, "{what}: other clients waited for {nine:?}");
    done
}

/// Many requests on one connection, a few hundred at once.
async fn many(client: &Client, requests: Vec<Request<Full<Bytes>>>) -> Vec<(u16, HeaderMap)> {
    let session = client.session().await;
    let answers = futures::stream::iter(requests).map(|request| {
        let mut session = session.clone();
        async move {
            let answer = session.answer(request).await;
            (answer.code, answer.headers)
        }
    });
    answers.buffer_unordered(200).collect().await
}

/// A field of protobuf that is a message or a text.
fn field(tag: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for mut number in [tag << 3 | 2, u32::try_from(content.len()).expect("short")] {
        while number >= 128 {
            out.push((number & 0x7f | 0x80) as u8);
            number >>= 7;
        }
        out.push(number as u8);
    }
    out.extend(content);
    out
}

/// An object in protobuf, in its envelope.
fn enveloped(api_version: &str, kind: &str, object: &[u8]) -> Vec<u8> {
    let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &meta), field(2, object)].concat()
}

/// Bodies that are small and become large, that are deep, or that take long to read are refused soon, in every format;
/// one that is as large as allowed is not.
pub(crate) async fn a49_bombs_and_depth(world: &World) {
    const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?dryRun=All";
    world.admin.make(MAPS, &json!({"metadata": {"name": "a49"}})).await;
    let maps = format!("{MAPS}?dryRun=All");
    let one = format!("{MAPS}/a49?dryRun=All&fieldManager=a49");
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, before) in ('b'..='k').zip('a'..) {
        let aliases = vec![format!("*{before}"); 10].join(",");
        writeln!(bomb, "{name}: &{name} [{aliases}]").expect("text takes it");
    }
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000)).into_bytes();
    let edge = |bytes: usize| {
        let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a49-edge"}}).to_string();
        map.push_str(&" ".repeat(bytes - map.len()));
        map.into_bytes()
    };
    let slow_yaml = format!("a: {}", "\"\\x41".repeat(50_000)).into_bytes();
    // `not` within `not`: an object of protobuf that is as deep as its sender likes.
    let schema = (0..5_000).fold(Vec::new(), |inner, _| field(28, &inner));
    let version = [field(1, b"v1"), field(4, &field(1, &schema))].concat();
    let nested = enveloped("apiextensions.k8s.io/v1", "CustomResourceDefinition", &field(2, &field(7, &version)));
    let groups = enveloped("v1", "ConfigMap", &[0xfb, 0x7f].repeat(100_000));
    let many_keys: String = (0..100_000).map(|key| format!("\"k{key}\":\"\",")).collect();
    let many_keys = format!("{{\"data\":{{{}\"k\":\"\"}}}}", many_keys).into_bytes();
    let bomb = bomb.into_bytes();
    const STRATEGIC: (&str, &str) = ("content-type", "application/strategic-merge-patch+json");
    const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");
    for (name, (method, target), header, body, wanted) in [
        ("aliases", ("POST", maps.as_str()), YAML, bomb.clone(), MALFORMED),
        ("deep flow YAML", ("POST", maps.as_str()), YAML, deep("[", "]"), MALFORMED),
        ("deep block YAML", ("POST", maps.as_str()), YAML, "- ".repeat(100_000).into_bytes(), MALFORMED),
        ("slow YAML", ("POST", maps.as_str()), YAML, slow_yaml, MALFORMED),
        ("deep JSON", ("POST", maps.as_str()), JSON, deep("[", "]"), MALFORMED),
        ("deep JSON objects", ("POST", maps.as_str()), JSON, deep("{\"a\":", "}"), MALFORMED),
        ("deep protobuf", ("POST", CRDS), PROTOBUF, nested, MALFORMED),
        ("groups in protobuf", ("POST", maps.as_str()), PROTOBUF, groups, MALFORMED),
        ("aliases that are applied", ("PATCH", one.as_str()), APPLY, bomb, MALFORMED),
        ("depth that is applied", ("PATCH", one.as_str()), APPLY, deep("[", "]"), MALFORMED),
        ("a deep merge patch", ("PATCH", one.as_str()), MERGE, deep("{\"data\":", "}"), MALFORMED),
        ("a deep strategic patch", ("PATCH", one.as_str()), STRATEGIC, deep("{\"data\":", "}"), MALFORMED),
        ("many keys", ("PATCH", one.as_str()), MERGE, many_keys, (200, "")),
        ("at the limit", ("POST", maps.as_str()), JSON, edge(LIMIT), (201, "")),
        ("above the limit", ("POST", maps.as_str()), JSON, edge(LIMIT + 1), TOO_LARGE),
    ] {
        let asked = started();
        let header = [header];
        let attack = world.admin.send(method, target, &header, body);
        let answer = meanwhile(world, name, 96 * MIB, attack).await;
        assert_eq!(told(&answer), wanted, "{name}: {}", answer.status());
        assert!(asked.elapsed() < LATE, "{name} took {:?}", asked.elapsed());
    }
    // Anybody with a name may ask who they are, in bodies whose values take a hundred times their size.
    let maps = vec![r#"{"":""}"#; 340_000].join(",");
    let body = format!(r#"{{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview","x":[{maps}]}}"#);
    let who = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let user = world.user("a49");
    let crowd = (0..30).map(|_| user.request("POST", who, &[JSON], body.clone())).collect();
    let answers = meanwhile(world, "many large bodies", 1536 * MIB, many(&user, crowd)).await;
    assert!(answers.iter().all(|(code, _)| matches!(code, 201 | 429)), "{answers:?}");
    world.admin.delete(&format!("{MAPS}/a49")).await;
}

/// A JSON patch has so many operations and no more, and copies of copies do not grow beyond a body.
pub(crate) async fn a50_json_patches(world: &World) {
    world.admin.make(PODS, &pod("a50")).await;
    let tests = |count: usize| vec![r#"{"op":"test","path":"/kind","value":"Pod"}"#; count].join(",");
    let doubling = rows::doubling_copies().to_string();
    let large = "x".repeat(MIB / 2);
    let copies = |path: &str| {
        let mut patch = vec![json!({"op": "add", "path": "/metadata/annotations", "value": {"a": large}})];
        patch.extend((0..9_000).map(|index| {
            json!({"op": "copy", "from": "/metadata/annotations/a", "path": path.replace("N", &index.to_string())})
        }));
        Value::from(patch).to_string()
    };
    let deep = format!(r#"[{{"op":"test","path":"{}","value":1}}]"#, "/a".repeat(100_000));
    let target = format!("{PODS}/a50?dryRun=All");
    for (name, body, wanted) in [
        ("as many as there may be", format!("[{}]", tests(10_000)), (200, "")),
        ("one more", format!("[{}]", tests(10_001)), TOO_LARGE),
        ("copies of copies", doubling.clone(), UNFIT),
        ("copies of something large", copies("/metadata/annotations/cN"), UNFIT),
        ("copies to one place", copies("/metadata/annotations/c"), UNFIT),
        ("a deep path", deep, UNFIT),
    ] {
        let asked = started();
        let attack = world.admin.send("PATCH", &target, &[JSON_PATCH], body);
        let answer = meanwhile(world, name, 128 * MIB, attack).await;
        assert_eq!(told(&answer), wanted, "{name}: {}", answer.status());
        assert!(asked.elapsed() < LATE, "{name} took {:?}", asked.elapsed());
    }
    let rules = json!([{"verbs": ["patch"], "apiGroups": [""], "resources": ["pods"]}]);
    let user = world.user_with("a50", rules).await;
    let crowd = (0..30).map(|_| user.request("PATCH", &target, &[JSON_PATCH], doubling.clone())).collect();
    let answers = meanwhile(world, "many that copy copies", 768 * MIB, many(&user, crowd)).await;
    assert!(answers.iter().all(|(code, _)| matches!(code, 422 | 429)), "{answers:?}");
    world.admin.delete(&format!("{PODS}/a50")).await;
}

/// What clients write is no label: thousands of made-up paths, methods, parameters and names add no series.
pub(crate) async fn a51_metrics_stay_bounded(world: &World) {
    let admin = &world.admin;
    let shapes = |of: &str| {
        let agent = format!("a51-{of}");
        let named = [("user-agent", agent.as_str()), ("content-type", "application/json")];
        let pods = format!("{PODS}?dryRun=All&fieldManager=a51-{of}&fieldValidation=a51-{of}");
        vec![
            admin.request("GET", &format!("/a51/{of}"), &named, ""),
            admin.request("GET", &format!("/api/v1/namespaces/a51-{of}/pods/{of}"), &named, ""),
            admin.request("GET", &format!("/apis/a51-{of}.example.com/v1/a51-{of}s/{of}"), &named, ""),
            admin.request("GET", &format!("{PODS}/a51-{of}/a51-{of}"), &named, ""),
            admin.request("GET", &format!("/api/v1/a51-{of}?watch=1&resourceVersion={of}&limit=a51"), &named, ""),
            admin.request("GET", &format!("{PODS}?labelSelector=a51-{of}&fieldSelector=a51-{of}=1"), &named, ""),
            admin.request(&format!("A51-{of}"), "/api/v1/pods", &named, ""),
            admin.request("GET", "/version", &[("impersonate-user", &agent), ("user-agent", &agent)], ""),
            admin.request("POST", &pods, &named, pod(&agent).to_string()),
            admin.request(
                "POST",
                "/api/v1/namespaces/default/events?dryRun=All",
                &named,
                format!("{{\"kind\":\"{of}\"}}"),
            ),
            admin.request("DELETE", &format!("/apis/apps/v1/namespaces/a51-{of}/deployments/{of}"), &named, ""),
            admin.request("GET", &format!("/api/v1/nodes/a51-{of}:{of}/proxy/a51-{of}"), &named, ""),
        ]
    };
    let series = async || {
        let text = admin.get("/metrics").await.text();
        (text.lines().filter(|line| !line.starts_with('#')).count(), text)
    };
    // Each kind of refusal has series of its own, once.
    many(admin, (0..5).flat_map(|index| shapes(&format!("w{index}"))).collect()).await;
    let (before, _) = series().await;
    let requests: Vec<_> = (0..300).flat_map(|index| shapes(&format!("x{index}"))).collect();
    let answers = meanwhile(world, "made-up names", 64 * MIB, many(admin, requests)).await;
    assert_eq!(answers.len(), 3_600);
    let (after, text) = series().await;
    assert!(after <= before + 100, "3600 requests added {} series", after - before);
    let told = text.lines().find(|line| line.to_lowercase().contains("a51-"));
    assert_eq!(told, None, "a client's word became a label");
    assert!(text.contains("apiserver_request_total{"), "they are counted");
}

/// Floods of frames are ended by GOAWAY or are not taken, and cost others nothing: resets of streams, of both sides,
/// pings, settings, headers that go on, empty data, windows, priorities, and answers that are not read.
pub(crate) async fn a52_floods_of_http2(world: &World) {
    let version = request("GET", "/version");
    let get = |stream: u32| frame(HEADERS, END_STREAM | END_HEADERS, stream, &version);
    let ids = |number: usize, each: u32| {
        let first = u32::try_from(number).expect("few") * each;
        (first..first + each).map(|id| id * 2 + 1)
    };
    let reset = |stream: u32| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    for (who, client) in [("a stranger", world.stranger()), ("an administrator", world.admin.clone())] {
        let mut frames = Frames::open(&client).await;
        frames.send(&get(1)).await.expect("it is written");
        assert!(frames.is_answered(1).await, "{who} is answered at all");

        let attack = async {
            let mut frames = Frames::open(&client).await;
            let batch = |number| ids(number, 100).flat_map(|id| [get(id), reset(id)].concat()).collect();
            frames.flood(500, batch).await;
            frames.went_away().await
        };
        let ended = meanwhile(world, "rapid reset", 48 * MIB, attack).await;
        assert!(matches!(ended, Some(0 | ENHANCE_YOUR_CALM)), "{who} may reset streams without end: {ended:?}");

        // Headers that make the server reset the stream, all of its own.
        let bad = block(&[(":method", "GET"), (":scheme", "https"), (":path", "/"), ("connection", "close")]);
        let attack = async {
            let mut frames = Frames::open(&client).await;
            let batch =
                |number| ids(number, 100).flat_map(|id| frame(HEADERS, END_STREAM | END_HEADERS, id, &bad)).collect();
            frames.flood(500, batch).await;
            frames.went_away().await
        };
        let ended = meanwhile(world, "resets by the server", 48 * MIB, attack).await;
        assert!(ended.is_some(), "{who} may have streams reset without end: {ended:?}");

        let attack = async {
            let mut frames = Frames::open(&client).await;
            let mut fields = request("GET", "/version");
            fields.extend(block(&[("x-long", &"x".repeat(8 * KIB))]));
            frames.send(&frame(HEADERS, END_STREAM, 1, &fields)).await.expect("it is written");
            let more = block(&[("x-more", &"x".repeat(8 * KIB))]);
            frames.flood(20_000, |_| frame(CONTINUATION, 0, 1, &more)).await;
            frames.went_away().await
        };
        let ended = meanwhile(world, "headers that go on", 48 * MIB, attack).await;
        assert!(ended.is_some(), "{who} may send headers without end: {ended:?}");

        let attack = async {
            let mut frames = Frames::open(&client).await;
            frames.send(&frame(HEADERS, END_STREAM, 1, &version)).await.expect("it is written");
            frames.flood(2_000, |_| frame(CONTINUATION, 0, 1, &[]).repeat(100)).await;
            frames.went_away().await
        };
        let ended = meanwhile(world, "empty continuations", 48 * MIB, attack).await;
        assert!(ended.is_some(), "{who} may continue headers by nothing: {ended:?}");
    }
    let admin = &world.admin;
    // Writes whose streams are reset when they have begun, a few at a time.
    let mut fields = request("POST", &format!("{MAPS}?dryRun=All"));
    fields.extend(block(&[JSON]));
    let body = json!({"metadata": {"generateName": "a52-"}, "data": {"d": "x".repeat(8 * KIB)}}).to_string();
    let attack = async {
        let mut frames = Frames::open(admin).await;
        for number in 0..400 {
            let write = |id| [frame(HEADERS, END_HEADERS, id, &fields), frame(DATA, END_STREAM, id, body.as_bytes())];
            let begun = ids(number, 10).flat_map(|id| write(id).concat()).chain(frame(PING, 0, 0, &[7; 8]));
            let begun = frames.send(&begun.collect::<Vec<u8>>()).await;
            // By the answer to the ping all that was said before it has been read; or the server has had enough.
            if begun.is_err() || !frames.pongs().await {
                return;
            }
            if frames.send(&ids(number, 10).flat_map(reset).collect::<Vec<u8>>()).await.is_err() {
                return;
            }
        }
    };
    meanwhile(world, "writes that are reset", 64 * MIB, attack).await;
    let post = request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews");
    let attack = async {
        let mut frames = Frames::open(admin).await;
        frames.send(&frame(HEADERS, END_HEADERS, 1, &post)).await.expect("it is written");
        frames.flood(3_000, |_| frame(DATA, 0, 1, &[]).repeat(100)).await;
        frames.went_away().await
    };
    let ended = meanwhile(world, "empty data", 48 * MIB, attack).await;
    assert!(ended.is_some(), "empty data is taken without end");

    // What has to be answered is not read while the answers are not.
    for (what, flood) in [
        ("pings", frame(PING, 0, 0, &[7; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[])),
        ("settings of windows", frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])),
        ("windows", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("priorities", frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 16])),
        ("frames nobody knows", frame(0xee, 0, 1, &[0; 64])),
    ] {
        let attack = async {
            let mut frames = Frames::open(admin).await;
            frames.flood(1_000, |_| flood.repeat(200)).await
        };
        meanwhile(world, what, 48 * MIB, attack).await;
    }

    // Answers that are not read are not kept, and streams beyond what there may be are refused.
    let fields = request("GET", "/openapi/v2");
    let get = |stream: u32| frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields);
    let attack = async {
        let mut all = Vec::new();
        for _ in 0..4 {
            let mut frames = Frames::with(admin, &[(4, 0)]).await;
            frames.send(&ids(0, 250).flat_map(get).collect::<Vec<u8>>()).await.expect("it is written");
            all.push(frames);
        }
        for frames in &mut all {
            assert!(frames.is_answered(1).await, "their heads are sent");
        }
        tokio::time::sleep(SOON).await;
        let more = all[0].flood(40, |number| ids(3 + number, 100).flat_map(get).collect()).await;
        (all[0].went_away().await, more)
    };
    let (ended, more) = meanwhile(world, "answers that are not read", 128 * MIB, attack).await;
    assert!(ended.is_some(), "streams are opened without end ({more:?})");
}

/// How long the server waits for a TLS handshake, and for a body.
const HANDSHAKE: Duration = Duration::from_secs(10);
const BODY: Duration = Duration::from_secs(30);

/// Until the server closes, or answers.
async fn first_words(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut words = vec![0; 4 * KIB];
    let read = stream.read(&mut words).await.unwrap_or(0);
    String::from_utf8_lossy(&words[..read]).into_owned()
}

/// Hundreds of connections that do nothing, or hardly anything, keep nobody waiting. A handshake has 10 s and a body
/// 30 s; headers have a minute on HTTP/1.1, which is longer than this takes, so only that they harm nobody is seen.
pub(crate) async fn a53_slow_clients(world: &World) {
    const EACH: usize = 150;
    let rules = json!([{"verbs": ["get", "list", "create"], "apiGroups": [""], "resources": ["configmaps"]}]);
    let slow = world.user_with("a53-slow", rules.clone()).await;
    let other = world.user_with("a53-other", rules).await;
    let opened = started();
    // The first bytes of a ClientHello that is longer.
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let mut silent = Vec::new();
    let (mut half_open, mut slow_heads, mut slow_bodies, mut slow_streams) = (vec![], vec![], vec![], vec![]);
    for index in 0..EACH {
        let mut tcp = TcpStream::connect(world.admin.address).await.expect("it listens");
        if index % 2 == 0 {
            tcp.write_all(&hello).await.expect("it is written");
        }
        half_open.push(tcp);
        silent.push(slow.connect(false).await);
        let mut head = slow.connect(false).await;
        head.write_all(b"GET /version HTTP/1.1\r\nhost: x\r\nx-slow: ").await.expect("it is written");
        slow_heads.push(head);
        let mut body = slow.connect(false).await;
        let text = format!(
            "POST {MAPS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{{"
        );
        body.write_all(text.as_bytes()).await.expect("it is written");
        slow_bodies.push(body);
    }
    for _ in 0..4 {
        let mut frames = Frames::open(&slow).await;
        let mut fields = request("POST", MAPS);
        fields.extend(block(&[JSON]));
        let bodies = (0..100).flat_map(|id| frame(HEADERS, END_HEADERS, id * 2 + 1, &fields)).collect::<Vec<u8>>();
        frames.send(&bodies).await.expect("it is written");
        slow_streams.push(frames);
    }
    assert!(opened.elapsed() < HANDSHAKE, "opening them took {:?}", opened.elapsed());
    let served = async {
        let mut waited = Duration::ZERO;
        for _ in 0..40 {
            let asked = started();
            let answer = tokio::time::timeout(LATE, other.get(&format!("{MAPS}?limit=1"))).await;
            let answer = answer.expect("somebody else is served although others are slow");
            assert_eq!(answer.code, 200, "somebody else is served although others are slow: {}", answer.status());
            waited = waited.max(asked.elapsed());
            for head in &mut slow_heads {
                head.write_all(b"x").await.expect("slow headers have longer than this");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        waited
    };
    meanwhile(world, "slow clients", 96 * MIB, served).await;

    let closed = async {
        for tcp in &mut half_open {
            first_words(tcp).await;
        }
    };
    tokio::time::timeout(HANDSHAKE + LATE, closed).await.expect("handshakes that go nowhere are ended");
    let answered = async {
        for body in &mut slow_bodies {
            let words = first_words(body).await;
            assert!(words.starts_with("HTTP/1.1 408 "), "a body that does not come is given up: {words}");
        }
        for frames in &mut slow_streams {
            frames.ends(99 * 2 + 1).await;
        }
    };
    let left = (BODY + LATE).saturating_sub(opened.elapsed());
    tokio::time::timeout(left, answered).await.expect("bodies that do not come are given up");
    assert!(opened.elapsed() >= BODY, "a body has as long as it is said to have");
    drop(silent);
}

/// Lists and watches of everything, many at once, by somebody whom nobody has to wait for: who asks for more than there
/// is room for is told to come again, and what is in memory has bounds.
pub(crate) async fn a54_lists_and_watches_without_end(world: &World) {
    const NAMESPACE: &str = "/api/v1/namespaces/a54";
    world.namespace("a54", json!({})).await;
    // Of these the answers are not recorded.
    let rules = json!([{"verbs": ["get", "list", "watch", "create"], "apiGroups": [""], "resources": ["secrets"]}]);
    let greedy = world.user_with("a54-greedy", rules.clone()).await;
    let secrets = format!("{NAMESPACE}/secrets");
    let secret = |index: usize, bytes: usize| {
        json!({"metadata": {"name": format!("m{index}"), "labels": {"n": index.to_string()}},
            "stringData": {"d": "x".repeat(bytes)}})
        .to_string()
    };
    let large = (0..20).map(|index| greedy.request("POST", &secrets, &[JSON], secret(index, 900 * KIB))).collect();
    let small = (20..500).map(|index| greedy.request("POST", &secrets, &[JSON], secret(index, 10))).collect();
    for made in [many(&greedy, large).await, many(&greedy, small).await] {
        assert!(made.iter().all(|(code, _)| *code == 201), "they are made");
    }
    let list = |more: &str| greedy.request("GET", &format!("{secrets}{more}"), &[], "");

    // Every label of them, and thousands that none has.
    let labels: Vec<String> = (0..10_000).map(|index| format!("v{index}")).collect();
    let selector = format!("?limit=500&labelSelector=n%20notin%20({})", labels.join(","));
    for (what, query, codes) in [
        ("a selector of ten thousand values", selector.as_str(), [200, 200]),
        // Whether that is compacted by now.
        ("at the very first revision", "?resourceVersion=1&resourceVersionMatch=Exact&limit=1", [200, 410]),
        ("a place to continue that is none", "?limit=1&continue=a54", [400, 400]),
        ("at a revision that is to come", "?resourceVersion=999999999&resourceVersionMatch=Exact", [504, 504]),
    ] {
        let asked = started();
        let (code, _) = meanwhile(world, what, 64 * MIB, many(&greedy, vec![list(query)])).await[0].clone();
        assert!(codes.contains(&code), "{what}: {code}");
        assert!(asked.elapsed() < LATE, "{what} took {:?}", asked.elapsed());
    }

    // 18 MB each, and none of them read.
    let fields = request("GET", &secrets);
    let attack = async {
        let mut all = Vec::new();
        for _ in 0..4 {
            let mut frames = Frames::with(&greedy, &[(4, 0)]).await;
            let lists: Vec<u8> =
                (0..50).flat_map(|id| frame(HEADERS, END_STREAM | END_HEADERS, id * 2 + 1, &fields)).collect();
            frames.send(&lists).await.expect("it is written");
            all.push(frames);
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        drop(all);
    };
    meanwhile(world, "large lists that are not read", 256 * MIB, attack).await;

    // A thousand watches, each of which has all of it to tell first.
    let watch = request("GET", &format!("{secrets}?watch=1&resourceVersion=0"));
    let attack = async {
        let mut all = Vec::new();
        for _ in 0..10 {
            let mut frames = Frames::open(&greedy).await;
            let watches: Vec<u8> =
                (0..100).flat_map(|id| frame(HEADERS, END_STREAM | END_HEADERS, id * 2 + 1, &watch)).collect();
            frames.send(&watches).await.expect("it is written");
            all.push(frames);
        }
        let (mut began, mut refused) = (0, 0);
        for frames in &mut all {
            let (fine, others) = frames.answered(100).await;
            (began, refused) = (began + fine, refused + others);
        }
        println!("{began} watches of 1000 began, {refused} were refused");
        assert!(began >= 100 && began + refused == 1000, "{began} began and {refused} were refused");
        for index in 0..20 {
            let written = world.admin.make(&secrets, &json!({"metadata": {"name": format!("seen-{index}")}})).await;
            assert!(written["metadata"]["uid"].is_string(), "writes go on");
        }
        drop(all);
    };
    meanwhile(world, "a thousand watches", 256 * MIB, attack).await;
    world.admin.delete(NAMESPACE).await;

    // With room for very few.
    let few = World::with(&["--max-requests-inflight", "8", "--max-mutating-requests-inflight", "4"]);
    few.settle().await;
    let greedy = few.user_with("a54-greedy", rules.clone()).await;
    let modest = few.user_with("a54-modest", rules).await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let large = json!({"metadata": {"name": "a54"}, "stringData": {"d": "x".repeat(900 * KIB)}});
    few.admin.make(secrets, &large).await;
    let lists = || (0..100).map(|_| greedy.request("GET", secrets, &[], "")).collect::<Vec<_>>();
    let attack = async {
        let crowd = futures::future::join_all((0..4).map(|_| many(&greedy, lists())));
        let others = async {
            let mut served = Vec::new();
            for _ in 0..10 {
                served.push(modest.get(&format!("{secrets}?limit=1")).await.code);
            }
            served
        };
        futures::future::join(crowd, others).await
    };
    let (crowd, others) = meanwhile(&few, "more lists than there is room for", 384 * MIB, attack).await;
    let refused: Vec<_> = crowd.iter().flatten().filter(|(code, _)| *code == 429).collect();
    assert!(!refused.is_empty(), "nobody was told to come again");
    assert!(refused.iter().all(|(_, headers)| headers.contains_key("retry-after")), "nor when");
    assert!(crowd.iter().flatten().all(|(code, _)| matches!(code, 200 | 429)), "lists are answered or refused");
    assert!(others.iter().all(|code| *code == 200), "who asks for little has room: {others:?}");
}

/// A body that unpacks to more than a body may have is refused, and so are headers, queries and WebSocket messages
/// without end.
pub(crate) async fn a55_headers_queries_and_gzip(world: &World) {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(&vec![b' '; 64 * MIB]).expect("memory takes it");
    let bomb = packer.finish().expect("memory takes it");
    let packed = [JSON, ("content-encoding", "gzip")];
    let answer = meanwhile(world, "a packed body", 64 * MIB, world.admin.send("POST", PODS, &packed, bomb)).await;
    assert_eq!(told(&answer), MALFORMED, "it is not unpacked: {}", answer.status());

    let raw = async |what: &str, request: String| {
        let answer = meanwhile(world, what, 64 * MIB, world.admin.raw(request.as_bytes())).await;
        // Closed without a word is a refusal.
        answer.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok()).unwrap_or(431)
    };
    let get =
        |target: &str, headers: &str| format!("GET {target} HTTP/1.1\r\nhost: x\r\n{headers}connection: close\r\n\r\n");
    assert_eq!(raw("what is right", get("/version", "x-a: b\r\n")).await, 200);
    let many_headers: String = (0..10_000).map(|index| format!("x-{index}: 1\r\n")).collect();
    let query: String = (0..10_000).map(|index| format!("&p{index}=1")).collect();
    for (what, request, code) in [
        ("a header of a megabyte", get("/version", &format!("x-a: {}\r\n", "b".repeat(MIB))), 431),
        ("ten thousand headers", get("/version", &many_headers), 431),
        ("a path of a megabyte", get(&format!("/{}", "x".repeat(MIB)), ""), 431),
        ("a path of 60 KiB", get(&format!("/{}", "x/".repeat(30 * KIB)), ""), 414),
        ("ten thousand parameters", get(&format!("{PODS}?{query}"), ""), 414),
        ("a parameter of 60 KiB that is no escape", get(&format!("{PODS}?a={}", "%".repeat(60 * KIB)), ""), 400),
    ] {
        assert_eq!(raw(what, request).await, code, "{what}");
    }
    let long = "b".repeat(MIB);
    let request = world.admin.request("GET", "/version", &[("x-a", long.as_str())], "");
    let answer = world.admin.open(true, request).await;
    let code = answer.map_or(431, |answer| answer.status().as_u16());
    assert_eq!(code, 431, "a header of a megabyte by HTTP/2");

    // What says something to a watch is heard, so that pings are answered, but not for long.
    let watch = format!(
        "GET {PODS}?watch=1 HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let message = |kind: u8, length: &[u8], content: &[u8]| [&[kind][..], length, &[0; 4], content].concat();
    let ping = message(0x89, &[0x80], &[]);
    let piece = |kind| message(kind, &[0xfe, 4, 0], &[0; KIB]);
    let pieces = [piece(2), piece(0).repeat(1_000)].concat();
    for (what, sent, is_closed) in [
        ("pings", ping.repeat(100_000), false),
        ("a message of a terabyte", message(0x82, &[0xff, 0, 0, 1, 0, 0, 0, 0, 0], &[0; 1000]), true),
        ("a message of 8 KiB", message(0x82, &[0xfe, 0x20, 0], &[0; 8 * KIB]), true),
        ("pieces without end", pieces, true),
        ("no masks", [0x89, 0].repeat(1_000), true),
        ("what is no frame", vec![0xff; KIB], true),
    ] {
        let attack = async {
            let mut stream = world.admin.connect(false).await;
            stream.write_all(watch.as_bytes()).await.expect("it is written");
            assert!(first_words(&mut stream).await.starts_with("HTTP/1.1 101 "), "a watch may be a WebSocket");
            // It may be closed while this is written, and does not go on while pongs are not read.
            let _: Result<_, _> = tokio::time::timeout(Duration::from_secs(2), stream.write_all(&sent)).await;
            let mut buffer = vec![0; 16 * KIB];
            let ended = async { while let Ok(1..) = stream.read(&mut buffer).await {} };
            tokio::time::timeout(Duration::from_secs(3), ended).await.is_ok()
        };
        let closed = meanwhile(world, what, 32 * MIB, attack).await;
        assert!(closed || !is_closed, "{what} were taken");
    }
    assert_eq!(world.admin.get("/readyz").await.text(), "ok");
}

/// Expressions that are as long and as deep as they may be, in numbers, are read or refused soon; so are schemas, lists
/// of owners and the notes of who manages what. Expressions are not evaluated here yet: neither policies nor custom
/// resources are, so costs are not tried.
pub(crate) async fn a56_expressions_and_schemas_without_end(world: &World) {
    const CLASSES: &str = "/apis/resource.k8s.io/v1/deviceclasses?dryRun=All";
    const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?dryRun=All";
    let class = |expression: &str, count: usize| {
        let selectors = vec![json!({"cel": {"expression": expression}}); count];
        json!({"metadata": {"name": "a56"}, "spec": {"selectors": selectors}})
    };
    let fine = world.admin.post(CLASSES, &class("device.driver == 'a'", 1)).await;
    assert_eq!(fine.code, 201, "an expression is taken: {}", fine.status());
    let around = |open: &str, middle: &str, close: &str, count: usize| {
        format!("{}{middle}{}", open.repeat(count), close.repeat(count))
    };
    let all = [
        ("parentheses", around("(", "true", ")", 5_000)),
        ("parentheses that stay open", "(".repeat(10_000)),
        ("negations", around("!", "true", "", 10_000)),
        ("minus signs", around("-", "1", "", 10_000) + " == 1"),
        ("lists", around("[", "", "]", 5_000) + " == []"),
        ("maps", around("{1:", "1", "}", 2_500) + " == {}"),
        ("choices", around("true ? true : ", "true", "", 700)),
        ("choices in parentheses", around("(true ? ", "true", " : true)", 600)),
        ("fields of fields", format!("device{} == 1", ".a".repeat(5_000))),
        ("indices of indices", around("device[", "1", "]", 1_200) + " == 1"),
        ("calls of calls", around("size(", "device", ")", 1_500) + " == 1"),
        ("comprehensions", around("[1].all(x, ", "true", ")", 800)),
        ("comprehensions that make lists", around("[1].map(x, ", "1", ")", 800) + " == []"),
        ("conjunctions", vec!["true"; 1_700].join("&&")),
        ("sums", vec!["1"; 5_000].join("+") + " == 1"),
        ("a long text", format!("'{}' == ''", "x".repeat(10_000))),
        ("escapes", format!("'{}' == ''", "\\u0041".repeat(1_600))),
        ("a text that stays open", format!("'{}", "x".repeat(10_000))),
        ("a pattern", format!("'a'.matches('{}')", "(a*)*".repeat(1_900))),
        ("too much", format!("true{}", " ".repeat(11 * KIB))),
    ];
    for (what, expression) in &all {
        let asked = started();
        let class = class(expression, 32);
        let answer = meanwhile(world, what, 64 * MIB, world.admin.post(CLASSES, &class)).await;
        assert!(matches!(answer.code, 201 | 400 | 413 | 422), "{what}: {}", answer.status());
        assert!(asked.elapsed() < LATE, "32 expressions of {what} took {:?}", asked.elapsed());
    }

    let crd = |schema: Value| {
        let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
        json!({"metadata": {"name": "a56s.a56.example.com"}, "spec": {"group": "a56.example.com", "scope": "Cluster",
            "names": {"plural": "a56s", "singular": "a56", "kind": "A56"}, "versions": [version]}})
    };
    let rules = |rule: &str| {
        let count = 2 * MIB / rule.len();
        json!({"type": "object", "x-kubernetes-validations": vec![json!({"rule": rule}); count]})
    };
    let nested = (0..40).fold(
        json!({"type": "string"}),
        |inner, _| json!({"type": "object", "properties": {"a": inner}, "allOf": [{"not": {}}]}),
    );
    let wide: serde_json::Map<String, Value> =
        (0..30_000).map(|index| (format!("p{index}"), json!({"type": "string", "pattern": "(a*)*$"}))).collect();
    for (what, schema) in [
        ("rules in parentheses", rules(&around("(", "true", ")", 1_000))),
        ("short rules", rules("self.a == self.b")),
        ("comprehensions in rules", rules(&around("self.all(x, ", "true", ")", 100))),
        ("a deep schema", nested),
        ("a wide schema", json!({"type": "object", "properties": wide})),
        (
            "a pattern that explodes",
            json!({"type": "object", "properties": {
            "a": {"type": "string", "pattern": "(((((a{1000}){1000}){1000}){1000}){1000})".repeat(1_000)}}}),
        ),
        (
            "a pattern that stays open",
            json!({"type": "object", "properties": {
            "a": {"type": "string", "pattern": "(?:(?P<a>[".repeat(100_000)}}}),
        ),
    ] {
        let asked = started();
        let answer = meanwhile(world, what, 128 * MIB, world.admin.post(CRDS, &crd(schema))).await;
        assert!(matches!(answer.code, 201 | 400 | 413 | 422), "{what}: {}", answer.status());
        assert!(asked.elapsed() < LATE, "{what} took {:?}", asked.elapsed());
    }

    let map = |metadata: Value| {
        let mut map = json!({"metadata": metadata});
        map["metadata"]["name"] = json!("a56");
        map
    };
    let maps = format!("{MAPS}?dryRun=All");
    let owner = |index: usize| json!({"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": format!("u{index}")});
    let annotations = |each: usize, count: usize| {
        (0..count).map(|index| (format!("a{index}"), json!("x".repeat(each)))).collect::<serde_json::Map<_, _>>()
    };
    for (what, object, codes) in [
        ("owners", map(json!({"ownerReferences": (0..20_000).map(owner).collect::<Vec<_>>()})), 201..=422),
        (
            "finalizers",
            map(json!({"finalizers": (0..50_000).map(|n| format!("a.b/f{n}")).collect::<Vec<_>>()})),
            201..=422,
        ),
        ("as many annotations as there may be", map(json!({"annotations": annotations(1_000, 250)})), 201..=201),
        ("too many annotations", map(json!({"annotations": annotations(1_000, 300)})), 422..=422),
        (
            "managed fields that are made up",
            map(json!({"managedFields": (0..5_000).map(|index| json!({
            "manager": format!("m{index}"), "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {}}})).collect::<Vec<_>>()})),
            201..=422,
        ),
        ("data of 1.5 MiB", json!({"metadata": {"name": "a56"}, "data": {"a": "x".repeat(MIB + MIB / 2)}}), 413..=422),
    ] {
        let asked = started();
        let answer = meanwhile(world, what, 128 * MIB, world.admin.post(&maps, &object)).await;
        assert!(codes.contains(&answer.code), "{what}: {}", answer.status());
        assert!(asked.elapsed() < LATE, "{what} took {:?}", asked.elapsed());
    }
    // Of an object that nobody manages no writes are remembered.
    world.admin.make(MAPS, &json!({"metadata": {"name": "a56"}, "data": {"k": "v"}})).await;
    for index in 0..40 {
        let target = format!("{MAPS}/a56?fieldManager=a56-{index}");
        let merged = world.admin.merge(&target, &json!({"data": {format!("k{index}"): "v"}})).await;
        assert_eq!(merged.code, 200, "{}", merged.status());
    }
    let managed = world.admin.get(&format!("{MAPS}/a56")).await.json()["metadata"]["managedFields"].clone();
    let managers = managed.as_array().map_or(0, Vec::len);
    assert!((2..=11).contains(&managers), "{managers} managers are remembered of 40");
    world.admin.delete(&format!("{MAPS}/a56")).await;
}

/// Events are limited where that is asked for, and nothing else with them; and records that their webhook does not take
/// are dropped and counted, while requests go on.
pub(crate) async fn a57_floods_of_events(_world: &World) {
    const EVENTS: &str = "/api/v1/namespaces/default/events";
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, content: Value| {
        let path = dir.path().join(name);
        std::fs::write(&path, content.to_string()).expect("written");
        path.display().to_string()
    };
    // It takes connections, and says nothing.
    let deaf = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let url = format!("https://{}/audit", deaf.local_addr().expect("bound"));
    let hook = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "c", "user": {}}],
        "clusters": [{"name": "c", "cluster": {"server": url, "certificate-authority-data":
            STANDARD.encode(authority("a57").certificate_pem())}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]});
    let limits =
        json!({"limits": [{"type": "User", "qps": 1, "burst": 20}, {"type": "Server", "qps": 1, "burst": 600}]});
    let admission = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
        "plugins": [{"name": "EventRateLimit", "configuration": limits}]});
    let own = World::with(&[
        "--enable-admission-plugins",
        "EventRateLimit",
        "--admission-control-config-file",
        &write("admission.yaml", admission),
        "--audit-webhook-config-file",
        &write("audit.kubeconfig", hook),
        "--audit-webhook-batch-buffer-size",
        "50",
        "--audit-webhook-batch-max-size",
        "10",
        "--audit-webhook-batch-max-wait",
        "100ms",
    ]);
    own.settle().await;
    let rules = json!([{"verbs": ["create"], "apiGroups": [""], "resources": ["events", "configmaps"]}]);
    let user = own.user_with("a57", rules.clone()).await;
    let event = |index: usize| {
        json!({"metadata": {"name": format!("a57-{index}")}, "reason": "A57", "message": "x".repeat(512),
            "type": "Normal", "involvedObject": {"kind": "Pod", "namespace": "default", "name": "a57"}})
        .to_string()
    };
    let flood = (0..400).map(|index| user.request("POST", EVENTS, &[JSON], event(index))).collect();
    let answers = meanwhile(&own, "events", 64 * MIB, many(&user, flood)).await;
    let count = |wanted: u16| answers.iter().filter(|(code, _)| *code == wanted).count();
    assert_eq!(count(201) + count(429), 400, "events are taken or refused");
    assert!((20..=40).contains(&count(201)), "{} of 400 events were taken, 20 may be at once", count(201));
    let map = json!({"metadata": {"name": "a57"}});
    assert_eq!(user.post(MAPS, &map).await.code, 201, "nothing else is limited");
    let other = own.user_with("a57-other", rules).await;
    let theirs = other.send("POST", EVENTS, &[JSON], event(1_000)).await;
    assert_eq!(theirs.code, 201, "another user has a limit of its own: {}", theirs.status());

    // Far more records than there is room for, and nobody who takes them.
    let reads = (0..2_000).map(|_| own.admin.request("GET", "/api/v1/namespaces/default", &[], "")).collect();
    let answers = meanwhile(&own, "records of a webhook that is deaf", 64 * MIB, many(&own.admin, reads)).await;
    assert!(answers.iter().all(|(code, _)| *code == 200), "requests do not wait for the webhook");
    let metrics = own.admin.get("/metrics").await.text();
    let lost = metrics.lines().filter(|line| line.starts_with("apiserver_audit_error_total"));
    let lost: f64 = lost.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
    assert!(lost > 0.0, "records that were dropped are counted");
}
