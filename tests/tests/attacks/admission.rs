//! Ways around what is admitted, what is valid, and what only the server says.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use system_tests::client::{Answer, Client};
use system_tests::servers::Server;

use crate::world::{PODS, Way, World, admin_of, pod, soon, ways};

const NAMESPACES: &str = "/api/v1/namespaces";
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
const APPLY: (&str, &str) = ("content-type", "application/apply-patch+yaml");

fn forbidden(answer: &Answer, why: &str, what: &str) {
    let right = answer.code == 403 && answer.status().contains(why);
    assert!(right, "{what}: not 403 {why:?} but {}", answer.status());
}

fn invalid(answer: &Answer, what: &str) {
    assert_eq!(answer.code, 422, "{what}: {}", answer.status());
}

fn done(answer: &Answer, what: &str) {
    assert!(matches!(answer.code, 200..=202), "{what}: {}", answer.status());
}

/// Sends a change in all ways; each must be forbidden for this.
async fn forbidden_in_all_ways(client: &Client, target: &str, ways: &[Way], why: &str) {
    for way in ways {
        forbidden(&way.send(client, target).await, why, &format!("{} of {target}", way.name));
    }
}

/// A user who has one of the roles of every cluster, in one namespace.
async fn user_as(world: &World, name: &str, role: &str, namespace: &str) -> Client {
    world.admin.bind(Some(namespace), "ClusterRole", role, name).await;
    world.level().await;
    world.user(name)
}

/// A container that every namespace lets in.
fn container(name: &str, more: Value) -> Value {
    let mut all = json!({"name": name, "image": "i",
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}});
    put(&mut all, &more);
    all
}

/// The same of a pod.
fn restricted(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container("c", json!({}))]}})
}

/// Puts fields, and fields of fields, into an object; `null` takes one away.
fn put(object: &mut Value, fields: &Value) {
    for (field, value) in fields.as_object().into_iter().flatten() {
        if value.is_object() && object.get(field).is_some_and(Value::is_object) {
            put(&mut object[field], value);
        } else if value.is_null() {
            object.as_object_mut().map(|map| map.remove(field));
        } else {
            object[field] = value.clone();
        }
    }
}

/// Pod Security, the Secrets that an account lets its pods name, and AlwaysPullImages hold for containers, init
/// containers, sidecars and ephemeral containers, for every source of an environment or a volume, when a pod is made
/// and when it is changed.
pub(crate) async fn a38_policies_look_at_every_container(world: &World) {
    let pods = "/api/v1/namespaces/a38/pods";
    world.namespace("a38", json!({ENFORCE: "restricted"})).await;
    let stored = world.admin.make(pods, &restricted("good")).await;
    let security = |context: Value| json!({"securityContext": context});
    let bad = [
        ("privileged", security(json!({"privileged": true, "allowPrivilegeEscalation": null}))),
        ("escalation", security(json!({"allowPrivilegeEscalation": null}))),
        ("capabilities kept", security(json!({"capabilities": null}))),
        ("a capability", security(json!({"capabilities": {"add": ["NET_ADMIN"]}}))),
        ("unconfined seccomp", security(json!({"seccompProfile": {"type": "Unconfined"}}))),
        ("unconfined AppArmor", security(json!({"appArmorProfile": {"type": "Unconfined"}}))),
        ("SELinux", security(json!({"seLinuxOptions": {"type": "spc_t"}}))),
        ("root", security(json!({"runAsNonRoot": false}))),
        ("user 0", security(json!({"runAsUser": 0}))),
    ];
    let bad_at_first = [
        ("a host port", json!({"ports": [{"containerPort": 80, "hostPort": 80}]})),
        ("a probed host", json!({"livenessProbe": {"httpGet": {"host": "169.254.169.254", "port": 80}}})),
        (
            "a host told of its start",
            json!({"lifecycle": {"postStart": {"httpGet": {"host": "10.0.0.1", "port": 80}}}}),
        ),
    ];
    const VIOLATES: &str = "violates PodSecurity \"restricted:latest\"";
    for (what, fields) in bad.iter().chain(&bad_at_first) {
        let one = container("d", fields.clone());
        let mut sidecar = one.clone();
        sidecar["restartPolicy"] = "Always".into();
        for (list, one) in [("containers", &one), ("initContainers", &one), ("initContainers", &sidecar)] {
            let mut body = restricted("bad");
            body["spec"][list] = json!([one]);
            if list == "containers" {
                body["spec"][list] = json!([container("c", json!({})), one]);
            } else if one["restartPolicy"].is_null()
                && ["livenessProbe", "lifecycle"].iter().any(|field| !one[field].is_null())
            {
                // What ends is not probed.
                continue;
            }
            forbidden(&world.admin.post(pods, &body).await, VIOLATES, &format!("{what} in {list}"));
        }
    }
    let debug = |fields: &Value| json!({"spec": {"ephemeralContainers": [container("e", fields.clone())]}});
    let target = format!("{pods}/good/ephemeralcontainers");
    for (what, fields) in &bad {
        for way in ways(&stored, &debug(fields)) {
            let answer = way.send(&world.admin, &target).await;
            forbidden(&answer, VIOLATES, &format!("{what} in an ephemeral container by {}", way.name));
        }
    }
    done(&ways(&stored, &debug(&json!({})))[2].send(&world.admin, &target).await, "a good ephemeral container");

    // What was there before the policy is judged when it changes.
    let pods = "/api/v1/namespaces/a38-later/pods";
    world.namespace("a38-later", json!({})).await;
    let old = world.admin.make(pods, &pod("old")).await;
    let labels = json!({"metadata": {"labels": {ENFORCE: "restricted"}}});
    done(&world.admin.merge("/api/v1/namespaces/a38-later", &labels).await, "a policy comes later");
    world.level().await;
    let mut containers = old["spec"]["containers"].clone();
    containers[0]["image"] = "other".into();
    let image = ways(&old, &json!({"spec": {"containers": containers}}));
    // An apply owns none of what admission has set, and would take it away.
    forbidden_in_all_ways(&world.admin, &format!("{pods}/old"), &image[..4], VIOLATES).await;
    let label = ways(&old, &json!({"metadata": {"labels": {"a38": "x"}}}));
    done(&label[1].send(&world.admin, &format!("{pods}/old")).await, "a label of a pod that was there before");

    secrets_of_accounts(world).await;
    images_are_pulled().await;
    for namespace in ["a38", "a38-later"] {
        world.admin.delete(&format!("{NAMESPACES}/{namespace}")).await;
    }
}

