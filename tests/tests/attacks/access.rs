//! What somebody may.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use system_tests::client::{Answer, Client, JSON, JSON_PATCH, RBAC, RBAC_GROUP};

use crate::world::{PODS, SOON, World, names, rule, ways, who};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const APPLY: (&str, &str) = ("content-type", "application/apply-patch+yaml");
/// What a browser asks a stream with.
const UPGRADE: [(&str, &str); 5] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-protocol", "v5.channel.k8s.io"),
];

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "b"}})
}

/// `.` and `..` are no namespaces: a path with them is refused before anybody asks who may, and no object has such a
/// name.
pub(crate) async fn a13_namespaces_of_dots(world: &World) {
    let stranger = world.stranger();
    for namespace in ["%2e%2e", "%2e", "%2E.", "..", "."] {
        for rest in ["", "/pods", "/pods/x", "/secrets", "/status"] {
            let target = format!("/api/v1/namespaces/{namespace}{rest}");
            for (whose, client) in [("a stranger's", &stranger), ("the admin's", &world.admin)] {
                let answer = client.get(&target).await;
                assert_eq!(answer.code, 400, "{whose} {target}: {}", answer.status());
            }
        }
    }
    for name in ["..", ".", "a/b", "%2e%2e"] {
        let space = json!({"metadata": {"name": name}});
        let made = world.admin.post("/api/v1/namespaces", &space).await;
        assert_eq!((made.code, made.json()["reason"].as_str()), (422, Some("Invalid")), "a namespace {name:?}");
        let made = world.admin.post(MAPS, &map(name)).await;
        assert_eq!((made.code, made.json()["reason"].as_str()), (422, Some("Invalid")), "a config map {name:?}");
    }
    let elsewhere = json!({"metadata": {"name": "a13", "namespace": ".."}});
    let made = world.admin.post(MAPS, &elsewhere).await;
    assert_eq!(made.code, 400, "an object says it is in another namespace: {}", made.status());
    assert_eq!(world.admin.post("/api/v1/namespaces", &json!({"metadata": {"name": "a13"}})).await.code, 201);
    assert_eq!(world.admin.get("/api/v1/namespaces/a13/pods").await.code, 200, "the control");
}

/// Who may do everything in one namespace reaches nothing outside of it by a path through it, and what is in namespaces
/// is not named outside of them. (Of the built-in kinds; custom resources are not served yet.)
pub(crate) async fn a14_cluster_scoped_objects_by_namespaced_paths(world: &World) {
    let everything = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    world.grant_in("default", "a14", everything).await;
    let user = world.user("a14");
    assert_eq!(user.get(PODS).await.code, 200, "the control");
    assert_eq!(user.get("/api/v1/namespaces/default").await.code, 200, "a namespace is in itself");
    for outside in ["/api/v1/nodes", "/api/v1/namespaces", "/api/v1/namespaces/kube-system", "/api/v1/secrets"] {
        assert_eq!(user.get(outside).await.code, 403, "{outside}");
    }
    let rbac = format!("{RBAC}/namespaces/default");
    let certificates = "/apis/certificates.k8s.io/v1/namespaces/default";
    let mut open = Vec::new();
    for (list, name) in [
        ("/api/v1/namespaces/default/nodes".to_owned(), "n"),
        ("/api/v1/namespaces/default/namespaces".to_owned(), "kube-system"),
        ("/api/v1/namespaces/default/namespaces".to_owned(), "default"),
        ("/api/v1/watch/namespaces/default/namespaces".to_owned(), "kube-system"),
        ("/api/v1/namespaces/default/persistentvolumes".to_owned(), "v"),
        (format!("{rbac}/clusterroles"), "cluster-admin"),
        (format!("{rbac}/clusterrolebindings"), "cluster-admin"),
        (format!("{certificates}/certificatesigningrequests"), "c"),
        ("/apis/scheduling.k8s.io/v1/namespaces/default/priorityclasses".to_owned(), "system-node-critical"),
        ("/apis/storage.k8s.io/v1/namespaces/default/storageclasses".to_owned(), "s"),
    ] {
        let one = format!("{list}/{name}?dryRun=All");
        for (method, target) in [
            ("GET", list.as_str()),
            ("POST", list.as_str()),
            ("DELETE", list.as_str()),
            ("GET", one.as_str()),
            ("PUT", one.as_str()),
            ("PATCH", one.as_str()),
            ("DELETE", one.as_str()),
        ] {
            let target = if method == "GET" { target.trim_end_matches("?dryRun=All") } else { target };
            let target =
                if target == list && method != "GET" { format!("{list}?dryRun=All") } else { target.to_owned() };
            for (whose, client) in [("the namespace's admin", &user), ("the admin", &world.admin)] {
                let answer = client.send(method, &target, &[JSON], "{}").await;
                if answer.code != 404 {
                    open.push(format!("{whose}: {method} {target}: {}", answer.status()));
                }
            }
        }
    }
    for one in ["/api/v1/pods/p", "/api/v1/secrets/s", "/apis/apps/v1/deployments/d", "/api/v1/configmaps/c"] {
        for method in ["GET", "PUT", "PATCH", "DELETE"] {
            let answer = world.admin.send(method, one, &[JSON], "{}").await;
            if answer.code != 404 {
                open.push(format!("{method} {one}: {}", answer.status()));
            }
        }
    }
    assert!(open.is_empty(), "{open:#?}");
}

