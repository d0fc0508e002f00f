use expect_test::expect;
use serde_json::json;

use super::*;

fn pods() -> GroupResource {
    GroupResource::new("", "pods")
}

fn now() -> Timestamp {
    "2026-11-22T00:00:00Z".parse().expect("a time")
}

fn quota(name: &str, hard: Value, used: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "t"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}})
}

fn asks(cpu: &str) -> Value {
    json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}, "limits": {"cpu": cpu}}})
}

fn told(resource: &GroupResource, object: &Value) -> String {
    amounts::told(&usage(resource, object, now()))
}

fn create(resource: &GroupResource, object: &Value, quotas: &[&Value]) -> String {
    update(resource, "", None, object, quotas)
}

fn update(
    resource: &GroupResource,
    subresource: &str,
    old: Option<&Value>,
    object: &Value,
    quotas: &[&Value],
) -> String {
    let written = Written { resource, subresource, object, old, now: now() };
    if !written.counts() {
        return "does not count".to_owned();
    }
    match charge(&written, quotas) {
        Charge::Refused(why) => why,
        Charge::Raised(raised) => {
            let told = raised.iter().map(|quota| {
                format!("{}: {}", crate::object::name(quota), amounts::told(&amounts(quota, "status.used")))
            });
            told.collect::<Vec<_>>().join("; ")
        }
    }
}