/// CVE-2023-2728 and CVE-2024-3177, and the sources that upstream does not look at either.
async fn secrets_of_accounts(world: &World) {
    let api = "/api/v1/namespaces/a38-secrets";
    world.namespace("a38-secrets", json!({})).await;
    let account = json!({"metadata": {"name": "limited",
        "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}},
        "secrets": [{"name": "own"}], "imagePullSecrets": [{"name": "pull"}]});
    world.admin.make(&format!("{api}/serviceaccounts"), &account).await;
    let named = |name: &str| json!({"secretRef": {"name": name}});
    let key = |name: &str| json!({"name": "E", "valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}});
    let volume = |source: Value| {
        let mut volume = json!({"name": "v"});
        put(&mut volume, &source);
        json!({"volumes": [volume]})
    };
    let sources = |name: &str| {
        let mut all = vec![
            volume(json!({"secret": {"secretName": name}})),
            volume(json!({"projected": {"sources": [{"secret": {"name": name}}]}})),
            volume(json!({"csi": {"driver": "a38.example.com", "nodePublishSecretRef": {"name": name}}})),
            volume(json!({"cephfs": {"monitors": ["m"], "secretRef": {"name": name}}})),
        ];
        for list in ["containers", "initContainers"] {
            all.push(json!({list: [{"name": "c", "image": "i", "env": [key(name)]}]}));
            all.push(json!({list: [{"name": "c", "image": "i", "envFrom": [named(name)]}]}));
        }
        all
    };
    let with = |name: &str, account: &str, spec: &Value| {
        let mut body = pod(name);
        body["spec"]["containers"][0]["name"] = "first".into();
        body["spec"]["serviceAccountName"] = account.into();
        put(&mut body["spec"], spec);
        body
    };
    let pods = format!("{api}/pods");
    const WHY: &str = "because service account limited does not reference that";
    let mut others = sources("other");
    others.push(json!({"imagePullSecrets": [{"name": "other"}]}));
    for spec in &others {
        let answer = world.admin.post(&pods, &with("bad", "limited", spec)).await;
        forbidden(&answer, WHY, &format!("a limited account's pod names another Secret: {spec}"));
        let free = world.admin.post(&format!("{pods}?dryRun=All"), &with("free", "default", spec)).await;
        done(&free, &format!("an account without limits: {spec}"));
    }
    for spec in sources("own").iter().chain(&[json!({"imagePullSecrets": [{"name": "pull"}]})]) {
        let answer = world.admin.post(&format!("{pods}?dryRun=All"), &with("good", "limited", spec)).await;
        done(&answer, &format!("a limited account's pod names its own Secret: {spec}"));
    }
    let stored = world.admin.make(&pods, &with("debugged", "limited", &json!({}))).await;
    let target = format!("{pods}/debugged/ephemeralcontainers");
    for (field, other) in [("env", key("other")), ("envFrom", named("other"))] {
        let debug = json!({"spec": {"ephemeralContainers": [{"name": "e", "image": "i", field: [other]}]}});
        forbidden_in_all_ways(&world.admin, &target, &ways(&stored, &debug), WHY).await;
    }
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "e", "image": "i", "envFrom": [named("own")]}]}});
    done(&ways(&stored, &debug)[2].send(&world.admin, &target).await, "its own Secret in an ephemeral container");
    world.admin.delete(api).await;
}

async fn images_are_pulled() {
    let world = World::with(&["--enable-admission-plugins", "AlwaysPullImages"]);
    world.settle().await;
    let lazy = |name: &str| json!({"name": name, "image": "i:1", "imagePullPolicy": "Never"});
    let mut body = pod("a38-pulled");
    body["spec"]["containers"] = json!([lazy("c")]);
    let mut sidecar = lazy("e");
    sidecar["restartPolicy"] = "Always".into();
    body["spec"]["initContainers"] = json!([lazy("d"), sidecar]);
    body["spec"]["volumes"] = json!([{"name": "v", "image": {"reference": "i:1", "pullPolicy": "Never"}}]);
    let stored = world.admin.make(PODS, &body).await;
    let policies = |pod: &Value, list: &str| -> Vec<String> {
        let list = pod["spec"][list].as_array().cloned().unwrap_or_default();
        list.iter().map(|one| one["imagePullPolicy"].as_str().unwrap_or("").to_owned()).collect()
    };
    assert_eq!(policies(&stored, "containers"), ["Always"]);
    assert_eq!(policies(&stored, "initContainers"), ["Always", "Always"]);
    assert_eq!(stored["spec"]["volumes"][0]["image"]["pullPolicy"], "Always", "{stored:#}");
    let mut debug = lazy("f");
    debug["image"] = "j:1".into();
    let debug = ways(&stored, &json!({"spec": {"ephemeralContainers": [debug]}}));
    let debugged = debug[2].send(&world.admin, &format!("{PODS}/a38-pulled/ephemeralcontainers")).await;
    done(&debugged, "an ephemeral container");
    assert_eq!(policies(&debugged.json(), "ephemeralContainers"), ["Always"], "where upstream does not look");
}

/// Whatever writes or connects passes the same plugins: with a plugin that denies all nothing gets through by any path,
/// as a dry run, with a generated name or in a collection. Webhooks, what they match and what they are sent, wait for
/// admission webhooks.
pub(crate) async fn a39_every_path_is_admitted(world: &World) {
    let mut server = Server::init();
    let admin = admin_of(&server, world.dir.path());
    admin.until("/api/v1/namespaces/default/serviceaccounts/default").await;
    let make = async |target: &str, body: Value| admin.make(target, &body).await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let deployment = json!({"metadata": {"name": "a39"}, "spec": {"replicas": 0,
        "selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let lease = json!({"metadata": {"name": "a39"}, "spec": {"holderIdentity": "h"}});
    let map = json!({"metadata": {"name": "a39"}, "data": {"k": "v"}});
    let maps = "/api/v1/namespaces/default/configmaps";
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let stored = [
        (PODS, make(PODS, pod("a39")).await),
        (maps, make(maps, map.clone()).await),
        (leases, make(leases, lease.clone()).await),
        (deployments, make(deployments, deployment).await),
        ("/api/v1/nodes", make("/api/v1/nodes", json!({"metadata": {"name": "a39"}})).await),
        (NAMESPACES, make(NAMESPACES, json!({"metadata": {"name": "a39"}})).await),
    ];
    server.stop();
    server.start(&["--enable-admission-plugins", "AlwaysDeny"]);
    // Not ready: with this plugin it cannot make sure of the first objects that every cluster has.
    admin.until("/api/v1/nodes/a39").await;
    const WHY: &str = "admission control is denying all modifications";
    let label = json!({"metadata": {"labels": {"a39": "x"}}});
    for (list, object) in &stored {
        let ways = ways(object, &label);
        for subresource in ["", "?dryRun=All", "/status"] {
            if subresource == "/status" && [maps, leases].contains(list) {
                continue;
            }
            forbidden_in_all_ways(&admin, &format!("{list}/a39{subresource}"), &ways, WHY).await;
        }
        for target in [format!("{list}/a39"), format!("{list}/a39?dryRun=All"), (*list).to_owned()] {
            if target == NAMESPACES {
                continue;
            }
            let answer = admin.delete(&target).await;
            forbidden(&answer, WHY, &format!("DELETE {target}"));
        }
    }
    let generated = json!({"metadata": {"generateName": "a39-"}});
    let mut other = map;
    other["metadata"]["name"] = "a39-other".into();
    let mut new_lease = lease;
    new_lease["metadata"]["name"] = "a39-other".into();
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a39"}});
    let binding = json!({"metadata": {"name": "a39"}, "target": {"kind": "Node", "name": "a39"}});
    let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["a"]}});
    let scale = json!({"metadata": {"name": "a39", "namespace": "default"}, "spec": {"replicas": 3}});
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "e", "image": "i"}]}});
    let finalized = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a39"}, "spec": {}});
    let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a39-applied"}});
    for (method, target, body) in [
        ("POST", maps.to_owned(), &other),
        ("POST", format!("{maps}?dryRun=All"), &other),
        ("POST", maps.to_owned(), &generated),
        ("PUT", format!("{leases}/a39-other"), &new_lease),
        ("PATCH", format!("{maps}/a39-applied?fieldManager=a39"), &applied),
        ("POST", format!("{PODS}/a39/eviction"), &eviction),
        ("POST", format!("{PODS}/a39/binding"), &binding),
        ("POST", "/api/v1/namespaces/default/bindings".to_owned(), &binding),
        ("POST", "/api/v1/namespaces/default/serviceaccounts/default/token".to_owned(), &token),
        ("PUT", format!("{deployments}/a39/scale"), &scale),
        ("PATCH", format!("{deployments}/a39/scale"), &scale),
        ("PATCH", format!("{PODS}/a39/ephemeralcontainers"), &debug),
        ("PATCH", format!("{PODS}/a39/resize"), &label),
        ("PUT", format!("{NAMESPACES}/a39/finalize"), &finalized),
        ("POST", format!("{PODS}/a39/exec?command=sh"), &json!({})),
        ("POST", format!("{PODS}/a39/attach"), &json!({})),
        ("POST", format!("{PODS}/a39/portforward?ports=80"), &json!({})),
        ("GET", format!("{PODS}/a39/proxy/"), &json!({})),
        ("GET", "/api/v1/nodes/a39/proxy/pods".to_owned(), &json!({})),
    ] {
        let content = match method {
            "PATCH" if target.contains("fieldManager") => APPLY,
            "PATCH" => system_tests::client::MERGE_PATCH,
            _ => system_tests::client::JSON,
        };
        let answer = admin.send(method, &target, &[content], body.to_string()).await;
        forbidden(&answer, WHY, &format!("{method} {target}"));
    }
    for (list, object) in &stored {
        let after = admin.get(&format!("{list}/a39")).await.json();
        assert!(after["metadata"]["labels"]["a39"].is_null(), "{list}: {after:#}");
        assert_eq!(after["metadata"]["uid"], object["metadata"]["uid"], "{list}");
        assert!(after["metadata"]["deletionTimestamp"].is_null(), "{list}: {after:#}");
    }
    namespaces_that_end(world).await;
}

