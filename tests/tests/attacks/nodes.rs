//! What a kubelet, or who has its certificate, may do besides its work.

use serde_json::{Value, json};
use system_tests::client::{Answer, Client, certify, now};

use crate::world::{PODS, Way, World, pod, ways};

const NODES: &str = "/api/v1/nodes";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
const CSI_NODES: &str = "/apis/storage.k8s.io/v1/csinodes";
const SLICES: &str = "/apis/resource.k8s.io/v1/resourceslices";
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const MIRROR: &str = "kubernetes.io/config.mirror";

fn refused(answer: &Answer, what: &str) {
    assert_eq!(answer.code, 403, "{what}: {}", answer.status());
}

fn allowed(answer: &Answer, what: &str) {
    assert!(matches!(answer.code, 200 | 201), "{what}: {}", answer.status());
}

/// A node and its kubelet.
async fn node(world: &World, name: &str) -> (Client, Value) {
    let made = world.admin.make(NODES, &json!({"metadata": {"name": name}})).await;
    (world.node(name), made)
}

/// A pod on a node, made by an admin.
async fn pod_on(world: &World, pods: &str, name: &str, node: &str, spec: Value) -> Value {
    let mut body = pod(name);
    body["spec"]["nodeName"] = node.into();
    // No account, no token.
    body["spec"]["automountServiceAccountToken"] = false.into();
    for (field, value) in spec.as_object().into_iter().flatten() {
        body["spec"][field] = value.clone();
    }
    world.admin.make(pods, &body).await
}

async fn refused_in_all_ways(client: &Client, target: &str, ways: &[Way]) {
    for way in ways {
        refused(&way.send(client, target).await, &format!("{} of {target}", way.name));
    }
}

/// A kubelet registers its node and reports on it; what it does not choose are labels that pods are kept apart by,
/// taints, where its configuration comes from, and any other node.
pub(crate) async fn a32_nodes_change_themselves_only_so_far(world: &World) {
    const OWN: &str = "/api/v1/nodes/a32-own";
    const OTHER: &str = "/api/v1/nodes/a32-other";
    let client = world.node("a32-own");
    let labels_of_others = [
        "node-restriction.kubernetes.io/a32",
        "a32.node-restriction.kubernetes.io/x",
        "node-role.kubernetes.io/control-plane",
        "kubernetes.io/a32",
        "a32.k8s.io/x",
    ];
    for label in labels_of_others {
        let body = json!({"metadata": {"name": "a32-own", "labels": {label: ""}}});
        refused(&client.post(NODES, &body).await, &format!("a node registers with the label {label}"));
    }
    let source = json!({"configMap": {"namespace": "default", "name": "a32", "kubeletConfigKey": "k"}});
    for (body, what) in [
        (json!({"metadata": {"name": "a32-other"}}), "a node registers another"),
        (json!({"metadata": {"generateName": "a32-own"}}), "a node registers with a generated name"),
        (
            json!({"metadata": {"name": "a32-own"}, "spec": {"configSource": source}}),
            "a node with a source of its choice",
        ),
    ] {
        refused(&client.post(NODES, &body).await, what);
    }
    let labels = json!({"kubernetes.io/hostname": "a32-own", "topology.kubernetes.io/zone": "z",
        "kubelet.kubernetes.io/a32": "x", "node.kubernetes.io/a32": "x", "example.com/a32": "x"});
    client.make(NODES, &json!({"metadata": {"name": "a32-own", "labels": labels}})).await;
    world.admin.make(NODES, &json!({"metadata": {"name": "a32-other"}})).await;
    let kept = json!({"metadata": {"labels": {"node-restriction.kubernetes.io/kept": "x"}},
        "spec": {"taints": [{"key": "a32", "value": "kept", "effect": "NoSchedule"}]}});
    allowed(&world.admin.merge(OWN, &kept).await, "an admin marks a node");

    let stored = world.admin.get(OWN).await.json();
    let mut changes: Vec<Value> =
        labels_of_others.iter().map(|label| json!({"metadata": {"labels": {*label: "x"}}})).collect();
    changes.extend([
        json!({"metadata": {"labels": {"node-restriction.kubernetes.io/kept": "y"}}}),
        json!({"metadata": {"labels": {"node-restriction.kubernetes.io/kept": null}}}),
        json!({"spec": {"taints": [{"key": "a32-more", "effect": "NoSchedule"}]}}),
        json!({"spec": {"taints": null}}),
        json!({"spec": {"configSource": source}}),
    ]);
    for change in &changes {
        let ways = ways(&stored, change);
        for target in [OWN, "/api/v1/nodes/a32-own/status", "/api/v1/nodes/a32-own?dryRun=All"] {
            for way in &ways {
                let answer = way.send(&client, target).await;
                refused(&answer, &format!("a node changes itself by {} of {target}: {change}", way.name));
            }
        }
    }
    for change in [json!({"metadata": {"labels": {"a32": "x"}}}), json!({"spec": {"unschedulable": true}})] {
        let ways = ways(&world.admin.get(OTHER).await.json(), &change);
        refused_in_all_ways(&client, OTHER, &ways).await;
        refused_in_all_ways(&client, "/api/v1/nodes/a32-other/status", &ways).await;
    }
    for target in [OWN, OTHER, NODES, "/api/v1/nodes?fieldSelector=metadata.name%3Da32-other"] {
        refused(&client.delete(target).await, &format!("a node deletes {target}"));
    }

    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "a32"}]}});
    allowed(&client.merge("/api/v1/nodes/a32-own/status", &status).await, "a node reports");
    let own = json!({"metadata": {"labels": {"example.com/a32": "y"}}});
    allowed(&client.merge(OWN, &own).await, "a node changes a label of its own");
    let after = world.admin.get(OWN).await.json();
    let label = |key: &str| after["metadata"]["labels"][key].as_str();
    assert_eq!(label("node-restriction.kubernetes.io/kept"), Some("x"));
    assert!(labels_of_others.iter().all(|key| label(key).is_none()), "{after:#}");
    let taints = after["spec"]["taints"].as_array().expect("taints");
    assert!(taints.iter().any(|taint| taint["value"] == "kept"), "{after:#}");
    assert!(taints.iter().all(|taint| taint["key"] != "a32-more"), "{after:#}");
    for node in [OWN, OTHER] {
        world.admin.delete(node).await;
    }
}

