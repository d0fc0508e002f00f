//! What restricted pods may not have of their hosts (A48).

use serde_json::{Value, json};

use super::{
    ENFORCE, NAMESPACES, container, done, forbidden, forbidden_in_all_ways, invalid, put, restricted, until_some,
    user_as,
};
use crate::world::{PODS, World, pod, ways};

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