/// Names of kinds, namespaces and objects that begin alike are told apart, in lists and in watches.
pub(crate) async fn a15_kinds_with_a_common_prefix(world: &World) {
    world.namespace("a15", json!({})).await;
    world.namespace("a15b", json!({})).await;
    let role = json!({"metadata": {"name": "a15-r"}});
    let binding = json!({"metadata": {"name": "a15-b"}, "subjects": [],
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "Role", "name": "a15-r"}});
    let service = json!({"metadata": {"name": "a15-s"}, "spec": {"ports": [{"port": 80}]}});
    let account = json!({"metadata": {"name": "a15-a"}});
    let (short, long) = (format!("{RBAC}/namespaces/a15"), format!("{RBAC}/namespaces/a15b"));
    for (target, body) in [
        (format!("{short}/roles"), &role),
        (format!("{long}/roles"), &role),
        (format!("{short}/rolebindings"), &binding),
        ("/api/v1/namespaces/a15/services".to_owned(), &service),
        ("/api/v1/namespaces/a15/serviceaccounts".to_owned(), &account),
    ] {
        world.admin.make(&target, body).await;
    }
    let check = async |target: String, expected: &[&str]| {
        let own = |all: Vec<String>| all.into_iter().filter(|name| name.starts_with("a15-")).collect::<Vec<_>>();
        assert_eq!(own(names(&world.admin.get(&target).await)), expected, "{target}");
        let stored = world.admin.get(&format!("{target}?limit=500")).await;
        assert_eq!(own(names(&stored)), expected, "{target}, from the store");
        let watched = world.admin.get(&format!("{target}?watch=1&timeoutSeconds=1")).await;
        let watched = watched.text().lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
        let added = |event: Value| event["object"]["metadata"]["name"].as_str().unwrap_or("").to_owned();
        assert_eq!(own(Vec::into_iter(watched).map(added).collect()), expected, "{target}, watched");
    };
    join_all([
        check(format!("{short}/roles"), &["a15-r"]),
        check(format!("{long}/roles"), &["a15-r"]),
        check(format!("{short}/rolebindings"), &["a15-b"]),
        check(format!("{long}/rolebindings"), &[]),
        check(format!("{RBAC}/roles"), &["a15-r", "a15-r"]),
        check(format!("{RBAC}/clusterroles"), &[]),
        check("/api/v1/namespaces/a15/services".to_owned(), &["a15-s"]),
        check("/api/v1/services".to_owned(), &["a15-s"]),
        check("/api/v1/namespaces/a15/serviceaccounts".to_owned(), &["a15-a"]),
        check("/api/v1/namespaces/a15b/serviceaccounts".to_owned(), &[]),
    ])
    .await;
}