/// Nothing new comes into a namespace that is going away or is not there, and some namespaces stay.
async fn namespaces_that_end(world: &World) {
    let (api, group) = ("/api/v1/namespaces/a39", "/apis/coordination.k8s.io/v1/namespaces");
    world.namespace("a39", json!({})).await;
    let held = json!({"metadata": {"name": "held", "finalizers": ["a39.example.com/held"]}});
    world.admin.make(&format!("{api}/configmaps"), &held).await;
    done(&world.admin.delete(api).await, "a namespace ends");
    for (namespace, code) in [("a39", 403), ("a39-missing", 404)] {
        let maps = format!("/api/v1/namespaces/{namespace}/configmaps");
        let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": name_of(name)});
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "new"}});
        for (method, target, content, body) in [
            ("POST", maps.clone(), system_tests::client::JSON, map("new")),
            ("POST", format!("{maps}?dryRun=All"), system_tests::client::JSON, map("new")),
            ("POST", maps.clone(), system_tests::client::JSON, map("")),
            ("PATCH", format!("{maps}/new?fieldManager=a39"), APPLY, map("new")),
            ("PUT", format!("{group}/{namespace}/leases/new"), system_tests::client::JSON, lease),
        ] {
            let answer = world.admin.send(method, &target, &[content], body.to_string()).await;
            assert_eq!(answer.code, code, "{method} {target} of a new object: {}", answer.status());
        }
    }
    for namespace in ["default", "kube-system", "kube-public"] {
        let answer = world.admin.delete(&format!("{NAMESPACES}/{namespace}")).await;
        forbidden(&answer, "may not be deleted", &format!("{namespace} is deleted"));
    }
    world.admin.merge(&format!("{api}/configmaps/held"), &json!({"metadata": {"finalizers": null}})).await;
    world.admin.until_is(api, |answer| answer.code == 404).await;
}

fn name_of(name: &str) -> Value {
    if name.is_empty() { json!({"generateName": "new-"}) } else { json!({"name": name}) }
}

/// One quota holds for an object in whichever version it is made, and a body of another version or kind is not taken
/// for what the path says. Policies of users wait for CEL admission policies and admission webhooks.
pub(crate) async fn a41_versions_do_not_skip_policies(world: &World) {
    let quota = json!({"metadata": {"name": "q"},
        "spec": {"hard": {"count/horizontalpodautoscalers.autoscaling": "1", "count/pods": "0"}}});
    let scaler = |name: &str| {
        json!({"metadata": {"name": name}, "spec": {"maxReplicas": 2,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}})
    };
    let api = "/api/v1/namespaces/a41-v1";
    for (first, second) in [("v1", "v2"), ("v2", "v1")] {
        let namespace = format!("a41-{first}");
        let quotas = format!("{NAMESPACES}/{namespace}/resourcequotas");
        let scalers =
            |version: &str| format!("/apis/autoscaling/{version}/namespaces/{namespace}/horizontalpodautoscalers");
        world.namespace(&namespace, json!({})).await;
        world.admin.make(&quotas, &quota).await;
        until_some(&world.admin, &format!("{quotas}/q"), "/status/hard").await;
        world.admin.make(&scalers(first), &scaler("one")).await;
        for version in [second, first] {
            let answer = world.admin.post(&scalers(version), &scaler("two")).await;
            forbidden(&answer, "exceeded quota", &format!("a second by {version} after one by {first}"));
            let apply = json!({"apiVersion": format!("autoscaling/{version}"), "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": "two"}, "spec": scaler("two")["spec"]});
            let target = format!("{}/two?fieldManager=a41", scalers(version));
            let answer = world.admin.send("PATCH", &target, &[APPLY], apply.to_string()).await;
            forbidden(&answer, "exceeded quota", &format!("a second applied by {version} after one by {first}"));
        }
    }
    let pods = format!("{api}/pods");
    for (target, body) in [(pods.clone(), pod("a41")), (format!("{pods}?dryRun=All"), pod("a41"))] {
        forbidden(&world.admin.post(&target, &body).await, "exceeded quota", &format!("a pod by {target}"));
    }
    for (api_version, kind) in [("v2", "Pod"), ("apps/v1", "Pod"), ("v1", "ConfigMap"), ("extensions/v1beta1", "Pod")] {
        let mut body = pod("a41");
        (body["apiVersion"], body["kind"]) = (api_version.into(), kind.into());
        let answer = world.admin.post(&pods, &body).await;
        assert_eq!(answer.code, 400, "a {kind} of {api_version} where pods are: {}", answer.status());
    }
    for target in
        ["/apis/extensions/v1beta1/namespaces/a41-v1/deployments", "/api/v2/namespaces/a41-v1/pods", "/apis//v1/pods"]
    {
        let answer = world.admin.post(target, &pod("a41")).await;
        assert!(matches!(answer.code, 301 | 307 | 308 | 400 | 404), "{target}: {}", answer.status());
    }
    for namespace in ["a41-v1", "a41-v2"] {
        world.admin.delete(&format!("{NAMESPACES}/{namespace}")).await;
    }
}

async fn until_some(client: &Client, target: &str, pointer: &str) -> Value {
    let there = |answer: &Answer| answer.json().pointer(pointer).is_some_and(|value| !value.is_null());
    soon(client, target, there).await.json()
}

fn service(name: &str, more: &Value) -> Value {
    let mut service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}});
    put(&mut service, more);
    service
}

