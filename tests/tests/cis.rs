//! The items of CIS Kubernetes Benchmark 1.12 for the control plane (sections 1 to 3), looked at on a replica in its
//! default configuration. Flags are not compared: what an item wants is seen in what the server does. As kube-bench
//! has it, an automated item passes or fails, and a manual one passes or is left to the operator.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, Instant};

use pki::authority::Authority;
use serde_json::{Value, json};
use system_tests::client::{Client, JSON, authority, certify};
use system_tests::eventually;
use system_tests::servers::Server;
use tokio::io::AsyncReadExt;

const PATIENCE: Duration = Duration::from_secs(60);
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const SIGNED: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

struct Replica {
    server: Server,
    ca: Authority,
    admin: Client,
    dir: tempfile::TempDir,
}

/// `Err`: what is wrong.
type Outcome = Result<(), String>;
type Check = for<'a> fn(&'a Replica) -> Pin<Box<dyn Future<Output = Outcome> + 'a>>;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Automated,
    Manual,
}
use Kind::{Automated, Manual};

macro_rules! check {
    ($name:ident) => {
        |replica| Box::pin($name(replica))
    };
}

/// Items by their number; some are the same thing here, where one process is the whole control plane.
const ITEMS: &[(&str, Kind, Check)] = &[
    ("1.1.1 1.1.3 1.1.5 1.1.7", Automated, check!(configuration_is_private)),
    ("1.1.2 1.1.4 1.1.6 1.1.8", Automated, check!(configuration_is_its_users)),
    ("1.1.9 1.1.10", Manual, check!(there_is_no_pod_network)),
    ("1.1.11", Automated, check!(data_is_private)),
    ("1.1.12", Automated, check!(data_is_its_users)),
    ("1.1.13 1.1.15 1.1.17", Automated, check!(credentials_are_private)),
    ("1.1.14 1.1.16 1.1.18", Automated, check!(credentials_are_its_users)),
    ("1.1.19", Automated, check!(certificates_are_its_users)),
    ("1.1.20", Manual, check!(certificates_are_not_written)),
    ("1.1.21", Manual, check!(keys_are_private)),
    ("1.2.1", Manual, check!(strangers_are_shut_out)),
    ("1.2.2", Automated, check!(there_are_no_static_tokens)),
    ("1.2.3", Manual, check!(external_ips_are_denied)),
    ("1.2.4", Automated, check!(kubelets_see_a_certificate)),
    ("1.2.5", Automated, check!(kubelets_are_verified)),
    ("1.2.6", Automated, check!(not_everything_is_allowed)),
    ("1.2.7", Automated, check!(nodes_are_authorized)),
    ("1.2.8", Automated, check!(roles_are_obeyed)),
    ("1.2.9", Manual, check!(events_are_limited)),
    ("1.2.10", Automated, check!(not_everything_is_admitted)),
    ("1.2.11", Manual, check!(images_are_always_pulled)),
    ("1.2.12", Automated, check!(pods_have_service_accounts)),
    ("1.2.13", Automated, check!(namespaces_must_exist)),
    ("1.2.14", Automated, check!(nodes_are_restricted)),
    ("1.2.15 1.3.2 1.4.1", Automated, check!(there_is_no_profiling)),
    ("1.2.16", Automated, check!(requests_are_recorded)),
    ("1.2.17 1.2.18 1.2.19", Automated, check!(records_are_kept)),
    ("1.2.20", Manual, check!(requests_end)),
    ("1.2.21", Automated, check!(tokens_end_with_their_account)),
    ("1.2.22 1.3.4", Automated, check!(tokens_are_signed)),
    ("1.2.23 1.2.26 2.4 2.5", Automated, check!(peers_know_each_other)),
    ("1.2.24", Automated, check!(the_server_has_a_certificate)),
    ("1.2.25", Automated, check!(clients_of_other_authorities_are_nobody)),
    ("1.2.27 1.2.28", Manual, check!(secrets_are_encrypted)),
    ("1.2.29", Manual, check!(ciphers_are_strong)),
    ("1.2.30", Automated, check!(tokens_are_not_extended)),
    ("1.3.1", Manual, check!(ended_pods_go_early)),
    ("1.3.3", Automated, check!(controllers_are_accounts)),
    ("1.3.5", Automated, check!(pods_get_the_ca)),
    ("1.3.6", Automated, check!(kubelets_get_serving_certificates)),
    ("1.3.7 1.4.2 2.1 2.2 2.3 2.6", Automated, check!(nothing_else_listens)),
    ("2.7", Manual, check!(peers_have_a_ca_of_their_own)),
    ("3.1.1 3.1.2 3.1.3", Manual, check!(users_come_from_elsewhere)),
    ("3.2.1 3.2.2", Manual, check!(what_matters_is_recorded)),
];
/// Items of the benchmark's sections.
const COUNT: usize = 72;