/// Lists, watches and pages of who may read one namespace, or one name, show nothing of another; nor does a page that a
/// client made up. The store itself is not served where clients of the API come in.
pub(crate) async fn a16_ranges_do_not_spill(world: &World) {
    for namespace in ["a16", "a16-b", "a16b"] {
        world.namespace(namespace, json!({})).await;
        for name in ["one", "two"] {
            world
                .admin
                .make(&format!("/api/v1/namespaces/{namespace}/secrets"), &json!({"metadata": {"name": name}}))
                .await;
        }
    }
    let reads = ["get", "list", "watch", "deletecollection"];
    world.grant_in("a16", "a16-reader", json!([rule("", &["secrets"], &reads)])).await;
    let reader = world.user("a16-reader");
    let own = "/api/v1/namespaces/a16/secrets";
    let shown = ["one", "two"];
    assert_eq!(names(&reader.get(own).await), shown, "the control");
    for target in [
        "/api/v1/secrets",
        "/api/v1/secrets?fieldSelector=metadata.namespace%3Da16",
        "/api/v1/namespaces/a16b/secrets",
        "/api/v1/namespaces/a16-b/secrets/one",
        "/api/v1/watch/secrets",
        "/api/v1/watch/namespaces/a16b/secrets",
    ] {
        let answer = reader.get(target).await;
        assert_eq!(answer.code, 403, "{target}: {}", answer.status());
    }
    let other = reader.get(&format!("{own}?fieldSelector=metadata.namespace%3Da16b")).await;
    assert_eq!(names(&other), [""; 0], "a selector for another namespace");

    // A watch from the beginning, while the other namespaces change.
    let version = world.admin.get(own).await.json()["metadata"]["resourceVersion"].as_str().expect("one").to_owned();
    for namespace in ["a16-b", "a16b", "a16"] {
        let target = format!("/api/v1/namespaces/{namespace}/secrets/one");
        assert_eq!(world.admin.merge(&target, &json!({"data": {"a": "Yw=="}})).await.code, 200);
        assert_eq!(world.admin.delete(&target).await.code, 200);
    }
    let watched = reader.get(&format!("{own}?watch=1&timeoutSeconds=1&resourceVersion={version}")).await.text();
    let spaces: Vec<Value> = watched.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    let of = |event: &Value| (event["type"].clone(), event["object"]["metadata"]["namespace"].clone());
    let events: Vec<_> = spaces.iter().map(of).filter(|(kind, _)| kind != "BOOKMARK").collect();
    assert_eq!(events, [(json!("MODIFIED"), json!("a16")), (json!("DELETED"), json!("a16"))], "{watched}");

    // Pages that nobody was given.
    world.admin.make(own, &json!({"metadata": {"name": "one"}})).await;
    let first = reader.get(&format!("{own}?limit=1")).await.json();
    let given = first["metadata"]["continue"].as_str().expect("more than one");
    let given: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(given).expect("base64")).expect("JSON");
    let page = async |after: &str, revision: &Value| {
        let token = json!({"v": given["v"], "rv": revision, "after": after});
        let token = URL_SAFE_NO_PAD.encode(token.to_string());
        reader.get(&format!("{own}?limit=500&continue={token}")).await
    };
    assert_eq!(names(&page("a16/one", &given["rv"]).await), ["two"], "the control");
    for after in ["a16b/one", "a16-b/", "a16", "../configmaps/a16/", "", "/"] {
        let answer = page(after, &given["rv"]).await;
        assert_eq!(answer.code, 400, "after {after:?}: {}", answer.status());
    }
    for after in ["a16/", "a16/../a16b/", "a16/\u{10ffff}", "a16/\u{0}"] {
        let found = page(after, &Value::Null).await;
        assert!(found.code == 400 || names(&found).iter().all(|name| shown.contains(&&**name)), "after {after:?}");
        let elsewhere = found.text().contains("a16b") || found.text().contains("a16-b");
        assert!(!elsewhere, "after {after:?}: {}", found.text());
    }

    // One name only.
    let mut named = rule("", &["secrets"], &["get", "list", "watch"]);
    named["resourceNames"] = json!(["a16-one"]);
    world.grant_in("default", "a16-named", json!([named])).await;
    for name in ["a16-one", "a16-two"] {
        world.admin.make(SECRETS, &json!({"metadata": {"name": name}})).await;
    }
    let named = world.user("a16-named");
    assert_eq!(names(&named.get(&format!("{SECRETS}?fieldSelector=metadata.name%3Da16-one")).await), ["a16-one"]);
    for query in [
        "",
        "fieldSelector=metadata.name%3Da16-two",
        "fieldSelector=metadata.name!%3Da16-one",
        "fieldSelector=metadata.name%3Da16-two,metadata.name%3Da16-one",
        "fieldSelector=metadata.name%3Da16-one&fieldSelector=metadata.name%3Da16-two",
        "fieldSelector=metadata.name%3Da16-one&watch=1&timeoutSeconds=1",
        "labelSelector=metadata.name%3Da16-one",
        "limit=1",
    ] {
        let answer = named.get(&format!("{SECRETS}?{query}")).await;
        assert!(!answer.text().contains("a16-two") || answer.code == 403, "{query}: {}", answer.text());
        assert!([200, 400, 403].contains(&answer.code), "{query}: {}", answer.status());
    }
    assert_eq!(named.get(&format!("{SECRETS}/a16-two")).await.code, 403);

    // The store's own protocol.
    for target in ["/etcdserverpb.KV/Range", "/etcdserverpb.KV/Txn", "/etcdserverpb.Watch/Watch", "/v3/kv/range"] {
        let header = [("content-type", "application/grpc")];
        for (code, client) in [(404, &world.admin), (403, &reader)] {
            let answer = client.send("POST", target, &header, vec![0; 5]).await;
            assert_eq!(answer.code, code, "{target}: {}", answer.status());
        }
    }
}

/// Rights on a kind are none on what is below it.
pub(crate) async fn a17_parents_do_not_grant_subresources(world: &World) {
    let all = |group: &str, resources: &[&str]| rule(group, resources, &["*"]);
    let rules = json!([
        all("", &["pods", "nodes", "services", "serviceaccounts", "namespaces", "persistentvolumeclaims"]),
        all("", &["replicationcontrollers", "resourcequotas"]),
        all("apps", &["deployments", "replicasets", "statefulsets"]),
        all("policy", &["poddisruptionbudgets"]),
        all("certificates.k8s.io", &["certificatesigningrequests"]),
    ]);
    let user = world.user_with("a17", rules).await;
    assert_eq!(user.get(PODS).await.code, 200, "the control");
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
        ("PATCH", "/api/v1/namespaces/default/services/s/status"),
        ("PUT", "/api/v1/namespaces/default/status"),
        ("PUT", "/api/v1/namespaces/default/finalize"),
        ("POST", "/api/v1/namespaces/default/serviceaccounts/default/token"),
        ("PATCH", "/api/v1/namespaces/default/persistentvolumeclaims/c/status"),
        ("GET", "/api/v1/namespaces/default/replicationcontrollers/r/scale"),
        ("PUT", "/api/v1/namespaces/default/resourcequotas/q/status"),
        ("GET", "/apis/apps/v1/namespaces/default/deployments/d/scale"),
        ("PATCH", "/apis/apps/v1/namespaces/default/replicasets/d/scale"),
        ("PUT", "/apis/apps/v1/namespaces/default/statefulsets/d/status"),
        ("PUT", "/apis/policy/v1/namespaces/default/poddisruptionbudgets/b/status"),
        ("PUT", "/apis/certificates.k8s.io/v1/certificatesigningrequests/c/approval"),
        ("PUT", "/apis/certificates.k8s.io/v1/certificatesigningrequests/c/status"),
    ] {
        let answer = user.send(method, target, &[], "{}").await;
        if answer.code != 403 {
            open.push(format!("{method} {target}: {}", answer.status()));
        }
    }
    assert!(open.is_empty(), "{open:#?}");
}

