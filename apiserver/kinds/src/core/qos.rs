//! Quality of service class of a pod.

use api_machinery::Value;

use crate::at::{At, child};
use crate::{cells, formats};

/// `Guaranteed`, `Burstable` or `BestEffort`, from cpu and memory of all containers, or of the pod where it has
/// resources of its own, even none.
pub(crate) fn class(spec: &Value) -> &'static str {
    let own = child(spec, "resources");
    if own.is_object() {
        return of(std::iter::once(own));
    }
    let containers = cells::list(spec, "containers").iter().chain(cells::list(spec, "initContainers"));
    of(containers.map(|container| child(container, "resources")))
}

fn sets(resources: &Value, list: &str) -> bool {
    ["cpu", "memory"].iter().any(|name| positive(child(child(resources, list), name)))
}

fn positive(amount: &Value) -> bool {
    formats::quantity(&At::root(amount)).is_some_and(|amount| amount.nano > 0)
}

fn of<'v>(all: impl Iterator<Item = &'v Value>) -> &'static str {
    let (mut any, mut guaranteed) = (false, true);
    for resources in all {
        any |= sets(resources, "requests") || sets(resources, "limits");
        guaranteed &= ["cpu", "memory"].iter().all(|name| {
            let (limit, request) = (child(child(resources, "limits"), name), child(child(resources, "requests"), name));
            positive(limit) && (request.is_null() || equal(limit, request))
        });
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn equal(left: &Value, right: &Value) -> bool {
    let amount = |value: &Value| formats::quantity(&At::root(value)).map(|amount| amount.nano);
    amount(left) == amount(right)
}
