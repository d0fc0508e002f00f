//! The tasks of Kubernetes' documentation about who may do what, with kubectl on a real server.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};
use system_tests::issuer::{AUDIENCE, Issuer};
use system_tests::servers::Server;
use system_tests::{Kubectl, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

struct Walk {
    server: Server,
    kubectl: Kubectl,
    issuer: Issuer,
    dir: tempfile::TempDir,
}

impl Walk {
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let issuer = Issuer::start(dir.path());
        let mut server = Server::new();
        server.start(&[
            "--init",
            "--oidc-issuer-url",
            &issuer.url,
            "--oidc-client-id",
            AUDIENCE,
            "--oidc-ca-file",
            &issuer.ca_file.display().to_string(),
            "--oidc-username-prefix",
            "oidc:",
            "--oidc-groups-claim",
            "groups",
            "--oidc-signing-algs",
            "ES256",
        ]);
        eventually("the server serves", PATIENCE, || server.replicas());
        let kubectl = Kubectl::find(server.kubeconfig())?;
        let ready = || kubectl.output(&["get", "serviceaccount", "default"]).status.success().then_some(());
        eventually("the default service account is there", PATIENCE, ready);
        Some(Self { server, kubectl, issuer, dir })
    }

    /// kubectl as somebody with these credentials and nothing else.
    fn with(&self, name: &str, credentials: &[&str]) -> Kubectl {
        let path = self.dir.path().join(format!("{name}.kubeconfig"));
        std::fs::copy(self.server.kubeconfig(), &path).expect("copied");
        let own = self.kubectl.at(path);
        own.ok(&[&["config", "set-credentials", name], credentials].concat());
        own.ok(&["config", "set-context", "--current", "--user", name]);
        own
    }

    fn apply(&self, object: &Value) {
        self.kubectl.with_input(&["apply", "-f", "-"], &object.to_string());
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.kubectl.ok(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&text).expect("JSON")
    }

    /// Every role that a cluster is born with: bound to somebody, `can-i --list` shows all of its rules.
    fn bootstrap_roles(&self) {
        let roles = self.json(&["get", "clusterroles", "-l", "kubernetes.io/bootstrapping=rbac-defaults"]);
        let roles = roles["items"].as_array().expect("items");
        assert!(roles.len() > 60, "{} roles", roles.len());
        let name = |role: &Value| role["metadata"]["name"].as_str().expect("a name").to_owned();
        let binding = |role: &Value| {
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": format!("to-{}", name(role))},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name(role)},
                "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": format!("u-{}", name(role))}]})
        };
        self.apply(
            &json!({"apiVersion": "v1", "kind": "List", "items": roles.iter().map(binding).collect::<Vec<_>>()}),
        );
        let list = |value: &Value| -> Vec<String> {
            let all = value.as_array().into_iter().flatten();
            all.map(|one| one.as_str().expect("a text").to_owned()).collect()
        };
        let mut rules = 0;
        for role in roles {
            let user = format!("u-{}", name(role));
            let shown = self.kubectl.ok(&["auth", "can-i", "--list", "--as", &user]);
            let firsts: Vec<&str> = shown.lines().filter_map(|line| line.split_whitespace().next()).collect();
            for rule in role["rules"].as_array().into_iter().flatten() {
                rules += 1;
                for group in list(&rule["apiGroups"]) {
                    for resource in list(&rule["resources"]) {
                        let (of, sub) = resource.split_once('/').unwrap_or((&resource, ""));
                        let of = if group.is_empty() { of.to_owned() } else { format!("{of}.{group}") };
                        let wanted = if sub.is_empty() { of } else { format!("{of}/{sub}") };
                        assert!(firsts.contains(&wanted.as_str()), "{}: {wanted} is not in\n{shown}", name(role));
                    }
                }
            }
        }
        println!("can-i --list: {rules} rules of {} roles", roles.len());
        let may =
            |verb: &str, what: &str, user: &str| self.kubectl.output(&["auth", "can-i", verb, what, "--as", user]);
        for (verb, what, user, wanted) in [
            ("get", "pods", "u-view", true),
            ("get", "secrets", "u-view", false),
            ("create", "secrets", "u-edit", true),
            ("create", "rolebindings", "u-edit", false),
            ("create", "rolebindings", "u-admin", true),
            ("create", "nodes", "u-admin", false),
            ("create", "nodes", "u-cluster-admin", true),
        ] {
            assert_eq!(may(verb, what, user).status.success(), wanted, "{user}: {verb} {what}");
        }
    }

    fn request(&self, name: &str) -> KeyPair {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, "developers");
        let pem = params.serialize_request(&key).expect("a request").pem().expect("PEM");
        self.apply(&json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": {"name": name},
            "spec": {"request": STANDARD.encode(pem), "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["client auth"], "expirationSeconds": 86400}}));
        key
    }

    fn certificates(&self) {
        let key = self.request("jane");
        self.kubectl.ok(&["certificate", "approve", "jane"]);
        let certificate = eventually("a certificate", PATIENCE, || {
            let found = self.json(&["get", "csr", "jane"]);
            found["status"]["certificate"].as_str().map(|text| STANDARD.decode(text).expect("base64"))
        });
        let (key_file, certificate_file) = (self.dir.path().join("jane.key"), self.dir.path().join("jane.crt"));
        std::fs::write(&key_file, key.serialize_pem()).expect("written");
        std::fs::write(&certificate_file, certificate).expect("written");
        let (key_file, certificate_file) = (key_file.display().to_string(), certificate_file.display().to_string());
        let jane = self.with("jane", &["--client-key", &key_file, "--client-certificate", &certificate_file]);
        let who = jane.ok(&["auth", "whoami"]);
        assert!(who.contains("jane") && who.contains("developers"), "{who}");
        self.request("joe");
        self.kubectl.ok(&["certificate", "deny", "joe"]);
        assert!(self.kubectl.ok(&["get", "csr", "joe"]).contains("Denied"));
        assert!(self.json(&["get", "csr", "joe"])["status"]["certificate"].is_null());
    }

    fn tokens(&self) {
        let token = self.kubectl.ok(&["create", "token", "default", "--duration", "15m"]);
        let account = self.with("account", &["--token", token.trim()]);
        let who = account.ok(&["auth", "whoami"]);
        assert!(who.contains("system:serviceaccount:default:default"), "{who}");
        assert!(account.refused(&["get", "secrets"]).contains("forbidden"));

        let token = self.issuer.token("ann", &["readers"]);
        let ann = self.with("ann", &["--token", &token]);
        let who = ann.ok(&["auth", "whoami"]);
        assert!(who.contains("oidc:ann") && who.contains("readers"), "{who}");
        self.kubectl.ok(&["create", "clusterrolebinding", "readers", "--clusterrole", "view", "--group", "readers"]);
        eventually("ann may read", PATIENCE, || ann.output(&["get", "pods"]).status.success().then_some(()));
        assert!(ann.refused(&["create", "configmap", "c"]).contains("oidc:ann"), "she is named");
        let at = token.len() - 20;
        let other = if token[at..].starts_with('A') { 'B' } else { 'A' };
        let forged = format!("{}{other}{}", &token[..at], &token[at + 1..]);
        assert!(self.with("forged", &["--token", &forged]).refused(&["get", "pods"]).contains("Unauthorized"));
        assert!(ann.refused(&["get", "pods", "--as", "root", "--as-group", "system:masters"]).contains("forbidden"));
    }

    fn impersonation(&self) {
        let who = self.kubectl.ok(&["auth", "whoami", "--as", "bob", "--as-group", "staff", "--as-uid", "b-1"]);
        assert!(who.contains("bob") && who.contains("staff") && who.contains("b-1"), "{who}");
        assert!(self.kubectl.refused(&["get", "pods", "--as", "bob"]).contains("User \"bob\" cannot list"));
    }

    /// `tasks/administer-cluster/manage-resources/quota-memory-cpu-namespace`.
    fn quota(&self) {
        self.kubectl.ok(&["create", "namespace", "quota-mem-cpu-example"]);
        let namespaced = |name: &str| json!({"name": name, "namespace": "quota-mem-cpu-example"});
        self.apply(&json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": namespaced("mem-cpu-demo"),
            "spec": {"hard": {"requests.cpu": "1", "requests.memory": "1Gi", "limits.cpu": "2", "limits.memory": "2Gi"}}}));
        let pod = |name: &str, memory: &str| {
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": namespaced(name),
                "spec": {"containers": [{"name": "c", "image": "nginx", "resources": {
                    "limits": {"memory": "800Mi", "cpu": "800m"}, "requests": {"memory": memory, "cpu": "400m"}}}]}})
        };
        let quota = ["get", "resourcequota", "mem-cpu-demo", "-n", "quota-mem-cpu-example"];
        let used = || self.json(&quota)["status"]["used"].clone();
        // Until its controller has counted it, a quota limits nothing, and what is made then is counted later.
        eventually("the quota is counted", PATIENCE, || used().is_object().then_some(()));
        eventually("the first pod fits", PATIENCE, || {
            let made = self.kubectl.fed(&["apply", "-f", "-"], &pod("quota-mem-cpu-demo", "600Mi").to_string());
            made.0.success().then_some(())
        });
        // Written with the pod.
        assert_eq!(
            used(),
            json!({"requests.cpu": "400m", "requests.memory": "600Mi", "limits.cpu": "800m", "limits.memory": "800Mi"})
        );
        let second = pod("quota-mem-cpu-demo-2", "700Mi").to_string();
        let refused = self.kubectl.refused_input(&["apply", "-f", "-"], &second);
        let why = "exceeded quota: mem-cpu-demo, requested: requests.memory=700Mi, used: requests.memory=600Mi, limited: requests.memory=1Gi";
        assert!(refused.contains(why), "{refused}");
    }

    /// `tasks/administer-cluster/manage-resources/memory-default-namespace`.
    fn limits(&self) {
        self.kubectl.ok(&["create", "namespace", "default-mem-example"]);
        let namespaced = |name: &str| json!({"name": name, "namespace": "default-mem-example"});
        self.apply(&json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": namespaced("mem-limit-range"),
            "spec": {"limits": [{"default": {"memory": "512Mi"}, "defaultRequest": {"memory": "256Mi"}, "type": "Container"}]}}));
        let resources = |name: &str, own: Value| {
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": namespaced(name),
                "spec": {"containers": [{"name": "c", "image": "nginx", "resources": own}]}});
            eventually("the pod is made", PATIENCE, || {
                self.kubectl.fed(&["apply", "-f", "-"], &pod.to_string()).0.success().then_some(())
            });
            self.json(&["get", "pod", name, "-n", "default-mem-example"])["spec"]["containers"][0]["resources"].clone()
        };
        let of = |limit: &str, request: &str| json!({"limits": {"memory": limit}, "requests": {"memory": request}});
        assert_eq!(resources("default-mem-demo", json!({})), of("512Mi", "256Mi"));
        assert_eq!(resources("default-mem-demo-2", json!({"limits": {"memory": "1Gi"}})), of("1Gi", "1Gi"));
        assert_eq!(resources("default-mem-demo-3", json!({"requests": {"memory": "128Mi"}})), of("512Mi", "128Mi"));
    }
}

#[test]
fn kubectl_walks_through_policy() {
    let Some(walk) = Walk::start() else { return };
    walk.bootstrap_roles();
    walk.certificates();
    walk.tokens();
    walk.impersonation();
    walk.quota();
    walk.limits();
}
