//! What leaks, and what keys are good for.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use kontiki_proto::etcd as pb;
use kontiki_proto::etcd::kv_client::KvClient;
use serde_json::{Value, json};
use system_tests::client::{Client, JSON, JSON_PATCH, MERGE_PATCH, YAML};
use system_tests::eventually;
use system_tests::servers::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::world::{AUDIT_POLICY, ENCRYPTION, PODS, World, admin_of, names, pod, soon, who};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const APPLY: (&str, &str) = ("content-type", "application/apply-patch+yaml");
const PATIENCE: Duration = Duration::from_secs(60);

/// A text as it may be found: itself, and the middle of it in base64, wherever in a longer text it began.
fn forms(text: &str) -> Vec<String> {
    let encoded = (0..3).map(|before: usize| {
        let encoded = STANDARD.encode(["x".repeat(before), text.to_owned()].concat());
        encoded[if before == 0 { 0 } else { 4 }..encoded.len() - 4].to_owned()
    });
    std::iter::once(text.to_owned()).chain(encoded).collect()
}

fn holds(content: &[u8], text: &str) -> bool {
    let content = String::from_utf8_lossy(content);
    forms(text).iter().any(|form| content.contains(form.as_str()))
}

/// The files below a directory that hold a text.
fn holding(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else if std::fs::read(&path).is_ok_and(|content| holds(&content, text)) {
            // The store takes files away while it runs.
            found.push(path.display().to_string());
        }
    }
    found
}

