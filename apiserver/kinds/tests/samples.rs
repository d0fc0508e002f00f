//! What every kind promises, checked on its sample; and the rows of kinds whose cells are computed.

use api_codec::decode::{FieldValidation, conform};
use api_codec::default::apply_defaults;
use api_codec::table;
use api_kinds::{Kind, meta};
use api_machinery::{ErrorList, GroupResource, Value, object, time};
use api_schema::{Resource, Schema};
use expect_test::{Expect, expect};
use serde_json::json;

/// The resource in the version its sample is in.
fn resource(kind: &dyn Kind) -> &'static Resource {
    let sample = kind.sample();
    let version = object::str_at(&sample, "apiVersion").rsplit('/').next().unwrap_or("").to_owned();
    let of = kind.resource();
    Schema::builtin().own(&of.group, &version, &of.resource).unwrap_or_else(|| panic!("{of} is not served"))
}

fn defaulted(kind: &dyn Kind, resource: &Resource) -> Value {
    let mut value = kind.sample();
    let schema = Schema::builtin();
    if let Some(type_id) = resource.type_id {
        conform(schema, type_id, &mut value, Vec::new(), FieldValidation::Strict)
            .unwrap_or_else(|error| panic!("the sample of {} does not decode: {error}", kind.resource()));
    }
    apply_defaults(schema, resource, &mut value);
    kind.default(&mut value);
    value
}

#[test]
fn samples_are_valid() {
    for kind in api_kinds::all() {
        let resource = resource(*kind);
        let mut value = defaulted(*kind, resource);
        let mut again = value.clone();
        kind.default(&mut again);
        assert_eq!(value, again, "defaulting {} twice differs from once", kind.resource());
        object::meta_mut(&mut value).insert("uid".to_owned(), "u".into());
        kind.prepare_create(&mut value, resource.subresource("status").is_some());
        let mut errors = ErrorList::new();
        if resource.has_verb("get") {
            meta::validate(*kind, &value, resource.namespaced, &mut errors);
        }
        kind.validate(&value, &mut errors);
        assert!(errors.is_empty(), "the sample of {} is refused: {}", kind.resource(), errors.message());
        // Nothing changed: nothing to refuse, nothing to count.
        kind.validate_update(&value, &value, &mut errors);
        kind.validate_status_update(&value, &value, &mut errors);
        assert!(errors.is_empty(), "the sample of {} may not stay as it is: {}", kind.resource(), errors.message());
        assert!(!kind.generation_grows(&value, &value), "{}", kind.resource());
    }
}

#[test]
fn rows_have_as_many_cells_as_columns() {
    for kind in api_kinds::all() {
        let resource = resource(*kind);
        let value = defaulted(*kind, resource);
        let Some(cells) = kind.cells(&value, time::parse("2026-01-01T00:00:00Z").expect("a time")) else { continue };
        assert_eq!(cells.len(), table::columns(resource).len(), "cells of {}", kind.resource());
    }
}

/// Everything that is stored has a file; what is only answered may do without.
#[test]
fn served_resources_have_kinds() {
    let known: Vec<GroupResource> = api_kinds::all().iter().map(|kind| kind.resource()).collect();
    let missing: Vec<String> = Schema::builtin()
        .resources()
        .iter()
        .map(Resource::group_resource)
        .filter(|resource| !known.contains(resource))
        .map(|resource| resource.to_string())
        .collect();
    expect![[r#"
        bindings
        selfsubjectreviews.authentication.k8s.io
        tokenreviews.authentication.k8s.io
        selfsubjectrulesreviews.authorization.k8s.io"#]]
    .assert_eq(&missing.join("\n"));
}

/// What `strategies.tsv` says of the registry strategies.
#[test]
fn strategies() {
    let schema = Schema::builtin();
    for kind in api_kinds::all() {
        let resource = resource(*kind);
        if !resource.has_verb("update") {
            continue;
        }
        let Some(strategy) = schema.strategy(&resource.storage) else { continue };
        assert_eq!(
            kind.allows_create_on_update(),
            strategy.create_on_update,
            "create on update of {}",
            kind.resource()
        );
        let unconditional = strategy.unconditional_update;
        assert_eq!(kind.allows_unconditional_update(), unconditional, "unconditional update of {}", kind.resource());
    }
}

fn rows(plural: (&str, &str), objects: &[Value], expected: &Expect) {
    let kind = api_kinds::of(&GroupResource::new(plural.0, plural.1));
    let now = time::parse("2026-01-01T01:00:00Z").expect("a time");
    let text = |cell: &Value| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
    let rows = objects.iter().map(|object| {
        let cells = kind.cells(object, now).expect("a kind with cells");
        cells.iter().map(text).collect::<Vec<_>>().join(" | ") + "\n"
    });
    expected.assert_eq(&rows.collect::<String>());
}

fn pod(name: &str, spec: &Value, status: &Value) -> Value {
    let meta = json!({"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"});
    let mut pod = json!({"metadata": meta, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}, "status": status});
    for (field, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][field] = value.clone();
    }
    pod
}