impl Replica {
    async fn start(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut server = Server::new();
        server.start(&[&["--init"], flags].concat());
        eventually("the server serves", PATIENCE, || server.replicas());
        let ca = server.authority();
        let admin = server.client(Some(&certify(&ca, dir.path(), "inspector", &["system:masters"])));
        admin.until("/readyz").await;
        Self { server, ca, admin, dir }
    }

    fn client(&self, ca: &Authority, name: &str, groups: &[&str]) -> Client {
        self.server.client(Some(&certify(ca, self.dir.path(), name, groups)))
    }

    fn stranger(&self) -> Client {
        self.server.client(None)
    }

    /// Waits for what controllers make.
    async fn found(&self, target: &str) -> Value {
        self.admin.until(target).await.json()
    }

    /// Plugins that have looked at a write so far.
    async fn plugins(&self) -> BTreeSet<String> {
        let body = json!({"metadata": {"name": "cis"}});
        self.admin.send("POST", &format!("{SECRETS}?dryRun=All"), &[JSON], body.to_string()).await;
        let text = self.admin.get("/metrics").await.text();
        let lines = text.lines().filter(|line| line.starts_with("apiserver_admission_controller_"));
        lines.filter_map(|line| line.split("name=\"").nth(1)?.split('"').next()).map(str::to_owned).collect()
    }

    async fn allowed(&self, user: &str, groups: &[&str], verb: &str, resource: &str) -> bool {
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "user": user, "groups": groups, "resourceAttributes": {"verb": verb, "resource": resource}}});
        let answer = self.admin.make("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await;
        answer["status"]["allowed"] == true
    }

    /// A token of a ServiceAccount of this name, for so many seconds.
    async fn token(&self, account: &str, seconds: u64) -> Value {
        self.admin.post("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": account}})).await;
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds}});
        let target = format!("/api/v1/namespaces/default/serviceaccounts/{account}/token");
        self.admin.make(&target, &request).await
    }

    fn audit_log(&self) -> Result<String, String> {
        let path = self.server.dir.join("audit/audit.log");
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.server.dir.with_extension("log")).expect("what the server said")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.server.dir.join(name)
    }
}

fn wrong_unless(right: bool, what: impl Into<String>) -> Outcome {
    if right { Ok(()) } else { Err(what.into()) }
}

/// Everything below a directory, and itself.
fn tree(path: &Path) -> Vec<PathBuf> {
    let mut all = vec![path.to_owned()];
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => all.extend(tree(&entry.path())),
            false => all.push(entry.path()),
        }
    }
    all
}

/// Bits that the item does not grant.
fn at_most(path: &Path, mode: u32) -> Outcome {
    let found = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?.mode() & 0o777;
    wrong_unless(found & !mode == 0, format!("{}: {found:o}", path.display()))
}

/// The benchmark says root or etcd: the user that the process runs as.
fn owned(replica: &Replica, path: &Path) -> Outcome {
    let process = std::fs::metadata(format!("/proc/{}", replica.server.pid())).expect("the process").uid();
    let owner = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?.uid();
    wrong_unless(owner == process, format!("{}: of {owner}, not {process}", path.display()))
}

fn with_ending(dir: &Path, ending: &str) -> Vec<PathBuf> {
    tree(dir).into_iter().filter(|path| path.extension().is_some_and(|found| found == ending)).collect()
}

async fn configuration_is_private(replica: &Replica) -> Outcome {
    at_most(&replica.path("server.yaml"), 0o600)
}

async fn configuration_is_its_users(replica: &Replica) -> Outcome {
    owned(replica, &replica.path("server.yaml"))
}

async fn there_is_no_pod_network(_: &Replica) -> Outcome {
    Err("a replica has no pod network; its node's files are looked at there".to_owned())
}

