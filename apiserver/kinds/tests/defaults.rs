//! Defaults that have a condition, or are read from upstream's source: each such row of its table has its cases here.

use api_codec::decode::{FieldValidation, conform};
use api_codec::default::apply_defaults;
use api_machinery::{Value, time};
use api_schema::{Resource, Schema};
use serde_json::json;

use crate::folder;
use crate::report::{Exception, Report, rows};

const EXCEPTIONS: &[Exception] = &[
    (
        "conditional defaults",
        "CSIDriver spec.preventPodSchedulingIfMissing",
        "only while VolumeLimitScaling is on, which is off by default and cannot be switched",
    ),
    (
        "conditional defaults",
        "StatefulSet spec.updateStrategy.rollingUpdate.maxUnavailable",
        "only while MaxUnavailableStatefulSet is on, which is off by default and cannot be switched",
    ),
];

fn resource(kind: &str) -> &'static Resource {
    Schema::builtin().resources().iter().find(|one| one.kind == kind).expect(kind)
}

/// As a new object becomes before it is validated.
fn made(kind: &str, mut object: Value) -> Value {
    let (schema, resource) = (Schema::builtin(), resource(kind));
    let id = resource.type_id.expect("a type");
    conform(schema, id, &mut object, Vec::new(), FieldValidation::Strict).expect("conforms");
    apply_defaults(schema, resource, &mut object);
    let hooks = api_kinds::of(&resource.group_resource());
    hooks.default(&mut object);
    if kind == "ResourceSlice" {
        hooks.stamp(&mut object, &Value::Null, time::parse("2026-01-01T00:00:00.5Z").expect("a time"));
    }
    object
}

/// What is wanted and not found; `null` is wanted to be absent.
fn missing(at: &str, found: &Value, wanted: &Value) -> Option<String> {
    match wanted {
        Value::Object(fields) if !fields.is_empty() => fields.iter().find_map(|(name, wanted)| {
            missing(&format!("{at}.{name}"), found.get(name).unwrap_or(&Value::Null), wanted)
        }),
        Value::Array(items) if !items.is_empty() => {
            let same = found.as_array().is_some_and(|found| found.len() == items.len());
            let each = || items.iter().enumerate().find_map(|(i, one)| missing(&format!("{at}[{i}]"), &found[i], one));
            if same { each() } else { Some(format!("{at} is {found}, not {wanted}")) }
        }
        wanted => (found != wanted).then(|| format!("{at} is {found}, not {wanted}")),
    }
}

fn spec(spec: Value) -> Value {
    json!({"spec": spec})
}

fn container(container: Value) -> Value {
    spec(json!({"containers": [container]}))
}

