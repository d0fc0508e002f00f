//! Every measured default holds, and the conditional ones behave.

use api_codec::default::{apply_defaults, apply_type_defaults, drop_told_empty, has_told_empty};
use api_machinery::Value;
use api_schema::Schema;
use serde_json::{Map, json};

fn defaulted(name: &str, mut object: Value) -> Value {
    let schema = Schema::builtin();
    apply_type_defaults(schema, schema.type_named(name).expect(name), &mut object);
    let mut again = object.clone();
    apply_type_defaults(schema, schema.type_named(name).expect(name), &mut again);
    assert_eq!(object, again, "{name}: not idempotent");
    object
}

/// `spec.ports[].protocol` -> the steps, `[]` as its own.
fn steps(path: &str) -> Vec<String> {
    path.split('.')
        .flat_map(|part| {
            let lists = part.matches("[]").count();
            std::iter::once(part.trim_end_matches("[]").to_owned()).chain(std::iter::repeat_n("[]".to_owned(), lists))
        })
        .collect()
}

/// An object in which everything above the last step exists.
fn with_parents(steps: &[String]) -> Value {
    match steps {
        [] | [_] => json!({}),
        [list, element, rest @ ..] if element == "[]" => {
            json!({list: [if rest.is_empty() { json!({}) } else { with_parents(rest) }]})
        }
        [field, rest @ ..] => json!({field: with_parents(rest)}),
    }
}

fn found<'a>(value: &'a Value, steps: &[String]) -> Option<&'a Value> {
    steps.iter().try_fold(value, |value, step| if step == "[]" { value.get(0) } else { value.get(step) })
}

/// Rows whose condition the table's plain form does not say; `conditional` below tests them.
fn is_special(kind: &str, path: &str) -> bool {
    matches!(
        (kind, path),
        ("ResourceSlice", _) | ("NetworkPolicy", "spec.policyTypes[1]") | ("Service", "spec.internalTrafficPolicy")
    ) || path.starts_with("spec.metrics[]")
        || path.ends_with("onPodConditions[].status")
}

#[test]
fn golden_rows_of_defaults_hold() {
    let Some(table) = crate::golden::place("defaults.tsv") else { return };
    let table = std::fs::read_to_string(table).expect("a table");
    let schema = Schema::builtin();
    let (mut rows, mut special, mut wrong) = (0, 0, Vec::new());
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [group, version, kind, "on", path, expect, applies] = columns[..] else { continue };
        let parents_needed = match applies {
            _ if applies.starts_with("when parent present") => true,
            _ if applies.starts_with("always") || applies.starts_with("only when parent absent") => false,
            _ => {
                special += 1;
                continue;
            }
        };
        if is_special(kind, path) {
            special += 1;
            continue;
        }
        rows += 1;
        let group = if group == "core" { "" } else { group };
        let of_kind = schema
            .resources()
            .iter()
            .find(|one| one.kind == kind && &*one.gv.group == group && &*one.gv.version == version);
        let steps = steps(path);
        let mut object = if parents_needed { with_parents(&steps) } else { json!({}) };
        match of_kind {
            Some(resource) => apply_defaults(schema, resource, &mut object),
            None => object = defaulted(&format!("authentication.{version}.{kind}"), object),
        }
        let expect: Value = serde_json::from_str(expect).expect(line);
        if found(&object, &steps) != Some(&expect) {
            wrong.push(format!("{kind} {path}: {:?}, not {expect}", found(&object, &steps)));
        }
    }
    println!("golden defaults: {rows} rows, {} of them wrong; {special} have a condition of their own", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows > 0, "no rows");
}

#[test]
fn told_empty_collections_go_in_the_end() {
    let schema = Schema::builtin();
    let table = [
        ("core.v1.Secret", json!({"data": {}, "type": "Opaque"}), json!({"type": "Opaque"})),
        ("core.v1.Secret", json!({"data": {"a": ""}}), json!({"data": {"a": ""}})),
        (
            "apps.v1.Deployment",
            json!({"spec": {"template": {"spec": {"overhead": {}, "securityContext": {"supplementalGroups": []},
                "containers": [{"name": "c", "resources": {"claims": []}}]}}}}),
            json!({"spec": {"template": {"spec": {"securityContext": {},
                "containers": [{"name": "c", "resources": {}}]}}}}),
        ),
        (
            "admissionregistration.v1.ValidatingWebhookConfiguration",
            json!({"webhooks": [{"name": "w", "clientConfig": {"caBundle": ""}, "rules": []}]}),
            json!({"webhooks": [{"name": "w", "clientConfig": {}}]}),
        ),
        (
            "resource.v1.ResourceSlice",
            json!({"spec": {"devices": [{"name": "d", "attributes": {"a": {"bools": []}}}], "sharedCounters": []}}),
            json!({"spec": {"devices": [{"name": "d", "attributes": {"a": {}}}]}}),
        ),
    ];
    for (name, mut object, expect) in table {
        let type_id = schema.type_named(name).expect(name);
        assert_eq!(has_told_empty(schema, type_id, &object), object != expect, "{object}");
        drop_told_empty(schema, type_id, &mut object);
        assert_eq!(object, expect);
        assert!(!has_told_empty(schema, type_id, &object), "{object}");
    }
}