/// An owner that does not exist would have the garbage collector delete the node, which then registers anew, without
/// taints and labels that it had.
pub(crate) async fn a33_nodes_have_no_owners_of_their_choice(world: &World) {
    const OWN: &str = "/api/v1/nodes/a33-own";
    let (client, made) = node(world, "a33-own").await;
    let owner = |name: &str| json!([{"apiVersion": "v1", "kind": "Node", "name": name, "uid": "a33-nobody"}]);
    let set = ways(&made, &json!({"metadata": {"ownerReferences": owner("a33-nobody")}}));
    refused_in_all_ways(&client, OWN, &set).await;
    refused_in_all_ways(&client, "/api/v1/nodes/a33-own/status", &set).await;

    let (_, real) = node(world, "a33-owner").await;
    let mut owners = owner("a33-owner");
    owners[0]["uid"] = real["metadata"]["uid"].clone();
    let owned = world.admin.merge(OWN, &json!({"metadata": {"ownerReferences": owners}})).await;
    allowed(&owned, "an admin gives a node an owner");
    let stored = owned.json();
    // In a strategic merge patch the list is merged by uid, and an empty one says nothing.
    let taken = ways(&stored, &json!({"metadata": {"ownerReferences": null}}));
    refused_in_all_ways(&client, OWN, &taken).await;
    owners[0]["blockOwnerDeletion"] = true.into();
    let changed = ways(&stored, &json!({"metadata": {"ownerReferences": owners}}));
    refused_in_all_ways(&client, OWN, &changed).await;

    let after = world.admin.get(OWN).await.json();
    assert_eq!(after["metadata"]["uid"], made["metadata"]["uid"], "the node is the same");
    assert_eq!(after["metadata"]["ownerReferences"], stored["metadata"]["ownerReferences"]);
    for node in [OWN, "/api/v1/nodes/a33-owner"] {
        world.admin.delete(node).await;
    }
}