#[test]
fn what_pods_use() {
    let sidecar = |cpu: &str| json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}});
    let init = |cpu: &str| json!({"name": "i", "resources": {"requests": {"cpu": cpu}}});
    let rows = [
        json!({"spec": {"containers": [{"name": "c"}]}}),
        json!({"spec": {"containers": [asks("500m"), asks("1")]}}),
        // The largest of the init containers, each with the sidecars before it.
        json!({"spec": {"containers": [asks("1")], "initContainers": [init("5"), sidecar("2"), init("4")]}}),
        json!({"spec": {"containers": [asks("1")], "overhead": {"cpu": "250m", "memory": "1Mi"}}}),
        json!({"spec": {"containers": [asks("1")], "resources": {"requests": {"cpu": "3"}, "limits": {"memory": "4Gi"}}}}),
        json!({"spec": {"containers": [{"name": "c", "resources": {
            "requests": {"example.com/gpu": "2", "hugepages-2Mi": "4Mi", "ephemeral-storage": "1Gi"}}}]}}),
        json!({"spec": {"containers": [asks("1")]}, "status": {"phase": "Succeeded"}}),
        json!({"metadata": {"deletionTimestamp": "2026-11-21T00:00:00Z", "deletionGracePeriodSeconds": 30},
               "spec": {"containers": [asks("1")]}}),
        // While it is resized the larger counts; what cannot be, does not.
        json!({"spec": {"containers": [asks("1")]}, "status": {"containerStatuses": [{"name": "c",
            "allocatedResources": {"cpu": "2"}, "resources": {"requests": {"cpu": "3"}, "limits": {"cpu": "3"}}}]}}),
        json!({"spec": {"containers": [asks("8")]}, "status": {
            "conditions": [{"type": "PodResizePending", "reason": "Infeasible"}],
            "containerStatuses": [{"name": "c", "allocatedResources": {"cpu": "2"},
                "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}}]}}),
    ];
    let told: Vec<String> = rows.iter().map(|pod| told(&pods(), pod)).collect();
    expect![[r#"
        count/pods=1,pods=1
        count/pods=1,cpu=1500m,limits.cpu=1500m,memory=2Gi,pods=1,requests.cpu=1500m,requests.memory=2Gi
        count/pods=1,cpu=6,limits.cpu=1,memory=1Gi,pods=1,requests.cpu=6,requests.memory=1Gi
        count/pods=1,cpu=1250m,limits.cpu=1250m,memory=1025Mi,pods=1,requests.cpu=1250m,requests.memory=1025Mi
        count/pods=1,cpu=3,limits.cpu=1,limits.memory=4Gi,memory=1Gi,pods=1,requests.cpu=3,requests.memory=1Gi
        count/pods=1,ephemeral-storage=1Gi,hugepages-2Mi=4Mi,pods=1,requests.ephemeral-storage=1Gi,requests.example.com/gpu=2,requests.hugepages-2Mi=4Mi
        count/pods=1
        count/pods=1
        count/pods=1,cpu=3,limits.cpu=3,memory=1Gi,pods=1,requests.cpu=3,requests.memory=1Gi
        count/pods=1,cpu=2,limits.cpu=1,pods=1,requests.cpu=2
    "#]].assert_eq(&(told.join("\n") + "\n"));
}

#[test]
fn what_other_objects_use() {
    let services = GroupResource::new("", "services");
    let claims = GroupResource::new("", "persistentvolumeclaims");
    let ports = json!([{"port": 1, "nodePort": 30001}, {"port": 2}]);
    let rows = [
        told(&services, &json!({"spec": {"ports": ports}})),
        told(&services, &json!({"spec": {"type": "NodePort", "ports": ports}})),
        told(&services, &json!({"spec": {"type": "LoadBalancer", "ports": ports}})),
        told(
            &services,
            &json!({"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": ports}}),
        ),
        told(&claims, &json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1.5Gi"}}}})),
        told(
            &claims,
            &json!({"spec": {"resources": {"requests": {"storage": "1500m"}}},
            "status": {"allocatedResources": {"storage": "3"}}}),
        ),
        told(&GroupResource::new("", "secrets"), &json!({})),
        told(&GroupResource::new("apps", "deployments"), &json!({})),
        told(&GroupResource::new("", "events"), &json!({})),
    ];
    expect![[r#"
        count/services=1,services=1,services.loadbalancers=0,services.nodeports=0
        count/services=1,services=1,services.loadbalancers=0,services.nodeports=2
        count/services=1,services=1,services.loadbalancers=1,services.nodeports=2
        count/services=1,services=1,services.loadbalancers=1,services.nodeports=1
        count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/requests.storage=1536Mi,persistentvolumeclaims=1,requests.storage=1536Mi
        count/persistentvolumeclaims=1,persistentvolumeclaims=1,requests.storage=3
        count/secrets=1,secrets=1
        count/deployments.apps=1

    "#]].assert_eq(&(rows.join("\n") + "\n"));
}

#[test]
fn names_of_quotas() {
    let names = [
        "pods",
        "cpu",
        "requests.cpu",
        "limits.memory",
        "limits.hugepages-2Mi",
        "requests.hugepages-2Mi",
        "hugepages-2Mi",
        "requests.example.com/gpu",
        "example.com/gpu",
        "count/pods",
        "count/secrets",
        "services.nodeports",
        "secrets",
        "requests.storage",
        "gold.storageclass.storage.k8s.io/requests.storage",
        "count/deployments.apps",
        "requests.deviceclass.resource.kubernetes.io/x",
    ];
    let of = |group, plural| matching(&GroupResource::new(group, plural), names).join(" ");
    let told = [
        of("", "pods"),
        of("", "services"),
        of("", "persistentvolumeclaims"),
        of("", "secrets"),
        of("apps", "deployments"),
        of("", "events"),
    ];
    expect![[r#"
        pods cpu requests.cpu limits.memory requests.hugepages-2Mi hugepages-2Mi requests.example.com/gpu count/pods requests.deviceclass.resource.kubernetes.io/x
        services.nodeports
        requests.storage gold.storageclass.storage.k8s.io/requests.storage
        count/secrets secrets
        count/deployments.apps

    "#]].assert_eq(&(told.join("\n") + "\n"));
}

#[test]
fn creates() {
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [asks("1")]}});
    let silent = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "b"}, {"name": "a"}],
        "initContainers": [asks("1")]}});
    let wide = quota("wide", json!({"pods": "10", "cpu": "10", "services": "1"}), json!({"pods": "0", "cpu": "0"}));
    let full = quota("full", json!({"pods": "2", "requests.cpu": "3"}), json!({"pods": "2", "requests.cpu": "2500m"}));
    let uncounted = quota("new", json!({"pods": "2", "cpu": "1"}), json!({"pods": "0"}));
    let limits = quota("limits", json!({"limits.cpu": "2", "limits.memory": "1", "memory": "1Gi"}), json!({}));
    let none = quota("none", json!({"services": "1"}), json!({"services": "0"}));
    let rows = [
        create(&pods(), &pod, &[&wide, &none]),
        create(&pods(), &pod, &[&wide, &full]),
        create(&pods(), &pod, &[&uncounted]),
        create(&pods(), &silent, &[&limits]),
        create(&pods(), &pod, &[&none]),
        create(&GroupResource::new("", "events"), &json!({}), &[&wide]),
        create(
            &GroupResource::new("apps", "deployments"),
            &json!({}),
            &[&quota("q", json!({"count/deployments.apps": "1"}), json!({"count/deployments.apps": "1"}))],
        ),
    ];
    expect![[r#"
        wide: cpu=1,pods=1
        exceeded quota: full, requested: pods=1,requests.cpu=1, used: pods=2,requests.cpu=2500m, limited: pods=2,requests.cpu=3
        status unknown for quota: new, resources: cpu,pods
        failed quota: limits: must specify limits.cpu for: a,b; limits.memory for: a,b,c; memory for: a,b

        does not count
        exceeded quota: q, requested: count/deployments.apps=1, used: count/deployments.apps=1, limited: count/deployments.apps=1
    "#]].assert_eq(&(rows.join("\n") + "\n"));
}

#[test]
fn updates() {
    let services = GroupResource::new("", "services");
    let service = |kind: &str, ports: usize| json!({"spec": {"type": kind, "ports": vec![json!({"port": 1}); ports]}});
    let ports = quota("q", json!({"services.nodeports": "3"}), json!({"services.nodeports": "2"}));
    let pod = |cpu: &str| json!({"spec": {"containers": [asks(cpu)]}});
    let cpu = quota("q", json!({"cpu": "4"}), json!({"cpu": "3"}));
    let mut terminating = quota("q", json!({"pods": "1"}), json!({"pods": "1"}));
    terminating["spec"]["scopes"] = json!(["Terminating"]);
    let mut ending = pod("1");
    ending["spec"]["activeDeadlineSeconds"] = 5.into();
    let rows = [
        update(&services, "", Some(&service("NodePort", 2)), &service("NodePort", 3), &[&ports]),
        update(&services, "", Some(&service("NodePort", 2)), &service("NodePort", 4), &[&ports]),
        update(&services, "", Some(&service("NodePort", 2)), &service("ClusterIP", 2), &[&ports]),
        update(&services, "status", Some(&service("NodePort", 2)), &service("NodePort", 4), &[&ports]),
        update(&pods(), "", Some(&pod("1")), &pod("2"), &[&cpu]),
        update(&pods(), "resize", Some(&pod("1")), &pod("2"), &[&cpu]),
        update(&pods(), "resize", Some(&pod("1")), &pod("3"), &[&cpu]),
        update(&pods(), "", Some(&pod("1")), &ending, &[&terminating]),
    ];
    expect![[r#"
        q: services.nodeports=3
        exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=2, limited: services.nodeports=3

        does not count
        does not count
        q: cpu=4
        exceeded quota: q, requested: cpu=2, used: cpu=3, limited: cpu=4
        exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1
    "#]]
    .assert_eq(&(rows.join("\n") + "\n"));
}

#[test]
fn scopes() {
    let scoped = |scope: &str| json!({"spec": {"scopes": [scope]}});
    let selecting = |scope: &str, operator: &str, values: &[&str]| {
        json!({"spec": {"scopeSelector": {"matchExpressions": [
            {"scopeName": scope, "operator": operator, "values": values}]}}})
    };
    let quotas = [
        scoped("Terminating"),
        scoped("NotTerminating"),
        scoped("BestEffort"),
        scoped("NotBestEffort"),
        scoped("PriorityClass"),
        scoped("CrossNamespacePodAffinity"),
        scoped("VolumeAttributesClass"),
        selecting("PriorityClass", "In", &["high", "low"]),
        selecting("PriorityClass", "NotIn", &["high"]),
        selecting("PriorityClass", "DoesNotExist", &[]),
        selecting("VolumeAttributesClass", "In", &["gold"]),
    ];
    let held = |resource: &GroupResource, object: Value| -> String {
        quotas.iter().map(|quota| if in_scope(resource, &object, quota) { 'x' } else { '.' }).collect()
    };
    let term = json!({"topologyKey": "a", "namespaces": ["other"]});
    let claims = GroupResource::new("", "persistentvolumeclaims");
    let rows = [
        held(&pods(), json!({"spec": {"containers": [{"name": "c"}]}})),
        held(
            &pods(),
            json!({"spec": {"containers": [asks("1")], "activeDeadlineSeconds": 1, "priorityClassName": "high"}}),
        ),
        held(
            &pods(),
            json!({"spec": {"priorityClassName": "x", "resources": {"limits": {"memory": "1"}},
            "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}}),
        ),
        held(
            &pods(),
            json!({"spec": {"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "podAffinityTerm": {"namespaceSelector": {}}}]}}}}),
        ),
        held(
            &claims,
            json!({"spec": {"volumeAttributesClassName": "silver"},
            "status": {"modifyVolumeStatus": {"targetVolumeAttributesClassName": "gold"}}}),
        ),
        held(&claims, json!({"spec": {}})),
        held(&GroupResource::new("", "services"), json!({})),
    ];
    expect![[r#"
        .xx.....xx.
        x..xx..x...
        .x.xxx..x..
        .xx..x..xx.
        ......x...x
        ...........
        ...........
    "#]]
    .assert_eq(&(rows.join("\n") + "\n"));
}

#[test]
fn a_status_is_recalculated() {
    let used = |resource: &GroupResource| {
        let names = match &*resource.resource {
            "pods" => vec![("pods", 2), ("cpu", 3)],
            "secrets" => vec![("secrets", 5)],
            _ => return None,
        };
        let amount = |(name, count): (&str, usize)| (name.to_owned(), amounts::number(count));
        Some(names.into_iter().map(amount).collect())
    };
    let told = |quota: &Value| recalculated(quota, &used).map_or("as it is".to_owned(), |status| status.to_string());
    let hard = json!({"pods": "9", "cpu": "9", "secrets": "9", "services": "9"});
    let new = json!({"spec": {"hard": hard}});
    let lower = quota("q", json!({"pods": "9"}), json!({"pods": "7", "cpu": "1"}));
    let same = quota("q", json!({"pods": "9", "other": "1"}), json!({"pods": "2", "other": "1"}));
    let mut relimited = quota("q", json!({"pods": "9"}), json!({"pods": "2"}));
    relimited["spec"]["hard"]["pods"] = "10".into();
    let rows = [told(&new), told(&lower), told(&same), told(&relimited)];
    expect![[r#"
        {"hard":{"cpu":"9","pods":"9","secrets":"9","services":"9"},"used":{"cpu":"3","pods":"2","secrets":"5"}}
        {"hard":{"pods":"9"},"used":{"pods":"2"}}
        as it is
        {"hard":{"pods":"10"},"used":{"pods":"2"}}
    "#]]
    .assert_eq(&(rows.join("\n") + "\n"));
}