async fn data_is_private(replica: &Replica) -> Outcome {
    at_most(&replica.server.dir, 0o700)?;
    at_most(&replica.path("store"), 0o700)
}

async fn data_is_its_users(replica: &Replica) -> Outcome {
    tree(&replica.path("store")).iter().filter(|path| path.exists()).try_for_each(|path| owned(replica, path))
}

/// The only credentials in a file are the admin's: controllers and scheduler have none.
async fn credentials_are_private(replica: &Replica) -> Outcome {
    let all = with_ending(&replica.server.dir, "kubeconfig");
    wrong_unless(all == [replica.path("admin.kubeconfig")], format!("{all:?}"))?;
    at_most(&all[0], 0o600)
}

async fn credentials_are_its_users(replica: &Replica) -> Outcome {
    owned(replica, &replica.path("admin.kubeconfig"))
}

async fn certificates_are_its_users(replica: &Replica) -> Outcome {
    ["pki", "certificates"]
        .iter()
        .try_for_each(|dir| tree(&replica.path(dir)).iter().try_for_each(|path| owned(replica, path)))
}

async fn certificates_are_not_written(replica: &Replica) -> Outcome {
    with_ending(&replica.server.dir, "crt").iter().try_for_each(|path| at_most(path, 0o644))
}

async fn keys_are_private(replica: &Replica) -> Outcome {
    let keys = with_ending(&replica.server.dir, "key");
    wrong_unless(keys.len() >= 3, format!("{keys:?}"))?;
    keys.iter().try_for_each(|path| at_most(path, 0o600))
}

async fn strangers_are_shut_out(replica: &Replica) -> Outcome {
    for target in ["/api", "/api/v1/nodes", SECRETS, "/metrics", "/openapi/v3"] {
        let code = replica.stranger().get(target).await.code;
        assert!(matches!(code, 401 | 403), "a stranger gets {code} for {target}");
    }
    let code = replica.stranger().get("/readyz").await.code;
    wrong_unless(code == 401, "strangers may ask for health, version and cluster-info, as kubeadm needs it")
}

async fn there_are_no_static_tokens(replica: &Replica) -> Outcome {
    let started = std::fs::read(format!("/proc/{}/cmdline", replica.server.pid())).expect("its command line");
    let configured = std::fs::read_to_string(replica.path("server.yaml")).expect("its configuration");
    let named = String::from_utf8_lossy(&started).contains("token-auth-file") || configured.contains("tokenAuthFile");
    wrong_unless(!named, "a file of tokens is named")?;
    let code = replica.stranger().with_token("some-token").get("/api").await.code;
    wrong_unless(code == 401, format!("a made-up token gets {code}"))
}

async fn external_ips_are_denied(replica: &Replica) -> Outcome {
    let service = json!({"metadata": {"name": "cis"}, "spec": {"ports": [{"port": 80}], "externalIPs": ["192.0.2.1"]}});
    let target = "/api/v1/namespaces/default/services?dryRun=All";
    wrong_unless(replica.admin.post(target, &service).await.code == 403, "DenyServiceExternalIPs is off, as upstream")
}

async fn kubelets_see_a_certificate(replica: &Replica) -> Outcome {
    let path = replica.path("certificates/apiserver-kubelet-client.crt");
    let pem = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    wrong_unless(replica.ca.has_signed(&pem), "it is not of the cluster's CA")
}

/// Somebody else listens where a node says that its kubelet does: the server leaves before it asks for anything.
async fn kubelets_are_verified(replica: &Replica) -> Outcome {
    let impostor = authority("impostor");
    let wanted = system_tests::client::serving("system:node:cis");
    let own = impostor.issue(&wanted, system_tests::client::now()).expect("a certificate");
    let tls = system_tests::client::acceptor(&own);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let asked = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.ok()?;
        let mut stream = tls.accept(stream).await.ok()?;
        let mut request = [0; 64];
        stream.read(&mut request).await.ok().filter(|length| *length > 0)
    });
    let node = json!({"metadata": {"name": "cis"}});
    replica.admin.make("/api/v1/nodes", &node).await;
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    let patched = replica.admin.merge("/api/v1/nodes/cis/status", &status).await;
    assert_eq!(patched.code, 200, "{}", patched.status());
    replica.found("/api/v1/namespaces/default/serviceaccounts/default").await;
    let pod = json!({"metadata": {"name": "cis"}, "spec": {"nodeName": "cis",
        "containers": [{"name": "c", "image": "i"}]}});
    replica.admin.make("/api/v1/namespaces/default/pods", &pod).await;
    let answer = replica.admin.get("/api/v1/namespaces/default/pods/cis/log").await;
    let told = tokio::time::timeout(PATIENCE, asked).await.expect("the server has come").expect("no panic");
    wrong_unless(answer.code >= 500 && told.is_none(), format!("{told:?} bytes told; {}", answer.status()))
}