/// With DenyServiceExternalIPs, off by default as upstream, nobody has traffic for other addresses. What a load
/// balancer answers with is a status that who writes Services does not write.
pub(crate) async fn a42_services_take_no_foreign_addresses(world: &World) {
    let services = "/api/v1/namespaces/default/services";
    let strict = World::with(&["--enable-admission-plugins", "DenyServiceExternalIPs"]);
    strict.settle().await;
    const WHY: &str = "Use of external IPs is denied by admission control";
    let external = json!({"spec": {"externalIPs": ["203.0.113.42"]}});
    let bad = service("a42-bad", &external);
    for (method, target, content) in [
        ("POST", services.to_owned(), system_tests::client::JSON),
        ("POST", format!("{services}?dryRun=All"), system_tests::client::JSON),
        ("PUT", format!("{services}/a42-bad"), system_tests::client::JSON),
        ("PATCH", format!("{services}/a42-bad?fieldManager=a42"), APPLY),
    ] {
        let answer = strict.admin.send(method, &target, &[content], bad.to_string()).await;
        forbidden(&answer, WHY, &format!("{method} {target}"));
    }
    let stored = strict.admin.make(services, &service("a42", &json!({}))).await;
    forbidden_in_all_ways(&strict.admin, &format!("{services}/a42"), &ways(&stored, &external), WHY).await;
    drop(strict);

    // Where it is off the addresses may still not be those of every machine.
    done(&world.admin.post(&format!("{services}?dryRun=All"), &bad).await, "external addresses without the plugin");
    for address in ["127.0.0.1", "169.254.169.254", "224.0.0.1", "0.0.0.0", "::1", "fe80::1", "::ffff:127.0.0.1"] {
        let bad = service("a42-bad", &json!({"spec": {"externalIPs": [address]}}));
        invalid(&world.admin.post(services, &bad).await, &format!("the external address {address}"));
    }

    world.namespace("a42", json!({})).await;
    let services = "/api/v1/namespaces/a42/services";
    let balanced = service("a42", &json!({"spec": {"type": "LoadBalancer"}}));
    let stored = world.admin.make(services, &balanced).await;
    let target = format!("{services}/a42");
    let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.42", "ipMode": "VIP"}]}}});
    let ways = ways(&stored, &ingress);
    let rules = json!([{"verbs": ["*"], "apiGroups": [""], "resources": ["services"]}]);
    for user in [
        user_as(world, "a42-admin", "admin", "a42").await,
        user_as(world, "a42-edit", "edit", "a42").await,
        world.user_with("a42-writer", rules).await,
    ] {
        forbidden_in_all_ways(&user, &format!("{target}/status"), &ways, "services").await;
        for way in &ways {
            done(&way.send(&user, &target).await, "a writer of services writes one");
        }
        done(&user.post(&format!("{services}?dryRun=All"), &service("a42-new", &ingress)).await, "a new one");
    }
    let mut with_status = balanced.clone();
    (with_status["metadata"]["name"], with_status["status"]) = ("a42-status".into(), ingress["status"].clone());
    let made = world.admin.make(services, &with_status).await;
    for service in [made, world.admin.get(&target).await.json()] {
        assert!(service["status"]["loadBalancer"]["ingress"].is_null(), "a status by the Service itself: {service:#}");
    }
    done(&ways[1].send(&world.admin, &format!("{target}/status")).await, "who may write the status does");
    world.admin.delete("/api/v1/namespaces/a42").await;
}

/// Endpoints lead to no machine's own addresses, and are not written by those who have the roles of a namespace.
pub(crate) async fn a43_endpoints_on_forbidden_addresses(world: &World) {
    let endpoints = "/api/v1/namespaces/a43/endpoints";
    let slices = "/apis/discovery.k8s.io/v1/namespaces/a43/endpointslices";
    world.namespace("a43", json!({})).await;
    let old = |list: &str, ip: &str| {
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "a43"},
            "subsets": [{list: [{"ip": ip}], "ports": [{"port": 80}]}]})
    };
    let slice = |ip: &str| {
        let family = if ip.contains(':') { "IPv6" } else { "IPv4" };
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "a43"},
            "addressType": family, "endpoints": [{"addresses": [ip]}], "ports": [{"name": "p", "port": 80}]})
    };
    let v4 = ["127.0.0.1", "127.255.255.254", "169.254.169.254", "169.254.0.1", "224.0.0.1", "0.0.0.0"];
    let v6 =
        ["::1", "fe80::1", "febf::1", "ff02::1", "::", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:169.254.169.254"];
    let bad: Vec<&str> = v4.into_iter().chain(v6).collect();
    for ip in &bad {
        for list in ["addresses", "notReadyAddresses"] {
            invalid(&world.admin.post(endpoints, &old(list, ip)).await, &format!("{list} of Endpoints: {ip}"));
        }
        invalid(&world.admin.post(slices, &slice(ip)).await, &format!("a slice with {ip}"));
    }
    let good = world.admin.make(endpoints, &old("addresses", "10.43.0.1")).await;
    let good_slice = world.admin.make(slices, &slice("10.43.0.1")).await;
    for ip in &v4 {
        let mut body = good.clone();
        body["subsets"] = old("addresses", ip)["subsets"].clone();
        invalid(&world.admin.put(&format!("{endpoints}/a43"), &body).await, &format!("Endpoints become {ip}"));
        let patch = json!({"endpoints": slice(ip)["endpoints"]});
        invalid(&world.admin.merge(&format!("{slices}/a43"), &patch).await, &format!("a slice becomes {ip}"));
    }
    let mut other = slice("10.43.0.2");
    other["metadata"]["name"] = "a43-other".into();
    let label = json!({"metadata": {"labels": {"a43": "x"}}});
    for role in ["edit", "admin"] {
        let user = user_as(world, &format!("a43-{role}"), role, "a43").await;
        for (list, object, body) in [(endpoints, &good, &old("addresses", "10.43.0.2")), (slices, &good_slice, &other)]
        {
            assert_eq!(user.get(&format!("{list}/a43")).await.code, 200, "{role} reads {list}");
            let mut body = body.clone();
            body["metadata"]["name"] = "a43-other".into();
            forbidden(&user.post(list, &body).await, "cannot create", &format!("{role} makes in {list}"));
            let put = user.put(&format!("{list}/a43-other"), &body).await;
            forbidden(&put, "cannot update", &format!("{role} puts into {list}"));
            forbidden_in_all_ways(&user, &format!("{list}/a43"), &ways(object, &label), "cannot").await;
            for target in [format!("{list}/a43"), list.to_owned()] {
                forbidden(&user.delete(&target).await, "cannot delete", &format!("{role} deletes {target}"));
            }
        }
    }
    world.admin.delete("/api/v1/namespaces/a43").await;
}

