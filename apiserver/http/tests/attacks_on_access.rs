//! What somebody might try against authentication and authorization, over real connections: certificates, tokens and
//! RBAC as a replica has them.

use std::path::Path;
use std::sync::Arc;

use crate::common::{Answer, Client, Deciders, Running, pod};
use api_auth::authn::bootstrap_token::BootstrapTokens;
use api_auth::authn::request_header::{FrontProxy, RequestHeaders};
use api_auth::authn::service_account::ServiceAccounts;
use api_auth::authn::x509::X509;
use api_auth::authn::{Anonymous, Union};
use api_auth::authz::node::References;
use api_auth::authz::rbac::{Index, Objects as RbacObjects, Rbac};
use api_auth::authz::{self, Masters};
use api_http::FrontProxyConfig;
use api_machinery::{ApiError, GroupResource, ObjectKey, Value};
use api_registry::Registry;
use async_trait::async_trait;
use pki::authority::Authority;
use serde_json::json;

/// The cache as authentication sees it.
struct Shown(Arc<Registry>);

#[async_trait]
impl api_auth::Objects for Shown {
    fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.0.cache.get(&ObjectKey::new(resource.clone(), namespace, name)).map(|object| object.value())
    }
    fn references_on_node(&self, _: &str) -> Vec<Arc<References>> {
        Vec::new()
    }
    async fn refresh(&self) -> Result<(), ApiError> {
        api_admission::View::refresh(&*self.0).await
    }
}

struct World {
    server: Running,
    rbac: Arc<Rbac>,
    front_ca: Authority,
}

const GROUP: &str = "rbac.authorization.k8s.io";

impl World {
    /// With the roles every cluster has.
    async fn new() -> Self {
        let rbac = Arc::new(Rbac::default());
        let front_ca = Authority::create("front-ca", crate::common::now()).expect("a CA");
        let (decides, front_pem) = (rbac.clone(), front_ca.certificate_pem().to_owned());
        let server = Running::start_with(|registry, dir| deciders(registry, dir, decides, &front_pem)).await;
        server.registry.bootstrap().await.expect("done");
        let world = Self { server, rbac, front_ca };
        world.settle().await;
        world
    }

    /// RBAC as it is now.
    async fn settle(&self) {
        self.level().await;
        let list = |plural: &str| -> Vec<Arc<Value>> {
            let listing = self.server.registry.cache.list(&GroupResource::new(GROUP, plural), None);
            listing.objects.iter().map(|object| object.value()).collect()
        };
        self.rbac.update(Index::build(&RbacObjects {
            cluster_roles: list("clusterroles"),
            roles: list("roles"),
            cluster_role_bindings: list("clusterrolebindings"),
            role_bindings: list("rolebindings"),
        }));
    }

    /// Gives a user a role with these rules, everywhere.
    async fn grant(&self, user: &str, rules: Value) {
        let admin = &self.server.admin;
        let role = json!({"metadata": {"name": user}, "rules": rules});
        let made = admin.post(&format!("/apis/{GROUP}/v1/clusterroles"), &role).await;
        assert_eq!(made.code, 201, "{}", made.text());
        let binding = json!({"metadata": {"name": user}, "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": user},
            "subjects": [{"kind": "User", "apiGroup": GROUP, "name": user}]});
        let made = admin.post(&format!("/apis/{GROUP}/v1/clusterrolebindings"), &binding).await;
        assert_eq!(made.code, 201, "{}", made.text());
        self.settle().await;
    }

    /// A client with a certificate of a CA for this name.
    fn certified(&self, ca: &Authority, name: &str, groups: &[&str]) -> Client {
        let dir = self.server.dir.path();
        let request = pki::authority::Request {
            common_name: name.to_owned(),
            organizations: groups.iter().map(|group| (*group).to_owned()).collect(),
            client: true,
            days: 1,
            ..pki::authority::Request::default()
        };
        let file = name.replace(':', "-");
        ca.issue(&request, crate::common::now()).expect("a certificate").write(dir, &file).expect("written");
        let identity = (dir.join(format!("{file}.crt")), dir.join(format!("{file}.key")));
        Client::new(self.server.address, &dir.join("ca.crt"), Some((&identity.0, &identity.1)))
    }

    fn user(&self, name: &str) -> Client {
        self.certified(&self.server.ca, name, &[])
    }

    /// Who the server takes this request's sender for.
    async fn who(&self, client: &Client, headers: &[(&str, &str)]) -> Result<Value, u16> {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).to_string();
        let answer = client.send(true, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", &all, body).await;
        if answer.code == 201 { Ok(answer.json()["status"]["userInfo"].clone()) } else { Err(answer.code) }
    }

    async fn token(&self, account: &str, spec: Value) -> Answer {
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        self.server.admin.post(&format!("/api/v1/namespaces/default/serviceaccounts/{account}/token"), &request).await
    }

    async fn make(&self, target: &str, body: Value) -> Value {
        let made = self.server.admin.post(target, &body).await;
        assert_eq!(made.code, 201, "{}", made.text());
        self.level().await;
        made.json()
    }

    async fn delete(&self, target: &str) {
        let body = r#"{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0}"#;
        let gone = self.server.admin.send(true, "DELETE", target, &[], body).await;
        assert_eq!(gone.code, 200, "{}", gone.text());
        self.level().await;
    }

    /// The cache shows what was acknowledged.
    async fn level(&self) {
        api_admission::View::refresh(&*self.server.registry).await.expect("a level cache");
    }
}