async fn not_everything_is_allowed(replica: &Replica) -> Outcome {
    let code = replica.client(&replica.ca, "nobody-in-particular", &[]).get(SECRETS).await.code;
    wrong_unless(code == 403, format!("a user without roles gets {code} for secrets"))
}

async fn nodes_are_authorized(replica: &Replica) -> Outcome {
    let node = replica.allowed("system:node:n", &["system:nodes"], "create", "nodes").await;
    let other = replica.allowed("n", &[], "create", "nodes").await;
    wrong_unless(node && !other, format!("a node: {node}; another: {other}"))
}

async fn roles_are_obeyed(replica: &Replica) -> Outcome {
    let rules = json!([{"verbs": ["list"], "apiGroups": [""], "resources": ["nodes"]}]);
    replica.admin.grant(None, "cis", rules).await;
    let (granted, not) =
        (replica.allowed("cis", &[], "list", "nodes").await, replica.allowed("cis", &[], "list", "pods").await);
    wrong_unless(granted && !not, format!("what is granted: {granted}; what is not: {not}"))
}

async fn runs(replica: &Replica, plugin: &str) -> Outcome {
    wrong_unless(replica.plugins().await.contains(plugin), format!("{plugin} is off"))
}

async fn events_are_limited(replica: &Replica) -> Outcome {
    runs(replica, "EventRateLimit").await
}

async fn not_everything_is_admitted(replica: &Replica) -> Outcome {
    wrong_unless(!replica.plugins().await.contains("AlwaysAdmit"), "AlwaysAdmit is on")
}

async fn images_are_always_pulled(replica: &Replica) -> Outcome {
    runs(replica, "AlwaysPullImages").await
}