/// Running something in a pod is `create`, also where a browser must ask for it with GET.
pub(crate) async fn a18_reading_runs_nothing(world: &World) {
    let streams = ["pods/exec", "pods/attach", "pods/portforward"];
    let reader = world.user_with("a18-reader", json!([rule("", &streams, &["get", "list", "watch"])])).await;
    let runner = world.user_with("a18-runner", json!([rule("", &streams, &["get", "create"])])).await;
    for stream in ["exec?command=sh", "attach", "portforward?ports=80"] {
        let target = format!("{PODS}/a18/{stream}");
        for (how, method, headers) in
            [("a websocket", "GET", &UPGRADE[..]), ("GET", "GET", &[][..]), ("POST", "POST", &[][..])]
        {
            let answer = reader.send_by(false, method, &target, headers, "").await;
            let refused = answer.code == 403 && answer.status().contains("cannot create resource");
            assert!(refused, "{how} of {stream}: {}", answer.status());
        }
        let answer = runner.send_by(false, "GET", &target, &UPGRADE, "").await;
        assert_eq!(answer.code, 404, "the control, of a pod that is not there: {}", answer.status());
    }
}

/// Who may read by way of nodes, as who collects metrics must, runs nothing in their pods: not through the server, and
/// not at the kubelet's own port.
pub(crate) async fn a19_proxying_to_nodes_runs_nothing(world: &World) {
    let user = world.user_with("a19", json!([rule("", &["nodes/proxy"], &["get"])])).await;
    let (agent, address) = world.kubelet("a19-node").await;
    let mut kubelet = user.clone();
    kubelet.address = address;
    let seen = kubelet.send_by(false, "GET", "/pods", &[], "").await;
    assert_eq!(seen.code, 200, "the control, at the kubelet: {}", seen.text());
    let seen = user.get("/api/v1/nodes/a19-node/proxy/pods").await;
    assert_ne!(seen.code, 403, "the control, through the server: {}", seen.status());
    let mut open = Vec::new();
    for target in [
        "/exec/default/p/c?command=id&output=1",
        "/exec/default/p/uid/c?command=id&output=1",
        "//exec/default/p/c?command=id&output=1",
        "/%65xec/default/p/c?command=id&output=1",
        "/attach/default/p/c",
        "/portForward/default/p?port=80",
        "/run/default/p/c?cmd=id",
    ] {
        for (how, headers) in [("a websocket", &UPGRADE[..]), ("GET", &[][..])] {
            let through = format!("/api/v1/nodes/a19-node/proxy{target}");
            let answer = user.send_by(false, "GET", &through, headers, "").await;
            if answer.code != 403 {
                open.push(format!("{how} of {through}: {}", answer.status()));
            }
            // What is no path of a kubelet's runs nothing.
            let answer = kubelet.send_by(false, "GET", target, headers, "").await;
            if answer.code != 403 && answer.text().trim() != "404 page not found" {
                open.push(format!("{how} of {target} at the kubelet: {} {}", answer.code, answer.text().trim()));
            }
        }
    }
    drop(agent);
    world.delete("/api/v1/nodes/a19-node").await;
    assert!(open.is_empty(), "{open:#?}");
}

