//! What looks at pods, at paths and at versions, and cannot be gone around (A38, A39, A41).

use serde_json::{Value, json};
use system_tests::servers::Server;

use super::{
    APPLY, ENFORCE, NAMESPACES, container, done, forbidden, forbidden_in_all_ways, put, restricted, until_some,
};
use crate::world::{PODS, World, admin_of, pod, ways};

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