async fn pods_have_service_accounts(replica: &Replica) -> Outcome {
    replica.found("/api/v1/namespaces/default/serviceaccounts/default").await;
    let pod = json!({"metadata": {"name": "account"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = replica.admin.post("/api/v1/namespaces/default/pods?dryRun=All", &pod).await.json();
    wrong_unless(made["spec"]["serviceAccountName"] == "default", format!("{}", made["spec"]["serviceAccountName"]))
}

async fn namespaces_must_exist(replica: &Replica) -> Outcome {
    let map = json!({"metadata": {"name": "cis"}});
    let code = replica.admin.post("/api/v1/namespaces/nowhere/configmaps", &map).await.code;
    wrong_unless(code == 404, format!("{code} for an object in a namespace that does not exist"))
}

async fn nodes_are_restricted(replica: &Replica) -> Outcome {
    let node = replica.client(&replica.ca, "system:node:restricted", &["system:nodes"]);
    let label = |name: &str| json!({"metadata": {"name": name, "labels": {"node-restriction.kubernetes.io/a": "b"}}});
    let (own, other) = (json!({"metadata": {"name": "restricted"}}), json!({"metadata": {"name": "other"}}));
    for (node_object, wanted) in [(label("restricted"), 403), (other, 403), (own, 201)] {
        let code = node.post("/api/v1/nodes", &node_object).await.code;
        wrong_unless(code == wanted, format!("{code} for {node_object}"))?;
    }
    Ok(())
}

async fn there_is_no_profiling(replica: &Replica) -> Outcome {
    for target in ["/debug/pprof/", "/debug/pprof/heap", "/debug/flags/v", "/configz"] {
        let code = replica.admin.get(target).await.code;
        wrong_unless(code == 404, format!("{code} for {target}"))?;
    }
    Ok(())
}

async fn requests_are_recorded(replica: &Replica) -> Outcome {
    replica.admin.get(&format!("{SECRETS}/recorded")).await;
    wrong_unless(replica.audit_log()?.contains("/secrets/recorded"), "a request is not in the log")
}

async fn records_are_kept(replica: &Replica) -> Outcome {
    let log = replica.log();
    let line = log.lines().find(|line| line.contains("requests are recorded")).ok_or("the server does not record")?;
    let said = |name: &str| -> Option<u64> {
        let plain: String = line.chars().filter(|char| *char != '\u{1b}').collect();
        let (_, rest) = plain.split_once(&format!("{name}="))?;
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
    };
    let (days, files, megabytes) = (said("max_age_days"), said("max_backup"), said("max_size_megabytes"));
    wrong_unless(
        days.is_some_and(|days| days >= 30)
            && files.is_some_and(|files| files >= 10)
            && megabytes.is_some_and(|size| size >= 100),
        format!("{days:?} days, {files:?} files of {megabytes:?} MB: {line}"),
    )
}

async fn requests_end(_: &Replica) -> Outcome {
    Err("60 s, as upstream".to_owned())
}

async fn tokens_end_with_their_account(replica: &Replica) -> Outcome {
    let token = replica.token("ends", 600).await;
    let bearer = replica.stranger().with_token(token["status"]["token"].as_str().expect("a token"));
    assert_eq!(bearer.get("/api").await.code, 200, "the token is good");
    replica.admin.delete("/api/v1/namespaces/default/serviceaccounts/ends").await;
    let code = bearer.get("/api").await.code;
    wrong_unless(code == 401, format!("{code} with a token of an account that is gone"))
}

async fn tokens_are_signed(replica: &Replica) -> Outcome {
    let keys = replica.admin.get("/openid/v1/jwks").await.json();
    wrong_unless(keys["keys"].as_array().is_some_and(|keys| !keys.is_empty()), "no public key is shown")?;
    let own = with_ending(&replica.path("pki"), "key");
    let signing: Vec<&PathBuf> = own
        .iter()
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("sa")))
        .collect();
    wrong_unless(!signing.is_empty(), "there is no key of its own for tokens")?;
    signing.into_iter().try_for_each(|path| at_most(path, 0o600))
}

/// Whether the peers' port lets somebody in.
async fn welcomed(replica: &Replica, trusted: &Path, identity: Option<&system_tests::client::Identity>) -> bool {
    let identity = identity.map(|(certificate, key)| (certificate.as_path(), key.as_path()));
    let config = pki::reload::client_config(trusted, identity, &[b"h2"]).expect("a client configuration");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, replica.server.peer_port));
    let Ok(stream) = tokio::net::TcpStream::connect(address).await else { return false };
    let configured = std::fs::read_to_string(replica.path("server.yaml")).expect("its configuration");
    let cluster = configured.lines().find_map(|line| line.strip_prefix("clusterID: ")).expect("a cluster");
    let name = format!("node-1.{}.kontiki", cluster.trim_matches('"'));
    let name = rustls::pki_types::ServerName::try_from(name).expect("a name");
    let Ok(mut stream) = tokio_rustls::TlsConnector::from(config).connect(name, stream).await else { return false };
    // With TLS 1.3 the server's refusal comes after the client's handshake: instead of its settings.
    let mut first = [0; 9];
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut first)).await;
    matches!(read, Ok(Ok(_)))
}

async fn peers_know_each_other(replica: &Replica) -> Outcome {
    let own = (replica.path("certificates/peer.crt"), replica.path("certificates/peer.key"));
    let trusted = replica.path("pki/peer-ca.crt");
    wrong_unless(welcomed(replica, &trusted, Some(&own)).await, "a peer is not let in")?;
    wrong_unless(!welcomed(replica, &trusted, None).await, "somebody without a certificate is let in")?;
    let other = certify(&replica.ca, replica.dir.path(), "no-peer", &["system:masters"]);
    wrong_unless(!welcomed(replica, &trusted, Some(&other)).await, "a client of the API is let in")
}

async fn the_server_has_a_certificate(replica: &Replica) -> Outcome {
    let path = replica.path("certificates/apiserver.crt");
    let pem = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    wrong_unless(replica.ca.has_signed(&pem), "it is not of the cluster's CA")?;
    at_most(&replica.path("certificates/apiserver.key"), 0o600)
}