/// What a pod may refer to in the API, and where in its spec.
fn references() -> Vec<(&'static str, Value)> {
    let in_env = |list: &str, field: &str, source: Value| {
        let mut spec = json!({"containers": [{"name": "c", "image": "i"}]});
        spec[list] = json!([{"name": "d", "image": "i", field: [source]}]);
        spec
    };
    let key = |source: &str| json!({"name": "E", "valueFrom": {source: {"name": "a34", "key": "k"}}});
    let volume = |kind: &str, source: Value| json!({"volumes": [{"name": "v", kind: source}]});
    let projected = |kind: &str, source: Value| volume("projected", json!({"sources": [{kind: source}]}));
    let named = || json!({"name": "a34"});
    let claim = json!({"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}}});
    let ephemeral = json!([{"name": "e", "image": "i", "envFrom": [{"secretRef": named()}]}]);
    let mut all = vec![
        ("serviceaccounts", json!({"serviceAccountName": "default"})),
        ("serviceaccounts", json!({"serviceAccount": "default"})),
        ("secrets", json!({"imagePullSecrets": [named()]})),
        ("secrets", json!({"ephemeralContainers": ephemeral})),
        ("resourceclaims", json!({"resourceClaims": [{"name": "r", "resourceClaimName": "a34"}]})),
        ("resourceclaims", json!({"resourceClaims": [{"name": "r", "resourceClaimTemplateName": "a34"}]})),
        ("secrets", volume("secret", json!({"secretName": "a34"}))),
        ("configmaps", volume("configMap", named())),
        ("persistentvolumeclaims", volume("persistentVolumeClaim", json!({"claimName": "a34"}))),
        ("persistentvolumeclaims", volume("ephemeral", claim)),
        ("csidrivers", volume("csi", json!({"driver": "a34.example.com"}))),
        ("endpoints", volume("glusterfs", json!({"endpoints": "a34", "path": "p"}))),
        ("secrets", volume("azureFile", json!({"secretName": "a34", "shareName": "s"}))),
        ("secrets", volume("cephfs", json!({"monitors": ["m"], "secretRef": named()}))),
        ("secrets", volume("rbd", json!({"monitors": ["m"], "image": "i", "secretRef": named()}))),
        ("secrets", volume("flexVolume", json!({"driver": "a34.example.com/d", "secretRef": named()}))),
        ("secrets", projected("secret", named())),
        ("configmaps", projected("configMap", named())),
        ("serviceaccounts", projected("serviceAccountToken", json!({"path": "t"}))),
        ("clustertrustbundles", projected("clusterTrustBundle", json!({"name": "a34", "path": "p"}))),
        (
            "podcertificates",
            projected(
                "podCertificate",
                json!({"signerName": "a34.example.com/s", "keyType": "ED25519", "keyPath": "p"}),
            ),
        ),
    ];
    for list in ["containers", "initContainers"] {
        all.extend([
            ("secrets", in_env(list, "envFrom", json!({"secretRef": named()}))),
            ("secrets", in_env(list, "env", key("secretKeyRef"))),
            ("configmaps", in_env(list, "envFrom", json!({"configMapRef": named()}))),
            ("configmaps", in_env(list, "env", key("configMapKeyRef"))),
        ]);
    }
    all
}

/// A kubelet shows its static pods as pods of the API: of its own node, owned by it, and with nothing in them that
/// would have the kubelet be given something for them. An admin's mirror pods get no Secrets or accounts either.
pub(crate) async fn a34_mirror_pods_refer_to_nothing(world: &World) {
    let (client, made) = node(world, "a34-own").await;
    let (_, other) = node(world, "a34-other").await;
    let owner = |node: &Value| {
        json!({"apiVersion": "v1", "kind": "Node", "name": node["metadata"]["name"], "uid": node["metadata"]["uid"],
            "controller": true})
    };
    let mirror = |name: &str| {
        let mut pod = pod(name);
        pod["metadata"]["annotations"] = json!({MIRROR: "a34"});
        pod["metadata"]["ownerReferences"] = json!([owner(&made)]);
        pod["spec"]["nodeName"] = "a34-own".into();
        pod["spec"]["volumes"] = json!([{"name": "v", "hostPath": {"path": "/a34"}}, {"name": "w", "emptyDir": {}}]);
        pod
    };
    for (what, spec) in references() {
        let mut body = mirror("a34-refers");
        for (field, value) in spec.as_object().expect("fields of a spec") {
            body["spec"][field] = value.clone();
        }
        let answer = client.post(PODS, &body).await;
        refused(&answer, &format!("a node's mirror pod refers to {what}: {spec}"));
        // Of some of it ServiceAccount tells first.
        let told = ["can not create pods that reference", "a mirror pod may not"];
        assert!(told.iter().any(|why| answer.status().contains(why)), "{what}: {spec}: {}", answer.status());
        if matches!(what, "serviceaccounts" | "secrets" | "configmaps") && !spec.to_string().contains("ephemeralC") {
            refused(&world.admin.post(PODS, &body).await, &format!("an admin's mirror pod refers to {what}: {spec}"));
        }
    }

    let changed = |change: &dyn Fn(&mut Value)| {
        let mut pod = mirror("a34-wrong");
        change(&mut pod);
        pod
    };
    let owners = "ownerReferences";
    for (what, body) in [
        ("no mirror", changed(&|pod| pod["metadata"]["annotations"] = json!({}))),
        ("on no node", changed(&|pod| pod["spec"]["nodeName"] = "".into())),
        ("on another node", changed(&|pod| pod["spec"]["nodeName"] = "a34-other".into())),
        ("without an owner", changed(&|pod| pod["metadata"][owners] = json!([]))),
        ("owned by another node", changed(&|pod| pod["metadata"][owners] = json!([owner(&other)]))),
        ("with two owners", changed(&|pod| pod["metadata"][owners] = json!([owner(&made), owner(&other)]))),
        ("with another uid", changed(&|pod| pod["metadata"][owners][0]["uid"] = "a34".into())),
        ("with an owner of another kind", changed(&|pod| pod["metadata"][owners][0]["kind"] = "Pod".into())),
        ("not controlled", changed(&|pod| pod["metadata"][owners][0]["controller"] = false.into())),
        ("that blocks", changed(&|pod| pod["metadata"][owners][0]["blockOwnerDeletion"] = true.into())),
    ] {
        refused(&client.post(PODS, &body).await, &format!("a node makes a pod: {what}"));
    }

    let shown = client.make(PODS, &mirror("a34-shown")).await;
    let target = format!("{PODS}/a34-shown");
    // Without the annotation it would be a pod like any other.
    let plain = json!({"metadata": {"annotations": {MIRROR: null}}});
    for way in ways(&shown, &plain) {
        let answer = way.send(&client, &format!("{target}/status")).await;
        assert!(matches!(answer.code, 403 | 422), "a mirror made a pod by {}: {}", way.name, answer.status());
    }
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "e", "image": "i"}]}});
    refused_in_all_ways(&client, &format!("{target}/ephemeralcontainers"), &ways(&shown, &debug)).await;
    refused_in_all_ways(&client, &target, &ways(&shown, &json!({"metadata": {"labels": {"a34": "x"}}}))).await;
    let after = world.admin.get(&target).await.json();
    assert_eq!(after["metadata"]["annotations"][MIRROR], "a34");
    assert_eq!(client.delete(&target).await.code, 200, "a node takes back a mirror pod");
    for node in ["a34-own", "a34-other"] {
        world.admin.delete(&format!("{NODES}/{node}")).await;
    }
}

