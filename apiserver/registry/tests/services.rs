//! Addresses and ports of Services, bootstrap objects, and subresources that act.

use std::collections::HashSet;
use std::sync::Arc;

use crate::common::{Harness, refusal, target};
use api_machinery::{Value, object};
use api_registry::{Body, DeleteOptions, ListOptions, RequestInfo};
use serde_json::json;
use store_api::{RangeRequest, ReadAt, Store};

const SERVICES: &str = "v1/services";
const PODS: &str = "v1/pods";

fn service(name: &str, spec: Value) -> Value {
    let mut body = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    for (field, value) in spec.as_object().into_iter().flatten() {
        body["spec"][field] = value.clone();
    }
    body
}

async fn claims(h: &Harness) -> Vec<String> {
    let range = RangeRequest::prefix(b"/claims/", ReadAt::Local);
    let kvs = h.store.range(range).await.expect("read").kvs;
    kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).trim_start_matches("/claims/").to_owned()).collect()
}

#[tokio::test]
async fn addresses_and_ports_come_and_go_with_the_service() {
    let h = Harness::new().await;
    let created = h.create(SERVICES, "default/", service("a", json!({"type": "NodePort"}))).await.expect("created");
    let spec = &created.object["spec"];
    let ip = spec["clusterIP"].as_str().expect("an address").to_owned();
    let port = spec["ports"][0]["nodePort"].as_u64().expect("a port");
    assert!(ip.starts_with("10.96.") && (30000..=32767).contains(&port), "{ip} {port}");
    assert_eq!(spec["clusterIPs"], json!([ip]));
    assert_eq!((&spec["ipFamilies"], &spec["ipFamilyPolicy"]), (&json!(["IPv4"]), &json!("SingleStack")));
    assert_eq!(claims(&h).await, [format!("nodeports/{port}"), format!("serviceips/{ip}")]);
    // The port is given back with the type, the address stays.
    h.merge(SERVICES, "default/a", json!({"spec": {"type": "ClusterIP"}})).await.expect("changed");
    assert_eq!(claims(&h).await, [format!("serviceips/{ip}")]);
    h.merge(SERVICES, "default/a", json!({"spec": {"type": "NodePort"}})).await.expect("changed");
    assert_eq!(claims(&h).await.len(), 2);
    h.delete(SERVICES, "default/a", DeleteOptions::default()).await.expect("deleted");
    assert_eq!(claims(&h).await, [""; 0]);
}

#[tokio::test]
async fn addresses_as_a_list_alone_are_refused() {
    let h = Harness::new().await;
    let alone = |ips: Value| service("a", json!({"clusterIPs": ips}));
    let refused = refusal(h.create(SERVICES, "default/", alone(json!(["10.96.0.8"]))).await);
    assert_eq!(
        refused,
        r#"422 Invalid: Service "a" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.8"]: must be empty when `clusterIP` is not specified"#
    );
    let two = refusal(h.create(SERVICES, "default/", alone(json!(["10.96.0.8", "10.96.0.9"]))).await);
    assert!(two.contains("must be empty") && two.contains("no more than one IP for each IP family"), "{two}");
    assert_eq!(claims(&h).await, [""; 0]);
    let both = json!({"clusterIP": "10.96.0.8", "clusterIPs": ["10.96.0.8"]});
    h.create(SERVICES, "default/", service("a", both)).await.expect("created");
}