async fn clients_of_other_authorities_are_nobody(replica: &Replica) -> Outcome {
    let other = replica.client(&authority("other"), "intruder", &["system:masters"]);
    let request = other.request("GET", SECRETS, &[], "");
    match other.open(true, request).await {
        Err(_) => Ok(()),
        Ok(answer) => wrong_unless(matches!(answer.status().as_u16(), 401 | 403), format!("{}", answer.status())),
    }
}

async fn secrets_are_encrypted(_: &Replica) -> Outcome {
    Err("an operator names the keys: --encryption-provider-config (docs/encryption.md)".to_owned())
}

async fn ciphers_are_strong(replica: &Replica) -> Outcome {
    let stream = replica.admin.connect(true).await;
    let suite = format!("{:?}", stream.get_ref().1.negotiated_cipher_suite().expect("negotiated").suite());
    let strong = suite.starts_with("TLS13_") || suite.contains("GCM") || suite.contains("CHACHA20");
    wrong_unless(strong, suite)
}

async fn tokens_are_not_extended(replica: &Replica) -> Outcome {
    // What a kubelet asks for, and what upstream makes a year of where this is on.
    const SECONDS: i64 = 3607;
    let token = replica.token("short", SECONDS.unsigned_abs()).await;
    let ends: jiff::Timestamp =
        token["status"]["expirationTimestamp"].as_str().and_then(|text| text.parse().ok()).expect("a time");
    let left = ends.as_second() - system_tests::client::now().as_second();
    wrong_unless((SECONDS - 30..=SECONDS).contains(&left), format!("{left} s"))
}

async fn ended_pods_go_early(_: &Replica) -> Outcome {
    Err("12500 pods that have ended are kept, as upstream".to_owned())
}

async fn controllers_are_accounts(replica: &Replica) -> Outcome {
    replica.found("/api/v1/namespaces/default/configmaps/kube-root-ca.crt").await;
    let log = replica.audit_log()?;
    let written = log.lines().filter(|line| line.contains("kube-root-ca.crt") && line.contains("\"create\""));
    let users: BTreeSet<String> = written
        .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["user"]["username"].as_str().map(str::to_owned))
        .collect();
    let own = "system:serviceaccount:kube-system:root-ca-cert-publisher".to_owned();
    wrong_unless(users == BTreeSet::from([own]), format!("written by {users:?}"))
}

async fn pods_get_the_ca(replica: &Replica) -> Outcome {
    let map = replica.found("/api/v1/namespaces/default/configmaps/kube-root-ca.crt").await;
    let trusted = std::fs::read_to_string(replica.path("pki/ca.crt")).expect("the CA");
    wrong_unless(map["data"]["ca.crt"].as_str().map(str::trim) == Some(trusted.trim()), "it is another CA")
}

async fn kubelets_get_serving_certificates(replica: &Replica) -> Outcome {
    use base64::Engine as _;
    let wanted = pki::authority::Request {
        common_name: "system:node:serving".to_owned(),
        organizations: vec!["system:nodes".to_owned()],
        ips: vec![Ipv4Addr::new(192, 0, 2, 1).into()],
        server: true,
        ..pki::authority::Request::default()
    };
    let (_, csr) = pki::authority::new_csr(&wanted, system_tests::client::now()).expect("a request");
    let request = json!({"metadata": {"name": "serving"}, "spec": {
        "request": base64::engine::general_purpose::STANDARD.encode(csr),
        "signerName": "kubernetes.io/kubelet-serving",
        "usages": ["digital signature", "server auth"]}});
    let node = replica.client(&replica.ca, "system:node:serving", &["system:nodes"]);
    let mut made = node.make(SIGNED, &request).await;
    made["status"] = json!({"conditions": [{"type": "Approved", "status": "True", "reason": "Cis"}]});
    let approved = replica.admin.put(&format!("{SIGNED}/serving/approval"), &made).await;
    wrong_unless(approved.code == 200, approved.status())?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let found = replica.found(&format!("{SIGNED}/serving")).await;
        if found["status"]["certificate"].is_string() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err("an approved request is not signed".to_owned())
}