/// Writes and reads secrets that hold the canary, and goes wrong with it in all ways. Nothing that is refused says it
/// again: what is answered there is written into the audit log, whatever its level.
async fn sing(admin: &Client, nobody: &Client, canary: &str) {
    let there = format!("{SECRETS}/a59");
    let data = json!({"a": STANDARD.encode(canary)});
    let secret = |more: Value| {
        let mut secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a59"}, "stringData": {"a": canary}});
        if let (Value::Object(secret), Value::Object(more)) = (&mut secret, more) {
            secret.extend(more);
        }
        secret
    };
    let noted = json!({"name": "a59", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": canary}});
    let made = admin.make(SECRETS, &secret(json!({"metadata": noted}))).await;
    let fixed = secret(json!({"metadata": {"name": "a59-fixed"}, "immutable": true}));
    admin.make(SECRETS, &fixed).await;
    let read = admin.get(&there).await;
    assert!(holds(&read.body, canary), "the control: who may, reads it");
    for query in ["", "?limit=1", "?watch=1&timeoutSeconds=1"] {
        assert_eq!(admin.get(&format!("{SECRETS}{query}")).await.code, 200, "{query}");
    }

    let named = |name: &str, more: Value| {
        secret(json!({"metadata": {"name": name}})).as_object().cloned().map_or(Value::Null, |mut all| {
            all.remove("stringData");
            all.extend(more.as_object().cloned().unwrap_or_default());
            all.into()
        })
    };
    let text = |format: &str| format.replace("CANARY", canary);
    let put = |more: Value| ("PUT", there.clone(), JSON, secret(more).to_string());
    let post = |body: String| ("POST", SECRETS.to_owned(), JSON, body);
    let strict = |body: String| ("POST", format!("{SECRETS}?fieldValidation=Strict"), JSON, body);
    let patch = |kind, body: String| ("PATCH", there.clone(), kind, body);
    let long = "x".repeat(1 << 20);
    let tried = [
        ("a stale update", put(json!({"metadata": {"name": "a59", "resourceVersion": "1"}}))),
        ("an update of another", put(json!({"metadata": {"name": "a59", "uid": "of-another"}}))),
        ("an update by another name", put(json!({"metadata": {"name": "a59-other"}}))),
        ("another type", put(json!({"type": "a59/other"}))),
        ("what is there already", post(secret(json!({})).to_string())),
        ("a bad key", post(named("a59-key", json!({"stringData": {"a b": canary}})).to_string())),
        (
            "a missing key",
            post(named("a59-tls", json!({"type": "kubernetes.io/tls", "stringData": {"tls.key": canary}})).to_string()),
        ),
        (
            "what is no configuration of docker's",
            post(
                named(
                    "a59-docker",
                    json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": canary}}),
                )
                .to_string(),
            ),
        ),
        ("too much", post(named("a59-long", json!({"stringData": {"a": format!("{canary}{long}")}})).to_string())),
        (
            "a value that is not base64",
            post(named("a59-base64", json!({"data": {"a": format!("{canary}!")}})).to_string()),
        ),
        ("a value that is a list", post(named("a59-list", json!({"data": {"a": [canary]}})).to_string())),
        ("data that is a text", post(named("a59-text", json!({"data": canary})).to_string())),
        ("data that is a list", post(named("a59-data", json!({"stringData": [canary]})).to_string())),
        (
            "an end that is missing",
            post(text(r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"a59-cut"},"data":{"a":"CANARY"#)),
        ),
        ("a word that is none", post(text(r#"{"kind":"Secret","apiVersion":"v1","data":{"a":CANARY}}"#))),
        ("a kind that is none", post(text(r#"{"kind":["CANARY"],"apiVersion":"v1","data":{"a":"CANARY"}}"#))),
        ("a field that is none", strict(named("a59-field", json!({"stringDato": {"a": canary}})).to_string())),
        (
            "a key twice",
            strict(text(
                r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"a59-twice"},"stringData":{"a":"CANARY","a":"CANARY"}}"#,
            )),
        ),
        (
            "bad YAML",
            ("POST", SECRETS.to_owned(), YAML, text("kind: Secret\napiVersion: v1\ndata: {a: \"CANARY\"\nb: [CANARY")),
        ),
        (
            "bad protobuf",
            (
                "POST",
                SECRETS.to_owned(),
                ("content-type", "application/vnd.kubernetes.protobuf"),
                text("k8s\0\n\u{7f}CANARY"),
            ),
        ),
        ("another media type", ("POST", SECRETS.to_owned(), ("content-type", "text/plain"), canary.to_owned())),
        ("another kind", post(secret(json!({"kind": "ConfigMap"})).to_string())),
        (
            "a test that fails",
            patch(JSON_PATCH, json!([{"op": "test", "path": "/data/a", "value": canary}]).to_string()),
        ),
        (
            "a place that is none",
            patch(JSON_PATCH, json!([{"op": "add", "path": "/data/a/b/c", "value": canary}]).to_string()),
        ),
        (
            "an operation that is none",
            patch(JSON_PATCH, json!([{"op": "sing", "path": "/data/a", "value": canary}]).to_string()),
        ),
        ("a merge that is no base64", patch(MERGE_PATCH, json!({"data": {"a": format!("{canary}!")}}).to_string())),
        ("a merge that is none", patch(MERGE_PATCH, format!("[{canary}"))),
        (
            "a strategic merge of a list",
            patch(("content-type", "application/strategic-merge-patch+json"), json!({"data": [canary]}).to_string()),
        ),
        (
            "an apply in conflict",
            (
                "PATCH",
                format!("{there}?fieldManager=a59"),
                APPLY,
                named("a59", json!({"data": {"a": STANDARD.encode(format!("{canary}2"))}})).to_string(),
            ),
        ),
        (
            "a change of what is fixed",
            (
                "PATCH",
                format!("{SECRETS}/a59-fixed"),
                MERGE_PATCH,
                json!({"data": {"a": STANDARD.encode(format!("{canary}2"))}}).to_string(),
            ),
        ),
        (
            "a delete of another",
            ("DELETE", there.clone(), JSON, json!({"preconditions": {"uid": "of-another"}}).to_string()),
        ),
    ];
    for (what, (method, target, header, body)) in tried {
        let answer = admin.send(method, &target, &[header], body).await;
        assert!((400..500).contains(&answer.code), "{what}: {}", answer.status());
        assert!(!holds(&answer.body, canary), "{what}: it says what it was told: {}", answer.status());
    }
    let refused = nobody.post(SECRETS, &secret(json!({}))).await;
    assert_eq!(refused.code, 403, "{}", refused.status());
    let told = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a59"}, "data": data}).to_string();
    for (method, target) in [("GET", "/api/v1/a59"), ("POST", "/api/a59"), ("PUT", SECRETS), ("OPTIONS", SECRETS)] {
        let answer = admin.send(method, target, &[JSON], told.clone()).await;
        assert!(answer.code >= 400 && !holds(&answer.body, canary), "{method} {target}: {}", answer.status());
    }
    let bearer = format!("Bearer {canary}");
    for token in [bearer.as_str(), &bearer.replace("Bearer", "Basic")] {
        let answer = nobody.send("GET", "/api/v1/a59", &[("authorization", token)], "").await;
        assert!(!holds(&answer.body, canary), "{}", answer.status());
    }
    assert_eq!(made["data"], data);
    assert_eq!(admin.delete(&format!("{SECRETS}/a59-fixed")).await.code, 200);
}

/// What a backup holds, unpacked; see the description of its format.
fn unpacked(backup: &Path) -> Vec<u8> {
    let content = std::fs::read(backup).expect("the backup");
    let number =
        |at: usize| usize::try_from(u32::from_be_bytes(content[at..at + 4].try_into().expect("four"))).expect("fits");
    let mut at = b"kontiki-backup".len() + 2;
    at += 4 + number(at);
    let mut all = Vec::new();
    loop {
        let (kind, length) = (content[at], number(at + 1));
        let chunk = &content[at + 5..at + 5 + length];
        ZlibDecoder::new(chunk).read_to_end(&mut all).expect("a compressed chunk");
        at += 5 + length;
        if kind == 1 {
            return all;
        }
    }
}

/// A secret's content is in no file of the server, no record, no number and no backup, whatever went wrong with it, and
/// not even in a log of everything the program can say; a config map's, which nobody encrypts, is. (The memory of the
/// process is not looked at.)
pub(crate) async fn a59_a_canary_is_found_nowhere(_: &World) {
    let (canary, control) = ("a59-canary-xQ7vK2mZ9pLw4TfB", "a59-control-Jr5nW8cYd3GhU6eS");
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(file("encryption.yaml"), ENCRYPTION).expect("written");
    std::fs::write(file("audit.yaml"), AUDIT_POLICY).expect("written");
    let log = std::fs::File::create(file("log")).expect("a log");
    let server = Server::new();
    let how = server.command(&[
        "--init",
        "--encryption-provider-config",
        &file("encryption.yaml"),
        "--audit-policy-file",
        &file("audit.yaml"),
        "--audit-log-path",
        &file("audit.log"),
    ]);
    let mut command = tokio::process::Command::from(how);
    let command = command.env("KONTIKI_LOG", "trace").stderr(log.try_clone().expect("a log")).stdout(log);
    let mut running = command.kill_on_drop(true).spawn().expect("it starts");
    eventually("the server serves", PATIENCE, || server.replicas());
    let admin = admin_of(&server, dir.path());
    admin.until("/readyz").await;
    let nobody = server.client(None);
    admin.make(MAPS, &json!({"metadata": {"name": "a59"}, "data": {"a": control}})).await;
    sing(&admin, &nobody, canary).await;

    let metrics = admin.get("/metrics").await;
    assert!(metrics.text().contains("apiserver_request_total"), "the control: there are numbers");
    assert!(!holds(&metrics.body, canary), "it is in the metrics");
    server.ok(&["backup", &file("backup")]);
    let backup = unpacked(&dir.path().join("backup"));
    assert!(holds(&backup, control), "the control: what is not encrypted is in the backup");
    assert!(!holds(&backup, canary), "it is in a backup");
    running.kill().await.expect("ended");
    let read = |name: &str| std::fs::read(file(name)).expect("a file");
    let audited = read("audit.log");
    assert!(holds(&audited, control), "the control: bodies of config maps are recorded");
    assert!(!holds(&audited, canary), "it is in the audit log");
    let said = read("log");
    assert!(String::from_utf8_lossy(&said).contains("TRACE h2"), "the control: it says everything");
    assert!(!holds(&said, canary), "it is in the log");
    assert_ne!(holding(&server.dir, control), [""; 0], "the control: a config map is in the store's files");
    assert_eq!(holding(&server.dir, canary), [""; 0], "files");
}

/// Pages about the process need a right, at the server and at a kubelet; profiles are not there at all; keys and
/// backups are for masters only.
pub(crate) async fn a60_debug_pages_need_rights(world: &World) {
    let (stranger, user) = (world.stranger(), world.user("a60"));
    const PROFILES: [&str; 9] = [
        "/debug/pprof",
        "/debug/pprof/",
        "/debug/pprof/heap",
        "/debug/pprof/profile",
        "/debug/flags/v",
        "/configz",
        "/logs",
        "/logs/kube-apiserver.log",
        "/debug/vars",
    ];
    const PAGES: [&str; 8] = [
        "/metrics",
        "/metrics/slis",
        "/debug/api_priority_and_fairness/dump_priority_levels",
        "/debug/api_priority_and_fairness/dump_queues",
        "/debug/api_priority_and_fairness/dump_requests?includeRequestDetails=1",
        "/kontiki/v1/status",
        "/statusz",
        "/flagz",
    ];
    const ACTS: [&str; 5] = [
        "/kontiki/v1/backup",
        "/kontiki/v1/encryption/rotate",
        "/kontiki/v1/certificates/renew",
        "/kontiki/v1/members/remove",
        "/kontiki/v1/join/server",
    ];
    for path in PROFILES.iter().chain(&PAGES) {
        for (whose, client) in [("a stranger", &stranger), ("a user", &user)] {
            let answer = client.get(path).await;
            assert_eq!(answer.code, 403, "{whose}: {path}: {}", answer.status());
        }
    }
    for path in PROFILES {
        let answer = world.admin.get(path).await;
        assert_eq!(answer.code, 404, "{path} is there: {}", answer.status());
    }
    for path in ["/metrics", "/kontiki/v1/status"] {
        assert_eq!(world.admin.get(path).await.code, 200, "the control: {path}");
    }
    for path in ACTS {
        for (whose, client) in [("a stranger", &stranger), ("a user", &user)] {
            let answer = client.post(path, &json!({})).await;
            assert_eq!(answer.code, 403, "{whose}: {path}: {}", answer.status());
        }
    }
    // All paths by a role, and yet no master.
    let paths = world.user_with("a60-paths", json!([{"nonResourceURLs": ["*"], "verbs": ["*"]}])).await;
    assert_eq!(paths.get("/metrics").await.code, 200, "the control");
    for path in ["/kontiki/v1/backup", "/kontiki/v1/certificates/renew", "/kontiki/v1/join/server"] {
        let answer = paths.post(path, &json!({})).await;
        assert!([403, 404].contains(&answer.code), "{path}: {}", answer.status());
    }

    let (agent, address) = world.kubelet("a60-node").await;
    let at_kubelet = |client: &Client| {
        let mut client = client.clone();
        client.address = address;
        client
    };
    let [stranger, user, admin] = [&stranger, &user, &world.admin].map(at_kubelet);
    for path in PROFILES.into_iter().chain(["/metrics", "/pods", "/stats/summary", "/healthz", "/runningpods/"]) {
        for (code, client) in [(401, &stranger), (403, &user)] {
            let answer = client.send_by(false, "GET", path, &[], "").await;
            assert_eq!(answer.code, code, "the kubelet's {path}: {}", answer.text());
        }
    }
    for path in PROFILES {
        let answer = admin.send_by(false, "GET", path, &[], "").await;
        assert_eq!(answer.code, 404, "the kubelet's {path} is there: {}", answer.text());
    }
    assert_eq!(admin.send_by(false, "GET", "/pods", &[], "").await.code, 200, "the control");
    drop(agent);
    assert_eq!(world.admin.delete("/api/v1/nodes/a60-node").await.code, 200);
}

/// Who has no right is refused in the same words whether something exists or not, before anything of the request is
/// looked at. (How long it takes is not measured.)
pub(crate) async fn a61_what_exists_is_not_told(world: &World) {
    world.namespace("a61-space", json!({})).await;
    let maps = "/api/v1/namespaces/a61-space/configmaps";
    for name in ["a61-there", "a61-own"] {
        world.admin.make(maps, &json!({"metadata": {"name": name}})).await;
    }
    let mut named = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "patch", "delete"]});
    named["resourceNames"] = json!(["a61-own", "a61-missing"]);
    let user = world.user_with("a61", json!([named])).await;
    assert_eq!(user.get(&format!("{maps}/a61-own")).await.code, 200, "the control");
    assert_eq!(user.get(&format!("{maps}/a61-missing")).await.code, 404, "the control");
    let same = async |method: &str, target: &str, there: &str, nowhere: &str, body: &str| {
        let ask = async |word: &str| {
            let target = target.replace("WORD", word);
            let answer = user.send(method, &target, &[JSON], body.to_owned()).await;
            answer.status().replace(word, "WORD")
        };
        let (first, second) = (ask(there).await, ask(nowhere).await);
        assert!(first.starts_with("403 Forbidden"), "{method} {target}: {first}");
        assert_eq!(first, second, "{method} {target}");
    };
    for (method, body) in [
        ("GET", ""),
        ("PUT", "{}"),
        ("PUT", "no JSON"),
        ("PATCH", "{}"),
        ("DELETE", r#"{"preconditions":{"uid":"x"}}"#),
    ] {
        same(method, &format!("{maps}/WORD"), "a61-there", "a61-nowhere", body).await;
        same(method, "/api/v1/namespaces/WORD/secrets/s", "a61-space", "a61-nowhere", body).await;
        same(method, "/api/v1/namespaces/WORD", "a61-space", "a61-nowhere", body).await;
    }
    same("POST", maps, "a61-there", "a61-nowhere", r#"{"metadata":{"name":"a61-there"}}"#).await;
    same("GET", "/api/v1/namespaces/WORD/pods", "a61-space", "a61-nowhere", "").await;
    same("GET", "/api/v1/namespaces/a61-space/WORD", "secrets", "a61things", "").await;
    same("GET", "/apis/WORD/v1/deployments", "apps", "a61.example", "").await;
    same("GET", "/apis/apps/WORD/deployments", "v1", "v7", "").await;
    same("GET", "/api/v1/namespaces/default/services/WORD/proxy/", "kubernetes", "a61-nowhere", "").await;
    world.admin.make(PODS, &pod("a61-pod")).await;
    same("GET", &format!("{PODS}/WORD/log"), "a61-pod", "a61-nowhere", "").await;

    // Who may change what is there, and not make what is not, does not make it by changing it.
    let apply = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a61-missing"}}).to_string();
    let target = format!("{maps}/a61-missing?fieldManager=a61");
    let answer = user.send("PATCH", &target, &[APPLY], apply).await;
    assert_eq!(answer.code, 403, "an apply makes what is not there: {}", answer.status());
    let update = json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["update"]});
    let updater = world.user_with("a61-updater", json!([update])).await;
    let lease = json!({"metadata": {"name": "a61"}, "spec": {}});
    let answer = updater.put("/apis/coordination.k8s.io/v1/namespaces/a61-space/leases/a61", &lease).await;
    assert_eq!(answer.code, 403, "an update makes what is not there: {}", answer.status());
}

/// A first message of TLS 1.2 or older, as its client might write it.
struct Hello<'a> {
    version: u16,
    suites: &'a [u16],
    server_name: &'a str,
    /// ALPN; none when empty.
    protocol: &'a str,
}

impl Hello<'_> {
    fn bytes(&self) -> Vec<u8> {
        let two = |number: usize| u16::try_from(number).expect("short").to_be_bytes();
        let numbers = |all: &[u16]| all.iter().flat_map(|one| one.to_be_bytes()).collect::<Vec<u8>>();
        let counted = |content: Vec<u8>| [&two(content.len())[..], &content].concat();
        let mut extensions = Vec::new();
        let mut extension = |kind: u16, content: Vec<u8>| {
            extensions.extend(kind.to_be_bytes());
            extensions.extend(counted(content));
        };
        extension(10, counted(numbers(&[0x001d, 0x0017, 0x0018])));
        extension(11, vec![1, 0]);
        extension(13, counted(numbers(&[0x0403, 0x0503, 0x0804, 0x0401, 0x0203, 0x0201])));
        extension(23, Vec::new());
        if !self.server_name.is_empty() {
            extension(0, counted([vec![0], counted(self.server_name.as_bytes().to_vec())].concat()));
        }
        if !self.protocol.is_empty() {
            let length = u8::try_from(self.protocol.len()).expect("short");
            extension(16, counted([&[length], self.protocol.as_bytes()].concat()));
        }
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend([7; 32]);
        body.push(0);
        body.extend(counted(numbers(self.suites)));
        body.extend([1, 0]);
        body.extend(counted(extensions));
        let message = [&[1, 0][..], &two(body.len()), &body].concat();
        [&[22, 3, 1][..], &two(message.len()), &message].concat()
    }
}

/// What a server answers to it, up to where it waits for the client.
#[derive(Debug, Default)]
struct Greeting {
    /// The description of an alert.
    alert: Option<u8>,
    /// By kind, each without its head.
    messages: Vec<(u8, Vec<u8>)>,
}

impl Greeting {
    fn message(&self, kind: u8) -> Option<&[u8]> {
        self.messages.iter().find(|(own, _)| *own == kind).map(|(_, content)| content.as_slice())
    }

    /// Version and suite of the ServerHello.
    fn chosen(&self) -> Option<(u16, u16)> {
        let hello = self.message(2)?;
        let two = |at: usize| hello.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
        let session = usize::from(*hello.get(34)?);
        Some((two(0)?, two(35 + session)?))
    }
}

async fn greet(port: u16, hello: &Hello<'_>) -> Greeting {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the server listens");
    stream.write_all(&hello.bytes()).await.expect("sent");
    let (mut greeting, mut handshake) = (Greeting::default(), Vec::new());
    let read = async {
        loop {
            let mut head = [0; 5];
            if stream.read_exact(&mut head).await.is_err() {
                return;
            }
            let mut content = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
            if stream.read_exact(&mut content).await.is_err() {
                return;
            }
            match head[0] {
                21 => return greeting.alert = content.get(1).copied(),
                22 => handshake.extend(content),
                _ => return,
            }
            while let Some(length) = handshake.get(1..4) {
                let end = 4 + usize::from(length[0]) * 65_536 + usize::from(length[1]) * 256 + usize::from(length[2]);
                if handshake.len() < end {
                    break;
                }
                let message: Vec<u8> = handshake.drain(..end).collect();
                greeting.messages.push((message[0], message[4..].to_vec()));
                // ServerHelloDone
                if message[0] == 14 {
                    return;
                }
            }
        }
    };
    let _: Result<(), _> = tokio::time::timeout(Duration::from_secs(5), read).await;
    greeting
}

/// TLS older than 1.2 and suites without an AEAD or forward secrecy are refused, on both ports; whatever name is asked
/// for, there is one certificate; no name of a client CA is told; and who speaks no HTTP is not let in.
pub(crate) async fn a62_old_tls(world: &World) {
    const GOOD: u16 = 0xc02b;
    // RSA key exchange with NULL, RC4, 3DES, CBC and GCM; DHE; ECDHE with RC4, 3DES and CBC; export; anonymous.
    const WEAK: [u16; 17] = [
        0x0001, 0x0002, 0x0004, 0x0005, 0x000a, 0x002f, 0x0035, 0x003c, 0x009c, 0x0033, 0x009e, 0xc007, 0xc008, 0xc009,
        0xc023, 0x0003, 0xc018,
    ];
    let hello = |version, suites| Hello { version, suites, server_name: "", protocol: "" };
    let all = [&[GOOD][..], &WEAK].concat();
    let port = world.server.api_port;
    let good = greet(port, &hello(0x0303, &all)).await;
    assert_eq!(good.chosen(), Some((0x0303, GOOD)), "the control");
    for port in [port, world.server.peer_port] {
        for version in [0x0300, 0x0301, 0x0302] {
            let old = greet(port, &hello(version, &all)).await;
            assert!(old.messages.is_empty(), "{version:#06x} on {port}: {:?}", old.chosen());
        }
        for suite in WEAK.chunks(1) {
            let weak = greet(port, &hello(0x0303, suite)).await;
            assert!(weak.messages.is_empty(), "the suite {suite:#06x?} on {port}: {:?}", weak.chosen());
        }
    }
    let old = greet(port, &hello(0x0302, &all)).await;
    assert_eq!(old.alert, Some(70), "protocol_version");

    let certificate = good.message(11).expect("a certificate").to_vec();
    let asks = good.message(13).expect("it asks for a certificate");
    // Kinds of certificates, algorithms, and then names of CAs.
    let kinds = usize::from(asks[0]);
    let algorithms = usize::from(u16::from_be_bytes([asks[1 + kinds], asks[2 + kinds]]));
    assert_eq!(asks[3 + kinds + algorithms..], [0, 0], "names of CAs");
    for server_name in ["kubernetes.default.svc", "a62.example", "localhost", "kontiki-etcd", "node-1.kontiki"] {
        let named = greet(port, &Hello { server_name, ..hello(0x0303, &all) }).await;
        assert_eq!(named.message(11), Some(certificate.as_slice()), "for {server_name}");
    }
    for protocol in ["ftp", "smtp", "h2c"] {
        let other = greet(port, &Hello { protocol, ..hello(0x0303, &all) }).await;
        assert_eq!((other.alert, other.messages.len()), (Some(120), 0), "{protocol}: no_application_protocol");
    }
    let known = greet(port, &Hello { protocol: "h2", ..hello(0x0303, &all) }).await;
    assert_eq!(known.chosen(), Some((0x0303, GOOD)), "the control");
}

/// A server of A63's own, whose store can be changed behind its back.
struct Vault {
    server: Server,
    dir: tempfile::TempDir,
    etcd_port: u16,
}

const OLD_KEY: &str = "{name: old, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}";
const NEW_KEY: &str = "{name: new, secret: ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=}";

impl Vault {
    fn new() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let etcd_port = listener.local_addr().expect("bound").port();
        Self { server: Server::new(), dir: tempfile::tempdir().expect("a directory"), etcd_port }
    }

    /// Runs from now on with these keys, the first of which writes; for its admin, once it is ready.
    async fn start(&mut self, keys: &[&str]) -> Client {
        let file = self.dir.path().join("encryption.yaml");
        let configuration = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
             - resources: [secrets]\n  providers: [{{aesgcm: {{keys: [{}]}}}}]\n",
            keys.join(", ")
        );
        std::fs::write(&file, configuration).expect("written");
        let listen = format!("127.0.0.1:{}", self.etcd_port);
        let file = file.display().to_string();
        self.server.start(&["--init", "--etcd-listen", &listen, "--encryption-provider-config", &file]);
        eventually("the server serves", PATIENCE, || self.server.replicas());
        let admin = admin_of(&self.server, self.dir.path());
        admin.until("/readyz").await;
        admin
    }

    /// The store itself.
    async fn store(&self) -> KvClient<Channel> {
        let own = self.server.dir.join("certificates/etcd-client");
        KvClient::new(self.connect(&own).await.expect("the store answers"))
    }

    /// To the store, with the certificate and the key of this name.
    async fn connect(&self, identity: &Path) -> Result<Channel, tonic::transport::Error> {
        let read = |path: &Path| std::fs::read(path).expect("a file");
        let (certificate, key) = (read(&identity.with_extension("crt")), read(&identity.with_extension("key")));
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read(&self.server.dir.join("pki/etcd-ca.crt"))))
            .identity(tonic::transport::Identity::from_pem(certificate, key));
        let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{}", self.etcd_port)).expect("a URL");
        endpoint.tls_config(tls)?.connect().await
    }

    /// Whether a certificate of the API's CA opens the store.
    async fn opens(&self, identity: &Path) -> bool {
        let Ok(channel) = self.connect(identity).await else { return false };
        let all = pb::RangeRequest { key: "/".into(), range_end: "0".into(), ..Default::default() };
        KvClient::new(channel).range(all).await.is_ok()
    }
}

