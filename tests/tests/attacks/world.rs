//! What attacks are tried on: a replica of the built binary with everything that protects it turned on.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pki::authority::Authority;
use serde_json::{Value, json};
use system_tests::client::{Answer, Client, Identity, authority, certify, now, serving};
use system_tests::eventually;
use system_tests::servers::{Agent, Server};

const PATIENCE: Duration = Duration::from_secs(60);
/// How long something that happens by itself is waited for.
pub(crate) const SOON: Duration = Duration::from_secs(20);
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";

/// All bodies but those of Secrets.
pub(crate) const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n\
    - {level: Metadata, resources: [{group: '', resources: [secrets, serviceaccounts/token]}]}\n- {level: RequestResponse}\n";
pub(crate) const ENCRYPTION: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
    - resources: [secrets]\n  providers: [{secretbox: {keys: [{name: a, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}}]\n";

pub(crate) struct World {
    pub(crate) server: Server,
    /// Signs clients, nodes and kubelets' serving certificates.
    pub(crate) ca: Authority,
    /// Signs front proxies.
    pub(crate) front_ca: Authority,
    /// `system:masters`
    pub(crate) admin: Client,
    /// Files of the test.
    pub(crate) dir: tempfile::TempDir,
}

fn write(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).expect("written");
    path.display().to_string()
}

impl World {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// One of a row's own, with further flags.
    pub(crate) fn with(more: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let front_ca = authority("front-proxies");
        let mut server = Server::new();
        let flags = [
            "--init",
            "--requestheader-client-ca-file",
            &write(dir.path(), "front-ca.crt", front_ca.certificate_pem()),
            "--requestheader-allowed-names",
            "front",
            "--audit-policy-file",
            &write(dir.path(), "audit.yaml", AUDIT_POLICY),
            "--audit-log-path",
            &dir.path().join("audit.log").display().to_string(),
            "--encryption-provider-config",
            &write(dir.path(), "encryption.yaml", ENCRYPTION),
        ];
        server.start(&[&flags[..], more].concat());
        eventually("the server serves", PATIENCE, || server.replicas());
        let ca = server.authority();
        let admin = server.client(Some(&certify(&ca, dir.path(), "attacked-admin", &["system:masters"])));
        Self { server, ca, front_ca, admin, dir }
    }

    /// Until what every cluster has is there.
    pub(crate) async fn settle(&self) {
        self.admin.until("/readyz").await;
        self.admin.until("/api/v1/namespaces/default/serviceaccounts/default").await;
    }

    /// Nobody in particular.
    pub(crate) fn stranger(&self) -> Client {
        self.server.client(None)
    }

    /// With a certificate of this CA.
    pub(crate) fn certified(&self, ca: &Authority, name: &str, groups: &[&str]) -> Client {
        self.showing(&certify(ca, self.dir.path(), name, groups))
    }

    /// A user of the cluster's CA.
    pub(crate) fn user(&self, name: &str) -> Client {
        self.certified(&self.ca, name, &[])
    }

    /// The identity of a kubelet; its Node object is not made.
    pub(crate) fn node(&self, name: &str) -> Client {
        self.certified(&self.ca, &format!("system:node:{name}"), &["system:nodes"])
    }

    /// A user who may do this, everywhere; its name must be one of its own. Returns once it may.
    pub(crate) async fn user_with(&self, name: &str, rules: Value) -> Client {
        self.grant(name, rules).await;
        self.user(name)
    }

    /// Gives a user a role of its own with these rules, everywhere.
    pub(crate) async fn grant(&self, user: &str, rules: Value) {
        self.admin.grant(None, user, rules).await;
    }

    /// The same in one namespace.
    pub(crate) async fn grant_in(&self, namespace: &str, user: &str, rules: Value) {
        self.admin.grant(Some(namespace), user, rules).await;
    }

    /// Takes away what a row made, which is there.
    pub(crate) async fn delete(&self, target: &str) {
        let gone = self.admin.delete(target).await;
        assert_eq!(gone.code, 200, "DELETE {target}: {}", gone.status());
    }

    /// A certificate and its key in files of the test, made so many seconds ago.
    pub(crate) fn issued(&self, ca: &Authority, file: &str, request: &pki::authority::Request, age: i64) -> Identity {
        let made = now() - jiff::SignedDuration::from_secs(age);
        ca.issue(request, made).expect("a certificate").write(self.dir.path(), file).expect("written");
        (self.dir.path().join(format!("{file}.crt")), self.dir.path().join(format!("{file}.key")))
    }

    /// A client that shows this certificate.
    pub(crate) fn showing(&self, identity: &Identity) -> Client {
        self.server.client(Some(identity))
    }

    /// A kubelet whose containers are in memory only, on a port of this machine; no pod is scheduled to it. Returns once
    /// it listens.
    pub(crate) async fn kubelet(&self, name: &str) -> (Agent, SocketAddr) {
        let node = json!({"metadata": {"name": name}, "spec": {"unschedulable": true}});
        self.admin.make("/api/v1/nodes", &node).await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        let dir = self.dir.path();
        let user = format!("system:node:{name}");
        let client = certify(&self.ca, dir, &user, &["system:nodes"]);
        let serving = self.issued(&self.ca, &format!("{name}-serving"), &serving(&user), 0);
        let ca = self.server.dir.join("pki/ca.crt");
        let data = |path: &Path| STANDARD.encode(std::fs::read(path).expect("a file"));
        let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": self.server.url(), "certificate-authority-data": data(&ca)}}],
            "users": [{"name": "u", "user": {"client-certificate-data": data(&client.0), "client-key-data": data(&client.1)}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]});
        let kubeconfig = write(dir, &format!("{name}.kubeconfig"), &kubeconfig.to_string());
        let node = json!({"name": name, "ip": address.ip(), "port": address.port(), "kubeconfig": kubeconfig,
            "podCIDR": "10.251.0.0/24", "servingCertificate": serving.0, "servingKey": serving.1, "clientCA": ca});
        let config = json!({"apiVersion": "kontiki.io/v1", "kind": "AgentConfiguration", "dataDir": dir.join(name),
            "nodes": [node], "servers": [self.server.url()], "runtime": "fake"});
        let agent = Agent::start(&["--config", &write(dir, &format!("{name}.yaml"), &config.to_string())]);
        let deadline = std::time::Instant::now() + PATIENCE;
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(std::time::Instant::now() < deadline, "{name}: it does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (agent, address)
    }

    /// Every record of what was asked so far.
    pub(crate) fn audited(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("audit.log")).expect("the audit log")
    }

    /// The rules in force are those that were written before this was called: they follow the store within a moment.
    pub(crate) async fn level(&self) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    /// A namespace with its default ServiceAccount.
    pub(crate) async fn namespace(&self, name: &str, labels: Value) {
        self.admin.make("/api/v1/namespaces", &json!({"metadata": {"name": name, "labels": labels}})).await;
        self.admin.until(&format!("/api/v1/namespaces/{name}/serviceaccounts/default")).await;
    }

    /// A TokenRequest's answer.
    pub(crate) async fn token(&self, account: &str, spec: Value) -> Answer {
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        self.admin.post(&format!("/api/v1/namespaces/default/serviceaccounts/{account}/token"), &request).await
    }
}