/// A kubelet reads the pods of its node and what these name, one by one; nothing of others, and never all.
pub(crate) async fn a35_nodes_read_what_their_pods_need(world: &World) {
    let api = "/api/v1/namespaces/a35";
    let pods = &format!("{api}/pods");
    world.namespace("a35", json!({})).await;
    let (one, _) = node(world, "a35-one").await;
    let (two, _) = node(world, "a35-two").await;
    let made = async |list: &str, body: Value| world.admin.make(list, &body).await;
    for side in ["mine", "theirs", "nobodys"] {
        let meta = json!({"name": side});
        made(&format!("{api}/secrets"), json!({"metadata": meta, "stringData": {"k": format!("canary-{side}")}})).await;
        made(&format!("{api}/configmaps"), json!({"metadata": meta, "data": {"k": format!("canary-{side}")}})).await;
        made(&format!("{api}/serviceaccounts"), json!({"metadata": meta})).await;
        let stage = format!("{side}-stage");
        made(&format!("{api}/secrets"), json!({"metadata": {"name": stage}})).await;
        let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "", "volumeName": format!("a35-{side}")});
        made(&format!("{api}/persistentvolumeclaims"), json!({"metadata": meta, "spec": claim})).await;
        let csi = json!({"driver": "a35.example.com", "volumeHandle": side,
            "nodeStageSecretRef": {"namespace": "a35", "name": stage}});
        let volume = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "csi": csi,
            "storageClassName": "", "claimRef": {"namespace": "a35", "name": side}});
        made("/api/v1/persistentvolumes", json!({"metadata": {"name": format!("a35-{side}")}, "spec": volume})).await;
    }
    let device = json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "a35"}}]}});
    let claims = "/apis/resource.k8s.io/v1/namespaces/a35/resourceclaims";
    for (side, node) in [("mine", "a35-one"), ("theirs", "a35-two")] {
        made(claims, json!({"metadata": {"name": side}, "spec": device})).await;
        let spec = json!({"serviceAccountName": side, "resourceClaims": [{"name": "r", "resourceClaimName": side}],
            "volumes": [{"name": "s", "secret": {"secretName": side}}, {"name": "c", "configMap": {"name": side}},
                {"name": "p", "persistentVolumeClaim": {"claimName": side}}]});
        pod_on(world, pods, side, node, spec).await;
        let attachment = json!({"attacher": "a35.example.com", "nodeName": node,
            "source": {"persistentVolumeName": format!("a35-{side}")}});
        let attachments = "/apis/storage.k8s.io/v1/volumeattachments";
        made(attachments, json!({"metadata": {"name": format!("a35-{side}")}, "spec": attachment})).await;
        let slice = json!({"driver": "a35.example.com", "nodeName": node, "devices": [{"name": "d"}],
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1}});
        made(SLICES, json!({"metadata": {"name": format!("a35-{side}")}, "spec": slice})).await;
    }

    let of = |side: &str| -> Vec<String> {
        let namespaced = ["secrets", "configmaps", "persistentvolumeclaims", "serviceaccounts", "pods"];
        let mut all: Vec<String> = namespaced.iter().map(|kind| format!("{api}/{kind}/{side}")).collect();
        all.extend([
            format!("{api}/secrets/{side}-stage"),
            format!("{claims}/{side}"),
            format!("/api/v1/persistentvolumes/a35-{side}"),
            format!("/apis/storage.k8s.io/v1/volumeattachments/a35-{side}"),
            format!("{SLICES}/a35-{side}"),
        ]);
        all.extend(["secrets", "configmaps"].map(|kind| format!("{api}/{kind}?fieldSelector=metadata.name%3D{side}")));
        all
    };
    for target in of("mine") {
        one.until(&target).await;
    }
    two.until(&format!("{api}/secrets/theirs")).await;
    let nobody = world.certified(&world.ca, "a35-one", &["system:nodes"]);
    // In files of its own: those of the node's identity have the same name.
    let aside = tempfile::tempdir().expect("a directory");
    let ungrouped = certify(&world.ca, aside.path(), "system:node:a35-one", &[]);
    let ungrouped = world.showing(&ungrouped);
    for target in of("mine") {
        refused(&nobody.get(&target).await, &format!("somebody who is no node reads {target}"));
        refused(&ungrouped.get(&target).await, &format!("a node's name without its group reads {target}"));
        refused(&two.get(&target).await, &format!("the other node reads {target}"));
    }
    let mut targets = of("theirs");
    targets.extend([
        format!("{api}/secrets/nobodys"),
        format!("{api}/secrets/missing"),
        format!("{api}/secrets/theirs?x"),
    ]);
    for kind in ["secrets", "configmaps", "persistentvolumeclaims", "serviceaccounts"] {
        targets.extend([format!("{api}/{kind}"), format!("/api/v1/{kind}"), format!("{api}/{kind}?watch=1")]);
        targets.push(format!("{api}/{kind}?labelSelector=a%3Db"));
        targets.push(format!("/api/v1/{kind}?fieldSelector=metadata.name%3Dmine"));
        targets.push(format!("{api}/{kind}?fieldSelector=metadata.name!%3Dmine"));
        targets.push(format!("{api}/{kind}?fieldSelector=metadata.namespace%3Da35"));
    }
    for selector in ["", "?fieldSelector=spec.nodeName%3Da35-two", "?fieldSelector=spec.nodeName!%3Da35-one"] {
        targets.extend([format!("{pods}{selector}"), format!("/api/v1/pods{selector}"), format!("{SLICES}{selector}")]);
    }
    targets.extend([
        format!("{pods}?labelSelector=spec.nodeName%3Da35-one"),
        format!("{pods}/theirs/log"),
        format!("{pods}/mine/log"),
        NODES.to_owned(),
        format!("{NODES}/a35-two"),
        format!("{NODES}?fieldSelector=metadata.name%3Da35-two"),
        format!("{NODES}/a35-one/proxy/pods"),
        "/api/v1/persistentvolumes".to_owned(),
        claims.to_owned(),
        "/apis/storage.k8s.io/v1/volumeattachments".to_owned(),
        LEASES.to_owned(),
        format!("{LEASES}/a35-two"),
        CSI_NODES.to_owned(),
        format!("{CSI_NODES}/a35-two"),
        "/api/v1/namespaces".to_owned(),
        "/apis/rbac.authorization.k8s.io/v1/clusterroles".to_owned(),
    ]);
    for target in &targets {
        refused(&one.get(target).await, &format!("a node reads {target}"));
    }
    // Selectors that say two things are read in one way by all that look at them.
    let (mine, theirs) = ("fieldSelector=metadata.name%3Dmine", "fieldSelector=metadata.name%3Dtheirs");
    for query in [
        format!("{mine}&{theirs}"),
        format!("{theirs}&{mine}"),
        format!("{mine}%2Cmetadata.name%3Dtheirs"),
        format!("{theirs}%2Cmetadata.name%3Dmine"),
        format!("{mine}&watch=1&timeoutSeconds=1&{theirs}"),
    ] {
        for kind in ["secrets", "configmaps"] {
            let answer = one.get(&format!("{api}/{kind}?{query}")).await;
            // In a Secret it is base64.
            let shown = answer.text().contains("canary-theirs") || answer.text().contains("Y2FuYXJ5LXRoZWlycw");
            assert!(!shown, "{kind} by {query}: {}", answer.text());
        }
    }
    let both = "fieldSelector=spec.nodeName%3Da35-one&fieldSelector=spec.nodeName%3Da35-two";
    let answer = one.get(&format!("{pods}?{both}")).await;
    assert!(!answer.text().contains("a35-two"), "pods by {both}: {}", answer.text());
    for target in [
        format!("{pods}?fieldSelector=spec.nodeName%3Da35-one"),
        "/api/v1/pods?fieldSelector=spec.nodeName%3Da35-one".to_owned(),
        format!("{NODES}/a35-one"),
        format!("{NODES}?fieldSelector=metadata.name%3Da35-one"),
        format!("{SLICES}?fieldSelector=spec.nodeName%3Da35-one"),
        "/api/v1/services".to_owned(),
    ] {
        allowed(&one.get(&target).await, &format!("a node reads {target}"));
    }
    // The right goes with the pod.
    assert_eq!(world.admin.delete(&format!("{pods}/mine")).await.code, 200);
    for target in of("mine").iter().filter(|target| !target.contains("a35-mine") && !target.contains("/pods/")) {
        one.until_is(target, |answer| answer.code == 403).await;
    }
    // Nobody lets go of volumes here.
    let free = json!({"metadata": {"finalizers": null}});
    for side in ["mine", "theirs", "nobodys"] {
        world.admin.merge(&format!("{api}/persistentvolumeclaims/{side}"), &free).await;
        world.admin.merge(&format!("/api/v1/persistentvolumes/a35-{side}"), &free).await;
    }
    for cluster_wide in ["/apis/storage.k8s.io/v1/volumeattachments", SLICES, "/api/v1/persistentvolumes"] {
        for side in ["mine", "theirs", "nobodys"] {
            world.admin.delete(&format!("{cluster_wide}/a35-{side}")).await;
        }
    }
    for target in ["/api/v1/nodes/a35-one", "/api/v1/nodes/a35-two", api] {
        world.admin.delete(target).await;
    }
}