/// The row, what is sent, and what of it becomes what.
fn cases() -> Vec<(&'static str, Value, Value)> {
    let cpu = |amount: &str| json!({"cpu": amount});
    let mut all = pods();
    all.extend(services());
    all.extend(jobs());
    all.extend(scalers());
    all.extend([
        (
            "* resource quantities (requests, limits, capacity, hard, ...)",
            json!({"status": {"capacity": cpu("100u")}}),
            json!({"status": {"capacity": cpu("1m")}}),
        ),
        (
            "* resource quantities (requests, limits, capacity, hard, ...)",
            json!({"status": {"capacity": cpu("100m")}}),
            json!({"status": {"capacity": cpu("100m")}}),
        ),
        (
            "ReplicationController spec.selector",
            spec(json!({"template": {"metadata": {"labels": {"a": "b"}}}})),
            spec(json!({"selector": {"a": "b"}})),
        ),
        (
            "ReplicationController spec.selector",
            spec(json!({"selector": {"c": "d"}, "template": {"metadata": {"labels": {"a": "b"}}}})),
            spec(json!({"selector": {"c": "d", "a": null}})),
        ),
        (
            "ReplicationController metadata.labels",
            spec(json!({"template": {"metadata": {"labels": {"a": "b"}}}})),
            json!({"metadata": {"labels": {"a": "b"}}}),
        ),
        (
            "Namespace metadata.labels[\"kubernetes.io/metadata.name\"]",
            json!({"metadata": {"name": "a", "labels": {"x": "y"}}}),
            json!({"metadata": {"labels": {"kubernetes.io/metadata.name": "a", "x": "y"}}}),
        ),
        (
            "Node status.allocatable",
            json!({"status": {"capacity": cpu("2")}}),
            json!({"status": {"allocatable": cpu("2")}}),
        ),
        (
            "Node status.allocatable",
            json!({"status": {"capacity": cpu("2"), "allocatable": cpu("1")}}),
            json!({"status": {"allocatable": cpu("1")}}),
        ),
        (
            "LimitRange spec.limits[].default[r]",
            spec(json!({"limits": [{"type": "Container", "max": cpu("2")}, {"type": "Pod", "max": cpu("2")}]})),
            spec(json!({"limits": [{"default": cpu("2")}, {"default": null}]})),
        ),
        (
            "LimitRange spec.limits[].defaultRequest[r]",
            spec(json!({"limits": [{"type": "Container", "default": cpu("2"), "min": {"cpu": "1", "memory": "1"}}]})),
            spec(json!({"limits": [{"defaultRequest": {"cpu": "2", "memory": "1"}}]})),
        ),
        ("NetworkPolicy spec.policyTypes[]", json!({}), spec(json!({"policyTypes": ["Ingress"]}))),
        (
            "NetworkPolicy spec.policyTypes[1]",
            spec(json!({"egress": [{}]})),
            spec(json!({"policyTypes": ["Ingress", "Egress"]})),
        ),
        (
            "NetworkPolicy spec.policyTypes",
            spec(json!({"policyTypes": ["Egress"], "ingress": [{}]})),
            spec(json!({"policyTypes": ["Egress"]})),
        ),
        (
            "RoleBinding subjects[].apiGroup",
            json!({"subjects": [{"kind": "User"}, {"kind": "Group"}, {"kind": "ServiceAccount"}]}),
            json!({"subjects": [{"apiGroup": "rbac.authorization.k8s.io"}, {"apiGroup": "rbac.authorization.k8s.io"},
                {"apiGroup": null}]}),
        ),
        (
            "ResourceClaim spec.devices.requests[].exactly.count",
            spec(json!({"devices": {"requests": [{"exactly": {}}, {"exactly": {"allocationMode": "All"}},
                {"firstAvailable": [{}]}]}})),
            spec(json!({"devices": {"requests": [{"exactly": {"count": 1}}, {"exactly": {"count": null}},
                {"firstAvailable": [{"count": 1}]}]}})),
        ),
        (
            "ResourceSlice spec.devices[].taints[].timeAdded",
            spec(json!({"devices": [{"name": "d", "taints": [{"key": "k", "effect": "NoSchedule"}]}]})),
            spec(json!({"devices": [{"taints": [{"timeAdded": "2026-01-01T00:00:00Z"}]}]})),
        ),
    ]);
    all
}