const VAULT: &str = "/api/v1/namespaces/a63/secrets";

async fn stored(store: &mut KvClient<Channel>, name: &str) -> Option<Vec<u8>> {
    let key = format!("/registry/core/secrets/a63/{name}").into();
    let answer = store.range(pb::RangeRequest { key, ..Default::default() }).await.expect("read").into_inner();
    answer.kvs.into_iter().next().map(|kv| kv.value.to_vec())
}

async fn put(store: &mut KvClient<Channel>, name: &str, value: &[u8]) {
    let key = format!("/registry/core/secrets/a63/{name}").into();
    let put = pb::PutRequest { key, value: value.to_vec().into(), ..Default::default() };
    store.put(put).await.expect("written");
}

/// The store opens to no client of the API. A sealed value that is moved to another name, cut, changed or written
/// without a seal is not read; nor is one whose key is gone. It is an error by name, is in no list, stays where it is
/// whatever is deleted, keeps its namespace, and is read again when its key is back.
pub(crate) async fn a63_ciphertexts_do_not_move(_: &World) {
    let mut vault = Vault::new();
    let admin = vault.start(&[OLD_KEY]).await;
    for name in ["a63", "a63-gone"] {
        admin.make("/api/v1/namespaces", &json!({"metadata": {"name": name}})).await;
    }
    let left = json!({"metadata": {"name": "left"}, "stringData": {"a": "a63-plain-left"}});
    admin.make("/api/v1/namespaces/a63-gone/secrets", &left).await;
    for name in ["one", "two", "three"] {
        let secret = json!({"metadata": {"name": name}, "stringData": {"a": format!("a63-plain-{name}")}});
        admin.make(VAULT, &secret).await;
    }
    let mut store = vault.store().await;
    for identity in ["certificates/apiserver-kubelet-client", "certificates/peer"] {
        assert!(!vault.opens(&vault.server.dir.join(identity)).await, "{identity} opens the store");
    }
    let masters = vault.dir.path().join(format!("admin-of-{}", vault.server.api_port));
    assert!(!vault.opens(&masters).await, "an admin of the API opens the store");
    assert!(vault.opens(&vault.server.dir.join("certificates/etcd-client")).await, "the control");
    let mut sealed = Vec::new();
    for name in ["one", "two"] {
        sealed.push(stored(&mut store, name).await.expect("stored"));
    }
    let (one, two) = (&sealed[0], &sealed[1]);
    assert!(one.starts_with(b"k8s:enc:aesgcm:v1:old:"), "the control: it is sealed");
    let mut flipped = one.clone();
    *flipped.last_mut().expect("bytes") ^= 1;
    let mut renamed = one.clone();
    renamed.splice(..b"k8s:enc:aesgcm:v1:old:".len(), b"k8s:enc:aesgcm:v1:new:".iter().copied());
    let plain = admin.get(&format!("{VAULT}/one")).await.text();
    for (what, value) in [
        ("another's", two.clone()),
        ("cut", one[..one.len() - 1].to_vec()),
        ("cut to its head", one[..22].to_vec()),
        ("changed", flipped),
        ("said to be of another key", renamed),
        ("without a seal", plain.into_bytes()),
        ("nothing", Vec::new()),
    ] {
        put(&mut store, "one", &value).await;
        let answer = soon(&admin, &format!("{VAULT}/one"), |answer| answer.code != 200).await;
        assert_eq!(answer.code, 500, "{what}: {}", answer.status());
        assert!(!answer.text().contains("a63-plain") && !holds(&answer.body, "a63-plain-two"), "{what}");
        let list = admin.get(VAULT).await;
        assert_eq!(names(&list), ["three", "two"], "{what}: {}", list.status());
        let pages = admin.get(&format!("{VAULT}?limit=500")).await;
        assert_eq!(names(&pages), ["three", "two"], "{what}, from the store");
        put(&mut store, "one", one).await;
        let back = soon(&admin, &format!("{VAULT}/one"), |answer| answer.code == 200).await;
        assert!(holds(&back.body, "a63-plain-one"), "{what}, and put back");
    }

    // Its key is gone.
    drop(store);
    vault.server.stop();
    let admin = vault.start(&[NEW_KEY]).await;
    let mut store = vault.store().await;
    let target = format!("{VAULT}/one");
    let unsafely = format!("{target}?ignoreStoreReadErrorWithClusterBreakingPotential=true");
    assert_eq!(names(&admin.get(VAULT).await), [""; 0], "what cannot be read is in no list");
    for (what, answer) in [
        ("get", admin.get(&target).await),
        ("update", admin.put(&target, &json!({"metadata": {"name": "one"}})).await),
        ("patch", admin.merge(&target, &json!({"data": {"a": "Yg=="}})).await),
        ("delete", admin.delete(&target).await),
        ("delete whatever breaks", admin.delete(&unsafely).await),
    ] {
        assert!(answer.code >= 400 && answer.code != 404, "{what}: {}", answer.status());
    }
    let taken = admin.post(VAULT, &json!({"metadata": {"name": "one"}})).await;
    assert!(taken.code >= 400, "another of its name: {}", taken.status());
    admin.make(VAULT, &json!({"metadata": {"name": "four"}, "stringData": {"a": "a63-plain-four"}})).await;
    assert_eq!(names(&admin.get(VAULT).await), ["four"], "the control: the new key seals");
    assert_eq!(admin.delete(VAULT).await.code, 200, "all that there are");
    assert_eq!(names(&admin.get(VAULT).await), [""; 0]);
    assert_eq!(stored(&mut store, "one").await.as_ref(), Some(one), "it is where it was");
    assert_eq!(stored(&mut store, "four").await, None, "the control: what can be read is deleted");
    let counted = admin.get("/metrics").await.text();
    let counted =
        counted.lines().find(|line| line.starts_with("kontiki_encryption_unreadable_total")).map(str::to_owned);
    assert!(counted.is_some_and(|line| !line.ends_with(" 0")), "it is counted");
    // Nor does its namespace go: whoever made another of that name would have what is in it.
    let gone = "/api/v1/namespaces/a63-gone";
    assert_eq!(admin.delete(gone).await.code, 200);
    soon(&admin, gone, |answer| answer.text().contains("unexpected items still remain")).await;

    // Both keys, and everything sealed anew; then the old one is not needed.
    drop(store);
    vault.server.stop();
    let admin = vault.start(&[NEW_KEY, OLD_KEY]).await;
    assert_eq!(names(&admin.get(VAULT).await), ["one", "three", "two"], "its key is back");
    soon(&admin, gone, |answer| answer.code == 404).await;
    vault.server.ok(&["encryption", "rotate"]);
    let mut store = vault.store().await;
    let anew = stored(&mut store, "one").await.expect("stored");
    assert!(anew.starts_with(b"k8s:enc:aesgcm:v1:new:"), "sealed anew");
    drop(store);
    vault.server.stop();
    let admin = vault.start(&[NEW_KEY]).await;
    let read = admin.get(&target).await;
    assert!(holds(&read.body, "a63-plain-one"), "{}", read.status());
}