#[tokio::test]
async fn what_is_asked_for_is_given_or_refused() {
    let h = Harness::new().await;
    let mine = json!({"type": "NodePort", "clusterIP": "10.96.0.10", "ports": [{"port": 80, "nodePort": 30001}]});
    h.create(SERVICES, "default/", service("a", mine)).await.expect("created");
    let taken_ip = h.create(SERVICES, "default/", service("b", json!({"clusterIP": "10.96.0.10"}))).await;
    assert_eq!(
        refusal(taken_ip),
        r#"422 Invalid: Service "b" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.10"]: failed to allocate IP 10.96.0.10: provided IP is already allocated"#
    );
    let port = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]});
    assert_eq!(
        refusal(h.create(SERVICES, "default/", service("b", port)).await),
        r#"422 Invalid: Service "b" is invalid: spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated"#
    );
    let outside = h.create(SERVICES, "default/", service("b", json!({"clusterIP": "10.97.0.1"}))).await;
    let elsewhere = "failed to allocate IP 10.97.0.1: the provided network does not match the current range";
    assert!(refusal(outside).ends_with(elsewhere));
    let port = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]});
    assert!(
        refusal(h.create(SERVICES, "default/", service("b", port)).await)
            .contains("provided port is not in the valid range. The range of valid ports is 30000-32767")
    );
    // A refused service leaves nothing behind.
    assert_eq!(claims(&h).await.len(), 2);
    h.create(SERVICES, "default/", service("none", json!({"clusterIP": "None"}))).await.expect("headless");
    let external = json!({"type": "ExternalName", "externalName": "x.example"});
    h.create(SERVICES, "default/", service("ext", external)).await.expect("external");
    let dry = RequestInfo { dry_run: true, ..Harness::info() };
    let body = Body::Value(service("dry", json!({})));
    let would = h.registry.create(&dry, &target(SERVICES, "default/"), body).await.expect("would be");
    assert!(!object::str_at(&would.object, "spec.clusterIP").is_empty());
    // Where nothing is allocated, no range is looked at.
    let port = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]});
    let body = Body::Value(service("dry", port));
    h.registry.create(&dry, &target(SERVICES, "default/"), body).await.expect("would be");
    assert_eq!(claims(&h).await.len(), 2);
}

