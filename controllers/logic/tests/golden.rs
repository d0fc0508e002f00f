//! One state, one plan: what each controller wants done, as text. `UPDATE_EXPECT=1` rewrites it.

mod fake;

use controller_logic::endpoints::{EndpointSliceController, EndpointsController};
use controller_logic::garbage_collector::GarbageCollector;
use controller_logic::namespace::NamespaceController;
use controller_logic::node_ipam::NodeIpamController;
use controller_logic::node_lifecycle::NodeLifecycleController;
use controller_logic::pod_gc::PodGarbageCollector;
use controller_logic::replicaset::ReplicaSetController;
use controller_logic::root_ca::RootCaPublisher;
use controller_logic::serviceaccount::ServiceAccountController;
use controller_logic::taint_eviction::TaintEvictionController;
use controller_logic::{Controller, Failure};
use expect_test::{Expect, expect};
use fake::Fake;
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
    check(&fake, &ReplicaSetController, "ns/web-x", &expect![[r#""#]]);

    // One pod is there, one is to be adopted, one no longer matches.
    let mut stray = pod("stray", Some(&set(0)), running(true));
    stray["metadata"]["labels"] = json!({"app": "other"});
    let fake = world(&[set(2), pod("own", Some(&set(0)), running(true)), pod("orphan", None, running(true)), stray]);
    check(&fake, &ReplicaSetController, "ns/web-x", &expect![[r#""#]]);

    // Creating failed.
    let mut fake = world(&[set(1)]);
    fake.failure = Some(Failure { reason: "FailedCreate", message: "exceeded quota".to_owned() });
    check(&fake, &ReplicaSetController, "ns/web-x", &expect![[r#""#]]);

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
    check(&fake, &ReplicaSetController, "ns/web-x", &expect![[r#""#]]);
}

#[test]
fn namespaces_and_what_they_come_with() {
    let mut namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns", "uid": "ns"},
        "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
    let fake = world(std::slice::from_ref(&namespace));
    check(&fake, &ServiceAccountController, "ns", &expect![[r#""#]]);
    check(&fake, &RootCaPublisher { pem: "PEM".to_owned() }, "ns", &expect![[r#""#]]);
    check(&fake, &NamespaceController, "ns", &expect![[r#""#]]);

    namespace["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut map = object("v1", "ConfigMap", "map", "map");
    map["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let fake = world(&[namespace.clone(), map, pod("p", None, running(true))]);
    check(&fake, &NamespaceController, "ns", &expect![[r#""#]]);
    let fake = world(&[namespace]);
    check(&fake, &NamespaceController, "ns", &expect![[r#""#]]);
}

#[test]
fn garbage() {
    let owner = set(0);
    // The owner is not known: the store itself is asked, and then the pod goes.
    let mut fake = world(&[pod("p", Some(&owner), running(true))]);
    check(&fake, &GarbageCollector, "/p", &expect![[r#""#]]);
    let target = fake.plan(&GarbageCollector, "", "p").read[0].clone();
    fake.reads.insert(target.clone(), Some(json!({"metadata": {"uid": "set"}})));
    check(&fake, &GarbageCollector, "/p", &expect![[r#""#]]);
    fake.reads.insert(target.clone(), Some(json!({"metadata": {"uid": "another"}})));
    check(&fake, &GarbageCollector, "/p", &expect![[r#""#]]);
    fake.reads.insert(target, None);
    check(&fake, &GarbageCollector, "/p", &expect![[r#""#]]);

    // Foreground: the dependents first, then the owner.
    let mut deleting = owner.clone();
    deleting["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    deleting["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
    let fake = world(&[deleting.clone(), pod("p", Some(&owner), running(true))]);
    check(&fake, &GarbageCollector, "/set", &expect![[r#""#]]);
    check(&fake, &GarbageCollector, "/p", &expect![[r#""#]]);
    check(&world(std::slice::from_ref(&deleting)), &GarbageCollector, "/set", &expect![[r#""#]]);

    // Orphan: the references go, then the finalizer.
    deleting["metadata"]["finalizers"] = json!(["orphan"]);
    let fake = world(&[deleting, pod("p", Some(&owner), running(true))]);
    check(&fake, &GarbageCollector, "/set", &expect![[r#""#]]);
}

#[test]
fn nodes_that_fall_silent() {
    let mut fake = world(&[node("n1", "True"), node("n2", "True"), pod("p", None, running(true))]);
    check(&fake, &NodeLifecycleController, "n1", &expect![[r#""#]]);
    check(&fake, &NodeIpamController::default(), "n1", &expect![[r#""#]]);
    fake.pass(41);
    check(&fake, &NodeLifecycleController, "n1", &expect![[r#""#]]);
    let plan = fake.plan(&NodeLifecycleController, "", "n1");
    fake.perform(&plan);
    check(&fake, &NodeLifecycleController, "n1", &expect![[r#""#]]);

    // It comes back.
    let target = controller_logic::Target::new(controller_logic::Kind::Node.gvr(), "", "n1");
    fake.edit(&target, node("n1", "True"));
    check(&fake, &NodeLifecycleController, "n1", &expect![[r#""#]]);
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
    check(&fake, &TaintEvictionController, "ns/hasty", &expect![[r#""#]]);
    check(&fake, &TaintEvictionController, "ns/patient", &expect![[r#""#]]);
    check(&fake, &TaintEvictionController, "ns/daemon", &expect![[r#""#]]);
    fake.pass(290);
    check(&fake, &TaintEvictionController, "ns/patient", &expect![[r#""#]]);
}

#[test]
fn pods_nobody_ends() {
    let collector = PodGarbageCollector { terminated_pods: 1 };
    let mut fake = world(&[node("n2", "True"), pod("orphan", None, running(true))]);
    check(&fake, &collector, "ns/orphan", &expect![[r#""#]]);
    fake.pass(60);
    check(&fake, &collector, "ns/orphan", &expect![[r#""#]]);
    let target = fake.plan(&collector, "ns", "orphan").read[0].clone();
    fake.reads.insert(target, None);
    check(&fake, &collector, "ns/orphan", &expect![[r#""#]]);

    let ended = json!({"phase": "Succeeded"});
    let fake = world(&[pod("a", None, ended.clone()), pod("b", None, ended.clone()), pod("c", None, ended)]);
    check(&fake, &collector, "/", &expect![[r#""#]]);
}

#[test]
fn endpoints_of_services() {
    let mut service = object("v1", "Service", "web", "svc");
    service["metadata"]["labels"] = json!({"team": "a"});
    service["spec"] = json!({"clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], "selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": "http"}]});
    let fake = world(std::slice::from_ref(&service));
    check(&fake, &EndpointSliceController, "ns/web", &expect![[r#""#]]);
    let mut leaving = pod("leaving", None, running(true));
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    leaving["status"]["podIPs"] = json!([{"ip": "10.0.0.2"}]);
    let mut fake = world(&[
        service,
        pod("ready", None, running(true)),
        leaving,
        pod("ended", None, json!({"phase": "Failed", "podIP": "10.0.0.3"})),
    ]);
    check(&fake, &EndpointSliceController, "ns/web", &expect![[r#""#]]);
    check(&fake, &EndpointsController, "ns/web", &expect![[r#""#]]);
    // What was written is what is wanted: a second look finds nothing to do.
    for controller in [&EndpointSliceController as &dyn Controller, &EndpointsController] {
        let plan = fake.plan(controller, "ns", "web");
        fake.perform(&plan);
        check(&fake, controller, "ns/web", &expect!["nothing\n"]);
    }
    // A Service without a selector is left alone.
    let target = controller_logic::Target::new(controller_logic::Kind::Service.gvr(), "ns", "web");
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
        let slices = fake.of(controller_logic::Kind::EndpointSlice);
        slices.iter().map(|slice| slice["endpoints"].as_array().map_or(0, Vec::len)).collect::<Vec<_>>()
    };
    assert_eq!(sizes(&fake), [100, 100, 50]);
    let gone = controller_logic::Target::new(controller_logic::Kind::Pod.gvr(), "ns", "p003");
    fake.remove(&gone);
    let plan = fake.plan(&EndpointSliceController, "ns", "web");
    assert_eq!(plan.steps.len(), 1, "one slice changes");
    fake.perform(&plan);
    assert_eq!(sizes(&fake), [99, 100, 50]);
}
