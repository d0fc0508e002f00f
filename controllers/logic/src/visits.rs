//! How many objects a look at the world touches. Only tests count; otherwise this is nothing.

#[cfg(test)]
thread_local! {
    static SEEN: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// One more object was looked at, or stepped over.
pub(crate) fn one<T>(_: &T) {
    #[cfg(test)]
    SEEN.set(SEEN.get() + 1);
}

/// Objects that `work` looks at.
#[cfg(test)]
pub(crate) fn of<T>(work: impl FnOnce() -> T) -> usize {
    SEEN.set(0);
    work();
    SEEN.get()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
    use k8s_openapi::api::core::v1::{Node, Pod, Service};
    use serde_json::{Value, json};

    use super::of;
    use crate::controller::{Context, Controller};
    use crate::world::{Changed, Key, World};
    use crate::{Settings, all};

    const NODES: usize = 200;
    const PODS: usize = 2_000;
    const APPS: usize = 20;
    const PODS_OF_APP: usize = PODS / APPS;
    const PODS_ON_NODE: usize = PODS / NODES;

    fn made<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).expect("an object of its kind")
    }

    fn reference(kind: &str, name: &str) -> Value {
        json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": name, "controller": true}])
    }

    fn pod(index: usize, phase: &str) -> Pod {
        let (name, app, node) =
            (format!("pod-{index}"), format!("app-{}", index % APPS), format!("node-{}", index % NODES));
        made(json!({"metadata": {"name": name, "namespace": "ns", "uid": name, "labels": {"app": app},
            "ownerReferences": reference("ReplicaSet", &app)},
            "spec": {"nodeName": node, "containers": []}, "status": {"phase": phase}}))
    }

    fn node(index: usize, beat: &str, ready: &str, taints: Value) -> Node {
        let name = format!("node-{index}");
        made(json!({"metadata": {"name": name, "uid": name}, "spec": {"podCIDR": "10.244.0.0/24", "taints": taints},
            "status": {"conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": beat}]}}))
    }

    /// 2,000 pods of 20 Deployments on 200 nodes, each Deployment with a Service, all in one namespace.
    fn cluster() -> World {
        let mut world = World::default();
        for app in (0..APPS).map(|index| format!("app-{index}")) {
            let metadata =
                json!({"name": app, "namespace": "ns", "uid": app, "ownerReferences": reference("Deployment", &app)});
            let selector = json!({"matchLabels": {"app": app}});
            let template = json!({"metadata": {"labels": {"app": app}}});
            world.put::<Deployment>(made(json!({"metadata": {"name": app, "namespace": "ns", "uid": app},
                "spec": {"selector": selector, "template": template}})));
            let spec = json!({"replicas": PODS_OF_APP, "selector": selector, "template": template});
            world.put::<ReplicaSet>(made(json!({"metadata": metadata, "spec": spec})));
            world.put::<Service>(made(json!({"metadata": {"name": app, "namespace": "ns", "uid": app},
                "spec": {"selector": {"app": app}}})));
        }
        (0..NODES).for_each(|index| drop(world.put(node(index, "2026-01-01T00:00:00Z", "True", json!(null)))));
        (0..PODS).for_each(|index| drop(world.put(pod(index, "Pending"))));
        world
    }

    fn controllers() -> Vec<Box<dyn Controller>> {
        all(&Settings { root_ca_pem: String::new() })
    }

    fn mapping(world: &World, change: &Changed) -> usize {
        of(|| controllers().iter().map(|own| own.keys(world, &change.view()).len()).sum::<usize>())
    }

    #[test]
    fn a_change_looks_at_little() {
        let mut world = cluster();
        let now = "2026-01-01T00:01:00Z";
        let taint = json!([{"key": "k", "effect": "NoExecute"}]);
        // Two controllers ask which Services select a pod.
        let services = 2 * APPS;
        let changes = [
            ("a pod runs", world.put(pod(7, "Running")), services),
            ("a pod goes", world.remove::<Pod>(Key::new("ns", "pod-7")), services),
            ("a node reports", world.put(node(3, now, "True", json!(null))), 0),
            ("a node is tainted", world.put(node(3, now, "True", taint.clone())), PODS_ON_NODE),
            ("a tainted node reports", world.put(node(3, "2026-01-01T00:02:00Z", "True", taint)), 0),
            // Whose range of addresses may be another's now.
            ("a node goes", world.remove::<Node>(Key::new("", "node-4")), NODES + PODS_ON_NODE),
        ];
        for (what, change, most) in changes {
            let visits = mapping(&world, &change);
            assert!(visits <= most + 1, "{what}: {visits} objects are looked at, not {most}");
        }
    }

    #[test]
    fn a_look_at_one_key_looks_at_its_own() {
        let mut world = cluster();
        world.put(node(5, "2026-01-01T00:00:00Z", "False", json!(null)));
        let context = Context {
            now: Timestamp::UNIX_EPOCH,
            failure: None,
            reads: &BTreeMap::new(),
            level: true,
            shown: u64::MAX,
        };
        let looks = [
            ("replicaset", Key::new("ns", "app-1"), PODS_OF_APP),
            ("deployment", Key::new("ns", "app-1"), 2),
            ("node_lifecycle_controller", Key::new("", "node-1"), 0),
            // And the first other that is ready.
            ("node_lifecycle_controller", Key::new("", "node-5"), PODS_ON_NODE + 2),
            ("node_eviction", Key::new("", ""), NODES),
            ("taint_eviction_controller", Key::new("ns", "pod-1"), 0),
            ("pod_gc", Key::new("ns", "pod-1"), 0),
            // Selectors select by label: the namespace is looked through, at the controller's pace.
            ("endpoint_slice", Key::new("ns", "app-1"), PODS),
            ("endpoint", Key::new("ns", "app-1"), PODS),
        ];
        for (name, key, most) in looks {
            let all = controllers();
            let own = all.iter().find(|own| own.name() == name).expect("a controller");
            let visits = of(|| own.reconcile(&world, &key, &context));
            assert!(visits <= most + 1, "{name} {key}: {visits} objects are looked at, not {most}");
        }
    }
}