fn deciders(registry: &Arc<Registry>, dir: &Path, rbac: Arc<Rbac>, front_pem: &str) -> Deciders {
    let objects: Arc<dyn api_auth::Objects> = Arc::new(Shown(registry.clone()));
    let ca = dir.join("front-ca.crt");
    std::fs::write(&ca, front_pem).expect("written");
    let list = |name: &str| vec![name.to_owned()];
    let headers = RequestHeaders {
        username: list("X-Remote-User"),
        uid: list("X-Remote-Uid"),
        group: list("X-Remote-Group"),
        extra_prefixes: list("X-Remote-Extra-"),
        allowed_names: list("front"),
    };
    let accounts =
        ServiceAccounts { issuer: registry.config.tokens.clone(), objects: objects.clone(), now: crate::common::now };
    Deciders {
        authenticator: Arc::new(Union {
            methods: vec![
                Box::new(FrontProxy),
                Box::new(X509),
                Box::new(accounts),
                Box::new(BootstrapTokens { objects, now: crate::common::now }),
            ],
            anonymous: Anonymous::everywhere(),
        }),
        authorizer: Arc::new(authz::Union { authorizers: vec![Box::new(Masters), Box::new(rbac)] }),
        front_proxy: Some(FrontProxyConfig { ca, headers }),
    }
}

