//! Bodies of 3 MiB hold lists of hundreds of thousands: nothing may look through a list for every element of it.

use std::time::{Duration, Instant};

use api_machinery::{ErrorList, GroupResource, Value};
use serde_json::json;

/// In one list.
const ELEMENTS: usize = 50_000;
/// Many times what it takes; a look at every pair takes minutes.
const ENOUGH: Duration = Duration::from_secs(20);

fn list(of: impl Fn(usize) -> Value) -> Value {
    (0..ELEMENTS).map(of).collect()
}

#[test]
fn validation_is_linear() {
    let began = Instant::now();
    let text = |n: usize| Value::from(format!("n{n}"));
    let pod = json!({"metadata": {"name": "p", "labels": {}}, "spec": {
        "volumes": list(|n| json!({"name": text(n), "emptyDir": {}})),
        "schedulingGates": list(|n| json!({"name": text(n)})),
        "resourceClaims": list(|n| json!({"name": text(n), "resourceClaimName": "c"})),
        "securityContext": {"sysctls": list(|n| json!({"name": text(n), "value": "1"}))},
        "containers": [{"name": "c", "image": "i",
            "ports": list(|n| json!({"name": text(n), "containerPort": 80, "hostPort": 80, "protocol": "TCP"})),
            "volumeMounts": list(|n| json!({"name": text(n), "mountPath": format!("/{n}")})),
            "volumeDevices": list(|n| json!({"name": text(n), "devicePath": format!("/{n}")}))}]}});
    let node = json!({"metadata": {"name": "n"}, "spec": {
        "taints": list(|n| json!({"key": text(n), "effect": "NoSchedule"}))}});
    let service = json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort",
        "ports": list(|n| json!({"name": text(n), "port": 80, "nodePort": n, "protocol": "TCP"}))}});
    let limits = json!({"metadata": {"name": "l"}, "spec": {"limits": list(|n| json!({"type": text(n)}))}});
    for (resource, object) in [("pods", pod), ("nodes", node), ("services", service), ("limitranges", limits)] {
        let kind = api_kinds::of(&GroupResource::new("", resource));
        let mut errors = ErrorList::new();
        kind.validate(&object, &mut errors);
        kind.validate_update(&object, &object, &mut errors);
        assert!(errors.causes().len() <= 1_000, "{resource}");
        assert!(began.elapsed() < ENOUGH, "{resource}: {:?}", began.elapsed());
    }
}