/// `010.0.0.1` is 8.0.0.1 to some and 10.0.0.1 to others: no field takes it, nor other ways to write an address that
/// not everybody reads alike. Upstream does not look at `spec.loadBalancerIP` and the addresses in a Node's status.
pub(crate) async fn a44_addresses_with_leading_zeros(world: &World) {
    const ADDRESS: &str = "10.47.0.8";
    const ADDRESSES: [&str; 9] = [
        "010.47.0.8",
        "10.047.0.8",
        "10.47.00.8",
        "10.47.0.010",
        "0x0a.47.0.8",
        "10.47.8",
        "170852360",
        "10.47.0.256",
        "::ffff:10.47.0.8",
    ];
    const BLOCK: &str = "10.47.0.0/16";
    const BLOCKS: [&str; 7] = [
        "010.47.0.0/16",
        "10.047.0.0/16",
        "10.47.0.0/016",
        "10.47.0.0/33",
        "10.47/16",
        "10.47.0.1/16",
        "::ffff:10.47.0.0/112",
    ];
    let services = "/api/v1/namespaces/default/services";
    let balanced = json!({"spec": {"type": "LoadBalancer"}});
    world.admin.make(services, &service("a44", &balanced)).await;
    world.admin.make(PODS, &pod("a44")).await;
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    let backend = json!({"service": {"name": "a44", "port": {"number": 80}}});
    let ingress = json!({"metadata": {"name": "a44"}, "spec": {"defaultBackend": backend}});
    world.admin.make(ingresses, &ingress).await;
    let own = world.admin.get(&format!("{services}/kubernetes")).await.json()["spec"]["clusterIP"].clone();
    let own = own.as_str().expect("an address").to_owned();
    let (prefix, _) = own.rsplit_once('.').expect("IPv4");
    let free = format!("{prefix}.247");

    let spec = |fields: Value| service("a44-new", &json!({"spec": fields}));
    let balanced = |fields: Value| {
        let mut all = spec(json!({"type": "LoadBalancer"}));
        put(&mut all, &fields);
        all
    };
    let policy = |block: Value| {
        json!({"metadata": {"name": "a44-new"},
            "spec": {"podSelector": {}, "egress": [{"to": [{"ipBlock": block}]}]}})
    };
    let of_pod = |fields: Value| {
        let mut all = pod("a44-new");
        put(&mut all["spec"], &fields);
        all
    };
    let subset = |list: &str| json!({list: [{"ip": "IP"}], "ports": [{"port": 80}]});
    let endpoints = |list: &str| json!({"metadata": {"name": "a44-new"}, "subsets": [subset(list)]});
    let slice = json!({"metadata": {"name": "a44-new"}, "addressType": "IPv4", "endpoints": [{"addresses": ["IP"]}],
        "ports": [{"name": "p", "port": 80}]});
    let parent = json!({"group": "", "resource": "services", "namespace": "default", "name": "a44"});
    let policies = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
    let node = |fields: Value| json!({"metadata": {"name": "a44-new"}, "spec": fields});
    let of_balancer = json!({"status": {"loadBalancer": {"ingress": [{"ip": "IP"}]}}});
    let new: Vec<(&str, Value)> = vec![
        (services, spec(json!({"clusterIP": "CLUSTER"}))),
        (services, spec(json!({"clusterIP": "CLUSTER", "clusterIPs": ["CLUSTER"]}))),
        (services, spec(json!({"externalIPs": ["IP"]}))),
        (services, balanced(json!({"spec": {"loadBalancerSourceRanges": ["BLOCK"]}}))),
        (
            services,
            balanced(json!({"metadata": {"annotations":
                {"service.beta.kubernetes.io/load-balancer-source-ranges": "BLOCK"}}})),
        ),
        ("/api/v1/namespaces/default/endpoints", endpoints("addresses")),
        ("/api/v1/namespaces/default/endpoints", endpoints("notReadyAddresses")),
        ("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice),
        (policies, policy(json!({"cidr": "BLOCK"}))),
        (policies, policy(json!({"cidr": "10.0.0.0/8", "except": ["BLOCK"]}))),
        ("/api/v1/nodes", node(json!({"podCIDR": "BLOCK"}))),
        ("/api/v1/nodes", node(json!({"podCIDRs": ["BLOCK"]}))),
        (PODS, of_pod(json!({"hostAliases": [{"ip": "IP", "hostnames": ["h"]}]}))),
        (PODS, of_pod(json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["IP"]}}))),
        ("/apis/networking.k8s.io/v1/ipaddresses", json!({"metadata": {"name": "IP"}, "spec": {"parentRef": parent}})),
        (
            "/apis/networking.k8s.io/v1/servicecidrs",
            json!({"metadata": {"name": "a44-new"}, "spec": {"cidrs": ["BLOCK"]}}),
        ),
    ];
    let changed: Vec<(String, Value)> = vec![
        (format!("{services}/a44"), json!({"spec": {"externalIPs": ["IP"]}})),
        (format!("{services}/a44"), json!({"spec": {"loadBalancerSourceRanges": ["BLOCK"]}})),
        (format!("{services}/a44/status"), of_balancer.clone()),
        (format!("{ingresses}/a44/status"), of_balancer),
        (format!("{PODS}/a44/status"), json!({"status": {"podIP": "IP", "podIPs": [{"ip": "IP"}]}})),
        (format!("{PODS}/a44/status"), json!({"status": {"hostIP": "IP", "hostIPs": [{"ip": "IP"}]}})),
    ];
    let said = |body: &Value, ip: &str, block: &str, cluster: &str| -> Value {
        let text = body.to_string().replace("\"IP\"", &format!("{ip:?}"));
        let text = text.replace("\"BLOCK\"", &format!("{block:?}")).replace("\"CLUSTER\"", &format!("{cluster:?}"));
        serde_json::from_str(&text).expect("JSON")
    };
    // Spellings of an address that is free.
    let clusters = [format!("0{free}"), free.replace(".247", ".0247"), format!("::ffff:{free}")];
    let spellings = |body: &Value| -> Vec<Value> {
        let text = body.to_string();
        if text.contains("\"IP\"") {
            ADDRESSES.iter().map(|ip| said(body, ip, BLOCK, &free)).collect()
        } else if text.contains("\"BLOCK\"") {
            BLOCKS.iter().map(|block| said(body, ADDRESS, block, &free)).collect()
        } else {
            clusters.iter().map(|cluster| said(body, ADDRESS, BLOCK, cluster)).collect()
        }
    };
    for (list, body) in &new {
        let target = format!("{list}?dryRun=All");
        done(&world.admin.post(&target, &said(body, ADDRESS, BLOCK, &free)).await, &format!("{list}: {body}"));
        for bad in spellings(body) {
            invalid(&world.admin.post(&target, &bad).await, &format!("{list}: {bad}"));
        }
    }
    for (target, patch) in &changed {
        let dry = format!("{target}?dryRun=All");
        done(&world.admin.merge(&dry, &said(patch, ADDRESS, BLOCK, &free)).await, &format!("{target}: {patch}"));
        for bad in spellings(patch) {
            invalid(&world.admin.merge(&dry, &bad).await, &format!("{target}: {bad}"));
        }
    }
    for target in [format!("{services}/a44"), format!("{PODS}/a44"), format!("{ingresses}/a44")] {
        world.admin.delete(&target).await;
    }
}

