//! Which node, or why none: one cluster, many pods.

use std::sync::Arc;

use expect_test::expect;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use scheduler::{Decision, PodInfo, Scheduler, Snapshot, schedule};
use serde_json::{Value, json};

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn node(name: &str, zone: &str, cpu: &str, change: Value) -> Node {
    let mut node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone}},
        "spec": {},
        "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "10", "example.com/gpu": "1"}},
    });
    merge(&mut node, &change);
    serde_json::from_value(node).expect("a node")
}

fn pod(name: &str, spec: Value) -> Arc<Pod> {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "ns", "uid": name, "labels": {"app": name.split('-').next().unwrap_or(name)}},
        "spec": {"schedulerName": "default-scheduler", "containers": [{"name": "c", "image": "i",
            "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]},
    });
    merge(&mut pod["spec"], &spec);
    Arc::new(serde_json::from_value(pod).expect("a pod"))
}

fn merge(object: &mut Value, patch: &Value) {
    match patch {
        Value::Object(patch) if object.is_object() => {
            for (name, value) in patch {
                merge(&mut object[name.as_str()], value);
            }
        }
        other => *object = other.clone(),
    }
}

/// Two zones, three nodes; one is cordoned when asked for.
fn cluster() -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (name, zone, cpu) in [("a1", "a", "4"), ("a2", "a", "2"), ("b1", "b", "4")] {
        snapshot.set_node(&node(name, zone, cpu, json!({})));
    }
    snapshot
}

fn decide(snapshot: &mut Snapshot, pod: &Arc<Pod>) -> String {
    let info = PodInfo::new(pod.clone());
    match schedule(snapshot, &info, &mut 0, 0) {
        Decision::Place { node, feasible, .. } => format!("{node} of {feasible}"),
        Decision::Unschedulable { message, .. } => message,
    }
}

fn place(snapshot: &mut Snapshot, name: &str, spec: Value, node: &str) {
    snapshot.add_pod(Arc::new(PodInfo::new(pod(name, spec))), node);
}

fn requests(amounts: Value) -> Value {
    json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": amounts}}]})
}

fn spread(key: &str, skew: u32, when: &str) -> Value {
    json!({"topologySpreadConstraints": [{"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": when,
        "labelSelector": {"matchLabels": {"app": "web"}}}]})
}

fn term(key: &str) -> Value {
    json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": "web"}}})
}

fn node_affinity(key: &str, operator: &str, values: &[&str]) -> Value {
    let term = json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
    json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}})
}