/// Who may write roles and bindings gives nobody more than they have: not with a new role, not with an old one, not by
/// having rights gathered, and not by any way of writing.
pub(crate) async fn a20_nobody_gives_more_than_they_have(world: &World) {
    let kinds = ["roles", "rolebindings", "clusterroles", "clusterrolebindings"];
    let write = ["get", "list", "create", "update", "patch", "delete"];
    let own = json!([rule(RBAC_GROUP, &kinds, &write), rule("", &["pods"], &["get", "list"])]);
    let user = world.user_with("a20", own.clone()).await;
    let (roles, bindings) = (format!("{RBAC}/clusterroles"), format!("{RBAC}/clusterrolebindings"));
    let (inner, inside) =
        (format!("{RBAC}/namespaces/default/roles"), format!("{RBAC}/namespaces/default/rolebindings"));
    let role = |name: &str, rules: Value| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": name}, "rules": rules})
    };
    let binding = |name: &str, kind: &str, role: &str| {
        json!({"metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": kind, "name": role},
        "subjects": [{"kind": "User", "apiGroup": RBAC_GROUP, "name": "a20"}]})
    };

    // What she has, she may give.
    let mut one = rule("", &["pods"], &["get"]);
    one["resourceNames"] = json!(["p"]);
    for good in [role("a20-good", json!([rule("", &["pods"], &["list"])])), role("a20-one", json!([one]))] {
        let made = user.post(&roles, &good).await;
        assert_eq!(made.code, 201, "the control: {}", made.status());
    }
    let made = user.post(&bindings, &binding("a20-good", "ClusterRole", "a20-good")).await;
    assert_eq!(made.code, 201, "the control: {}", made.status());

    let mut open = Vec::new();
    let mut refused = |what: &str, answer: &Answer| {
        if answer.code != 403 {
            open.push(format!("{what}: {}", answer.status()));
        }
    };
    for (what, rules) in [
        ("secrets", json!([rule("", &["secrets"], &["get"])])),
        ("another verb", json!([rule("", &["pods"], &["delete"])])),
        ("a subresource", json!([rule("", &["pods/exec"], &["get"])])),
        ("everything", json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])),
        ("every verb", json!([rule("", &["pods"], &["*"])])),
        ("paths", json!([{"nonResourceURLs": ["*"], "verbs": ["*"]}])),
        ("escalate", json!([rule(RBAC_GROUP, &["clusterroles"], &["escalate"])])),
        ("impersonation", json!([rule("", &["users"], &["impersonate"])])),
    ] {
        let bad = role("a20-bad", rules.clone());
        refused(&format!("a role with {what}"), &user.post(&roles, &bad).await);
        refused(&format!("a role with {what}, by PUT"), &user.put(&format!("{roles}/a20-bad"), &bad).await);
        refused(&format!("a trial of {what}"), &user.post(&format!("{roles}?dryRun=All"), &bad).await);
        let apply = format!("{roles}/a20-bad?fieldManager=a20&force=true");
        refused(&format!("{what}, applied"), &user.send("PATCH", &apply, &[APPLY], bad.to_string()).await);
        if what != "paths" {
            let within = json!({"metadata": {"name": "a20-bad"}, "rules": rules});
            refused(&format!("a role of a namespace with {what}"), &user.post(&inner, &within).await);
        }
    }

    // Her own role, and those of others, in every way.
    for (name, rules) in [
        ("a20", json!([rule("", &["secrets"], &["get"])])),
        ("a20-good", json!([rule("", &["pods"], &["*"])])),
        ("view", json!([rule("", &["secrets"], &["get"])])),
    ] {
        let target = format!("{roles}/{name}");
        let stored = world.admin.get(&target).await.json();
        let mut whole = stored.clone();
        whole["rules"] = rules.clone();
        let operation = json!([{"op": "replace", "path": "/rules", "value": rules}]).to_string();
        let apply = role(name, rules.clone()).to_string();
        let forced = format!("{target}?fieldManager=a20&force=true");
        refused(&format!("an update of {name}"), &user.put(&target, &whole).await);
        refused(&format!("a merge patch of {name}"), &user.merge(&target, &json!({"rules": rules})).await);
        refused(&format!("a JSON patch of {name}"), &user.send("PATCH", &target, &[JSON_PATCH], operation).await);
        refused(&format!("an apply of {name}"), &user.send("PATCH", &forced, &[APPLY], apply).await);
    }
    // What a role has is given to others by a label that has it gathered.
    let label = json!({"metadata": {"labels": {"rbac.authorization.k8s.io/aggregate-to-edit": "true"}}});
    let target = format!("{roles}/cluster-admin");
    for way in ways(&world.admin.get(&target).await.json(), &label) {
        refused(&format!("{} of a label of cluster-admin", way.name), &way.send(&user, &target).await);
    }

    // Roles that gather.
    let gathers = |name: &str| {
        let mut role = role(name, json!([]));
        role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"a20": "yes"}}]});
        role
    };
    refused("a role that gathers", &user.post(&roles, &gathers("a20-gathers")).await);
    world.admin.make(&roles, &gathers("a20-gathers")).await;
    world.admin.make(&bindings, &binding("a20-gathers", "ClusterRole", "a20-gathers")).await;
    let mut injected = role("a20-injected", json!([rule("", &["secrets"], &["get"])]));
    injected["metadata"]["labels"] = json!({"a20": "yes"});
    refused("a role to be gathered", &user.post(&roles, &injected).await);

    // Bindings.
    refused("cluster-admin", &user.post(&bindings, &binding("a20-bad", "ClusterRole", "cluster-admin")).await);
    refused("cluster-admin here", &user.post(&inside, &binding("a20-bad", "ClusterRole", "cluster-admin")).await);
    refused("admin here", &user.post(&inside, &binding("a20-bad", "ClusterRole", "admin")).await);
    let put = user.put(&format!("{bindings}/a20-bad"), &binding("a20-bad", "ClusterRole", "cluster-admin")).await;
    refused("cluster-admin by PUT", &put);
    let joins = json!({"subjects": [{"kind": "User", "apiGroup": RBAC_GROUP, "name": "a20"}]});
    refused("being made an admin", &user.merge(&format!("{bindings}/cluster-admin"), &joins).await);
    let missing = user.post(&bindings, &binding("a20-bad", "ClusterRole", "a20-missing")).await;
    assert_eq!(missing.code, 404, "a role that may come later: {}", missing.status());
    let other = json!({"roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": "cluster-admin"}});
    let other = user.merge(&format!("{bindings}/a20-good"), &other).await;
    assert!([403, 422].contains(&other.code), "a binding gets another role: {}", other.status());

    // Who may `bind` one role, binds that one; who may `escalate`, writes any.
    let mut bind = rule(RBAC_GROUP, &["clusterroles"], &["bind"]);
    bind["resourceNames"] = json!(["view"]);
    let binder = world.user_with("a20-binder", json!([rule(RBAC_GROUP, &kinds, &write), bind])).await;
    let made = binder.post(&bindings, &binding("a20-view", "ClusterRole", "view")).await;
    assert_eq!(made.code, 201, "the control: {}", made.status());
    refused("bind of view", &binder.post(&bindings, &binding("a20-edit", "ClusterRole", "edit")).await);
    let escalates = rule(RBAC_GROUP, &["clusterroles"], &["escalate"]);
    let writer = world.user_with("a20-writer", json!([rule(RBAC_GROUP, &kinds, &write), escalates])).await;
    let made = writer.post(&roles, &role("a20-any", json!([rule("", &["secrets"], &["get"])]))).await;
    assert_eq!(made.code, 201, "the control: {}", made.status());
    refused("escalate", &writer.post(&bindings, &binding("a20-any", "ClusterRole", "a20-any")).await);

    world.level().await;
    refused("secrets, after all", &user.get("/api/v1/secrets").await);
    assert!(open.is_empty(), "{open:#?}");
    world.delete(&format!("{bindings}/a20-view")).await;
}