#[tokio::test]
async fn addresses_are_objects_and_lie_in_ranges() {
    const ADDRESSES: &str = "networking.k8s.io/v1/ipaddresses";
    let h = Harness::new().await;
    let made = h.create(SERVICES, "default/", service("a", json!({}))).await.expect("created");
    let ip = object::str_at(&made.object, "spec.clusterIP").to_owned();
    let address = h.get(ADDRESSES, &ip).await.expect("there");
    let parent = json!({"resource": "services", "namespace": "default", "name": "a"});
    assert_eq!((&address["spec"]["parentRef"], object::uid(&address).len()), (&parent, 36));
    assert_eq!(object::label(&address, "ipaddress.kubernetes.io/managed-by"), Some("ipallocator.k8s.io"));
    assert_eq!(object::resource_version(&address), made.revision.to_string(), "one transaction");
    h.delete(SERVICES, "default/a", DeleteOptions::default()).await.expect("deleted");
    assert!(refusal(h.get(ADDRESSES, &ip).await).starts_with("404"));
    // What a user keeps is nobody else's.
    let kept = json!({"metadata": {"name": "10.96.7.7"}, "spec": {"parentRef": {"resource": "things", "name": "x"}}});
    h.create(ADDRESSES, "", kept).await.expect("created");
    let asked = |ip: &str| service("b", json!({"clusterIP": ip}));
    let refused = refusal(h.create(SERVICES, "default/", asked("10.96.7.7")).await);
    assert!(refused.ends_with("failed to allocate IP 10.96.7.7: provided IP is already allocated"), "{refused}");
    // Another range is another place to ask for.
    let refused = refusal(h.create(SERVICES, "default/", asked("10.200.0.9")).await);
    assert!(refused.ends_with("the provided network does not match the current range"), "{refused}");
    let range = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.200.0.0/24"]}});
    let range = h.create("networking.k8s.io/v1/servicecidrs", "", range).await.expect("created");
    assert_eq!(range.object["status"]["conditions"][0]["lastTransitionTime"], "2027-01-15T08:00:00Z");
    h.get("networking.k8s.io/v1/servicecidrs", "more").await.expect("shown");
    h.create(SERVICES, "default/", asked("10.200.0.9")).await.expect("created");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_at_once_get_their_own_addresses() {
    let h = Arc::new(Harness::new().await);
    let mut tasks = Vec::new();
    for index in 0..500 {
        let h = h.clone();
        tasks.push(tokio::spawn(async move {
            let body = service(&format!("s{index}"), json!({"type": "NodePort"}));
            let object = h.create(SERVICES, "default/", body).await.expect("created").object;
            (object::str_at(&object, "spec.clusterIP").to_owned(), object["spec"]["ports"][0]["nodePort"].as_u64())
        }));
    }
    let (mut ips, mut ports) = (HashSet::new(), HashSet::new());
    for task in tasks {
        let (ip, port) = task.await.expect("no panic");
        ips.insert(ip);
        ports.insert(port);
    }
    assert_eq!((ips.len(), ports.len(), claims(&h).await.len()), (500, 500, 1000));
}

#[tokio::test]
async fn bootstrap_is_idempotent_and_mends_rbac() {
    let h = Harness::new().await;
    h.registry.bootstrap().await.expect("done");
    let first = h.store.applied_revision();
    h.registry.bootstrap().await.expect("again");
    assert_eq!(h.store.applied_revision(), first, "a second run writes nothing");
    let count = async |path: &str| h.list(path, "", ListOptions::default()).await.expect("listed").objects.len();
    assert_eq!(count("v1/namespaces").await, 4);
    assert_eq!(count("rbac.authorization.k8s.io/v1/clusterroles").await, 70);
    assert_eq!(count("rbac.authorization.k8s.io/v1/clusterrolebindings").await, 51);
    assert_eq!(count("flowcontrol.apiserver.k8s.io/v1/flowschemas").await, 11);
    assert_eq!(count("scheduling.k8s.io/v1/priorityclasses").await, 2);
    let kubernetes = h.get(SERVICES, "default/kubernetes").await.expect("there");
    assert_eq!(kubernetes["spec"]["clusterIP"], "10.96.0.1");
    let admin = h.get("rbac.authorization.k8s.io/v1/clusterroles", "admin").await.expect("there");
    assert!(admin["rules"].as_array().is_some_and(|rules| rules.len() > 20), "aggregated");
    // Missing rules come back, unless the operator said no.
    let path = "rbac.authorization.k8s.io/v1/clusterroles";
    h.merge(path, "cluster-admin", json!({"rules": []})).await.expect("emptied");
    let keep =
        json!({"rules": [], "metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}});
    h.merge(path, "system:basic-user", keep).await.expect("emptied");
    h.registry.cache.wait_for(h.store.applied_revision(), std::time::Duration::from_secs(5)).await.expect("shown");
    h.registry.bootstrap().await.expect("mended");
    let rules = async |name: &str| h.get(path, name).await.expect("there")["rules"].as_array().map_or(0, Vec::len);
    assert_eq!((rules("cluster-admin").await, rules("system:basic-user").await), (2, 0));
}

#[tokio::test]
async fn endpoints_of_the_api_servers() {
    let h = Harness::new().await;
    h.registry.bootstrap().await.expect("done");
    let addresses = |list: &[&str]| list.iter().map(|one| one.parse().expect("an address")).collect::<Vec<_>>();
    h.registry.publish_endpoints(&addresses(&["192.0.2.2:6443", "192.0.2.1:6443"])).await.expect("published");
    let endpoints = h.get("v1/endpoints", "default/kubernetes").await.expect("there");
    assert_eq!(endpoints["subsets"][0]["addresses"], json!([{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}]));
    h.registry.publish_endpoints(&addresses(&["192.0.2.2:6443"])).await.expect("published");
    let slice = h.get("discovery.k8s.io/v1/endpointslices", "default/kubernetes").await.expect("there");
    assert_eq!(slice["endpoints"], json!([{"addresses": ["192.0.2.2"], "conditions": {"ready": true}}]));
}

async fn running_pod(h: &Harness, name: &str) {
    let body = json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {
        "serviceAccountName": "robot", "containers": [{"name": "c", "image": "i"}]}});
    h.create(PODS, "default/", body).await.expect("created");
    h.create(PODS, &format!("default/{name}#binding"), json!({"target": {"name": "n"}})).await.expect("bound");
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    h.merge(PODS, &format!("default/{name}#status"), status).await.expect("running");
}

#[tokio::test]
async fn binding() {
    let h = Harness::new().await;
    let body = json!({"metadata": {"name": "p", "labels": {"a": "pod"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    h.create(PODS, "default/", body).await.expect("created");
    let bad = h.create(PODS, "default/p#binding", json!({"target": {"kind": "Pod"}})).await;
    assert!(refusal(bad).starts_with("422 Invalid: Binding \"p\" is invalid: ["));
    let binding = json!({"metadata": {"name": "p", "labels": {"a": "binding", "zone": "z"}, "annotations": {"b": "c"}},
                         "target": {"kind": "Node", "name": "n1"}});
    let done = h.create("v1/bindings", "default/", binding.clone()).await.expect("bound");
    assert_eq!(done.object["status"], "Success");
    let pod = h.get(PODS, "default/p").await.expect("there");
    assert_eq!(pod["spec"]["nodeName"], "n1");
    assert_eq!(pod["metadata"]["labels"], json!({"a": "pod", "zone": "z"}));
    assert_eq!(pod["metadata"]["annotations"], json!({"b": "c"}));
    let conditions = pod["status"]["conditions"].as_array().expect("a list");
    assert!(conditions.iter().any(|one| one["type"] == "PodScheduled" && one["status"] == "True"));
    assert_eq!(
        refusal(h.create(PODS, "default/p#binding", binding).await),
        r#"409 Conflict: Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n1""#
    );
}

#[tokio::test]
async fn eviction() {
    let h = Harness::new().await;
    for name in ["p", "q"] {
        running_pod(&h, name).await;
    }
    let budget =
        json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    h.create("policy/v1/poddisruptionbudgets", "default/", budget).await.expect("created");
    let status = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}});
    h.merge("policy/v1/poddisruptionbudgets", "default/b#status", status).await.expect("allowed");
    let dry = json!({"deleteOptions": {"dryRun": ["All"]}});
    h.create(PODS, "default/p#eviction", dry).await.expect("would be");
    h.create(PODS, "default/p#eviction", json!({"metadata": {"name": "p"}})).await.expect("evicted");
    let pod = h.get(PODS, "default/p").await.expect("ending");
    assert!(object::deletion_timestamp(&pod).is_some());
    assert!(
        pod["status"]["conditions"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["type"] == "DisruptionTarget"))
    );
    let refused = h.create(PODS, "default/q#eviction", json!({})).await.expect_err("the budget is spent");
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (429, "Cannot evict pod as it would violate the pod's disruption budget.")
    );
    let why = "The disruption budget b does not allow evicting pods currently";
    let details = json!({"causes": [{"reason": "DisruptionBudget", "message": why}]});
    assert_eq!(refused.to_status()["details"], details);
    assert!(object::deletion_timestamp(&h.get(PODS, "default/q").await.expect("there")).is_none());
    // Of a spent budget too: what is not ready counts for nobody.
    let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    h.merge(PODS, "default/q#status", unready).await.expect("unready");
    let evicted = h.create(PODS, "default/q#eviction", json!({})).await.expect("evicted");
    assert!(object::deletion_timestamp(&h.get(PODS, "default/q").await.expect("ending")).is_some(), "{evicted:?}");
}