/// What will not change any more is marked in its row, and a Scale has cells of its own.
#[test]
fn rows_of_what_is_over_and_of_scales() {
    let pods = api_kinds::of(&GroupResource::new("", "pods"));
    let reasons = ["Running", "Succeeded", "Failed"].map(|phase| {
        let conditions = pods.row_conditions(&json!({"status": {"phase": phase}}));
        conditions.iter().map(|one| format!("{}: {}", one["reason"], one["message"])).collect::<String>()
    });
    assert_eq!(
        reasons,
        ["", r#""Succeeded": "The pod has completed successfully.""#, r#""Failed": "The pod failed.""#]
    );
    let scale = json!({"metadata": {"name": "d", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"replicas": 3}, "status": {"replicas": 2}});
    let cells = api_kinds::scale::cells(&scale, time::parse("2026-01-01T01:00:00Z").expect("a time"));
    assert_eq!(cells, [json!("d"), json!(3), json!(2), json!("60m")]);
    assert_eq!(cells.len(), table::scale_columns().len());
}

#[test]
fn rows_of_pods() {
    let running = |restarts: u32| {
        json!({"name": "a", "ready": true, "restartCount": restarts, "state": {"running": {}},
        "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:55:00Z"}}})
    };
    let waiting = |reason: &str| json!({"name": "b", "ready": false, "restartCount": 0, "state": {"waiting": {"reason": reason}}});
    let ended = |reason: &str, code: i32| {
        json!({"name": "b", "ready": false, "restartCount": 0,
        "state": {"terminated": {"reason": reason, "exitCode": code}}})
    };
    let init = json!({"initContainers": [{"name": "i"}, {"name": "j"}]});
    let sidecar = json!({"initContainers": [{"name": "i", "restartPolicy": "Always"}]});
    let mut deleted = pod("deleted", &json!({}), &json!({"phase": "Running", "containerStatuses": [running(0)]}));
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:59:00Z".into();
    let mut lost = deleted.clone();
    (lost["metadata"]["name"], lost["status"]["reason"]) = ("lost".into(), "NodeLost".into());
    let ready = json!([{"type": "Ready", "status": "True"}, {"type": "ex.io/g", "status": "True"}]);
    let objects = [
        pod("pending", &json!({}), &json!({"phase": "Pending"})),
        pod(
            "gated",
            &json!({}),
            &json!({"phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
        ),
        pod(
            "running",
            &json!({"nodeName": "n", "readinessGates": [{"conditionType": "ex.io/g"}]}),
            &json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "podIP": "10.0.0.1", "conditions": ready,
                    "containerStatuses": [running(3), running(0)]}),
        ),
        pod(
            "crashing",
            &json!({}),
            &json!({"phase": "Running", "containerStatuses": [running(0), waiting("CrashLoopBackOff")]}),
        ),
        pod(
            "creating",
            &json!({}),
            &json!({"phase": "Pending", "containerStatuses": [waiting("ContainerCreating"), waiting("ContainerCreating")]}),
        ),
        pod(
            "completed",
            &json!({}),
            &json!({"phase": "Succeeded", "containerStatuses": [ended("Completed", 0), ended("Completed", 0)]}),
        ),
        pod("half", &json!({}), &json!({"phase": "Running", "containerStatuses": [running(0), ended("Completed", 0)]})),
        pod("failed", &json!({}), &json!({"phase": "Failed", "containerStatuses": [ended("Error", 1), ended("", 7)]})),
        pod("evicted", &json!({}), &json!({"phase": "Failed", "reason": "Evicted"})),
        pod(
            "init",
            &init,
            &json!({"phase": "Pending", "initContainerStatuses": [ended("Completed", 0), waiting("PodInitializing")]}),
        ),
        pod("initfail", &init, &json!({"phase": "Pending", "initContainerStatuses": [ended("Error", 1)]})),
        pod("initcrash", &init, &json!({"phase": "Pending", "initContainerStatuses": [waiting("CrashLoopBackOff")]})),
        pod(
            "sidecar",
            &sidecar,
            &json!({"phase": "Running", "containerStatuses": [running(0), running(0)],
            "initContainerStatuses": [{"name": "i", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}}}]}),
        ),
        deleted,
        lost,
    ];
    rows(
        ("", "pods"),
        &objects,
        &expect![[r#"
        pending | 0/2 | Pending | 0 | 60m | <none> | <none> | <none> | <none>
        gated | 0/2 | SchedulingGated | 0 | 60m | <none> | <none> | <none> | <none>
        running | 2/2 | Running | 3 (5m ago) | 60m | 10.0.0.1 | n | <none> | 1/1
        crashing | 1/2 | CrashLoopBackOff | 0 | 60m | <none> | <none> | <none> | <none>
        creating | 0/2 | ContainerCreating | 0 | 60m | <none> | <none> | <none> | <none>
        completed | 0/2 | Completed | 0 | 60m | <none> | <none> | <none> | <none>
        half | 1/2 | NotReady | 0 | 60m | <none> | <none> | <none> | <none>
        failed | 0/2 | Error | 0 | 60m | <none> | <none> | <none> | <none>
        evicted | 0/2 | Evicted | 0 | 60m | <none> | <none> | <none> | <none>
        init | 0/2 | Init:1/2 | 0 | 60m | <none> | <none> | <none> | <none>
        initfail | 0/2 | Init:Error | 0 | 60m | <none> | <none> | <none> | <none>
        initcrash | 0/2 | Init:CrashLoopBackOff | 0 | 60m | <none> | <none> | <none> | <none>
        sidecar | 3/3 | Running | 1 (5m ago) | 60m | <none> | <none> | <none> | <none>
        deleted | 1/2 | Terminating | 0 | 60m | <none> | <none> | <none> | <none>
        lost | 1/2 | Unknown | 0 | 60m | <none> | <none> | <none> | <none>
    "#]],
    );
}

#[test]
fn rows_of_nodes() {
    let node = |name: &str, ready: Option<&str>, unschedulable: bool| {
        let conditions = ready.map(|status| json!([{"type": "Ready", "status": status}])).unwrap_or(json!([]));
        json!({"metadata": {"name": name, "creationTimestamp": "2025-12-20T00:00:00Z",
                            "labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": ""}},
               "spec": {"unschedulable": unschedulable},
               "status": {"conditions": conditions, "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                          "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian", "kernelVersion": "6.1",
                                       "containerRuntimeVersion": "containerd://2.0"}}})
    };
    let bare = json!({"metadata": {"name": "bare"}});
    let objects = [node("a", Some("True"), false), node("b", Some("Unknown"), true), node("c", None, false), bare];
    rows(
        ("", "nodes"),
        &objects,
        &expect![[r#"
        a | Ready | control-plane,worker | 12d | v1.36.0 | 10.0.0.1 | <none> | Debian | 6.1 | containerd://2.0
        b | NotReady,SchedulingDisabled | control-plane,worker | 12d | v1.36.0 | 10.0.0.1 | <none> | Debian | 6.1 | containerd://2.0
        c | Unknown | control-plane,worker | 12d | v1.36.0 | 10.0.0.1 | <none> | Debian | 6.1 | containerd://2.0
        bare | Unknown | <none> | <unknown> |  | <none> | <none> | <unknown> | <unknown> | <unknown>
    "#]],
    );
}

#[test]
fn rows_of_services() {
    let service = |kind: &str, extra: Value| {
        let mut spec = json!({"type": kind, "clusterIPs": ["10.96.0.1"], "selector": {"b": "c", "a": "b"},
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30001}, {"port": 53, "protocol": "UDP"}]});
        for (field, value) in extra.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        json!({"metadata": {"name": kind.to_lowercase()}, "spec": spec,
               "status": {"loadBalancer": {"ingress": extra.get("ingress").cloned().unwrap_or(json!([]))}}})
    };
    let objects = [
        service("ClusterIP", json!({})),
        service("ClusterIP", json!({"clusterIPs": ["None"], "ports": [], "selector": {}, "externalIPs": ["1.2.3.4"]})),
        service("LoadBalancer", json!({})),
        service("LoadBalancer", json!({"ingress": [{"ip": "1.2.3.4"}, {"hostname": "a.b"}]})),
        service("ExternalName", json!({"externalName": "a.example.com", "clusterIPs": [], "ports": []})),
    ];
    rows(
        ("", "services"),
        &objects,
        &expect![[r#"
        clusterip | ClusterIP | 10.96.0.1 | <none> | 80:30001/TCP,53/UDP | <unknown> | a=b,b=c
        clusterip | ClusterIP | None | 1.2.3.4 | <none> | <unknown> | <none>
        loadbalancer | LoadBalancer | 10.96.0.1 | <pending> | 80:30001/TCP,53/UDP | <unknown> | a=b,b=c
        loadbalancer | LoadBalancer | 10.96.0.1 | 1.2.3.4,a.b | 80:30001/TCP,53/UDP | <unknown> | a=b,b=c
        externalname | ExternalName | <none> | a.example.com | <none> | <unknown> | a=b,b=c
    "#]],
    );
}

#[test]
fn rows_of_workloads() {
    let spec = json!({"replicas": 3, "selector": {"matchLabels": {"b": "c", "a": "b"},
                          "matchExpressions": [{"key": "c", "operator": "NotIn", "values": ["y", "x"]}]},
                      "template": {"spec": {"containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "j"}]}}});
    let with = |status: Value| json!({"metadata": {"name": "x", "creationTimestamp": "2026-01-01T00:58:00Z"}, "spec": spec, "status": status});
    rows(
        ("apps", "deployments"),
        &[with(json!({"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1}))],
        &expect![[r#"
            x | 2/3 | 3 | 1 | 2m | c,d | i:1,j | a=b,b=c,c notin (x,y)
        "#]],
    );
    rows(
        ("apps", "replicasets"),
        &[with(json!({"replicas": 3, "readyReplicas": 2}))],
        &expect![[r#"
        x | 3 | 3 | 2 | 2m | c,d | i:1,j | a=b,b=c,c notin (x,y)
    "#]],
    );
    rows(
        ("apps", "statefulsets"),
        &[with(json!({"readyReplicas": 2}))],
        &expect![[r#"
        x | 2/3 | 2m | c,d | i:1,j
    "#]],
    );
    rows(
        ("apps", "daemonsets"),
        &[with(json!({"desiredNumberScheduled": 4, "numberReady": 3}))],
        &expect![[r#"
        x | 4 | 0 | 3 | 0 | 0 | <none> | 2m | c,d | i:1,j | a=b,b=c,c notin (x,y)
    "#]],
    );
    let mut job =
        with(json!({"succeeded": 1, "startTime": "2026-01-01T00:58:00Z", "completionTime": "2026-01-01T00:59:30Z",
                              "conditions": [{"type": "Complete", "status": "True"}]}));
    job["spec"]["completions"] = 2.into();
    rows(
        ("batch", "jobs"),
        &[job],
        &expect![[r#"
        x | Complete | 1/2 | 90s | 2m | c,d | i:1,j | a=b,b=c,c notin (x,y)
    "#]],
    );
}

#[test]
fn rows_of_events() {
    let events = [
        json!({"metadata": {"name": "e"}, "type": "Normal", "reason": "Pulled", "message": "Pulled image\n",
               "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"}, "count": 3,
               "source": {"component": "kubelet", "host": "n"},
               "firstTimestamp": "2026-01-01T00:50:00Z", "lastTimestamp": "2026-01-01T00:59:00Z"}),
        json!({"metadata": {"name": "f"}, "type": "Warning", "reason": "Failed", "message": "m",
               "involvedObject": {"kind": "Node"}, "reportingComponent": "scheduler", "reportingInstance": "i",
               "eventTime": "2026-01-01T00:30:00.000000Z",
               "series": {"count": 9, "lastObservedTime": "2026-01-01T00:59:50.000000Z"}}),
    ];
    rows(
        ("", "events"),
        &events,
        &expect![[r#"
        60s | Normal | Pulled | pod/p | spec.containers{c} | kubelet, n | Pulled image | 10m | 3 | e
        10s | Warning | Failed | node |  | scheduler, i | m | 30m | 9 | f
    "#]],
    );
}

#[test]
fn rows_of_storage() {
    let claim = json!({"metadata": {"name": "c"}, "spec": {"volumeName": "v", "storageClassName": "s", "volumeMode": "Filesystem"},
        "status": {"phase": "Bound", "accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "capacity": {"storage": "1Gi"}}});
    let volume = json!({"metadata": {"name": "v"}, "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOncePod"],
        "persistentVolumeReclaimPolicy": "Retain", "claimRef": {"namespace": "n", "name": "c"}}, "status": {"phase": "Bound"}});
    rows(
        ("", "persistentvolumeclaims"),
        &[claim],
        &expect![[r#"
        c | Bound | v | 1Gi | RWO,ROX | s | <unset> | <unknown> | Filesystem
    "#]],
    );
    rows(
        ("", "persistentvolumes"),
        &[volume],
        &expect![[r#"
        v | 1Gi | RWOP | Retain | Bound | n/c |  | <unset> |  | <unknown> | <unset>
    "#]],
    );
}