/// While a namespace ends its pods go first: as long as one is there, so is what protects it and others from it.
pub(crate) async fn a45_pods_go_before_network_policies(world: &World) {
    let api = "/api/v1/namespaces/a45";
    let policies = "/apis/networking.k8s.io/v1/namespaces/a45/networkpolicies";
    world.namespace("a45", json!({})).await;
    world.admin.make(policies, &json!({"metadata": {"name": "closed"}, "spec": {"podSelector": {}}})).await;
    let map = json!({"metadata": {"name": "kept"}, "data": {"k": "v"}});
    world.admin.make(&format!("{api}/configmaps"), &map).await;
    let mut held = pod("held");
    held["metadata"]["finalizers"] = json!(["a45.example.com/held"]);
    world.admin.make(&format!("{api}/pods"), &held).await;
    world.admin.make(&format!("{api}/pods"), &pod("free")).await;
    done(&world.admin.delete(api).await, "a namespace ends");
    until_some(&world.admin, &format!("{api}/pods/held"), "/metadata/deletionTimestamp").await;
    world.admin.until_is(&format!("{api}/pods/free"), |answer| answer.code == 404).await;
    // Longer than the controller waits before it looks again.
    let end = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < end {
        for target in [format!("{policies}/closed"), format!("{api}/configmaps/kept")] {
            let answer = world.admin.get(&target).await;
            assert_eq!(answer.code, 200, "{target} went before a pod: {}", answer.status());
            assert!(answer.json()["metadata"]["deletionTimestamp"].is_null(), "{target} is deleted before a pod");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let free = json!({"metadata": {"finalizers": null}});
    done(&world.admin.merge(&format!("{api}/pods/held"), &free).await, "the pod goes");
    world.admin.until_is(api, |answer| answer.code == 404).await;
}

/// An object of one namespace holds or ends nothing of another, owners are made to wait only by those who may hold
/// them, and finalizers are taken away only by those who may write what has them.
pub(crate) async fn a46_owners_across_namespaces(world: &World) {
    let maps = |namespace: &str| format!("/api/v1/namespaces/{namespace}/configmaps");
    let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let owner = |object: &Value| {
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": object["metadata"]["name"],
            "uid": object["metadata"]["uid"], "blockOwnerDeletion": true}])
    };
    for namespace in ["a46-victim", "a46-attacker"] {
        world.namespace(namespace, json!({})).await;
    }
    let victim = world.admin.make(&maps("a46-victim"), &map("owner")).await;
    let mut blocker = map("blocker");
    blocker["metadata"]["ownerReferences"] = owner(&victim);
    blocker["metadata"]["finalizers"] = json!(["a46.example.com/held"]);
    world.admin.make(&maps("a46-attacker"), &blocker).await;
    // Of the whole cluster, with an owner that is in a namespace: it can be looked up nowhere.
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let role = json!({"metadata": {"name": "a46", "ownerReferences": owner(&victim)}});
    world.admin.make(roles, &role).await;
    // The other way round all is as it should be: a dependent beside its owner blocks it.
    let beside = world.admin.make(&maps("a46-victim"), &map("beside")).await;
    let mut dependent = map("dependent");
    dependent["metadata"]["ownerReferences"] = owner(&beside);
    dependent["metadata"]["finalizers"] = json!(["a46.example.com/held"]);
    world.admin.make(&maps("a46-victim"), &dependent).await;
    let foreground = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"});
    for name in ["owner", "beside"] {
        let target = format!("{}/{name}", maps("a46-victim"));
        let deleted = world.admin.send("DELETE", &target, &[system_tests::client::JSON], foreground.to_string()).await;
        done(&deleted, "an owner is deleted in the foreground");
    }
    world.admin.until_is(&format!("{}/owner", maps("a46-victim")), |answer| answer.code == 404).await;
    let target = format!("{}/dependent", maps("a46-victim"));
    until_some(&world.admin, &target, "/metadata/deletionTimestamp").await;
    assert_eq!(world.admin.get(&format!("{}/beside", maps("a46-victim"))).await.code, 200, "an owner that is blocked");
    assert_eq!(world.admin.get(&format!("{roles}/a46")).await.code, 200, "what has an owner that cannot be looked up");

    finalizers(world, &target).await;
    for target in [target, format!("{}/blocker", maps("a46-attacker"))] {
        world.admin.merge(&target, &json!({"metadata": {"finalizers": null}})).await;
    }
    world.admin.until_is(&format!("{}/beside", maps("a46-victim")), |answer| answer.code == 404).await;
    for target in [format!("{roles}/a46"), format!("{NAMESPACES}/a46-victim"), format!("{NAMESPACES}/a46-attacker")] {
        world.admin.delete(&target).await;
    }
    owners_that_wait().await;
}

/// `held` is deleting, and has a finalizer.
async fn finalizers(world: &World, held: &str) {
    let rules = json!([{"verbs": ["get", "list", "watch", "create", "delete"], "apiGroups": [""],
        "resources": ["configmaps", "namespaces"]}]);
    let deleter = world.user_with("a46-deleter", rules).await;
    let stored = world.admin.get(held).await.json();
    let free = json!({"metadata": {"finalizers": null}});
    forbidden_in_all_ways(&deleter, held, &ways(&stored, &free), "cannot").await;
    done(&deleter.delete(held).await, "who may delete deletes again");
    assert_eq!(world.admin.get(held).await.code, 200, "a finalizer holds what is deleted again");
    let more = ways(&stored, &json!({"metadata": {"finalizers": ["a46.example.com/held", "a46.example.com/more"]}}));
    for way in &more {
        invalid(
            &way.send(&world.admin, held).await,
            &format!("a further finalizer of what is deleting by {}", way.name),
        );
    }
    // The finalizers of a namespace are a subresource, with a right of its own.
    let rules = json!([{"verbs": ["*"], "apiGroups": [""], "resources": ["namespaces", "namespaces/status"]}]);
    let writer = world.user_with("a46-writer", rules).await;
    let target = "/api/v1/namespaces/a46-victim";
    let stored = world.admin.get(target).await.json();
    let ways = ways(&stored, &json!({"spec": {"finalizers": null}}));
    for way in &ways {
        for part in ["", "/status"] {
            done(&way.send(&writer, &format!("{target}{part}")).await, "a namespace is written");
        }
    }
    forbidden(&ways[0].send(&writer, &format!("{target}/finalize")).await, "cannot", "a namespace is finalized");
    let after = world.admin.get(target).await.json();
    assert_eq!(after["spec"]["finalizers"], json!(["kubernetes"]), "{after:#}");
}

async fn owners_that_wait() {
    let world = World::with(&["--enable-admission-plugins", "OwnerReferencesPermissionEnforcement"]);
    world.settle().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let owner = json!({"metadata": {"name": "a46"}, "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}},
        "template": template}});
    let owner = world.admin.make(deployments, &owner).await;
    let owners = |blocks: bool| {
        json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "a46", "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": blocks}])
    };
    let rules = |verbs: Value| json!([{"verbs": verbs, "apiGroups": [""], "resources": ["configmaps"]}]);
    let writer = world.user_with("a46-writer", rules(json!(["get", "create", "update", "patch"]))).await;
    let deleter = world.user_with("a46-deleter", rules(json!(["*"]))).await;
    let mut all = rules(json!(["*"]));
    all.as_array_mut().expect("rules").push(json!({"verbs": ["update"], "apiGroups": ["apps"],
        "resources": ["deployments/finalizers"]}));
    let holder = world.user_with("a46-holder", all).await;
    let stored = world.admin.make(maps, &json!({"metadata": {"name": "a46"}})).await;
    let target = format!("{maps}/a46");
    let owned = ways(&stored, &json!({"metadata": {"ownerReferences": owners(false)}}));
    forbidden_in_all_ways(&writer, &target, &owned, "cannot set an ownerRef on a resource you can't delete").await;
    let blocked = ways(&stored, &json!({"metadata": {"ownerReferences": owners(true)}}));
    const WHY: &str =
        "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on";
    forbidden_in_all_ways(&deleter, &target, &blocked, WHY).await;
    let new = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "a46-new", "ownerReferences": owners(true)}});
    forbidden(&deleter.post(maps, &new).await, WHY, "a new object that blocks");
    let applied = format!("{maps}/a46-new?fieldManager=a46");
    let applied = deleter.send("PATCH", &applied, &[APPLY], new.to_string()).await;
    forbidden(&applied, WHY, "a new object that blocks, by an apply");
    done(&owned[1].send(&deleter, &target).await, "an owner by who may delete");
    done(&blocked[1].send(&holder, &target).await, "an owner that waits by who may hold it");
}