#[tokio::test]
async fn evictions_that_no_budget_decides() {
    let h = Harness::new().await;
    running_pod(&h, "p").await;
    for name in ["a", "b"] {
        let budget = json!({"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"app": "web"}}}});
        h.create("policy/v1/poddisruptionbudgets", "default/", budget).await.expect("created");
    }
    let refused = h.create(PODS, "default/p#eviction", json!({})).await.expect_err("two budgets");
    let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
    assert_eq!((refused.code, refused.to_status()["message"].as_str()), (500, Some(why)));
    let other = json!({"deleteOptions": {"preconditions": {"uid": "u"}}});
    h.delete("policy/v1/poddisruptionbudgets", "default/a", DeleteOptions::default()).await.expect("deleted");
    h.delete("policy/v1/poddisruptionbudgets", "default/b", DeleteOptions::default()).await.expect("deleted");
    let refused = refusal(h.create(PODS, "default/p#eviction", other).await);
    assert!(refused.starts_with("409 Conflict: Operation cannot be fulfilled on Pod \"p\": the UID"), "{refused}");
    // Asked for in this version, and in no other: the condition that says why it goes is part of the eviction.
    let pod = h.get(PODS, "default/p").await.expect("there");
    let version = json!({"deleteOptions": {"preconditions": {"resourceVersion": object::resource_version(&pod)}}});
    h.create(PODS, "default/p#eviction", version.clone()).await.expect("evicted");
    let refused = refusal(h.create(PODS, "default/p#eviction", version).await);
    assert!(refused.contains("the ResourceVersion in the precondition"), "{refused}");
}

#[tokio::test]
async fn evictions_with_options() {
    let h = Harness::new().await;
    running_pod(&h, "p").await;
    let dry = RequestInfo { dry_run: true, ..Harness::info() };
    let evict = async |options: Value| {
        let body = Body::Value(json!({"deleteOptions": options}));
        refusal(h.registry.create(&dry, &target(PODS, "default/p#eviction"), body).await)
    };
    for same in [json!({}), json!({"dryRun": []}), json!({"dryRun": ["All"]})] {
        assert_eq!(evict(same).await, "ok");
    }
    for (other, shown) in [(json!(["x"]), "[x]"), (json!(["All", "x"]), "[All x]"), (json!([""]), "[]")] {
        let why = "400 BadRequest: Non-matching dry-run options in request and content: [All] and";
        assert_eq!(evict(json!({"dryRun": other})).await, format!("{why} {shown}"));
    }
    assert_eq!(
        evict(json!({"ignoreStoreReadErrorWithClusterBreakingPotential": true})).await,
        "422 Invalid: Eviction.policy \"p\" is invalid: deleteOptions.ignoreStoreReadErrorWithClusterBreakingPotential: \
         Invalid value: true: can not be set for pod eviction, try after removing the option"
    );
    let ignores = json!({"ignoreStoreReadErrorWithClusterBreakingPotential": false});
    assert_eq!(evict(ignores).await, "ok");
    assert!(object::deletion_timestamp(&h.get(PODS, "default/p").await.expect("there")).is_none());
}

#[tokio::test]
async fn tokens() {
    let h = Harness::new().await;
    let account =
        h.create("v1/serviceaccounts", "default/", json!({"metadata": {"name": "robot"}})).await.expect("created");
    running_pod(&h, "p").await;
    let at = "default/robot#token";
    let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": "p"});
    let request = json!({"spec": {"audiences": ["x"], "expirationSeconds": 3607, "boundObjectRef": bound}});
    h.get(PODS, "default/p").await.expect("shown");
    let answer = h.create("v1/serviceaccounts", at, request).await.expect("a token");
    let token = object::str_at(&answer.object, "status.token");
    let now = h.registry.config.clock.now();
    let verified = h.registry.config.tokens.verify(token, &["x".to_owned()], now).expect("it holds");
    assert_eq!(verified.subject.service_account_uid, object::uid(&account.object));
    assert_eq!(verified.subject.pod.as_ref().map(|(name, _)| name.as_str()), Some("p"));
    assert_eq!(answer.object["status"]["expirationTimestamp"], "2027-01-15T09:00:07Z");
    let short = h.create("v1/serviceaccounts", at, json!({"spec": {"expirationSeconds": 5}})).await;
    assert!(refusal(short).contains("may not specify a duration less than 10 minutes"));
    let gone = json!({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "none"}}});
    assert!(refusal(h.create("v1/serviceaccounts", at, gone).await).starts_with("404"));
    let other = json!({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "u"}}});
    assert!(refusal(h.create("v1/serviceaccounts", at, other).await).starts_with("409"));
}