/// Ports that a process listens on.
fn listening(pid: u32) -> BTreeSet<u16> {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its files").flatten();
    let own: BTreeSet<String> = links
        .filter_map(|link| std::fs::read_link(link.path()).ok())
        .filter_map(|target| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut ports = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).expect("the table");
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // 0A: listening.
            if fields[3] == "0A" && own.contains(fields[9]) {
                let port = fields[1].rsplit(':').next().expect("a port");
                ports.insert(u16::from_str_radix(port, 16).expect("a number"));
            }
        }
    }
    ports
}

/// Controllers, scheduler and store have no port of their own.
async fn nothing_else_listens(replica: &Replica) -> Outcome {
    let found = listening(replica.server.pid());
    let wanted = BTreeSet::from([replica.server.api_port, replica.server.peer_port]);
    wrong_unless(found == wanted, format!("{found:?}, not {wanted:?}"))
}

async fn peers_have_a_ca_of_their_own(replica: &Replica) -> Outcome {
    let peer = std::fs::read_to_string(replica.path("certificates/peer.crt")).expect("a certificate");
    wrong_unless(!replica.ca.has_signed(&peer), "it is the cluster's")
}

async fn users_come_from_elsewhere(_: &Replica) -> Outcome {
    Err("who the users are is up to the operator".to_owned())
}

async fn what_matters_is_recorded(replica: &Replica) -> Outcome {
    const CANARY: &str = "never-in-a-record";
    replica.admin.make(SECRETS, &json!({"metadata": {"name": "matters"}, "stringData": {"a": CANARY}})).await;
    replica.admin.get(&format!("{SECRETS}/matters")).await;
    replica.admin.post("/api/v1/namespaces/default/pods/matters/exec?command=sh", &json!({})).await;
    replica.admin.delete(&format!("{SECRETS}/matters")).await;
    let log = replica.audit_log()?;
    wrong_unless(!log.contains(CANARY), "the content of a Secret is recorded")?;
    for wanted in ["\"verb\":\"create\"", "\"verb\":\"get\"", "\"verb\":\"delete\"", "\"subresource\":\"exec\""] {
        let found = log.lines().any(|line| line.contains("\"matters\"") && line.contains(wanted));
        wrong_unless(found, format!("no record with {wanted}"))?;
    }
    Ok(())
}

/// Numbers of items by what became of them; prints the table.
async fn inspect(replica: &Replica) -> (BTreeSet<&'static str>, BTreeSet<&'static str>, BTreeSet<&'static str>) {
    let (mut passed, mut left, mut failed) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (numbers, kind, check) in ITEMS {
        let outcome = check(replica).await;
        let (word, into, why) = match (&outcome, kind) {
            (Ok(()), _) => ("pass", &mut passed, ""),
            (Err(why), Manual) => ("WARN", &mut left, why.as_str()),
            (Err(why), Automated) => ("FAIL", &mut failed, why.as_str()),
        };
        for number in numbers.split(' ') {
            println!("{word} {number} {why}");
            assert!(into.insert(number), "{number} is there twice");
        }
    }
    println!("cis-1.12: {} pass, {} warn, {} fail", passed.len(), left.len(), failed.len());
    (passed, left, failed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_default_configuration_fails_nothing() {
    let (passed, left, failed) = inspect(&Replica::start(&[]).await).await;
    assert_eq!(passed.len() + left.len() + failed.len(), COUNT);
    assert!(failed.is_empty(), "{failed:?}");
}

/// The checks can fail: a replica that was set up to do badly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_found() {
    let tokens = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(tokens.path(), "a,b,c\n").expect("written");
    let (tokens, off) = (tokens.path().display().to_string(), "NamespaceLifecycle,NodeRestriction,ServiceAccount");
    let flags = ["--token-auth-file", &tokens, "--audit-log-path", "", "--enable-admission-plugins", "AlwaysAdmit"];
    let replica = Replica::start(&[&flags[..], &["--disable-admission-plugins", off]].concat()).await;
    for name in ["admin.kubeconfig", "server.yaml"] {
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(replica.path(name), open).expect("changed");
    }
    let (_, _, failed) = inspect(&replica).await;
    let wanted = [
        "1.1.1", "1.1.3", "1.1.5", "1.1.7", "1.1.13", "1.1.15", "1.1.17", "1.2.2", "1.2.10", "1.2.12", "1.2.13",
        "1.2.14", "1.2.16", "1.2.17", "1.2.18", "1.2.19", "1.3.3",
    ];
    assert_eq!(failed, BTreeSet::from(wanted));
}