/// What only the server knows of an object, whoever says otherwise and in whatever way: its uid, when it was made, its
/// generation and version, and whether it is deleting.
pub(crate) async fn a47_metadata_is_the_servers(world: &World) {
    let policies = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
    let policy = |meta: Value| {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta,
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}})
    };
    let entry = |manager: &str, operation: &str, fields: Value| {
        json!([{"manager": manager, "operation": operation, "apiVersion": "networking.k8s.io/v1",
            "time": "1999-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields}])
    };
    let forged = entry("a47-forged", "Update", json!({"f:spec": {"f:policyTypes": {}}}));
    let lies = json!({"uid": "a47", "creationTimestamp": "1999-01-01T00:00:00Z", "generation": 47, "selfLink": "/a47",
        "deletionTimestamp": "1999-01-01T00:00:00Z", "deletionGracePeriodSeconds": 47, "managedFields": forged});
    let lying = |name: &str, without: &[&str]| {
        let mut meta = lies.clone();
        meta["name"] = name.into();
        without.iter().for_each(|field| put(&mut meta, &json!({*field: null})));
        meta
    };
    let honest = |object: &Value| {
        let meta = &object["metadata"];
        let uid = meta["uid"].as_str().unwrap_or("");
        assert!(uid.len() == 36, "the uid is the client's: {meta:#}");
        let created = meta["creationTimestamp"].as_str().unwrap_or("");
        assert!(created > "2020", "made when the client says: {meta:#}");
        for field in ["selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"] {
            assert!(meta[field].is_null(), "{field} is the client's: {meta:#}");
        }
        assert!(!meta["managedFields"].to_string().contains("a47-forged"), "who manages fields is forged: {meta:#}");
    };
    // New objects.
    let stored = world.admin.make(&format!("{policies}?fieldManager=a47"), &policy(lying("a47", &[]))).await;
    honest(&stored);
    assert_eq!(stored["metadata"]["generation"], 1);
    assert_eq!(stored["metadata"]["managedFields"][0]["manager"], "a47", "{stored:#}");
    let versioned = world.admin.post(policies, &policy(json!({"name": "a47-new", "resourceVersion": "47"}))).await;
    let right = versioned.status().contains("resourceVersion should not be set on objects to be created");
    assert!(right && versioned.code != 201, "a new object with a version: {}", versioned.status());
    let apply = async |name: &str, meta: Value| {
        let target = format!("{policies}/{name}?fieldManager=a47&force=true");
        world.admin.send("PATCH", &target, &[APPLY], policy(meta).to_string()).await
    };
    let applied = apply("a47-new", lying("a47-new", &["managedFields"])).await;
    assert_eq!(applied.code, 409, "a new object with a uid by an apply: {}", applied.status());
    let applied = apply("a47-new", lying("a47-new", &["uid"])).await;
    assert_eq!(applied.code, 400, "an apply that says who manages: {}", applied.status());
    let applied = apply("a47-new", lying("a47-new", &["uid", "managedFields"])).await;
    assert_eq!(applied.code, 201, "{}", applied.status());
    honest(&applied.json());
    assert_eq!(applied.json()["metadata"]["generation"], 1);
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases/a47";
    let lease = |without: &[&str]| json!({"metadata": lying("a47", without), "spec": {"holderIdentity": "h"}});
    let put = world.admin.put(leases, &lease(&["managedFields"])).await;
    assert_eq!(put.code, 409, "a new object with a uid by an update: {}", put.status());
    let put = world.admin.put(leases, &lease(&["uid", "managedFields"])).await;
    assert_eq!(put.code, 201, "{}", put.status());
    honest(&put.json());

    // Objects that are there: what each of these may be answered with, besides being ignored.
    let system = |object: &Value| {
        let mut meta = object["metadata"].clone();
        meta.as_object_mut().map(|meta| meta.remove("managedFields"));
        meta.as_object_mut().map(|meta| meta.remove("resourceVersion"));
        meta
    };
    let target = format!("{policies}/a47");
    let lies: [(Value, &[u16]); 9] = [
        (json!({"uid": "a47"}), &[409, 422]),
        (json!({"creationTimestamp": "1999-01-01T00:00:00Z"}), &[200]),
        (json!({"creationTimestamp": null}), &[200]),
        (json!({"generation": 47}), &[200]),
        (json!({"generation": 0}), &[200]),
        (json!({"selfLink": "/a47"}), &[200]),
        (json!({"deletionTimestamp": "1999-01-01T00:00:00Z"}), &[422]),
        (json!({"deletionGracePeriodSeconds": 47}), &[422]),
        (json!({"name": "a47-other"}), &[400, 422]),
    ];
    for (lie, codes) in &lies {
        for way in ways(&stored, &json!({"metadata": lie})) {
            let answer = way.send(&world.admin, &target).await;
            let what = format!("{lie} by {}", way.name);
            assert!(codes.contains(&answer.code), "{what}: not {codes:?} but {}", answer.status());
            let after = world.admin.get(&target).await.json();
            assert_eq!(system(&after), system(&stored), "{what}: {}", answer.status());
        }
    }
    let patch = |meta: Value| json!({"metadata": meta});
    for (version, codes) in [("1", &[409][..]), ("a47", &[400, 409, 422][..]), ("-1", &[400, 409, 422][..])] {
        let mut body = stored.clone();
        body["metadata"]["resourceVersion"] = version.into();
        let put = world.admin.put(&target, &body).await;
        let merge = world.admin.merge(&target, &patch(json!({"resourceVersion": version, "labels": {"a": "b"}}))).await;
        for answer in [put, merge] {
            assert!(codes.contains(&answer.code), "the version {version}: {}", answer.status());
        }
    }
    // Who says who manages what says it well, or it is not heard.
    for bad in [
        entry("a47-forged", "Steal", json!({"f:spec": {}})),
        entry("a47-forged", "Update", json!({"spec": 1})),
        entry("a47-forged", "Update", json!({"f:spec": {"k:[": {}}})),
    ] {
        let answer = world.admin.merge(&target, &patch(json!({"managedFields": bad}))).await;
        assert!(answer.code < 500, "{bad}: {}", answer.status());
        let after = world.admin.get(&target).await;
        assert!(!after.text().contains("a47-forged"), "{bad} is kept: {}", after.text());
    }
    let mut longer = policy(json!({"name": "a47"}));
    longer["spec"]["policyTypes"] = json!(["Ingress", "Egress"]);
    let changed = world.admin.put(&target, &longer).await;
    done(&changed, "a real change");
    assert_eq!(changed.json()["metadata"]["generation"], 2, "a real change counts");
    lies_through_a_status(world).await;
    for target in [target, format!("{policies}/a47-new"), leases.to_owned()] {
        world.admin.delete(&target).await;
    }
}

async fn lies_through_a_status(world: &World) {
    let stored = world.admin.make(PODS, &pod("a47")).await;
    let target = format!("{PODS}/a47");
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    for lie in [
        json!({"metadata": {"uid": "a47"}}),
        json!({"metadata": {"creationTimestamp": "1999-01-01T00:00:00Z", "generation": 47}}),
        json!({"metadata": {"deletionTimestamp": "1999-01-01T00:00:00Z"}}),
        json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "a47", "uid": "a47"}]}}),
        json!({"spec": {"nodeName": "a47", "hostNetwork": true}}),
    ] {
        for way in ways(&stored, &lie) {
            let answer = way.send(&world.admin, &format!("{target}/status")).await;
            let code = answer.code;
            assert!(matches!(code, 200 | 409 | 422), "{lie} by {} of a status: {}", way.name, answer.status());
        }
    }
    done(&world.admin.merge(&format!("{target}/status"), &label).await, "a status");
    let after = world.admin.get(&target).await.json();
    for field in ["uid", "creationTimestamp", "generation", "deletionTimestamp", "ownerReferences"] {
        assert_eq!(after["metadata"][field], stored["metadata"][field], "{field} by a status: {after:#}");
    }
    assert_eq!(after["spec"], stored["spec"], "a spec by a status");
    world.admin.delete(&target).await;
}