/// A kubelet writes mirror pods, the status of its pods, their evictions, its lease, its CSINode, its slices of devices
/// and requests for its certificate. PodCertificateRequests are not there, as upstream by default.
pub(crate) async fn a36_nodes_write_what_is_theirs(world: &World) {
    let (client, _) = node(world, "a36-own").await;
    node(world, "a36-other").await;
    for (name, node) in [("a36-mine", "a36-own"), ("a36-theirs", "a36-other"), ("a36-evicted", "a36-own")] {
        let claims = json!([{"name": "r", "resourceClaimTemplateName": "a36"}]);
        pod_on(world, PODS, name, node, json!({"resourceClaims": claims})).await;
    }
    let (mine, theirs) = (&format!("{PODS}/a36-mine"), &format!("{PODS}/a36-theirs"));
    pods_of_others(world, &client, mine, theirs).await;

    // Its lease and its CSINode.
    let lease = json!({"spec": {"holderIdentity": "a36-own", "leaseDurationSeconds": 40}});
    let drivers = json!({"spec": {"drivers": []}});
    let elsewhere = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    for (list, rest) in [(LEASES, &lease), (CSI_NODES, &drivers)] {
        let named = |field: &str, name: &str| {
            let mut body = rest.clone();
            body["metadata"] = json!({field: name});
            body
        };
        refused(&client.post(list, &named("name", "a36-other")).await, &format!("a node makes another's in {list}"));
        refused(&client.post(list, &named("generateName", "a36-own")).await, &format!("a generated name in {list}"));
        let other = world.admin.make(list, &named("name", "a36-other")).await;
        let target = format!("{list}/a36-other");
        refused_in_all_ways(&client, &target, &ways(&other, &json!({"metadata": {"labels": {"a36": "x"}}}))).await;
        for target in [target.as_str(), list] {
            refused(&client.delete(target).await, &format!("a node deletes {target}"));
        }
        let own = client.make(list, &named("name", "a36-own")).await;
        let patch = &ways(&own, &json!({"metadata": {"labels": {"a36": "x"}}}))[1];
        allowed(&patch.send(&client, &format!("{list}/a36-own")).await, &format!("a node changes its own in {list}"));
        assert_eq!(client.delete(&format!("{list}/a36-own")).await.code, 200, "a node deletes its own in {list}");
        world.admin.delete(&target).await;
    }
    let mut own = lease.clone();
    own["metadata"] = json!({"name": "a36-own"});
    refused(&client.post(elsewhere, &own).await, "a node makes a lease elsewhere");
    own["metadata"]["name"] = "a36-put".into();
    refused(&client.put(&format!("{LEASES}/a36-put"), &own).await, "a node puts another's lease");
    refused(&client.put(&format!("{elsewhere}/a36-own"), &own).await, "a node puts a lease elsewhere");
    claims_of_others(world, &client).await;
    slices_of_others(world, &client).await;
    certificates_of_others(world, &client).await;
    for name in ["a36-mine", "a36-theirs"] {
        world.admin.delete(&format!("{PODS}/{name}")).await;
    }
    for node in ["a36-own", "a36-other"] {
        world.admin.delete(&format!("{NODES}/{node}")).await;
    }
}

