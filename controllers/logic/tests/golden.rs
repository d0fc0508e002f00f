//! One state, one plan: what each controller wants done, as text. `UPDATE_EXPECT=1` rewrites it.

use crate::fake::Fake;
use controller_logic::deployment::DeploymentController;
use controller_logic::endpoints::{EndpointSliceController, EndpointsController};
use controller_logic::garbage_collector::GarbageCollector;
use controller_logic::namespace::NamespaceController;
use controller_logic::node_eviction::NodeEvictionController;
use controller_logic::node_ipam::NodeIpamController;
use controller_logic::node_lifecycle::NodeLifecycleController;
use controller_logic::pod_gc::PodGarbageCollector;
use controller_logic::replicaset::ReplicaSetController;
use controller_logic::root_ca::RootCaPublisher;
use controller_logic::serviceaccount::ServiceAccountController;
use controller_logic::taint_eviction::TaintEvictionController;
use controller_logic::{Controller, Failure, Kind, Target};
use expect_test::{Expect, expect};
use serde_json::{Value, json};

fn world(objects: &[Value]) -> Fake {
    let mut fake = Fake::new(Vec::new());
    objects.iter().for_each(|object| {
        fake.put(object.clone());
    });
    fake
}

fn check(fake: &Fake, controller: &dyn Controller, key: &str, expected: &Expect) {
    let (namespace, name) = key.split_once('/').unwrap_or(("", key));
    expected.assert_eq(&fake.plan(controller, namespace, name).to_string());
}

fn object(api_version: &str, kind: &str, name: &str, uid: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "ns", "uid": uid}})
}