/// The ports of this machine that a process listens on.
fn listened_on(pid: u32) -> Vec<u16> {
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("its files")
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned))
        .collect();
    let mut ports = Vec::new();
    for table in ["tcp", "tcp6"] {
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (address, state, inode) = (fields[1], fields[3], fields[9]);
            if state == "0A" && sockets.iter().any(|own| own == inode) {
                let port = address.rsplit_once(':').expect("a port").1;
                ports.push(u16::from_str_radix(port, 16).expect("a number"));
            }
        }
    }
    ports.sort_unstable();
    ports
}

/// What the server is to itself it is to nobody outside: it has no port but the two, its name gives no rights, and the
/// certificates it shows to others open nothing of its own.
pub(crate) async fn a64_the_servers_own_identity_stays_inside(world: &World) {
    let mut ports = [world.server.api_port, world.server.peer_port];
    ports.sort_unstable();
    assert_eq!(listened_on(world.server.pid()), ports, "where it listens");

    let secrets = "/api/v1/secrets";
    for name in ["system:apiserver", "kube-apiserver", "system:kube-apiserver", "loopback"] {
        let client = world.user(name);
        assert_eq!(who(&client, &[]).await.expect("the control")["username"], name);
        let answer = client.get(secrets).await;
        assert_eq!(answer.code, 403, "{name}: {}", answer.status());
    }
    let shown = |name: &str| {
        let dir = world.server.dir.join("certificates");
        world.showing(&(dir.join(format!("{name}.crt")), dir.join(format!("{name}.key"))))
    };
    for (name, code) in [("apiserver", 401), ("peer", 401), ("apiserver-kubelet-client", 403)] {
        for target in [secrets, "/metrics", "/api/v1/namespaces/kube-system/secrets/x"] {
            let answer = shown(name).get(target).await;
            assert_eq!(answer.code, code, "the server's own {name}: {target}: {}", answer.status());
        }
    }
    let kubelets = who(&shown("apiserver-kubelet-client"), &[]).await.expect("the control");
    assert_eq!(kubelets["username"], "kube-apiserver-kubelet-client");
    assert!(!kubelets["groups"].to_string().contains("system:masters"), "{kubelets}");

    let stranger = world.stranger();
    for token in ["loopback", "system:apiserver", "00000000-0000-0000-0000-000000000000", "null", "undefined"] {
        let bearer = format!("Bearer {token}");
        assert_eq!(who(&stranger, &[("authorization", &bearer)]).await, Err(401), "{token}");
    }
    let local = [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("host", "apiserver-loopback-client"),
    ];
    let answer = stranger.send("GET", secrets, &local, "").await;
    assert!([400, 403].contains(&answer.code), "who says to come from here: {}", answer.status());
    let named = system_tests::client::authority("apiserver-loopback-client-ca");
    let request = pki::authority::Request {
        common_name: "apiserver-loopback-client".into(),
        organizations: vec!["system:masters".into()],
        client: true,
        days: 1,
        ..Default::default()
    };
    let named = world.showing(&world.issued(&named, "a64-loopback", &request, 0));
    assert_eq!(named.get(secrets).await.code, 401);
}