/// The restricted standard wants a seccomp profile and no AppArmor off, volumes lead to no host directory, and who has
/// a namespace neither changes what it demands nor makes volumes of the host.
pub(crate) async fn a48_hosts_and_profiles_of_restricted_pods(world: &World) {
    let api = "/api/v1/namespaces/a48";
    let pods = &format!("{api}/pods");
    world.namespace("a48", json!({ENFORCE: "restricted"})).await;
    done(&world.admin.post(&format!("{pods}?dryRun=All"), &restricted("good")).await, "a pod as it should be");
    const VIOLATES: &str = "violates PodSecurity \"restricted:latest\"";
    let with = |fields: &Value| {
        let mut body = restricted("bad");
        put(&mut body, fields);
        body
    };
    let context = |fields: Value| json!({"spec": {"securityContext": fields}});
    let volume = |source: Value| {
        let mut volume = json!({"name": "v"});
        put(&mut volume, &source);
        json!({"spec": {"volumes": [volume]}})
    };
    let annotated = |key: &str, value: &str| json!({"metadata": {"annotations": {key: value}}});
    let two = json!({"spec": {"securityContext": {"seccompProfile": null}, "containers": [
        container("c", json!({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}})),
        container("d", json!({}))]}});
    let app_armor = "container.apparmor.security.beta.kubernetes.io/c";
    for (what, fields) in [
        ("no seccomp profile", context(json!({"seccompProfile": null}))),
        ("a seccomp profile of one container only", two),
        ("seccomp unconfined", context(json!({"seccompProfile": {"type": "Unconfined"}}))),
        ("AppArmor unconfined", context(json!({"appArmorProfile": {"type": "Unconfined"}}))),
        ("AppArmor unconfined by an annotation", annotated(app_armor, "unconfined")),
        ("a directory of the host", volume(json!({"hostPath": {"path": "/"}}))),
        ("an NFS volume", volume(json!({"nfs": {"server": "s", "path": "/"}}))),
        ("a local repository", volume(json!({"gitRepo": {"repository": "r"}}))),
        ("the host's network", json!({"spec": {"hostNetwork": true}})),
        ("the host's processes", json!({"spec": {"hostPID": true}})),
        ("the host's memory", json!({"spec": {"hostIPC": true}})),
        ("a sysctl of the host", context(json!({"sysctls": [{"name": "kernel.core_pattern", "value": "|/x"}]}))),
        ("a user of its own choice, root", context(json!({"runAsUser": 0}))),
        ("perhaps root", context(json!({"runAsNonRoot": null}))),
        ("an SELinux user", context(json!({"seLinuxOptions": {"user": "system_u"}}))),
    ] {
        forbidden(&world.admin.post(pods, &with(&fields)).await, VIOLATES, what);
    }
    // An empty name is the kubelet's to refuse, as upstream.
    for (what, profile) in [
        ("no", json!({"type": "Localhost"})),
        ("an outer", json!({"type": "Localhost", "localhostProfile": "../../x"})),
        ("an absolute", json!({"type": "Localhost", "localhostProfile": "/x"})),
        ("an unknown kind of", json!({"type": "runtimedefault"})),
    ] {
        let answer = world.admin.post(pods, &with(&context(json!({"seccompProfile": profile})))).await;
        invalid(&answer, &format!("{what} seccomp profile"));
    }
    for (what, profile) in [
        ("no", json!({"type": "Localhost"})),
        ("an empty", json!({"type": "Localhost", "localhostProfile": ""})),
        ("a blank", json!({"type": "Localhost", "localhostProfile": " "})),
    ] {
        let answer = world.admin.post(pods, &with(&context(json!({"appArmorProfile": profile})))).await;
        invalid(&answer, &format!("{what} AppArmor profile"));
    }
    for path in ["/a/../b", ".."] {
        let volume = json!({"metadata": {"name": "a48"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"}, "hostPath": {"path": path}}});
        invalid(&world.admin.post("/api/v1/persistentvolumes", &volume).await, &format!("a volume of {path}"));
        let mut body = pod("a48");
        body["spec"]["volumes"] = json!([{"name": "v", "hostPath": {"path": path}}]);
        invalid(&world.admin.post(PODS, &body).await, &format!("a pod with {path}"));
    }
    owners_of_a_namespace(world, api).await;
    workloads(world).await;
    for labels in [json!({ENFORCE: "Restricted"}), json!({format!("{ENFORCE}-version"): "v1.01"}), json!({ENFORCE: ""})]
    {
        let body = json!({"metadata": {"name": "a48-wrong", "labels": labels}});
        invalid(&world.admin.post(NAMESPACES, &body).await, &format!("a namespace that demands {labels}"));
    }
    world.admin.delete(api).await;
}

/// Who has the role `admin` in a namespace, or less.
async fn owners_of_a_namespace(world: &World, api: &str) {
    let stored = world.admin.get(api).await.json();
    let relaxed = ways(&stored, &json!({"metadata": {"labels": {ENFORCE: "privileged"}}}));
    let volume = json!({"metadata": {"name": "a48"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/"}}});
    for role in ["admin", "edit"] {
        let user = user_as(world, &format!("a48-{role}"), role, "a48").await;
        forbidden_in_all_ways(&user, api, &relaxed, "cannot").await;
        forbidden_in_all_ways(&user, &format!("{api}/status"), &relaxed, "cannot").await;
        let made = user.post("/api/v1/persistentvolumes", &volume).await;
        forbidden(&made, "cannot create", &format!("{role} makes a volume of the host"));
        let class = json!({"metadata": {"name": "a48"}, "handler": "h"});
        let made = user.post("/apis/node.k8s.io/v1/runtimeclasses", &class).await;
        forbidden(&made, "cannot create", &format!("{role} makes a runtime class"));
        done(&user.post(&format!("{api}/pods?dryRun=All"), &restricted("own")).await, "their own pods");
        assert_eq!(
            user.post(&format!("{api}/pods"), &pod("own")).await.code,
            403,
            "{role} and a pod that is not right"
        );
    }
}

/// A workload is warned about, and makes no pods.
async fn workloads(world: &World) {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod("x")["spec"]});
    let set = json!({"metadata": {"name": "a48"}, "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}},
        "template": template}});
    let sets = "/apis/apps/v1/namespaces/a48/replicasets";
    let made = world.admin.post(sets, &set).await;
    assert_eq!(made.code, 201, "{}", made.status());
    assert!(made.header("warning").contains("would violate PodSecurity"), "{:?}", made.headers);
    let failed = until_some(&world.admin, &format!("{sets}/a48"), "/status/conditions/0").await;
    let why = failed["status"]["conditions"][0]["message"].as_str().unwrap_or("");
    assert!(why.contains("violates PodSecurity"), "{failed:#}");
    let pods = world.admin.get("/api/v1/namespaces/a48/pods").await.json();
    assert_eq!(pods["items"], json!([]), "a workload makes pods that are not right");
}