fn pod(name: &str, owner: Option<&Value>, status: Value) -> Value {
    let mut pod = object("v1", "Pod", name, name);
    pod["metadata"]["labels"] = json!({"app": "web"});
    pod["spec"] = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 8080}]}]});
    pod["status"] = status;
    if let Some(owner) = owner {
        pod["metadata"]["ownerReferences"] = json!([{
            "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true}]);
    }
    pod
}

fn running(ready: bool) -> Value {
    let ready = if ready { "True" } else { "False" };
    json!({"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
        "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
}

fn set(replicas: u32) -> Value {
    let mut set = object("apps/v1", "ReplicaSet", "web-x", "set");
    set["spec"] = json!({"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}});
    set
}

fn node(name: &str, status: &str) -> Value {
    let mut node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": name}});
    let at = "2026-01-01T00:00:00Z";
    node["status"] =
        json!({"conditions": [{"type": "Ready", "status": status, "lastHeartbeatTime": at, "lastTransitionTime": at}]});
    node
}

#[test]
fn replica_sets() {
    let fake = world(&[set(3)]);
    check(
        &fake,
        &ReplicaSetController,
        "ns/web-x",
        &expect![[r#"
        patch status replicasets.apps ns/web-x {"metadata":{"uid":"set"},"status":{"observedGeneration":1,"replicas":0,"terminatingReplicas":0}}
        slow start, 3:
          3 x create pods ns/ {"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"web-x-","labels":{"app":"web"},"namespace":"ns","ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"ReplicaSet","name":"web-x","uid":"set"}]},"spec":{"containers":[{"image":"i","name":"c"}]}}
    "#]],
    );

    // One pod is there, one is to be adopted, one no longer matches.
    let mut stray = pod("stray", Some(&set(0)), running(true));
    stray["metadata"]["labels"] = json!({"app": "other"});
    let fake = world(&[set(2), pod("own", Some(&set(0)), running(true)), pod("orphan", None, running(true)), stray]);
    check(
        &fake,
        &ReplicaSetController,
        "ns/web-x",
        &expect![[r#"
        together, 2:
          patch pods ns/stray {"metadata":{"ownerReferences":[{"$patch":"delete","uid":"set"}],"uid":"stray"}}
          patch pods ns/orphan {"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"ReplicaSet","name":"web-x","uid":"set"}],"uid":"orphan"}}
        patch status replicasets.apps ns/web-x {"metadata":{"uid":"set"},"status":{"availableReplicas":2,"fullyLabeledReplicas":2,"observedGeneration":1,"readyReplicas":2,"replicas":2,"terminatingReplicas":0}}
    "#]],
    );

    // Creating failed.
    let mut fake = world(&[set(1)]);
    fake.failure = Some(Failure { reason: "FailedCreate", message: "exceeded quota".to_owned() });
    check(
        &fake,
        &ReplicaSetController,
        "ns/web-x",
        &expect![[r#"
        patch status replicasets.apps ns/web-x {"metadata":{"uid":"set"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"exceeded quota","reason":"FailedCreate","status":"True","type":"ReplicaFailure"}],"observedGeneration":1,"replicas":0,"terminatingReplicas":0}}
        slow start, 1:
          create pods ns/ {"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"web-x-","labels":{"app":"web"},"namespace":"ns","ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"ReplicaSet","name":"web-x","uid":"set"}]},"spec":{"containers":[{"image":"i","name":"c"}]}}
    "#]],
    );

    // Which pods go first: no node, pending, not ready, cheap, crowded, young.
    let own = |name: &str, status: Value| pod(name, Some(&set(0)), status);
    let mut unassigned = own("unassigned", json!({"phase": "Pending"}));
    unassigned["spec"]["nodeName"] = Value::Null;
    let mut cheap = own("cheap", running(true));
    cheap["metadata"]["annotations"] = json!({"controller.kubernetes.io/pod-deletion-cost": "-1"});
    let mut lonely = own("lonely", running(true));
    lonely["spec"]["nodeName"] = json!("n2");
    let all = [
        set(1),
        lonely,
        own("crowded", running(true)),
        cheap,
        own("unready", running(false)),
        own("pending", json!({"phase": "Pending"})),
        unassigned,
    ];
    let fake = world(&all);
    check(
        &fake,
        &ReplicaSetController,
        "ns/web-x",
        &expect![[r#"
        patch status replicasets.apps ns/web-x {"metadata":{"uid":"set"},"status":{"availableReplicas":3,"fullyLabeledReplicas":6,"observedGeneration":1,"readyReplicas":3,"replicas":6,"terminatingReplicas":0}}
        together, 5:
          delete pods ns/unassigned uid=unassigned
          delete pods ns/pending uid=pending
          delete pods ns/unready uid=unready
          delete pods ns/cheap uid=cheap
          delete pods ns/crowded uid=crowded
    "#]],
    );
}

#[test]
fn namespaces_and_what_they_come_with() {
    let mut namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns", "uid": "ns"},
        "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
    let fake = world(std::slice::from_ref(&namespace));
    check(
        &fake,
        &ServiceAccountController,
        "ns",
        &expect![[r#"
        create serviceaccounts ns/default {"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default","namespace":"ns"}}
    "#]],
    );
    check(
        &fake,
        &RootCaPublisher { pem: "PEM".to_owned() },
        "ns",
        &expect![[r#"
        create configmaps ns/kube-root-ca.crt {"apiVersion":"v1","data":{"ca.crt":"PEM"},"kind":"ConfigMap","metadata":{"annotations":{"kubernetes.io/description":"Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."},"name":"kube-root-ca.crt","namespace":"ns"}}
    "#]],
    );
    check(
        &fake,
        &NamespaceController,
        "ns",
        &expect![[r#"
        nothing
    "#]],
    );

    namespace["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut map = object("v1", "ConfigMap", "map", "map");
    map["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let fake = world(&[namespace.clone(), map, pod("p", None, running(true))]);
    check(
        &fake,
        &NamespaceController,
        "ns",
        &expect![[r#"
        patch status namespaces ns {"metadata":{"uid":"ns"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"All resources successfully discovered","reason":"ResourcesDiscovered","status":"False","type":"NamespaceDeletionDiscoveryFailure"},{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"All legacy kube types successfully parsed","reason":"ParsedGroupVersions","status":"False","type":"NamespaceDeletionGroupVersionParsingFailure"},{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"All content successfully deleted, may be waiting on finalization","reason":"ContentDeleted","status":"False","type":"NamespaceDeletionContentFailure"},{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"Some resources are remaining: configmaps. has 1 resource instances, pods. has 1 resource instances","reason":"SomeResourcesRemain","status":"True","type":"NamespaceContentRemaining"},{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances","reason":"SomeFinalizersRemain","status":"True","type":"NamespaceFinalizersRemaining"}],"phase":"Terminating"}}
        together, 1:
          delete all pods of ns
        again in 500ms
    "#]],
    );
    let fake = world(&[namespace]);
    check(
        &fake,
        &NamespaceController,
        "ns",
        &expect![[r#"
        patch status namespaces ns {"metadata":{"uid":"ns"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"All resources successfully discovered","reason":"ResourcesDiscovered","status":"False","type":"NamespaceDeletionDiscoveryFailure"},{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"All legacy kube types successfully parsed","reason":"ParsedGroupVersions","status":"False","type":"NamespaceDeletionGroupVersionParsingFailure"},{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"All content successfully deleted, may be waiting on finalization","reason":"ContentDeleted","status":"False","type":"NamespaceDeletionContentFailure"},{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"All content successfully removed","reason":"ContentRemoved","status":"False","type":"NamespaceContentRemaining"},{"lastTransitionTime":"2026-01-01T00:00:00Z","message":"All content-preserving finalizers finished","reason":"ContentHasNoFinalizers","status":"False","type":"NamespaceFinalizersRemaining"}],"phase":"Terminating"}}
        delete all events of ns
        require empty ns
        finalize namespace ns
        again in 500ms
    "#]],
    );
}

#[test]
fn garbage() {
    let owner = set(0);
    // The owner is not known: the store itself is asked, and then the pod goes.
    let mut fake = world(&[pod("p", Some(&owner), running(true))]);
    check(
        &fake,
        &GarbageCollector,
        "/p",
        &expect![[r#"
        read replicasets.apps ns/web-x
    "#]],
    );
    let target = fake.plan(&GarbageCollector, "", "p").read[0].clone();
    fake.reads.insert(target.clone(), Some(json!({"metadata": {"uid": "set"}})));
    check(
        &fake,
        &GarbageCollector,
        "/p",
        &expect![[r#"
        nothing
    "#]],
    );
    fake.reads.insert(target.clone(), Some(json!({"metadata": {"uid": "another"}})));
    check(
        &fake,
        &GarbageCollector,
        "/p",
        &expect![[r#"
        delete pods ns/p uid=p propagation=Background
    "#]],
    );
    fake.reads.insert(target, None);
    check(
        &fake,
        &GarbageCollector,
        "/p",
        &expect![[r#"
        delete pods ns/p uid=p propagation=Background
    "#]],
    );

    // Foreground: the dependents first, then the owner.
    let mut deleting = owner.clone();
    deleting["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    deleting["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
    let fake = world(&[deleting.clone(), pod("p", Some(&owner), running(true))]);
    check(
        &fake,
        &GarbageCollector,
        "/set",
        &expect![[r#"
        together, 1:
          delete pods ns/p uid=p propagation=Foreground
    "#]],
    );
    check(
        &fake,
        &GarbageCollector,
        "/p",
        &expect![[r#"
        delete pods ns/p uid=p propagation=Background
    "#]],
    );
    check(
        &world(std::slice::from_ref(&deleting)),
        &GarbageCollector,
        "/set",
        &expect![[r#"
        patch replicasets.apps ns/web-x {"metadata":{"finalizers":[],"resourceVersion":"1","uid":"set"}}
    "#]],
    );

    // Orphan: the references go, then the finalizer.
    deleting["metadata"]["finalizers"] = json!(["orphan"]);
    let mut fake = world(&[deleting, pod("p", Some(&owner), running(true))]);
    fake.level = false;
    check(&fake, &GarbageCollector, "/set", &expect!["wait for all kinds\n"]);
    fake.level = true;
    check(
        &fake,
        &GarbageCollector,
        "/set",
        &expect![[r#"
        together, 1:
          patch pods ns/p {"metadata":{"ownerReferences":null,"resourceVersion":"2","uid":"p"}}
        patch replicasets.apps ns/web-x {"metadata":{"finalizers":[],"resourceVersion":"1","uid":"set"}}
    "#]],
    );
}

#[test]
fn owners_that_cannot_be_referred_to() {
    let owned_by = |object: &mut Value, owner: &Value| {
        object["metadata"]["ownerReferences"] = json!([{
            "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true}]);
    };
    let mut owner = set(0);
    let mut node = node("n1", "True");
    owned_by(&mut node, &owner);
    // A cluster-scoped object that names a namespaced owner stays, whether the owner is there,
    check(
        &world(&[owner.clone(), node.clone()]),
        &GarbageCollector,
        "/n1",
        &expect![[r#"
        event Node n1 Warning OwnerRefInvalidNamespace: ownerRef [apps/v1/ReplicaSet, namespace: , name: web-x, uid: set] does not exist in namespace ""
    "#]],
    );
    // is not,
    check(
        &world(std::slice::from_ref(&node)),
        &GarbageCollector,
        "/n1",
        &expect![[r#"
        nothing
    "#]],
    );
    // or goes in the foreground.
    owner["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    owner["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
    let fake = world(&[owner.clone(), node]);
    check(
        &fake,
        &GarbageCollector,
        "/set",
        &expect![[r#"
        patch replicasets.apps ns/web-x {"metadata":{"finalizers":[],"resourceVersion":"1","uid":"set"}}
    "#]],
    );
    check(
        &fake,
        &GarbageCollector,
        "/n1",
        &expect![[r#"
        event Node n1 Warning OwnerRefInvalidNamespace: ownerRef [apps/v1/ReplicaSet, namespace: , name: web-x, uid: set] does not exist in namespace ""
    "#]],
    );

    // An object of another namespace is looked up in its own, and has no owner there.
    let mut stranger = pod("p", None, running(true));
    stranger["metadata"]["namespace"] = json!("other");
    owned_by(&mut stranger, &set(0));
    let mut fake = world(&[set(0), stranger]);
    check(
        &fake,
        &GarbageCollector,
        "/p",
        &expect![[r#"
        read replicasets.apps other/web-x
    "#]],
    );
    let target = fake.plan(&GarbageCollector, "", "p").read[0].clone();
    fake.reads.insert(target, None);
    check(
        &fake,
        &GarbageCollector,
        "/p",
        &expect![[r#"
        event Pod p Warning OwnerRefInvalidNamespace: ownerRef [apps/v1/ReplicaSet, namespace: other, name: web-x, uid: set] does not exist in namespace "other"
        delete pods other/p uid=p propagation=Background
    "#]],
    );

    // The uid is one object's, name and kind are another's: the store is asked for what the reference says.
    let mut confused = pod("p", Some(&set(0)), running(true));
    confused["metadata"]["ownerReferences"][0]["name"] = json!("elsewhere");
    check(
        &world(&[set(0), confused]),
        &GarbageCollector,
        "/p",
        &expect![[r#"
        read replicasets.apps ns/elsewhere
    "#]],
    );

    // One owner of a kind that is not served: nothing is done, not even about the others.
    let mut both = pod("p", Some(&set(0)), running(true));
    let unserved = json!({"apiVersion": "example.com/v1", "kind": "Thing", "name": "t", "uid": "t"});
    both["metadata"]["ownerReferences"].as_array_mut().expect("a list").push(unserved);
    let mut fake = world(&[both]);
    let target = fake.plan(&GarbageCollector, "", "p").read[0].clone();
    fake.reads.insert(target, None);
    check(
        &fake,
        &GarbageCollector,
        "/p",
        &expect![[r#"
        nothing
    "#]],
    );
}

fn deployment(replicas: u32) -> Value {
    let mut deployment = object("apps/v1", "Deployment", "web", "deployment");
    deployment["spec"] = json!({"replicas": replicas, "progressDeadlineSeconds": 600, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}});
    deployment
}

#[test]
fn a_replica_set_that_cannot_be_made_is_said_first() {
    let mut fake = world(&[deployment(2)]);
    check(
        &fake,
        &DeploymentController,
        "ns/web",
        &expect![[r#"
        create replicasets.apps ns/web-77657c567c {"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"annotations":{"deployment.kubernetes.io/desired-replicas":"2","deployment.kubernetes.io/max-replicas":"3","deployment.kubernetes.io/revision":"1"},"labels":{"app":"web","pod-template-hash":"77657c567c"},"name":"web-77657c567c","namespace":"ns","ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"Deployment","name":"web","uid":"deployment"}]},"spec":{"replicas":2,"selector":{"matchLabels":{"app":"web","pod-template-hash":"77657c567c"}},"template":{"metadata":{"labels":{"app":"web","pod-template-hash":"77657c567c"}},"spec":{"containers":[{"image":"i","name":"c"}]}}}}
        event Deployment web Normal ScalingReplicaSet: Scaled up replica set web-77657c567c from 0 to 2
        patch status deployments.apps ns/web {"metadata":{"annotations":{"deployment.kubernetes.io/revision":"1"},"uid":"deployment"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","lastUpdateTime":"2026-01-01T00:00:00Z","message":"Created new replica set \"web-77657c567c\"","reason":"NewReplicaSetCreated","status":"True","type":"Progressing"},{"lastTransitionTime":"2026-01-01T00:00:00Z","lastUpdateTime":"2026-01-01T00:00:00Z","message":"Deployment does not have minimum availability.","reason":"MinimumReplicasUnavailable","status":"False","type":"Available"}],"observedGeneration":1,"unavailableReplicas":2}}
        again in 601s
    "#]],
    );
    fake.failure = Some(Failure { reason: "ReplicaSetCreateError", message: "exceeded quota".to_owned() });
    check(
        &fake,
        &DeploymentController,
        "ns/web",
        &expect![[r#"
        patch status deployments.apps ns/web {"metadata":{"uid":"deployment"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","lastUpdateTime":"2026-01-01T00:00:00Z","message":"Failed to create new replica set \"web-77657c567c\": exceeded quota","reason":"ReplicaSetCreateError","status":"False","type":"Progressing"},{"lastTransitionTime":"2026-01-01T00:00:00Z","lastUpdateTime":"2026-01-01T00:00:00Z","message":"Deployment does not have minimum availability.","reason":"MinimumReplicasUnavailable","status":"False","type":"Available"}],"observedGeneration":1,"terminatingReplicas":0}}
        create replicasets.apps ns/web-77657c567c {"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"annotations":{"deployment.kubernetes.io/desired-replicas":"2","deployment.kubernetes.io/max-replicas":"3","deployment.kubernetes.io/revision":"1"},"labels":{"app":"web","pod-template-hash":"77657c567c"},"name":"web-77657c567c","namespace":"ns","ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"Deployment","name":"web","uid":"deployment"}]},"spec":{"replicas":2,"selector":{"matchLabels":{"app":"web","pod-template-hash":"77657c567c"}},"template":{"metadata":{"labels":{"app":"web","pod-template-hash":"77657c567c"}},"spec":{"containers":[{"image":"i","name":"c"}]}}}}
        event Deployment web Normal ScalingReplicaSet: Scaled up replica set web-77657c567c from 0 to 2
        patch status deployments.apps ns/web {"metadata":{"annotations":{"deployment.kubernetes.io/revision":"1"},"uid":"deployment"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:00Z","lastUpdateTime":"2026-01-01T00:00:00Z","message":"Deployment does not have minimum availability.","reason":"MinimumReplicasUnavailable","status":"False","type":"Available"},{"lastTransitionTime":"2026-01-01T00:00:00Z","lastUpdateTime":"2026-01-01T00:00:00Z","message":"Created new replica set \"web-77657c567c\"","reason":"NewReplicaSetCreated","status":"True","type":"Progressing"}],"observedGeneration":1,"unavailableReplicas":2}}
        again in 601s
    "#]],
    );
    // Said once; another failure says nothing about the set.
    let plan = fake.plan(&DeploymentController, "ns", "web");
    let status = plan.steps[0].clone();
    fake.perform(&controller_logic::Plan { steps: vec![status], ..controller_logic::Plan::nothing() });
    let again = fake.plan(&DeploymentController, "ns", "web").to_string();
    assert!(again.starts_with("create replicasets.apps"), "{again}");
    let mut fake = world(&[deployment(2)]);
    fake.failure = Some(Failure { reason: "", message: "a conflict".to_owned() });
    let other = fake.plan(&DeploymentController, "ns", "web").to_string();
    assert!(other.starts_with("create replicasets.apps"), "{other}");
}

/// A set of the Deployment, with its size and its available pods.
fn set_of(name: &str, image: &str, size: u32, available: u32) -> Value {
    let mut own = set(size);
    own["metadata"]["name"] = json!(name);
    own["metadata"]["uid"] = json!(name);
    own["metadata"]["labels"] = json!({"app": "web"});
    own["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web",
        "uid": "deployment", "controller": true}]);
    own["metadata"]["annotations"] = json!({"deployment.kubernetes.io/desired-replicas": "10"});
    own["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    own["status"] = json!({"replicas": available, "readyReplicas": available, "availableReplicas": available});
    own
}

#[test]
fn pods_that_are_asked_for_but_not_made_are_unavailable() {
    let fake = world(&[deployment(10), set_of("web-new", "i", 10, 0)]);
    let plan = fake.plan(&DeploymentController, "ns", "web").to_string();
    assert!(plan.contains("\"unavailableReplicas\":10"), "{plan}");
}

#[test]
fn pods_about_to_be_deleted_are_not_counted_on() {
    // The old set was made smaller a moment ago: one of its ten pods is going. Nine and two may not lose two more.
    let mut web = deployment(10);
    web["spec"]["strategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}});
    let fake = world(&[web, set_of("web-old", "old", 9, 10), set_of("web-new", "i", 2, 2)]);
    let plan = fake.plan(&DeploymentController, "ns", "web").to_string();
    assert!(plan.contains("Scaled down replica set web-old from 9 to 8"), "{plan}");
}

fn in_zone(name: &str, zone: &str, status: &str) -> Value {
    let mut node = node(name, status);
    node["metadata"]["labels"] = json!({"topology.kubernetes.io/zone": zone});
    node
}

/// Nodes of zone `a` that are evicted, with the second when, while nothing else changes for so long.
fn evictions(a: (usize, usize), b: (usize, usize), seconds: i64) -> String {
    let mut fake = world(&[]);
    for (zone, (ready, down)) in [("a", a), ("b", b)] {
        (0..ready).for_each(|index| drop(fake.put(in_zone(&format!("{zone}-ready-{index:03}"), zone, "True"))));
        (0..down).for_each(|index| drop(fake.put(in_zone(&format!("{zone}-down-{index:03}"), zone, "Unknown"))));
    }
    let (began, mut said) = (fake.now, Vec::new());
    while (fake.now - began).get_seconds() <= seconds {
        let plan = fake.plan(&NodeEvictionController, "", "a");
        fake.perform(&plan);
        for line in std::mem::take(&mut fake.log) {
            said.push(format!(
                "{}s {}",
                (fake.now - began).get_seconds(),
                line.trim_start_matches("patch nodes ").trim()
            ));
        }
        fake.pass(1);
    }
    said.join(", ")
}

#[test]
fn nodes_are_evicted_one_by_one() {
    let table = [
        ("few are down", evictions((7, 3), (1, 0), 25)),
        ("most of a small zone is down", evictions((2, 3), (1, 0), 25)),
        ("most of a large zone is down", evictions((20, 40), (1, 0), 250)),
        ("two of three are down", evictions((1, 2), (1, 0), 25)),
        ("a whole zone is down", evictions((0, 3), (1, 0), 25)),
        ("everything is down", evictions((0, 3), (0, 1), 25)),
    ];
    let lines = table.map(|(name, said)| format!("{name}: {said}\n"));
    expect![[r#"
        few are down: 0s a-down-000, 10s a-down-001, 20s a-down-002
        most of a small zone is down: 
        most of a large zone is down: 0s a-down-000, 100s a-down-001, 200s a-down-002
        two of three are down: 0s a-down-000, 10s a-down-001
        a whole zone is down: 0s a-down-000, 10s a-down-001, 20s a-down-002
        everything is down: 
    "#]]
    .assert_eq(&lines.concat());
}

#[test]
fn nodes_that_do_not_count() {
    // Without the two that are excluded, three of four are down.
    let mut fake = world(&[in_zone("up", "a", "True")]);
    for index in 0..3 {
        fake.put(in_zone(&format!("down-{index}"), "a", "False"));
    }
    for index in 0..2 {
        let mut excluded = in_zone(&format!("excluded-{index}"), "a", "True");
        excluded["metadata"]["labels"]["node.kubernetes.io/exclude-disruption"] = json!("");
        fake.put(excluded);
    }
    check(
        &fake,
        &NodeEvictionController,
        "a",
        &expect![[r#"
        nothing
    "#]],
    );
    // A node that is evicted already and says something else gets the other taint at once, as old as the first.
    let target = Target::new(Kind::Node.gvr(), "", "down-0");
    let taint =
        json!({"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"});
    fake.edit(&target, json!({"spec": {"taints": [taint]}}));
    fake.pass(20);
    check(
        &fake,
        &NodeLifecycleController,
        "down-0",
        &expect![[r#"
        patch nodes down-0 {"metadata":{"resourceVersion":"7","uid":"down-0"},"spec":{"taints":[{"effect":"NoSchedule","key":"node.kubernetes.io/not-ready","timeAdded":"2026-01-01T00:00:20Z"},{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","timeAdded":"2026-01-01T00:00:00Z"}]}}
        again in 30.1s
    "#]],
    );
}

#[test]
fn a_new_leader_gives_everybody_the_full_grace() {
    let mut fake = world(&[node("n1", "True")]);
    fake.pass(3600);
    fake.world.observed.begin(fake.now);
    check(
        &fake,
        &NodeLifecycleController,
        "n1",
        &expect![[r#"
        again in 50.1s
    "#]],
    );
    // A lease that somebody deletes does not make the node silent.
    let mut lease = object("coordination.k8s.io/v1", "Lease", "n1", "lease");
    lease["metadata"]["namespace"] = json!("kube-node-lease");
    lease["spec"] = json!({"renewTime": "2026-01-01T01:00:30.000000Z"});
    fake.pass(40);
    let target = fake.put(lease);
    fake.remove(&target);
    fake.pass(20);
    check(
        &fake,
        &NodeLifecycleController,
        "n1",
        &expect![[r#"
        again in 30.1s
    "#]],
    );
}

#[test]
fn nodes_that_fall_silent() {
    let mut fake = world(&[node("n1", "True"), node("n2", "True"), pod("p", None, running(true))]);
    check(
        &fake,
        &NodeLifecycleController,
        "n1",
        &expect![[r#"
            again in 50.1s
        "#]],
    );
    check(
        &fake,
        &NodeIpamController::default(),
        "n1",
        &expect![[r#"
        patch nodes n1 {"metadata":{"resourceVersion":"1","uid":"n1"},"spec":{"podCIDR":"10.244.0.0/24","podCIDRs":["10.244.0.0/24"]}}
    "#]],
    );
    fake.pass(51);
    check(
        &fake,
        &NodeLifecycleController,
        "n1",
        &expect![[r#"
            patch nodes n1 {"metadata":{"resourceVersion":"1","uid":"n1"},"spec":{"taints":[{"effect":"NoSchedule","key":"node.kubernetes.io/unreachable","timeAdded":"2026-01-01T00:00:51Z"}]}}
            patch status nodes n1 {"metadata":{"uid":"n1"},"status":{"conditions":[{"lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:00:51Z","message":"Kubelet stopped posting node status.","reason":"NodeStatusUnknown","status":"Unknown","type":"Ready"},{"lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:00:51Z","message":"Kubelet never posted node status.","reason":"NodeStatusNeverUpdated","status":"Unknown","type":"MemoryPressure"},{"lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:00:51Z","message":"Kubelet never posted node status.","reason":"NodeStatusNeverUpdated","status":"Unknown","type":"DiskPressure"},{"lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:00:51Z","message":"Kubelet never posted node status.","reason":"NodeStatusNeverUpdated","status":"Unknown","type":"PIDPressure"}]}}
            event Node n1 Normal NodeNotReady: Node n1 status is now: NodeNotReady
            together, 1:
              patch status pods ns/p {"metadata":{"uid":"p"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:51Z","status":"False","type":"Ready"}]}}
            event Pod p Warning NodeNotReady: Node is not ready
        "#]],
    );
    let plan = fake.plan(&NodeLifecycleController, "", "n1");
    fake.perform(&plan);
    check(
        &fake,
        &NodeLifecycleController,
        "n1",
        &expect![[r#"
        nothing
    "#]],
    );
    check(
        &fake,
        &NodeEvictionController,
        "",
        &expect![[r#"
        patch nodes n1 {"metadata":{"resourceVersion":"5","uid":"n1"},"spec":{"taints":[{"effect":"NoSchedule","key":"node.kubernetes.io/unreachable","timeAdded":"2026-01-01T00:00:51Z"},{"effect":"NoExecute","key":"node.kubernetes.io/unreachable","timeAdded":"2026-01-01T00:00:51Z"}]}}
        again in 10s
    "#]],
    );
    let plan = fake.plan(&NodeEvictionController, "", "");
    fake.perform(&plan);
    check(&fake, &NodeLifecycleController, "n1", &expect!["nothing\n"]);

    // It comes back.
    let target = Target::new(Kind::Node.gvr(), "", "n1");
    let mut back = node("n1", "True");
    back["status"]["conditions"][0]["lastHeartbeatTime"] = json!("2026-01-01T00:00:55Z");
    fake.edit(&target, back);
    check(
        &fake,
        &NodeLifecycleController,
        "n1",
        &expect![[r#"
            patch nodes n1 {"metadata":{"resourceVersion":"8","uid":"n1"},"spec":{"taints":null}}
            again in 50.1s
        "#]],
    );
}

#[test]
fn pods_leave_tainted_nodes() {
    let mut tainted = node("n1", "Unknown");
    let taint = |key: &str| json!({"key": key, "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"});
    tainted["spec"] = json!({"taints": [taint("node.kubernetes.io/unreachable")]});
    let mut patient = pod("patient", None, running(true));
    patient["spec"]["tolerations"] = json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists",
        "effect": "NoExecute", "tolerationSeconds": 300}]);
    let mut daemon = pod("daemon", None, running(true));
    daemon["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    let mut fake = world(&[tainted, pod("hasty", None, running(true)), patient, daemon]);
    fake.pass(10);
    check(
        &fake,
        &TaintEvictionController,
        "ns/hasty",
        &expect![[r#"
        event Pod hasty Normal TaintManagerEviction: Marking for deletion Pod ns/hasty
        patch status pods ns/hasty {"metadata":{"uid":"hasty"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:10Z","message":"Taint manager: deleting due to NoExecute taint","reason":"DeletionByTaintManager","status":"True","type":"DisruptionTarget"}]}}
        delete pods ns/hasty uid=hasty
    "#]],
    );
    check(
        &fake,
        &TaintEvictionController,
        "ns/patient",
        &expect![[r#"
        again in 290s
    "#]],
    );
    check(
        &fake,
        &TaintEvictionController,
        "ns/daemon",
        &expect![[r#"
        nothing
    "#]],
    );
    fake.pass(290);
    check(
        &fake,
        &TaintEvictionController,
        "ns/patient",
        &expect![[r#"
        event Pod patient Normal TaintManagerEviction: Marking for deletion Pod ns/patient
        patch status pods ns/patient {"metadata":{"uid":"patient"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:05:00Z","message":"Taint manager: deleting due to NoExecute taint","reason":"DeletionByTaintManager","status":"True","type":"DisruptionTarget"}]}}
        delete pods ns/patient uid=patient
    "#]],
    );
}

/// The whole cluster was down for an hour: its node is not back yet, and had no chance to be.
#[test]
fn nobody_leaves_a_node_that_was_down_with_the_control_plane() {
    let mut tainted = node("n1", "False");
    tainted["spec"] = json!({"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute",
        "timeAdded": "2025-12-31T23:00:00Z"}]});
    let mut patient = pod("patient", None, running(true));
    patient["spec"]["tolerations"] = json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists",
        "effect": "NoExecute", "tolerationSeconds": 300}]);
    let mut fake = world(&[tainted, patient]);
    fake.pass(10);
    check(
        &fake,
        &TaintEvictionController,
        "ns/patient",
        &expect![[r#"
        again in 40s
    "#]],
    );
}

#[test]
fn pods_nobody_ends() {
    let collector = PodGarbageCollector { terminated_pods: 1 };
    let mut fake = world(&[node("n2", "True"), pod("orphan", None, running(true))]);
    check(
        &fake,
        &collector,
        "ns/orphan",
        &expect![[r#"
        again in 40s
    "#]],
    );
    fake.pass(60);
    check(
        &fake,
        &collector,
        "ns/orphan",
        &expect![[r#"
        read nodes n1
    "#]],
    );
    let target = fake.plan(&collector, "ns", "orphan").read[0].clone();
    fake.reads.insert(target, None);
    check(
        &fake,
        &collector,
        "ns/orphan",
        &expect![[r#"
        patch status pods ns/orphan {"metadata":{"uid":"orphan"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:01:00Z","message":"PodGC: node no longer exists","reason":"DeletionByPodGC","status":"True","type":"DisruptionTarget"}],"phase":"Failed"}}
        delete pods ns/orphan uid=orphan grace=0
    "#]],
    );

    let ended = json!({"phase": "Succeeded"});
    let fake = world(&[pod("a", None, ended.clone()), pod("b", None, ended.clone()), pod("c", None, ended)]);
    check(
        &fake,
        &collector,
        "/",
        &expect![[r#"
        together, 2:
          delete pods ns/a uid=a grace=0
          delete pods ns/b uid=b grace=0
    "#]],
    );
}

#[test]
fn endpoints_of_services() {
    let mut service = object("v1", "Service", "web", "svc");
    service["metadata"]["labels"] = json!({"team": "a"});
    service["spec"] = json!({"clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], "selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": "http"}]});
    let fake = world(std::slice::from_ref(&service));
    check(
        &fake,
        &EndpointSliceController,
        "ns/web",
        &expect![[r#"
        create endpointslices.discovery.k8s.io ns/ {"addressType":"IPv4","apiVersion":"discovery.k8s.io/v1","endpoints":[],"kind":"EndpointSlice","metadata":{"generateName":"web-","labels":{"endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io","kubernetes.io/service-name":"web","team":"a"},"namespace":"ns","ownerReferences":[{"apiVersion":"v1","blockOwnerDeletion":true,"controller":true,"kind":"Service","name":"web","uid":"svc"}]},"ports":[]}
    "#]],
    );
    let mut leaving = pod("leaving", None, running(true));
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    leaving["status"]["podIPs"] = json!([{"ip": "10.0.0.2"}]);
    let mut fake = world(&[
        service,
        pod("ready", None, running(true)),
        leaving,
        pod("ended", None, json!({"phase": "Failed", "podIP": "10.0.0.3"})),
    ]);
    check(
        &fake,
        &EndpointSliceController,
        "ns/web",
        &expect![[r#"
        create endpointslices.discovery.k8s.io ns/ {"addressType":"IPv4","apiVersion":"discovery.k8s.io/v1","endpoints":[{"addresses":["10.0.0.2"],"conditions":{"ready":false,"serving":true,"terminating":true},"nodeName":"n1","targetRef":{"kind":"Pod","name":"leaving","namespace":"ns","uid":"leaving"}},{"addresses":["10.0.0.1"],"conditions":{"ready":true,"serving":true,"terminating":false},"nodeName":"n1","targetRef":{"kind":"Pod","name":"ready","namespace":"ns","uid":"ready"}}],"kind":"EndpointSlice","metadata":{"generateName":"web-","labels":{"endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io","kubernetes.io/service-name":"web","team":"a"},"namespace":"ns","ownerReferences":[{"apiVersion":"v1","blockOwnerDeletion":true,"controller":true,"kind":"Service","name":"web","uid":"svc"}]},"ports":[{"name":"http","port":8080,"protocol":"TCP"}]}
    "#]],
    );
    check(
        &fake,
        &EndpointsController,
        "ns/web",
        &expect![[r#"
        create endpoints ns/web {"apiVersion":"v1","kind":"Endpoints","metadata":{"labels":{"endpoints.kubernetes.io/managed-by":"endpoint-controller","team":"a"},"name":"web","namespace":"ns"},"subsets":[{"addresses":[{"ip":"10.0.0.1","nodeName":"n1","targetRef":{"kind":"Pod","name":"ready","namespace":"ns","uid":"ready"}}],"ports":[{"name":"http","port":8080,"protocol":"TCP"}]}]}
    "#]],
    );
    // What was written is what is wanted: a second look finds nothing to do.
    for controller in [&EndpointSliceController as &dyn Controller, &EndpointsController] {
        let plan = fake.plan(controller, "ns", "web");
        fake.perform(&plan);
        check(&fake, controller, "ns/web", &expect!["nothing\n"]);
    }
    // Its port changes: the slice is changed, not replaced.
    let target = Target::new(Kind::Service.gvr(), "ns", "web");
    fake.edit(&target, json!({"spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8081}]}}));
    check(
        &fake,
        &EndpointSliceController,
        "ns/web",
        &expect![[r#"
        patch endpointslices.discovery.k8s.io ns/web-5 {"metadata":{"uid":"uid-0006"},"ports":[{"name":"http","port":8081,"protocol":"TCP"}]}
    "#]],
    );
    // A Service without a selector is left alone.
    fake.edit(&target, json!({"spec": {"selector": null}}));
    check(&fake, &EndpointSliceController, "ns/web", &expect!["nothing\n"]);
    check(&fake, &EndpointsController, "ns/web", &expect!["nothing\n"]);
}

#[test]
fn slices_are_filled_and_change_little() {
    let mut service = object("v1", "Service", "web", "svc");
    service["spec"] =
        json!({"clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], "selector": {"app": "web"}, "ports": [{"port": 80}]});
    let mut fake = world(&[service]);
    for index in 0..250 {
        let mut own = pod(&format!("p{index:03}"), None, running(true));
        own["status"]["podIPs"] = json!([{"ip": format!("10.0.1.{index}")}]);
        fake.put(own);
    }
    let plan = fake.plan(&EndpointSliceController, "ns", "web");
    fake.perform(&plan);
    let sizes = |fake: &Fake| {
        let slices = fake.of(Kind::EndpointSlice);
        slices.iter().map(|slice| slice["endpoints"].as_array().map_or(0, Vec::len)).collect::<Vec<_>>()
    };
    assert_eq!(sizes(&fake), [100, 100, 50]);
    let gone = Target::new(Kind::Pod.gvr(), "ns", "p003");
    fake.remove(&gone);
    let plan = fake.plan(&EndpointSliceController, "ns", "web");
    assert_eq!(plan.steps.len(), 1, "one slice changes");
    fake.perform(&plan);
    assert_eq!(sizes(&fake), [99, 100, 50]);
}
