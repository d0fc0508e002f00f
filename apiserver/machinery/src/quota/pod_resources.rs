//! What a whole pod requests and is limited to: containers, sidecars, init containers, overhead, and what is said for
//! the pod as a whole. Upstream's rules (`k8s.io/component-helpers/resource`).

use std::collections::HashMap;

use serde_json::Value;

use super::amounts::{Amounts, add, parse, raise};
use crate::object;

/// What is asked of each container.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Requests,
    Limits,
}

impl Side {
    fn field(self) -> &'static str {
        match self {
            Side::Requests => "requests",
            Side::Limits => "limits",
        }
    }

    fn of(self, holder: &Value) -> Amounts {
        parse(holder, &format!("resources.{}", self.field()))
    }
}

fn items<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    object::at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What can be said for a pod as a whole.
fn is_for_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

fn for_pod(pod: &Value, side: Side) -> Amounts {
    let Some(spec) = pod.get("spec") else { return Amounts::new() };
    side.of(spec).into_iter().filter(|(name, _)| is_for_pods(name)).collect()
}

/// Whether anything is said for the pod as a whole.
pub(super) fn has_pod_level(pod: &Value) -> bool {
    [Side::Requests, Side::Limits].into_iter().any(|side| !for_pod(pod, side).is_empty())
}

pub(super) fn of_pod(pod: &Value, side: Side) -> Amounts {
    let mut all = of_containers(pod, side);
    all.extend(for_pod(pod, side));
    let overhead = parse(pod, "spec.overhead");
    match side {
        Side::Requests => add(&mut all, &overhead),
        // Nothing is added to what has no limit.
        Side::Limits => {
            for (name, amount) in overhead {
                all.entry(name).and_modify(|own| *own = if own.is_zero() { *own } else { *own + amount });
            }
        }
    }
    all
}

/// What a pod requests, whatever it has now.
pub fn requested(pod: &Value) -> Amounts {
    of_pod(&without_status(pod), Side::Requests)
}

/// What a pod requests and is limited to, whatever it has now, and without what its runtime costs.
pub fn without_overhead(pod: &Value) -> (Amounts, Amounts) {
    let pod = without_status(pod);
    let of = |side| {
        let mut all = of_containers(&pod, side);
        all.extend(for_pod(&pod, side).into_iter().filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory")));
        all
    };
    (of(Side::Requests), of(Side::Limits))
}

fn without_status(pod: &Value) -> Value {
    serde_json::json!({"spec": pod.get("spec").cloned().unwrap_or(Value::Null)})
}

fn of_containers(pod: &Value, side: Side) -> Amounts {
    let running = Running::of(pod);
    let mut all = Amounts::new();
    for container in items(pod, "spec.containers") {
        add(&mut all, &running.effective(container, side));
    }
    let (mut sidecars, mut first) = (Amounts::new(), Amounts::new());
    for container in items(pod, "spec.initContainers") {
        if object::str_at(container, "restartPolicy") == "Always" {
            let own = running.effective(container, side);
            add(&mut all, &own);
            add(&mut sidecars, &own);
            raise(&mut first, &sidecars);
        } else {
            let mut with_sidecars = side.of(container);
            add(&mut with_sidecars, &sidecars);
            raise(&mut first, &with_sidecars);
        }
    }
    raise(&mut all, &first);
    all
}

/// What runs, which may be more than what is asked for while a pod is resized.
struct Running<'a> {
    statuses: HashMap<&'a str, &'a Value>,
    /// The node cannot do what is asked for: it does not count.
    infeasible: bool,
}

impl<'a> Running<'a> {
    fn of(pod: &'a Value) -> Self {
        let lists = ["status.containerStatuses", "status.initContainerStatuses"];
        let statuses = lists.into_iter().flat_map(|path| items(pod, path));
        let pending = items(pod, "status.conditions")
            .iter()
            .find(|condition| object::str_at(condition, "type") == "PodResizePending");
        Self {
            statuses: statuses.map(|status| (object::str_at(status, "name"), status)).collect(),
            infeasible: pending.is_some_and(|condition| object::str_at(condition, "reason") == "Infeasible"),
        }
    }

    fn effective(&self, container: &Value, side: Side) -> Amounts {
        let status = self.statuses.get(object::str_at(container, "name"));
        let Some(status) = status.filter(|status| status.get("resources").is_some_and(Value::is_object)) else {
            return side.of(container);
        };
        let mut most = if self.infeasible { Amounts::new() } else { side.of(container) };
        raise(&mut most, &side.of(status));
        if side == Side::Requests {
            raise(&mut most, &parse(status, "allocatedResources"));
        }
        most
    }
}

/// Whether no container and not the pod asks for any time or memory.
pub fn is_best_effort(pod: &Value) -> bool {
    let class = object::str_at(pod, "status.qosClass");
    if !class.is_empty() {
        return class == "BestEffort";
    }
    let asks = |holder: &Value| {
        [Side::Requests, Side::Limits].into_iter().any(|side| {
            let amounts = side.of(holder);
            ["cpu", "memory"].iter().any(|name| amounts.get(*name).is_some_and(|amount| amount.sign() > 0))
        })
    };
    match pod.get("spec").filter(|spec| spec.get("resources").is_some_and(Value::is_object)) {
        Some(spec) => !asks(spec),
        None => !items(pod, "spec.containers").iter().chain(items(pod, "spec.initContainers")).any(asks),
    }
}