/// To act as somebody, each of name, uid, groups and extra must be granted, or the one act in one of the modes that are
/// for one act; and it is written down.
pub(crate) async fn a21_acting_as_somebody_else_needs_each_right(world: &World) {
    let of = |group: &str, resource: &str, name: &str| {
        let mut one = rule(group, &[resource], &["impersonate"]);
        one["resourceNames"] = json!([name]);
        one
    };
    let authentication = "authentication.k8s.io";
    let rules = json!([
        of("", "users", "a21-bob"),
        of("", "groups", "a21-dev"),
        of(authentication, "uids", "u1"),
        of(authentication, "userextras/scope", "read"),
    ]);
    let user = world.user_with("a21-ann", rules).await;
    let full = [
        ("impersonate-user", "a21-bob"),
        ("impersonate-uid", "u1"),
        ("impersonate-group", "a21-dev"),
        ("impersonate-extra-scope", "read"),
    ];
    let expected = json!({"username": "a21-bob", "uid": "u1", "groups": ["a21-dev", "system:authenticated"],
        "extra": {"scope": ["read"]}});
    assert_eq!(who(&user, &full).await, Ok(expected), "the control");
    for (name, value) in [
        ("impersonate-user", "root"),
        ("impersonate-user", "system:serviceaccount:kube-system:admin"),
        ("impersonate-user", "system:node:n1"),
        ("impersonate-user", "system:apiserver"),
        ("impersonate-group", "system:masters"),
        ("impersonate-group", "system:nodes"),
        ("impersonate-uid", "u2"),
        ("impersonate-extra-scope", "write"),
        ("impersonate-extra-other", "read"),
    ] {
        let mut headers: Vec<_> = full.into_iter().filter(|(own, _)| *own != name).collect();
        headers.push((name, value));
        assert_eq!(who(&user, &headers).await, Err(403), "{name}: {value}");
    }
    let both = [full.as_slice(), &[("impersonate-group", "system:masters")]].concat();
    assert_eq!(who(&user, &both).await, Err(403), "a group beside one that is granted");
    // Nobody stays themselves when the name is missing or empty.
    assert_eq!(who(&user, &[("impersonate-group", "a21-dev")]).await, Err(400));
    assert_eq!(who(&user, &[("impersonate-user", ""), ("impersonate-group", "a21-dev")]).await, Err(400));
    let eve = world.user("a21-eve");
    assert_eq!(who(&eve, &[("impersonate-user", "a21-bob")]).await, Err(403), "without any right");

    // Acting as somebody, their rights count, and the record says who acted.
    let as_eve = [("impersonate-user", "a21-eve")];
    assert_eq!(who(&world.admin, &as_eve).await.expect("granted")["username"], "a21-eve");
    assert_eq!(world.admin.send("GET", "/api/v1/secrets", &as_eve, "").await.code, 403);
    let masters = [("impersonate-user", "a21-root"), ("impersonate-group", "system:masters")];
    assert_eq!(world.admin.send("GET", "/api/v1/namespaces/a21-nowhere", &masters, "").await.code, 404);
    let audited = world.audited();
    let record = audited.lines().rfind(|line| line.contains("a21-nowhere")).expect("a record");
    let record: Value = serde_json::from_str(record).expect("JSON");
    let named = |field: &str| record[field]["username"].as_str().unwrap_or("").to_owned();
    assert_eq!((named("user"), named("impersonatedUser")), ("attacked-admin".into(), "a21-root".into()));
    assert!(record["impersonatedUser"]["groups"].to_string().contains("system:masters"), "{record}");

    // For one act only.
    let mode = |verb: &str, group: &str, resource: &str| rule(group, &[resource], &[verb]);
    let rules = json!([
        mode("impersonate:user-info", authentication, "users"),
        mode("impersonate:user-info", authentication, "groups"),
        mode("impersonate-on:user-info:list", "", "configmaps"),
    ]);
    let deputy = world.user_with("a21-deputy", rules).await;
    let reader = json!([rule("", &["configmaps", "secrets"], &["list"])]);
    world.grant("a21-reader", reader).await;
    let as_reader = [("impersonate-user", "a21-reader")];
    let answer = deputy.send("GET", MAPS, &as_reader, "").await;
    assert_eq!(answer.code, 200, "the control: {}", answer.status());
    for (what, target, headers) in [
        ("another act", SECRETS, &as_reader[..]),
        ("an act that is not the other's", PODS, &as_reader[..]),
        ("a group of masters", MAPS, &[as_reader[0], ("impersonate-group", "system:masters")][..]),
        ("a node", MAPS, &[("impersonate-user", "system:node:n1")][..]),
        ("an account", MAPS, &[("impersonate-user", "system:serviceaccount:default:default")][..]),
    ] {
        let answer = deputy.send("GET", target, headers, "").await;
        assert_eq!(answer.code, 403, "{what}: {}", answer.status());
    }
}