async fn pods_of_others(world: &World, client: &Client, mine: &str, theirs: &str) {
    let eviction = |name: &str| json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    let mut plain = pod("a36-plain");
    plain["spec"]["nodeName"] = "a36-own".into();
    refused(&client.post(PODS, &plain).await, "a node makes a pod that is no mirror");
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a36-theirs"},
        "target": {"kind": "Node", "name": "a36-own"}});
    for (target, body) in [
        (format!("{theirs}/binding"), &binding),
        ("/api/v1/namespaces/default/bindings".to_owned(), &binding),
        (format!("{theirs}/eviction"), &eviction("a36-theirs")),
        (format!("{theirs}/eviction?dryRun=All"), &eviction("a36-theirs")),
        (format!("{mine}/exec?command=sh"), &json!({})),
        (format!("{mine}/attach"), &json!({})),
        (format!("{mine}/portforward?ports=80"), &json!({})),
    ] {
        refused(&client.post(&target, body).await, &format!("a node posts to {target}"));
    }
    // A name in the body does not stand for the one in the path.
    let crossed = client.post(&format!("{mine}/eviction"), &eviction("a36-theirs")).await;
    assert_eq!(crossed.code, 400, "an eviction with another name in its body: {}", crossed.status());
    for target in [theirs, PODS, "/api/v1/namespaces/default/pods?fieldSelector=spec.nodeName%3Da36-own"] {
        refused(&client.delete(target).await, &format!("a node deletes {target}"));
    }
    let conditions = json!({"status": {"conditions": [{"type": "a36.example.com/x", "status": "True"}]}});
    let label = json!({"metadata": {"labels": {"a36": "x"}}});
    let claims = json!({"status": {"resourceClaimStatuses": [{"name": "r", "resourceClaimName": "a36-secret"}]}});
    let extended = json!({"status": {"extendedResourceClaimStatus": {"resourceClaimName": "a36-secret",
        "requestMappings": [{"containerName": "c", "resourceName": "example.com/x", "requestName": "r"}]}}});
    let image = json!({"spec": {"containers": [{"name": "c", "image": "other"}]}});
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "e", "image": "i"}]}});
    let own = world.admin.get(mine).await.json();
    for (target, change) in [
        (theirs.to_owned(), &label),
        (format!("{theirs}/status"), &conditions),
        (format!("{mine}/status"), &label),
        (format!("{mine}/status"), &claims),
        (format!("{mine}/status"), &extended),
        (mine.to_owned(), &label),
        (mine.to_owned(), &image),
        (format!("{mine}/ephemeralcontainers"), &debug),
        (format!("{mine}/resize"), &image),
    ] {
        let stored = if target.starts_with(theirs) { &world.admin.get(theirs).await.json() } else { &own };
        refused_in_all_ways(client, &target, &ways(stored, change)).await;
    }
    let after = world.admin.get(mine).await.json();
    assert!(after["status"]["resourceClaimStatuses"].is_null(), "{after:#}");
    assert!(after["metadata"]["labels"]["a36"].is_null(), "{after:#}");
    allowed(&client.merge(&format!("{mine}/status"), &conditions).await, "a node reports on its pod");
    let evicted = client.post(&format!("{PODS}/a36-evicted/eviction"), &eviction("a36-evicted")).await;
    allowed(&evicted, "a node evicts its pod");
    client.delete(&format!("{PODS}/a36-evicted")).await;
}