/// Whom the server takes this request's sender for.
pub(crate) async fn who(client: &Client, headers: &[(&str, &str)]) -> Result<Value, u16> {
    let mut all = vec![system_tests::client::JSON];
    all.extend(headers);
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).to_string();
    let answer = client.send("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", &all, body).await;
    if answer.code == 201 { Ok(answer.json()["status"]["userInfo"].clone()) } else { Err(answer.code) }
}

pub(crate) fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

/// Names of what a list shows.
pub(crate) fn names(answer: &Answer) -> Vec<String> {
    let list = answer.json();
    let items = list["items"].as_array().unwrap_or_else(|| panic!("no list: {}", answer.status()));
    items.iter().map(|item| item["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
}

pub(crate) fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "busybox"}]}})
}

/// One way to write a change.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    method: &'static str,
    query: &'static str,
    content: &'static str,
    body: Value,
}

/// A change of fields such as `{"metadata": {"labels": {"a": "b"}}}`, in all the ways there are to write it to an
/// object that is stored. What is `null` is taken away, which an apply cannot say.
pub(crate) fn ways(stored: &Value, change: &Value) -> Vec<Way> {
    let patch = |name, content, body| Way { name, method: "PATCH", query: "", content, body };
    let mut whole = merged(stored, change);
    let operations = operations(stored, change, &whole);
    if let Some(meta) = whole["metadata"].as_object_mut() {
        meta.remove("resourceVersion");
    }
    let mut ways = vec![
        Way { name: "an update", method: "PUT", query: "", content: "application/json", body: whole },
        patch("a merge patch", "application/merge-patch+json", change.clone()),
        patch("a strategic merge patch", "application/strategic-merge-patch+json", change.clone()),
        patch("a JSON patch", "application/json-patch+json", operations.into()),
    ];
    if !change.to_string().contains(":null") {
        let mut known = json!({"apiVersion": stored["apiVersion"], "kind": stored["kind"], "metadata": {}});
        for field in ["name", "namespace"].into_iter().filter(|field| stored["metadata"].get(field).is_some()) {
            known["metadata"][field] = stored["metadata"][field].clone();
        }
        let mut apply = patch("an apply", "application/apply-patch+yaml", merged(&known, change));
        apply.query = "fieldManager=attack&force=true";
        ways.push(apply);
    }
    ways
}