#[test]
fn filters_and_their_reasons() {
    let zone = "topology.kubernetes.io/zone";
    let host_port =
        json!({"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
    let required = |kind: &str, key: &str| json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term(key)]}}});
    let table = [
        ("fits", json!({})),
        ("cpu", requests(json!({"cpu": "3500m"}))),
        ("memory", requests(json!({"memory": "9Gi"}))),
        ("gpu", requests(json!({"example.com/gpu": "2"}))),
        ("several", requests(json!({"cpu": "5", "memory": "9Gi"}))),
        ("selector", json!({"nodeSelector": {zone: "c"}})),
        ("affinity", node_affinity(zone, "NotIn", &["a"])),
        (
            "by name",
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a2"]}]}]}}}}),
        ),
        ("port", host_port.clone()),
        ("tolerating", json!({"tolerations": [{"operator": "Exists"}]})),
        ("never", json!({"nodeSelector": {zone: "c"}, "preemptionPolicy": "Never"})),
        ("with web", required("podAffinity", zone)),
        ("without web", required("podAntiAffinity", zone)),
        ("spread zone", spread(zone, 1, "DoNotSchedule")),
        ("spread rack", spread("rack", 1, "DoNotSchedule")),
    ];
    let mut snapshot = cluster();
    let taint = json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
    snapshot.set_node(&node("tainted", "b", "4", taint));
    snapshot.set_node(&node("cordoned", "b", "4", json!({"spec": {"unschedulable": true}})));
    place(&mut snapshot, "web-1", host_port, "a1");
    let lines = table.map(|(name, spec)| format!("{name}: {}\n", decide(&mut snapshot, &pod("web-x", spec))));
    expect![[r#"
        fits: b1 of 3
        cpu: b1 of 2
        memory: 0/5 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 3 Insufficient memory. preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling.
        gpu: 0/5 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 3 Insufficient example.com/gpu. preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling.
        several: 0/5 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 3 Insufficient cpu, 3 Insufficient memory. preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling.
        selector: 0/5 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 3 node(s) didn't match Pod's node affinity/selector. preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling.
        affinity: b1 of 1
        by name: a2 of 1
        port: b1 of 2
        tolerating: b1 of 5
        never: 0/5 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 3 node(s) didn't match Pod's node affinity/selector. preemption: not eligible due to preemptionPolicy=Never.
        with web: a1 of 2
        without web: b1 of 1
        spread zone: b1 of 1
        spread rack: 0/5 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 3 node(s) didn't match pod topology spread constraints (missing required label). preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling.
    "#]].assert_eq(&lines.concat());
}

#[test]
fn no_nodes_at_all() {
    expect!["no nodes available to schedule pods"].assert_eq(&decide(&mut Snapshot::default(), &pod("p", json!({}))));
}

#[test]
fn scores() {
    // The emptier node, and of the rest the preferred.
    let mut snapshot = cluster();
    place(&mut snapshot, "x-1", requests(json!({"cpu": "3"})), "a1");
    expect!["b1 of 3"].assert_eq(&decide(&mut snapshot, &pod("web-1", json!({}))));
    let preferred = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 100, "preference": {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["a2"]}]}}]}}});
    expect!["a2 of 3"].assert_eq(&decide(&mut snapshot, &pod("web-1", preferred)));
    // A soft taint, and a soft spread.
    let soft = json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}});
    snapshot.set_node(&node("b1", "b", "4", soft));
    expect!["a2 of 3"].assert_eq(&decide(&mut snapshot, &pod("web-1", json!({}))));
    let mut snapshot = cluster();
    place(&mut snapshot, "web-1", requests(json!({})), "b1");
    place(&mut snapshot, "web-2", requests(json!({})), "a1");
    let soft = spread("kubernetes.io/hostname", 1, "ScheduleAnyway");
    expect!["a2 of 3"].assert_eq(&decide(&mut snapshot, &pod("web-3", soft)));
    // Pods that want to be near others, and pods that others want to be far from.
    let near = json!({"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 100, "podAffinityTerm": term("kubernetes.io/hostname")}]}}});
    let mut snapshot = cluster();
    place(&mut snapshot, "web-1", requests(json!({"cpu": "1"})), "a2");
    expect!["a2 of 3"].assert_eq(&decide(&mut snapshot, &pod("other", near)));
    let hermit = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        term("topology.kubernetes.io/zone")]}}});
    place(&mut snapshot, "hermit", hermit, "b1");
    expect!["a1 of 2"].assert_eq(&decide(&mut snapshot, &pod("web-2", json!({}))));
}