/// A kubelet says how a claim of its pod has grown, and nothing else of claims.
async fn claims_of_others(world: &World, client: &Client) {
    let list = "/api/v1/namespaces/default/persistentvolumeclaims";
    for (name, node) in [("a36-claimed", "a36-own"), ("a36-foreign", "a36-other")] {
        let claim = json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"],
            "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}}});
        world.admin.make(list, &claim).await;
        let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": name}}]);
        pod_on(world, PODS, name, node, json!({"volumes": volumes})).await;
    }
    let (own, foreign) = (&format!("{list}/a36-claimed"), &format!("{list}/a36-foreign"));
    client.until(own).await;
    let stored = world.admin.get(own).await.json();
    let grown = json!({"status": {"conditions": [{"type": "Resizing", "status": "True"}]}});
    refused_in_all_ways(client, &format!("{foreign}/status"), &ways(&stored, &grown)).await;
    for change in [
        json!({"metadata": {"labels": {"a36": "x"}}}),
        json!({"metadata": {"finalizers": null}}),
        json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "x"}]}}),
        json!({"status": {"phase": "Bound"}}),
        json!({"spec": {"volumeName": "a36"}}),
    ] {
        let ways = ways(&stored, &change);
        refused_in_all_ways(client, &format!("{own}/status"), &ways).await;
        refused_in_all_ways(client, own, &ways).await;
    }
    refused(&client.delete(own).await, "a node deletes a claim");
    refused_in_all_ways(client, own, &ways(&stored, &grown)).await;
    allowed(&ways(&stored, &grown)[1].send(client, &format!("{own}/status")).await, "a node reports on a claim");
    for name in ["a36-claimed", "a36-foreign"] {
        let target = format!("{list}/{name}");
        world.admin.delete(&format!("{PODS}/{name}")).await;
        world.admin.merge(&target, &json!({"metadata": {"finalizers": null}})).await;
        world.admin.delete(&target).await;
    }
}