impl Way {
    pub(crate) async fn send(&self, client: &Client, target: &str) -> Answer {
        let sign = if target.contains('?') { "&" } else { "?" };
        let target = format!("{target}{sign}{}", self.query);
        client.send(self.method, &target, &[("content-type", self.content)], self.body.to_string()).await
    }
}

fn merged(stored: &Value, change: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (stored, change) else { return change.clone() };
    let mut all = old.clone();
    for (field, value) in new {
        let value = merged(old.get(field).unwrap_or(&Value::Null), value);
        if value.is_null() {
            all.remove(field)
        } else {
            all.insert(field.clone(), value)
        };
    }
    Value::Object(all)
}

/// A JSON patch that makes each changed field what it is in the whole.
fn operations(stored: &Value, change: &Value, whole: &Value) -> Vec<Value> {
    let mut operations = Vec::new();
    for (part, fields) in change.as_object().into_iter().flatten() {
        if stored.get(part).is_none() {
            operations.push(json!({"op": "add", "path": format!("/{part}"), "value": {}}));
        }
        for field in fields.as_object().into_iter().flatten().map(|(field, _)| field) {
            let path = format!("/{part}/{field}");
            operations.push(match whole[part].get(field) {
                Some(value) => json!({"op": "add", "path": path, "value": value}),
                None => json!({"op": "remove", "path": path}),
            });
        }
    }
    operations
}

/// What is answered, once it fits: what one replica knows follows the store within a moment.
pub(crate) async fn soon(client: &Client, target: &str, fits: impl Fn(&Answer) -> bool) -> Answer {
    let Ok(answer) = tokio::time::timeout(SOON, client.until_is(target, fits)).await else {
        let last = client.get(target).await;
        panic!("{target} does not become what it should: {}", last.status());
    };
    answer
}

/// `system:masters` on a server of a row's own; with files in this directory.
pub(crate) fn admin_of(server: &Server, dir: &Path) -> Client {
    let name = format!("admin-of-{}", server.api_port);
    server.client(Some(&certify(&server.authority(), dir, &name, &["system:masters"])))
}