const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a17_parents_do_not_grant_subresources() {
    let world = World::new().await;
    let all = |group: &str, resources: &[&str]| json!({"verbs": ["*"], "apiGroups": [group], "resources": resources});
    world
        .grant(
            "ann",
            json!([
                all("", &["pods", "nodes", "services", "serviceaccounts", "namespaces", "persistentvolumeclaims"]),
                all("apps", &["deployments", "replicasets", "statefulsets"]),
                all("certificates.k8s.io", &["certificatesigningrequests"]),
            ]),
        )
        .await;
    let ann = world.user("ann");
    assert_eq!(ann.get(PODS).await.code, 200, "the control");
    let mut open = Vec::new();
    for (method, target) in [
        ("POST", "/api/v1/namespaces/default/pods/p/exec?command=sh"),
        ("GET", "/api/v1/namespaces/default/pods/p/exec?command=sh"),
        ("POST", "/api/v1/namespaces/default/pods/p/attach"),
        ("POST", "/api/v1/namespaces/default/pods/p/portforward"),
        ("GET", "/api/v1/namespaces/default/pods/p/log"),
        ("GET", "/api/v1/namespaces/default/pods/p/proxy/x"),
        ("PATCH", "/api/v1/namespaces/default/pods/p/ephemeralcontainers"),
        ("PATCH", "/api/v1/namespaces/default/pods/p/resize"),
        ("POST", "/api/v1/namespaces/default/pods/p/eviction"),
        ("POST", "/api/v1/namespaces/default/pods/p/binding"),
        ("PUT", "/api/v1/namespaces/default/pods/p/status"),
        ("POST", "/api/v1/namespaces/default/bindings"),
        ("GET", "/api/v1/nodes/n/proxy/exec"),
        ("PATCH", "/api/v1/nodes/n/status"),
        ("GET", "/api/v1/namespaces/default/services/s/proxy/"),
        ("PUT", "/api/v1/namespaces/default/status"),
        ("PUT", "/api/v1/namespaces/default/finalize"),
        ("POST", "/api/v1/namespaces/default/serviceaccounts/default/token"),
        ("PATCH", "/api/v1/namespaces/default/persistentvolumeclaims/c/status"),
        ("GET", "/apis/apps/v1/namespaces/default/deployments/d/scale"),
        ("PATCH", "/apis/apps/v1/namespaces/default/replicasets/d/scale"),
        ("PUT", "/apis/apps/v1/namespaces/default/statefulsets/d/status"),
        ("PUT", "/apis/certificates.k8s.io/v1/certificatesigningrequests/c/approval"),
        ("PUT", "/apis/certificates.k8s.io/v1/certificatesigningrequests/c/status"),
    ] {
        let answer = ann.send(true, method, target, &[], "{}").await;
        if answer.code != 403 {
            open.push(format!("{method} {target}: {}", answer.status()));
        }
    }
    assert!(open.is_empty(), "{open:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a18_reading_runs_nothing() {
    let world = World::new().await;
    let streams = ["pods/exec", "pods/attach", "pods/portforward"];
    world.grant("ann", json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": streams}])).await;
    let ann = world.user("ann");
    for stream in ["exec?command=sh", "attach", "portforward?ports=80"] {
        let upgrade = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "v5.channel.k8s.io"),
        ];
        let answer = ann.send(false, "GET", &format!("{PODS}/p/{stream}"), &upgrade, "").await;
        assert!(answer.status().contains("cannot create resource"), "{stream}: {}", answer.status());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a21_acting_as_somebody_else_needs_each_right() {
    let world = World::new().await;
    let of = |group: &str, resource: &str, names: &[&str]| json!({"verbs": ["impersonate"], "apiGroups": [group], "resources": [resource], "resourceNames": names});
    world
        .grant(
            "ann",
            json!([
                of("", "users", &["bob"]),
                of("", "groups", &["dev"]),
                of("authentication.k8s.io", "uids", &["u1"]),
                of("authentication.k8s.io", "userextras/scope", &["read"]),
            ]),
        )
        .await;
    let ann = world.user("ann");
    let full = [
        ("impersonate-user", "bob"),
        ("impersonate-uid", "u1"),
        ("impersonate-group", "dev"),
        ("impersonate-extra-scope", "read"),
    ];
    let bob = world.who(&ann, &full).await.expect("granted");
    let expected = json!({"username": "bob", "uid": "u1", "groups": ["dev", "system:authenticated"],
        "extra": {"scope": ["read"]}});
    assert_eq!(bob, expected);
    for (name, value) in [
        ("impersonate-user", "root"),
        ("impersonate-user", "system:serviceaccount:kube-system:admin"),
        ("impersonate-user", "system:node:n1"),
        ("impersonate-group", "system:masters"),
        ("impersonate-uid", "u2"),
        ("impersonate-extra-scope", "write"),
        ("impersonate-extra-other", "read"),
    ] {
        let mut headers: Vec<_> = full.into_iter().filter(|(own, _)| *own != name).collect();
        headers.push((name, value));
        assert_eq!(world.who(&ann, &headers).await, Err(403), "{name}: {value}");
    }
    // Not even somebody who may be nobody else stays themselves when the name is missing.
    assert_eq!(world.who(&ann, &[("impersonate-group", "dev")]).await, Err(400));
    // A user of the edit role may act as the service accounts it can use anyway, and as nobody else.
    let eve = world.user("eve");
    assert_eq!(world.who(&eve, &[("impersonate-user", "bob")]).await, Err(403));
    // Who is allowed to be in system:masters is; nobody is on the way there by another's name.
    let admin = &world.server.admin;
    assert_eq!(world.who(admin, &[("impersonate-user", "eve")]).await.expect("granted")["username"], "eve");
    let as_eve = [("impersonate-user", "eve")];
    assert_eq!(admin.with("/api/v1/secrets", &as_eve).await.code, 403, "acting as eve, eve's rights count");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a22_only_front_proxies_say_who_somebody_is() {
    let world = World::new().await;
    let claim = [("x-remote-user", "root"), ("x-remote-group", "system:masters")];
    let front = world.certified(&world.front_ca, "front", &[]);
    let named = [
        ("x-remote-user", "bob"),
        ("x-remote-uid", "u1"),
        ("x-remote-group", "dev"),
        ("x-remote-extra-acme.com%2Fproject", "p"),
    ];
    let bob = world.who(&front, &named).await.expect("believed");
    let expected = json!({"username": "bob", "uid": "u1", "groups": ["dev", "system:authenticated"],
        "extra": {"acme.com/project": ["p"]}});
    assert_eq!(bob, expected);
    assert_eq!(front.with("/api/v1/secrets", &claim).await.code, 200, "the control");
    // By itself a front proxy is nobody.
    assert_eq!(world.who(&front, &[]).await, Err(401));
    assert_eq!(world.who(&front, &[("x-remote-group", "system:masters")]).await, Err(401));
    // An ordinary client, of a name that would do; another certificate of the front proxies' CA; a stranger.
    let client = world.certified(&world.server.ca, "front", &[]);
    assert_eq!(world.who(&client, &claim).await.expect("known")["username"], "front");
    assert_eq!(client.with("/api/v1/secrets", &claim).await.code, 403);
    let other = world.certified(&world.front_ca, "other", &["system:masters"]);
    assert_eq!(other.with("/api/v1/secrets", &claim).await.code, 401);
    let stranger = world.server.stranger();
    assert_eq!(stranger.with("/api/v1/secrets", &claim).await.code, 403);
    assert_eq!(stranger.with("/version", &claim).await.code, 200, "the headers are as if they were not there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a23_tokens_end_with_what_they_are_bound_to() {
    let world = World::new().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    world.make(accounts, json!({"metadata": {"name": "web"}})).await;
    let mut running = pod("p");
    running["spec"]["serviceAccountName"] = "web".into();
    world.make(PODS, running.clone()).await;
    let secret = || json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}});
    world.make("/api/v1/namespaces/default/secrets", secret()).await;
    world.make("/api/v1/nodes", json!({"metadata": {"name": "n"}})).await;
    let stranger = world.server.stranger();
    let who = async |token: &str| {
        let bearer = format!("Bearer {token}");
        world.who(&stranger, &[("authorization", &bearer)]).await
    };
    let issue = async |kind: &str, name: &str| {
        let answer =
            world.token("web", json!({"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name}})).await;
        assert_eq!(answer.code, 201, "{}", answer.text());
        answer.json()["status"]["token"].as_str().expect("a token").to_owned()
    };
    for (kind, name, target, again) in [
        ("Pod", "p", PODS, running),
        ("Secret", "s", "/api/v1/namespaces/default/secrets", secret()),
        ("Node", "n", "/api/v1/nodes", json!({"metadata": {"name": "n"}})),
    ] {
        let token = issue(kind, name).await;
        let user = who(&token).await.unwrap_or_else(|code| panic!("{kind}: {code}"));
        assert_eq!(user["username"], "system:serviceaccount:default:web");
        let key = format!("authentication.kubernetes.io/{}-name", kind.to_lowercase());
        if kind != "Secret" {
            assert_eq!(user["extra"][&key], json!([name]));
        }
        world.delete(&format!("{target}/{name}")).await;
        assert_eq!(who(&token).await, Err(401), "{kind}: gone");
        world.make(target, again).await;
        assert_eq!(who(&token).await, Err(401), "{kind}: another of the same name");
        assert!(who(&issue(kind, name).await).await.is_ok(), "{kind}: a token of the new one");
    }
    let other = world.token("web", json!({"audiences": ["vault"]})).await.json();
    assert_eq!(who(other["status"]["token"].as_str().expect("a token")).await, Err(401), "for somebody else");
    let own = world.token("web", json!({})).await.json();
    let own = own["status"]["token"].as_str().expect("a token");
    assert!(who(own).await.is_ok());
    world.delete(&format!("{accounts}/web")).await;
    assert_eq!(who(own).await, Err(401), "the account is gone");
    world.make(accounts, json!({"metadata": {"name": "web"}})).await;
    assert_eq!(who(own).await, Err(401), "another account of the same name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a24_nobody_gets_a_token_of_another_account() {
    let world = World::new().await;
    for name in ["web", "admin"] {
        world.make("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": name}})).await;
    }
    let token = world.token("web", json!({})).await.json();
    let bearer = format!("Bearer {}", token["status"]["token"].as_str().expect("a token"));
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let target = "/api/v1/namespaces/default/serviceaccounts/admin/token";
    let asked = world.server.stranger().send(true, "POST", target, &headers, "{}").await;
    assert_eq!(asked.code, 403, "{}", asked.text());
    // Bound to a pod of another account, to another's uid, or for another name than the path's.
    world.make(PODS, pod("p")).await;
    let bound = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p"}});
    assert_eq!(world.token("web", bound).await.code, 400);
    for (metadata, code) in [
        (json!({"name": "admin"}), 422),
        (json!({"namespace": "kube-system"}), 422),
        (json!({"uid": "of-an-earlier-one"}), 409),
    ] {
        let request = json!({"metadata": metadata, "spec": {}});
        let target = "/api/v1/namespaces/default/serviceaccounts/web/token";
        let answer = world.server.admin.post(target, &request).await;
        assert_eq!(answer.code, code, "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a25_bootstrap_tokens_are_headers_and_end() {
    let world = World::new().await;
    let secret = |end: &str| {
        json!({"metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token", "stringData": {
            "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
            "expiration": end}})
    };
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    world.make(secrets, secret("2999-01-01T00:00:00Z")).await;
    let stranger = world.server.stranger();
    let who = async |token: &str| world.who(&stranger, &[("authorization", &format!("Bearer {token}"))]).await;
    let user = who("abcdef.0123456789abcdef").await.expect("known");
    assert_eq!(user["groups"], json!(["system:bootstrappers", "system:authenticated"]));
    for wrong in ["abcdef.0123456789abcdee", "abcdee.0123456789abcdef", "abcdef.0123456789abcde", "abcdef."] {
        assert_eq!(who(wrong).await, Err(401), "{wrong}");
    }
    for name in ["token", "access_token", "bearer", "authorization"] {
        let answer = stranger.get(&format!("/api/v1/nodes?{name}=abcdef.0123456789abcdef")).await;
        assert!(answer.status().contains("system:anonymous"), "{}", answer.status());
    }
    world.delete(&format!("{secrets}/bootstrap-token-abcdef")).await;
    assert_eq!(who("abcdef.0123456789abcdef").await, Err(401));
    world.make(secrets, secret("2000-01-01T00:00:00Z")).await;
    assert_eq!(who("abcdef.0123456789abcdef").await, Err(401));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a28_strangers_learn_nothing() {
    let world = World::new().await;
    world.make("/api/v1/namespaces/default/secrets", json!({"metadata": {"name": "there"}})).await;
    let stranger = world.server.stranger();
    let paths = world.server.admin.get("/").await.json();
    let paths: Vec<String> = serde_json::from_value(paths["paths"].clone()).expect("paths");
    let open = |path: &str| {
        ["/healthz", "/livez", "/readyz"].iter().any(|one| path == *one || path.starts_with(&format!("{one}/")))
            || path == "/version"
    };
    for path in &paths {
        let code = stranger.get(path).await.code;
        match open(path) {
            true => assert!(code == 200 || code == 403, "{path}: {code}"),
            false => assert_eq!(code, 403, "{path}"),
        }
    }
    for open in ["/healthz", "/livez", "/readyz", "/version"] {
        assert_eq!(stranger.get(open).await.code, 200, "{open}");
    }
    // What is there is refused in the same words as what is not.
    let refused = async |name: &str| {
        let answer = stranger.get(&format!("/api/v1/namespaces/default/secrets/{name}")).await;
        answer.status().replace(name, "NAME")
    };
    assert_eq!(refused("there").await, refused("nowhere").await);
    let elsewhere = stranger.get("/api/v1/namespaces/nowhere/secrets/there").await;
    assert_eq!(elsewhere.status().replace("nowhere", "default").replace("there", "NAME"), refused("there").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a29_reviews_of_oneself_tell_of_oneself() {
    let world = World::new().await;
    let rule = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
    world.grant("ann", json!([rule])).await;
    let (ann, eve) = (world.user("ann"), world.user("eve"));
    let rules = async |client: &Client| {
        let review = json!({"spec": {"namespace": "default"}});
        let answer = client.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &review).await;
        assert_eq!(answer.code, 201, "{}", answer.text());
        answer.json()
    };
    let own = rules(&ann).await;
    assert_eq!((&own["status"]["incomplete"], &own["spec"]), (&json!(false), &json!({})));
    let resources = |review: &Value| review["status"]["resourceRules"].as_array().expect("rules").clone();
    assert!(resources(&own).contains(&rule), "{own}");
    assert!(!resources(&rules(&eve).await).contains(&rule), "another's");
    // A spec that names somebody else asks about the asker all the same.
    let review = json!({"spec": {"user": "ann", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}});
    let answer = eve.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await;
    assert_ne!(answer.json()["status"]["allowed"], true, "{}", answer.text());
    let answer = eve.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await;
    assert_eq!(answer.code, 403, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a30_what_is_taken_away_is_gone_at_once() {
    let world = World::new().await;
    world.grant("ann", json!([{"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}])).await;
    let ann = world.user("ann");
    assert_eq!(ann.get(PODS).await.code, 200);
    world.delete(&format!("/apis/{GROUP}/v1/clusterrolebindings/ann")).await;
    world.settle().await;
    assert_eq!(ann.get(PODS).await.code, 403, "no decision is kept");
}