async fn slices_of_others(world: &World, client: &Client) {
    let slice = |name: &str, node: Value| {
        let mut body = json!({"metadata": {"name": name}, "spec": {"driver": "a36.example.com",
            "devices": [{"name": "d"}], "pool": {"name": name, "generation": 1, "resourceSliceCount": 1}}});
        for (field, value) in node.as_object().into_iter().flatten() {
            body["spec"][field] = value.clone();
        }
        body
    };
    for (what, node) in
        [("another node's", json!({"nodeName": "a36-other"})), ("every node's", json!({"allNodes": true}))]
    {
        refused(
            &client.post(SLICES, &slice("a36-wrong", node)).await,
            &format!("a node makes a slice of {what} devices"),
        );
    }
    let other = world.admin.make(SLICES, &slice("a36-other", json!({"nodeName": "a36-other"}))).await;
    let target = format!("{SLICES}/a36-other");
    refused_in_all_ways(client, &target, &ways(&other, &json!({"metadata": {"labels": {"a36": "x"}}}))).await;
    for target in [target.as_str(), SLICES, &format!("{SLICES}?fieldSelector=spec.nodeName%3Da36-other")] {
        refused(&client.delete(target).await, &format!("a node deletes {target}"));
    }
    let own = client.make(SLICES, &slice("a36-own", json!({"nodeName": "a36-own"}))).await;
    let target = format!("{SLICES}/a36-own");
    client.until(&target).await;
    for way in ways(&own, &json!({"spec": {"nodeName": "a36-other"}})) {
        let answer = way.send(client, &target).await;
        assert!(matches!(answer.code, 403 | 422), "a slice given to another by {}: {}", way.name, answer.status());
    }
    assert_eq!(client.delete(&target).await.code, 200, "a node deletes its own slice");
    assert_eq!(world.admin.delete(&format!("{SLICES}/a36-other")).await.code, 200, "another's slice is there");
}

async fn certificates_of_others(world: &World, client: &Client) {
    use base64::Engine;
    let ask = |name: &str, node: &str, signer: &str| {
        let request = pki::authority::Request {
            common_name: format!("system:node:{node}"),
            organizations: vec!["system:nodes".to_owned()],
            client: true,
            ..pki::authority::Request::default()
        };
        let (_, csr) = pki::authority::new_csr(&request, now()).expect("a request");
        let csr = base64::engine::general_purpose::STANDARD.encode(csr);
        let usages = json!(["digital signature", "client auth"]);
        json!({"metadata": {"name": name}, "spec": {"signerName": signer, "request": csr, "usages": usages}})
    };
    for signer in ["kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"] {
        let answer = client.post(REQUESTS, &ask("a36-other", "a36-other", signer)).await;
        refused(&answer, &format!("a node asks {signer} for another's certificate"));
    }
    let own = ask("a36-own", "a36-own", "kubernetes.io/kube-apiserver-client-kubelet");
    let own = client.make(REQUESTS, &own).await;
    let target = format!("{REQUESTS}/a36-own");
    let approved = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "a36"}]}});
    for subresource in ["approval", "status"] {
        refused_in_all_ways(client, &format!("{target}/{subresource}"), &ways(&own, &approved)).await;
    }
    world.admin.delete(&target).await;
}