/// `expect` is merged into what is found: only the fields it names are compared.
fn assert_has(what: &str, value: &Value, expect: &Value) {
    match (value, expect) {
        (Value::Object(map), Value::Object(expect)) if !expect.is_empty() => {
            for (key, expect) in expect {
                assert_has(&format!("{what}.{key}"), map.get(key).unwrap_or(&Value::Null), expect);
            }
        }
        (Value::Array(list), Value::Array(expect)) => {
            assert_eq!(list.len(), expect.len(), "{what}: {list:?}");
            list.iter()
                .zip(expect)
                .enumerate()
                .for_each(|(index, (value, expect))| assert_has(&format!("{what}[{index}]"), value, expect));
        }
        _ => assert_eq!(value, expect, "{what}"),
    }
}

#[test]
fn conditional() {
    let spec = |spec: Value| json!({"spec": spec});
    let image = |image: &str| spec(json!({"containers": [{"name": "a", "image": image}]}));
    let policy = |policy: &str| spec(json!({"containers": [{"imagePullPolicy": policy}]}));
    let table: Vec<(&str, Value, Value)> = vec![
        ("core.v1.Pod", image("a"), policy("Always")),
        ("core.v1.Pod", image("host:5000/a:latest"), policy("Always")),
        ("core.v1.Pod", image("host:5000/a"), policy("Always")),
        ("core.v1.Pod", image("a:1"), policy("IfNotPresent")),
        ("core.v1.Pod", image("a@sha256:0"), policy("IfNotPresent")),
        (
            "core.v1.Pod",
            spec(json!({"restartPolicy": "", "enableServiceLinks": false})),
            spec(json!({"restartPolicy": "Always", "enableServiceLinks": false})),
        ),
        (
            "core.v1.Pod",
            spec(json!({"volumes": [{"name": "a"}, {"name": "b", "hostPath": {}}]})),
            spec(
                json!({"volumes": [{"name": "a", "emptyDir": {}}, {"emptyDir": null, "hostPath": {"path": "", "type": ""}}]}),
            ),
        ),
        (
            "core.v1.Pod",
            spec(
                json!({"hostNetwork": true, "containers": [{"ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1", "memory": "1"}, "requests": {"cpu": "500m"}}}]}),
            ),
            spec(
                json!({"containers": [{"ports": [{"hostPort": 80, "protocol": "TCP"}], "resources": {"requests": {"cpu": "500m", "memory": "1"}}}]}),
            ),
        ),
        (
            "core.v1.Pod",
            spec(json!({"containers": [{"ports": [{"containerPort": 80}]}]})),
            spec(json!({"containers": [{"ports": [{"hostPort": null}]}]})),
        ),
        (
            "core.v1.Pod",
            spec(json!({"hostNetwork": true, "containers": [{"ports": [{"containerPort": 0}]}]})),
            spec(json!({"containers": [{"ports": [{"containerPort": 0, "hostPort": null}]}]})),
        ),
        (
            "core.v1.Pod",
            spec(json!({"volumes": [{"ephemeral": {}}, {"ephemeral": {"volumeClaimTemplate": {}}}]})),
            spec(
                json!({"volumes": [{"ephemeral": {"volumeClaimTemplate": null}}, {"ephemeral": {"volumeClaimTemplate": {"spec": {"volumeMode": "Filesystem"}}}}]}),
            ),
        ),
        (
            "apps.v1.Deployment",
            spec(json!({})),
            spec(
                json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}}, "template": {"spec": {"dnsPolicy": "ClusterFirst", "enableServiceLinks": null}}}),
            ),
        ),
        (
            "apps.v1.Deployment",
            spec(json!({"strategy": {"type": "Recreate"}})),
            spec(json!({"strategy": {"rollingUpdate": null}})),
        ),
        (
            "apps.v1.Deployment",
            spec(json!({"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "1"}}}]}}})),
            spec(
                json!({"template": {"spec": {"containers": [{"resources": {"requests": null}, "terminationMessagePath": "/dev/termination-log"}]}}}),
            ),
        ),
        (
            "apps.v1.StatefulSet",
            spec(json!({"volumeClaimTemplates": [{}]})),
            spec(
                json!({"volumeClaimTemplates": [{"spec": {"volumeMode": "Filesystem"}, "status": {"phase": "Pending"}}]}),
            ),
        ),
        (
            "apps.v1.StatefulSet",
            spec(json!({"updateStrategy": {"type": "OnDelete"}})),
            spec(json!({"updateStrategy": {"rollingUpdate": null}})),
        ),
        (
            "apps.v1.DaemonSet",
            json!({}),
            spec(json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}})),
        ),
        (
            "core.v1.Service",
            spec(json!({"ports": [{"port": 80}, {"port": 81, "targetPort": "web"}]})),
            spec(
                json!({"ports": [{"targetPort": 80}, {"targetPort": "web"}], "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": null, "allocateLoadBalancerNodePorts": null}),
            ),
        ),
        (
            "core.v1.Service",
            spec(json!({"type": "LoadBalancer"})),
            spec(json!({"externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": true})),
        ),
        ("core.v1.Service", spec(json!({"type": "ExternalName"})), spec(json!({"internalTrafficPolicy": null}))),
        (
            "core.v1.Service",
            spec(json!({"sessionAffinity": "ClientIP"})),
            spec(json!({"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}})),
        ),
        (
            "core.v1.Service",
            spec(json!({"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}})),
            spec(json!({"sessionAffinity": "None", "sessionAffinityConfig": null})),
        ),
        (
            "core.v1.Namespace",
            json!({"metadata": {"name": "a"}}),
            json!({"metadata": {"labels": {"kubernetes.io/metadata.name": "a"}}}),
        ),
        (
            "core.v1.Node",
            json!({"status": {"capacity": {"cpu": "1"}}}),
            json!({"status": {"allocatable": {"cpu": "1"}}}),
        ),
        (
            "core.v1.ReplicationController",
            spec(json!({"template": {"metadata": {"labels": {"a": "b"}}}})),
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"selector": {"a": "b"}, "replicas": 1, "template": {"spec": {"restartPolicy": "Always"}}}}),
        ),
        (
            "core.v1.LimitRange",
            spec(json!({"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1"}}]})),
            spec(json!({"limits": [{"default": {"cpu": "2"}, "defaultRequest": {"cpu": "2", "memory": "1"}}]})),
        ),
        (
            "core.v1.LimitRange",
            spec(json!({"limits": [{"type": "Pod", "max": {"cpu": "2"}}]})),
            spec(json!({"limits": [{"default": null}]})),
        ),
        (
            "batch.v1.Job",
            json!({}),
            spec(
                json!({"completions": 1, "parallelism": 1, "backoffLimit": 6, "podReplacementPolicy": "TerminatingOrFailed"}),
            ),
        ),
        ("batch.v1.Job", spec(json!({"parallelism": 3})), spec(json!({"completions": null, "parallelism": 3}))),
        (
            "batch.v1.Job",
            spec(json!({"completions": 3, "backoffLimitPerIndex": 1, "podFailurePolicy": {"rules": []}})),
            spec(json!({"parallelism": 1, "backoffLimit": 2147483647, "podReplacementPolicy": "Failed"})),
        ),
        ("networking.v1.NetworkPolicy", json!({}), spec(json!({"policyTypes": ["Ingress"]}))),
        (
            "networking.v1.NetworkPolicy",
            spec(json!({"egress": [{}]})),
            spec(json!({"policyTypes": ["Ingress", "Egress"]})),
        ),
        (
            "rbac.v1.RoleBinding",
            json!({"subjects": [{"kind": "User"}, {"kind": "ServiceAccount"}]}),
            json!({"subjects": [{"apiGroup": "rbac.authorization.k8s.io"}, {"apiGroup": null}]}),
        ),
        (
            "autoscaling.v2.HorizontalPodAutoscaler",
            spec(json!({"behavior": {"scaleUp": {"selectPolicy": "Min"}}})),
            spec(
                json!({"metrics": [{"type": "Resource"}], "behavior": {"scaleUp": {"selectPolicy": "Min", "stabilizationWindowSeconds": 0}, "scaleDown": {"selectPolicy": "Max"}}}),
            ),
        ),
        ("autoscaling.v2.HorizontalPodAutoscaler", json!({}), spec(json!({"behavior": null}))),
        (
            "resource.v1.ResourceClaim",
            spec(json!({"devices": {"requests": [{"exactly": {"allocationMode": "All"}}]}})),
            spec(json!({"devices": {"requests": [{"exactly": {"count": null}}]}})),
        ),
        // What Go always writes.
        ("core.v1.Service", json!({}), json!({"metadata": {}, "status": {"loadBalancer": {}}})),
        ("apps.v1.ReplicaSet", json!({}), json!({"status": {"replicas": 0}})),
        (
            "core.v1.Container",
            json!({"env": [{"name": "a", "valueFrom": {"resourceFieldRef": {}}}]}),
            json!({"name": "", "resources": {}, "env": [{"valueFrom": {"resourceFieldRef": {"resource": "", "divisor": "0"}}}]}),
        ),
    ];
    for (name, object, expect) in table {
        assert_has(&format!("{name} {object}"), &defaulted(name, object.clone()), &expect);
    }
}

#[test]
fn nothing_is_invented_where_nothing_is() {
    let empty = defaulted("core.v1.ConfigMap", json!({}));
    assert_eq!(empty, json!({"metadata": {}}));
    let text = defaulted("core.v1.Pod", json!({"spec": "wrong"}));
    assert_eq!(text["spec"], "wrong");
    assert_eq!(defaulted("core.v1.Pod", Value::Object(Map::new()))["spec"]["containers"], Value::Null);
}