fn pods() -> Vec<(&'static str, Value, Value)> {
    let image = |image: &str| container(json!({"name": "c", "image": image}));
    let policy = |policy: &str| container(json!({"imagePullPolicy": policy}));
    const POLICY: &str = "Pod spec.containers[].imagePullPolicy";
    let limits = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}});
    let huge = json!({"hugepages-2Mi": "4Mi", "cpu": "1"});
    vec![
        (POLICY, image("a"), policy("Always")),
        (POLICY, image("a:latest"), policy("Always")),
        (POLICY, image("host:5000/a:1"), policy("IfNotPresent")),
        (POLICY, image("a@sha256:0"), policy("IfNotPresent")),
        (
            POLICY,
            spec(
                json!({"initContainers": [{"image": "a"}], "volumes": [{"name": "v", "image": {"reference": "a:1"}}]}),
            ),
            spec(json!({"initContainers": [{"imagePullPolicy": "Always"}],
                    "volumes": [{"image": {"pullPolicy": "IfNotPresent"}}]})),
        ),
        (
            "Pod spec.containers[].resources.requests[r]",
            spec(json!({"containers": [{"resources": limits}], "initContainers": [{"resources": limits}]})),
            spec(json!({"containers": [{"resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}],
                "initContainers": [{"resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}]})),
        ),
        (
            "Pod spec.resources.requests[r]",
            spec(json!({"resources": {"limits": {"cpu": "4", "memory": "4Gi"}},
                "containers": [{"resources": {"requests": {"cpu": "1"}}},
                    {"resources": {"requests": {"cpu": "500m"}}}]})),
            spec(json!({"resources": {"requests": {"cpu": "1500m", "memory": "4Gi"}}})),
        ),
        (
            "Pod spec.resources.limits[hugepages-*]",
            spec(json!({"resources": {"limits": {"cpu": "4"}},
                    "containers": [{"resources": {"limits": huge}}, {"resources": {"limits": huge}}]})),
            spec(json!({"resources": {"limits": {"hugepages-2Mi": "8Mi"}}})),
        ),
        (
            "Pod spec.containers[].ports[].hostPort",
            spec(json!({"hostNetwork": true, "containers": [{"ports": [{"containerPort": 80}]}]})),
            container(json!({"ports": [{"hostPort": 80}]})),
        ),
        (
            "Pod spec.containers[].ports[].hostPort",
            container(json!({"ports": [{"containerPort": 80}]})),
            container(json!({"ports": [{"hostPort": null}]})),
        ),
        (
            "Pod spec.volumes[].emptyDir",
            spec(json!({"volumes": [{"name": "a"}, {"name": "b", "hostPath": {"path": "/"}}]})),
            spec(json!({"volumes": [{"emptyDir": {}}, {"emptyDir": null}]})),
        ),
    ]
}

fn services() -> Vec<(&'static str, Value, Value)> {
    let of_type = |name: &str| spec(json!({"type": name}));
    vec![
        (
            "Service spec.ports[].targetPort",
            spec(json!({"ports": [{"port": 80}, {"port": 81, "targetPort": 0}, {"port": 82, "targetPort": "web"}]})),
            spec(json!({"ports": [{"targetPort": 80}, {"targetPort": 81}, {"targetPort": "web"}]})),
        ),
        (
            "Service spec.sessionAffinityConfig",
            spec(json!({"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}})),
            spec(json!({"sessionAffinity": "None", "sessionAffinityConfig": null})),
        ),
        (
            "Service spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            spec(json!({"sessionAffinity": "ClientIP"})),
            spec(json!({"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}})),
        ),
        ("Service spec.externalTrafficPolicy", of_type("NodePort"), spec(json!({"externalTrafficPolicy": "Cluster"}))),
        ("Service spec.externalTrafficPolicy", of_type("ClusterIP"), spec(json!({"externalTrafficPolicy": null}))),
        (
            "Service spec.externalTrafficPolicy",
            spec(json!({"externalIPs": ["192.0.2.1"]})),
            spec(json!({"externalTrafficPolicy": "Cluster"})),
        ),
        ("Service spec.internalTrafficPolicy", json!({}), spec(json!({"internalTrafficPolicy": "Cluster"}))),
        ("Service spec.internalTrafficPolicy", of_type("ExternalName"), spec(json!({"internalTrafficPolicy": null}))),
        (
            "Service spec.allocateLoadBalancerNodePorts",
            of_type("LoadBalancer"),
            spec(json!({"allocateLoadBalancerNodePorts": true})),
        ),
        (
            "Service spec.allocateLoadBalancerNodePorts",
            of_type("NodePort"),
            spec(json!({"allocateLoadBalancerNodePorts": null})),
        ),
        (
            "Service status.loadBalancer.ingress[].ipMode",
            json!({"spec": {"type": "LoadBalancer"},
                "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "a"}]}}}),
            json!({"status": {"loadBalancer": {"ingress": [{"ipMode": "VIP"}, {"ipMode": null}]}}}),
        ),
    ]
}

fn jobs() -> Vec<(&'static str, Value, Value)> {
    let failing =
        |status: Value| json!({"podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [status]}]}});
    vec![
        ("Job spec.completions", json!({}), spec(json!({"completions": 1, "parallelism": 1}))),
        ("Job spec.completions", spec(json!({"parallelism": 2})), spec(json!({"completions": null, "parallelism": 2}))),
        ("Job spec.parallelism", spec(json!({"completions": 3})), spec(json!({"parallelism": 1}))),
        ("Job spec.backoffLimit", json!({}), spec(json!({"backoffLimit": 6}))),
        ("Job spec.backoffLimit", spec(json!({"backoffLimitPerIndex": 1})), spec(json!({"backoffLimit": 2147483647}))),
        ("Job spec.podReplacementPolicy", json!({}), spec(json!({"podReplacementPolicy": "TerminatingOrFailed"}))),
        (
            "Job spec.podReplacementPolicy",
            spec(json!({"podFailurePolicy": {"rules": []}})),
            spec(json!({"podReplacementPolicy": "Failed"})),
        ),
        (
            "Job metadata.labels",
            spec(json!({"template": {"metadata": {"labels": {"a": "b"}}}})),
            json!({"metadata": {"labels": {"a": "b"}}}),
        ),
        (
            "Job spec.podFailurePolicy.rules[].onPodConditions[].status",
            spec(failing(json!({"type": "x", "status": ""}))),
            spec(failing(json!({"status": "True"}))),
        ),
        (
            "CronJob spec.jobTemplate.spec.podFailurePolicy.rules[].onPodConditions[].status",
            spec(json!({"jobTemplate": {"spec": failing(json!({"type": "x"}))}})),
            spec(json!({"jobTemplate": {"spec": failing(json!({"status": "True"}))}})),
        ),
    ]
}

fn scalers() -> Vec<(&'static str, Value, Value)> {
    let target = json!({"type": "Utilization", "averageUtilization": 80});
    let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
    let target = json!({"type": "AverageValue", "averageValue": "1"});
    let given = json!({"type": "Pods", "pods": {"metric": {"name": "m"}, "target": target}});
    let up = json!({"scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]}});
    let down = json!({"scaleDown": {"stabilizationWindowSeconds": null, "selectPolicy": "Max", "policies": [
        {"type": "Percent", "value": 100, "periodSeconds": 15}]}});
    vec![
        ("HorizontalPodAutoscaler spec.metrics", json!({}), spec(json!({"metrics": [metric], "behavior": null}))),
        ("HorizontalPodAutoscaler spec.metrics", spec(json!({"metrics": [given]})), spec(json!({"metrics": [given]}))),
        (
            "HorizontalPodAutoscaler spec.behavior.scaleUp",
            spec(json!({"behavior": {"scaleDown": {}}})),
            spec(json!({"behavior": up})),
        ),
        (
            "HorizontalPodAutoscaler spec.behavior.scaleDown",
            spec(json!({"behavior": {"scaleUp": {}}})),
            spec(json!({"behavior": down})),
        ),
    ]
}

/// `spec.template.spec` of a kind is what a pod's would be, without what only pods have.
fn compare_template(report: &mut Report, at: &str, kind: &str, path: &str) {
    let pod_spec = json!({"hostNetwork": true, "initContainers": [{"image": "a"}],
        "containers": [{"image": "b:1", "ports": [{"containerPort": 1}], "livenessProbe": {"httpGet": {"port": 1}},
            "env": [{"name": "e", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]}],
        "volumes": [{"name": "v"}, {"name": "s", "secret": {}},
            {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]});
    let mut wanted = made("Pod", spec(pod_spec.clone()))["spec"].clone();
    wanted.as_object_mut().expect("a spec").remove("enableServiceLinks");
    let nested = path.rsplit('.').fold(pod_spec, |inside, field| json!({field: inside}));
    let object = made(kind, nested);
    let found = object.pointer(&format!("/{}", path.replace('.', "/")));
    report.compare(at, "its pods", found, Some(&wanted));
}

#[test]
fn golden_conditional_defaults_hold() {
    let Some(table) = folder::place("defaults.tsv") else { return };
    let mut report = Report::new("conditional defaults", EXCEPTIONS);
    let cases = cases();
    let is_plain = |applies: &str| {
        ["when parent present", "always", "only when parent absent"].iter().any(|plain| applies.starts_with(plain))
    };
    let mut tried = std::collections::BTreeSet::new();
    for row in rows(&table).iter().filter(|row| row.get("default_served") == "on") {
        let (kind, path) = (row.get("kind"), row.get("path"));
        let at = format!("{kind} {path}");
        let own: Vec<_> = cases.iter().filter(|(of, _, _)| *of == at).collect();
        if row.list("applies").first().is_some_and(|first| is_plain(first)) && own.is_empty() {
            continue;
        }
        report.row();
        if row.get("applies").starts_with("except: enableServiceLinks") {
            compare_template(&mut report, &at, kind, path);
            continue;
        }
        if own.is_empty() {
            report.differs(&at, "has no case");
        }
        for (of, object, wanted) in own {
            tried.insert(*of);
            let kind = if kind == "*" { "Node" } else { kind };
            report.compare(&at, &object.to_string(), missing("", &made(kind, object.clone()), wanted), None);
        }
    }
    let without: Vec<&str> = cases.iter().map(|(of, _, _)| *of).filter(|of| !tried.contains(of)).collect();
    assert!(without.is_empty() || std::env::var_os("GOLDEN_DIR").is_some(), "of no row: {without:?}");
    report.finish();
}