#[test]
fn the_queue_backs_off_and_wakes_on_what_concerns_a_pod() {
    let mut scheduler = Scheduler::default();
    let at = |seconds: i64| now() + SignedDuration::from_secs(seconds);
    let mut important = Pod::clone(&pod("late", json!({"priority": 5})));
    important.metadata.creation_timestamp = None;
    scheduler.set_pod(&pod("first", json!({})), at(0));
    scheduler.set_pod(&pod("second", requests(json!({"cpu": "64"}))), at(0));
    scheduler.set_pod(&Arc::new(important), at(0));
    scheduler.set_node(&node("a1", "a", "4", json!({})), at(0));
    let mut tried = Vec::new();
    while let Some(attempt) = scheduler.next(at(0), 0) {
        let placed = matches!(attempt.decision, Decision::Place { .. });
        tried.push(format!("{} {placed}", attempt.pending.pod.name));
    }
    assert_eq!(tried, ["late true", "first true", "second false"], "priority first");
    // A label of a node is of no use to a pod that lacks CPU; more CPU is.
    scheduler.set_node(&node("a1", "b", "4", json!({})), at(5));
    assert!(scheduler.next(at(5), 0).is_none());
    scheduler.set_node(&node("a1", "b", "128", json!({})), at(6));
    let attempt = scheduler.next(at(6), 0).expect("woken");
    assert_eq!((&*attempt.pending.pod.name, attempt.pending.attempts), ("second", 2));
    // The binding fails: back-off, longer each time, at most ten seconds.
    let mut time = 6;
    for wait in [2, 4, 8, 10, 10] {
        scheduler.forget("second", false);
        assert!(scheduler.next(at(time + wait - 1), 0).is_none(), "not before {wait} s");
        time += wait;
        assert!(scheduler.next(at(time), 0).is_some(), "after {wait} s");
    }
    // Seen bound, it no longer can be forgotten; gone, it frees its room.
    scheduler.set_pod(&pod("second", json!({"nodeName": "a1"})), at(time));
    scheduler.forget("second", false);
    assert_eq!(scheduler.snapshot().node("a1").expect("there").pods.len(), 3);
    scheduler.remove_pod("second", at(time));
    assert_eq!(scheduler.snapshot().node("a1").expect("there").pods.len(), 2);
    assert_eq!(scheduler.snapshot().node("a1").expect("there").requested.milli_cpu, 2000);
}

#[test]
fn a_pod_that_changes_while_it_is_bound() {
    let (mut scheduler, at) = (Scheduler::default(), now());
    scheduler.set_node(&node("a1", "a", "4", json!({})), at);
    scheduler.set_pod(&pod("web-1", json!({})), at);
    assert!(scheduler.next(at, 0).is_some_and(|attempt| matches!(attempt.decision, Decision::Place { .. })));
    let mut relabelled = Pod::clone(&pod("web-1", json!({})));
    relabelled.metadata.labels = Some([("app".to_owned(), "other".to_owned())].into());
    scheduler.set_pod(&Arc::new(relabelled), at);
    assert!(scheduler.next(at, 0).is_none(), "it is on its way");
    // The binding fails: what is tried again is the pod as it is.
    scheduler.forget("web-1", false);
    let later = at + SignedDuration::from_secs(2);
    let again = scheduler.next(later, 0).expect("after its back-off");
    assert_eq!(again.pending.pod.pod.metadata.labels.as_ref().expect("labels")["app"], "other");
    // It is deleted before it is bound: its room is free, and nobody tries again.
    let mut deleted = Pod::clone(&pod("web-1", json!({})));
    deleted.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at));
    scheduler.set_pod(&Arc::new(deleted), later);
    assert_eq!(scheduler.snapshot().node("a1").expect("there").pods.len(), 0);
    scheduler.forget("web-1", false);
    assert!(scheduler.next(later + SignedDuration::from_secs(60), 0).is_none());
}

#[test]
fn an_event_wakes_whom_it_concerns() {
    let (mut scheduler, at) = (Scheduler::default(), now());
    scheduler.set_node(&node("a1", "a", "4", json!({})), at);
    let far = json!({"nodeSelector": {"topology.kubernetes.io/zone": "z"}});
    scheduler.set_pod(&pod("large-1", requests(json!({"cpu": "64"}))), at);
    scheduler.set_pod(&pod("far-1", far), at);
    while scheduler.next(at, 0).is_some() {}
    assert_eq!(scheduler.sizes().unschedulable, 2);
    // Room does not help who wants another zone.
    scheduler.set_node(&node("a1", "a", "128", json!({})), at + SignedDuration::from_secs(5));
    let sizes = scheduler.sizes();
    assert_eq!((sizes.active, sizes.unschedulable), (1, 1));
    scheduler.remove_pod("far-1", at);
    assert_eq!(scheduler.sizes().unschedulable, 0);
}