/// A stranger reads whether the server is well and its version, and nothing else of all there is; what exists is
/// refused in the same words as what does not. (Where strangers come in by paths only is tried with A31's server.)
pub(crate) async fn a28_strangers_learn_nothing(world: &World) {
    let stranger = world.stranger();
    let paths: Vec<String> = serde_json::from_value(world.admin.get("/").await.json()["paths"].clone()).expect("paths");
    let health = ["/healthz", "/livez", "/readyz"];
    let mut open = Vec::new();
    for path in &paths {
        let code = stranger.get(path).await.code;
        let below = |one: &&str| path.strip_prefix(*one).is_some_and(|rest| rest.starts_with('/'));
        let fine = match path.as_str() {
            "/version" | "/healthz" | "/livez" | "/readyz" => code == 200,
            _ if health.iter().any(below) => code == 200 || code == 403,
            _ => code == 403,
        };
        if !fine {
            open.push(format!("{path}: {code}"));
        }
    }
    // Everything that is served, by every method.
    let mut kinds = 0;
    for prefix in paths.iter().filter(|path| *path == "/api/v1" || path.matches('/').count() == 3) {
        let resources = world.admin.get(prefix).await;
        if resources.code != 200 || !prefix.starts_with("/api") {
            continue;
        }
        let resources = resources.json()["resources"].as_array().cloned().unwrap_or_default();
        kinds += resources.len();
        let mut targets = Vec::new();
        for resource in &resources {
            let name = resource["name"].as_str().expect("a name");
            let (plural, sub) = name.split_at(name.find('/').unwrap_or(name.len()));
            let within = if resource["namespaced"] == true { "/namespaces/default" } else { "" };
            let list = format!("{prefix}{within}/{plural}");
            let one = format!("{list}/a28{sub}");
            targets.extend(["GET", "PUT", "PATCH", "DELETE"].map(|method| (method, one.clone())));
            targets.extend([("POST", list), ("GET", format!("{prefix}/{plural}"))]);
            targets.push(("GET", format!("{prefix}/watch/{plural}")));
        }
        for some in targets.chunks(16) {
            let answers =
                join_all(some.iter().map(|(method, target)| stranger.send(method, target, &[JSON], "{}"))).await;
            let wrong = some.iter().zip(&answers).filter(|(_, answer)| answer.code != 403);
            open.extend(wrong.map(|((method, target), answer)| format!("{method} {target}: {}", answer.status())));
        }
    }
    assert!(open.is_empty(), "{open:#?}");
    assert!(kinds > 100, "only {kinds} kinds were tried");

    world.admin.make(SECRETS, &json!({"metadata": {"name": "a28-there"}})).await;
    let refused = async |namespace: &str, name: &str| {
        let answer = stranger.get(&format!("/api/v1/namespaces/{namespace}/secrets/{name}")).await;
        answer.status().replace(namespace, "NAMESPACE").replace(name, "NAME")
    };
    let there = refused("default", "a28-there").await;
    assert!(there.starts_with("403 Forbidden"), "{there}");
    assert_eq!(refused("default", "a28-nowhere").await, there);
    assert_eq!(refused("a28-nowhere", "a28-there").await, there);
    assert_eq!(stranger.get("/api/v1/namespaces/kube-public/configmaps/cluster-info").await.code, 200, "the control");
    assert_eq!(stranger.get("/api/v1/namespaces/kube-public/configmaps").await.code, 403);
}