/// The whole write path with the default admission plugins, from an empty store to an evicted pod.
#[tokio::test]
async fn under_default_admission() {
    let h = Harness::admitting().await;
    h.registry.bootstrap().await.expect("done");
    h.create("v1/serviceaccounts", "default/", json!({"metadata": {"name": "robot"}})).await.expect("created");
    h.create("v1/nodes", "", json!({"metadata": {"name": "n"}})).await.expect("created");
    running_pod(&h, "p").await;
    let pod = h.get(PODS, "default/p").await.expect("there");
    assert_eq!(pod["spec"]["tolerations"].as_array().map(Vec::len), Some(2), "{pod}");
    assert_eq!(pod["spec"]["priority"], 0);
    h.create(SERVICES, "default/", service("web", json!({}))).await.expect("created");
    h.create(PODS, "default/p#eviction", json!({})).await.expect("evicted");
    let refused = refusal(h.create("v1/configmaps", "nowhere/", json!({"metadata": {"name": "x"}})).await);
    assert_eq!(refused, r#"404 NotFound: namespaces "nowhere" not found"#);
    let refused = refusal(h.delete("v1/namespaces", "kube-system", DeleteOptions::default()).await);
    assert!(refused.starts_with("403 Forbidden"), "{refused}");
    h.create("v1/namespaces", "", json!({"metadata": {"name": "ending"}})).await.expect("created");
    h.delete("v1/namespaces", "ending", DeleteOptions::default()).await.expect("marked");
    let refused = refusal(h.create("v1/configmaps", "ending/", json!({"metadata": {"name": "x"}})).await);
    assert!(refused.starts_with("403 Forbidden") && refused.contains("being terminated"), "{refused}");
}

#[tokio::test]
async fn replicas_bootstrap_at_once() {
    let one = Harness::new().await;
    let (two, three) = (Harness::over(one.store.clone()).await, Harness::over(one.store.clone()).await);
    let all = tokio::join!(one.registry.bootstrap(), two.registry.bootstrap(), three.registry.bootstrap());
    assert_eq!((all.0, all.1, all.2), (Ok(()), Ok(()), Ok(())));
    let roles =
        two.list("rbac.authorization.k8s.io/v1/clusterroles", "", ListOptions::default()).await.expect("listed");
    assert_eq!(roles.objects.len(), 70);
    assert_eq!(claims(&three).await, ["serviceips/10.96.0.1"]);
}
