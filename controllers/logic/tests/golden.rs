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
    let fake = world(&[deleting, pod("p", Some(&owner), running(true))]);
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
fn nodes_that_fall_silent() {
    let mut fake = world(&[node("n1", "True"), node("n2", "True"), pod("p", None, running(true))]);
    check(
        &fake,
        &NodeLifecycleController,
        "n1",
        &expect![[r#"
        again in 40.1s
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
    fake.pass(41);
    check(
        &fake,
        &NodeLifecycleController,
        "n1",
        &expect![[r#"
        patch nodes n1 {"metadata":{"resourceVersion":"1","uid":"n1"},"spec":{"taints":[{"effect":"NoSchedule","key":"node.kubernetes.io/unreachable","timeAdded":"2026-01-01T00:00:41Z"},{"effect":"NoExecute","key":"node.kubernetes.io/unreachable","timeAdded":"2026-01-01T00:00:41Z"}]}}
        patch status nodes n1 {"metadata":{"uid":"n1"},"status":{"conditions":[{"lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:00:41Z","message":"Kubelet stopped posting node status.","reason":"NodeStatusUnknown","status":"Unknown","type":"Ready"},{"lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:00:41Z","message":"Kubelet never posted node status.","reason":"NodeStatusNeverUpdated","status":"Unknown","type":"MemoryPressure"},{"lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:00:41Z","message":"Kubelet never posted node status.","reason":"NodeStatusNeverUpdated","status":"Unknown","type":"DiskPressure"},{"lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:00:41Z","message":"Kubelet never posted node status.","reason":"NodeStatusNeverUpdated","status":"Unknown","type":"PIDPressure"}]}}
        event Node n1 Normal NodeNotReady: Node n1 status is now: NodeNotReady
        together, 1:
          patch status pods ns/p {"metadata":{"uid":"p"},"status":{"conditions":[{"lastTransitionTime":"2026-01-01T00:00:41Z","status":"False","type":"Ready"}]}}
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

    // It comes back.
    let target = controller_logic::Target::new(controller_logic::Kind::Node.gvr(), "", "n1");
    let mut back = node("n1", "True");
    back["status"]["conditions"][0]["lastHeartbeatTime"] = json!("2026-01-01T00:00:45Z");
    fake.edit(&target, back);
    check(
        &fake,
        &NodeLifecycleController,
        "n1",
        &expect![[r#"
        patch nodes n1 {"metadata":{"resourceVersion":"7","uid":"n1"},"spec":{"taints":null}}
        again in 40.1s
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
    let target = controller_logic::Target::new(controller_logic::Kind::Service.gvr(), "ns", "web");
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