/// Reviews of oneself tell of oneself, whatever they name; reviews of others need a right.
pub(crate) async fn a29_reviews_of_oneself_tell_of_oneself(world: &World) {
    const AUTHORIZATION: &str = "/apis/authorization.k8s.io/v1";
    let own = rule("", &["endpoints"], &["get"]);
    let ann = world.user_with("a29-ann", json!([own])).await;
    let eve = world.user("a29-eve");
    let rules = async |client: &Client, spec: Value| {
        let answer = client.post(&format!("{AUTHORIZATION}/selfsubjectrulesreviews"), &json!({"spec": spec})).await;
        assert_eq!(answer.code, 201, "{}", answer.status());
        answer.json()
    };
    let of = |review: &Value| review["status"]["resourceRules"].as_array().expect("rules").clone();
    let shown = rules(&ann, json!({"namespace": "default"})).await;
    assert_eq!((&shown["status"]["incomplete"], &shown["spec"]), (&json!(false), &json!({})));
    assert!(of(&shown).contains(&own), "the control: {shown}");
    for spec in [json!({"namespace": "default"}), json!({"namespace": "default", "user": "a29-ann"})] {
        assert!(!of(&rules(&eve, spec.clone()).await).contains(&own), "another's: {spec}");
    }
    let attributes = json!({"verb": "get", "resource": "endpoints", "namespace": "default"});
    let review = json!({"spec": {"user": "a29-ann", "groups": ["system:masters"], "resourceAttributes": attributes}});
    let asked = async |client: &Client, kind: &str| client.post(&format!("{AUTHORIZATION}/{kind}"), &review).await;
    let mine = asked(&ann, "selfsubjectaccessreviews").await;
    assert_eq!(mine.json()["status"]["allowed"], true, "the control: {}", mine.text());
    let answer = asked(&eve, "selfsubjectaccessreviews").await;
    assert_ne!(answer.json()["status"]["allowed"], true, "{}", answer.text());
    for kind in ["subjectaccessreviews", "namespaces/default/localsubjectaccessreviews"] {
        let answer = asked(&eve, kind).await;
        assert_eq!(answer.code, 403, "{kind}: {}", answer.status());
    }
    let token = json!({"spec": {"token": "x"}});
    let answer = eve.post("/apis/authentication.k8s.io/v1/tokenreviews", &token).await;
    assert_eq!(answer.code, 403, "whose a token is: {}", answer.status());
    let myself = json!({"status": {"userInfo": {"username": "a29-ann", "groups": ["system:masters"]}}});
    let myself = eve.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &myself).await.json();
    assert_eq!(myself["status"]["userInfo"]["username"], "a29-eve");
    assert!(!myself.to_string().contains("system:masters"), "{myself}");
}

/// What is taken away is gone with the next request, whichever way it is taken: binding, role, rule or subject. A watch
/// that is open goes on until its time is over, as upstream's, and cannot be opened again; none outlives that.
pub(crate) async fn a30_what_is_taken_away_is_gone_at_once(world: &World) {
    let rules = json!([rule("", &["pods"], &["list", "watch"])]);
    let ann = world.user_with("a30-ann", rules.clone()).await;
    assert_eq!(ann.get(PODS).await.code, 200, "the control");
    let request = ann.request("GET", &format!("{PODS}?watch=1&timeoutSeconds=2"), &[], "");
    let open = ann.open(true, request).await.expect("a watch");
    assert_eq!(open.status(), 200);
    let opened = Instant::now();
    world.delete(&format!("{RBAC}/clusterrolebindings/a30-ann")).await;
    world.level().await;
    for target in [PODS.to_owned(), format!("{PODS}?watch=1"), format!("{PODS}?resourceVersion=0")] {
        let answer = ann.get(&target).await;
        assert_eq!(answer.code, 403, "{target}: {}", answer.status());
    }
    let ended = tokio::time::timeout(SOON, open.into_body().collect()).await;
    assert!(ended.is_ok(), "the watch is open {:?} after it was opened", opened.elapsed());

    let take = [
        ("a30-role", "clusterroles", None),
        ("a30-rule", "clusterroles", Some(json!({"rules": [rule("", &["pods"], &["get"])]}))),
        ("a30-subject", "clusterrolebindings", Some(json!({"subjects": []}))),
    ];
    for (name, kind, change) in take {
        let user = world.user_with(name, rules.clone()).await;
        assert_eq!(user.get(PODS).await.code, 200, "{name}: the control");
        let target = format!("{RBAC}/{kind}/{name}");
        match change {
            None => world.delete(&target).await,
            Some(change) => assert_eq!(world.admin.merge(&target, &change).await.code, 200, "{name}"),
        }
        world.level().await;
        assert_eq!(user.get(PODS).await.code, 403, "{name}: it is taken away");
    }
}
