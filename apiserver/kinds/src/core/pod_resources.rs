//! Validation of what a pod as a whole asks for, against what its containers do.

use std::collections::BTreeMap;

use api_machinery::{ErrorList, Value};

use crate::at::{At, child};
use crate::list::core_resource_name as resource_name;
use crate::{cells, formats};

/// Nano of each resource.
type Amounts = BTreeMap<String, i128>;

pub(crate) fn validate(spec: &At<'_>, errors: &mut ErrorList) {
    let resources = spec.field("resources");
    if !resources.present() {
        return;
    }
    if child(spec.value, "os.name") == "windows" {
        return resources.forbidden(errors, "may not be set for a windows pod");
    }
    let claims = resources.field("claims");
    if claims.present() {
        claims.forbidden(errors, "claims may not be set for Resources at pod-level");
    }
    resource_name::validate_requirements_of_pod(&resources, errors);
    validate_requests(&resources, spec.value, errors);
    validate_limits(&resources, spec.value, errors);
}

fn validate_requests(resources: &At<'_>, spec: &Value, errors: &mut ErrorList) {
    let requests = resources.field("requests");
    let sum = aggregate(spec, "requests");
    for (name, at) in requests.entries() {
        exceeded(&at, sum.get(name), "aggregate container requests", errors);
    }
}

/// Huge pages of all containers, and each container's own limits.
fn validate_limits(resources: &At<'_>, spec: &Value, errors: &mut ErrorList) {
    let limits = resources.field("limits");
    let sum = aggregate(spec, "limits");
    for (name, at) in limits.entries().filter(|(name, _)| resource_name::is_huge_page(name)) {
        exceeded(&at, sum.get(name), "aggregate container limits", errors);
    }
    for (index, container) in cells::list(spec, "containers").iter().enumerate() {
        let own = child(container, "resources.limits");
        for (name, limit) in own.as_object().into_iter().flatten() {
            let of_pod = formats::quantity(&limits.key(name));
            let (Some(limit), Some(of_pod)) = (formats::quantity(&At::root(limit)), of_pod) else { continue };
            if limit.nano > of_pod.nano {
                // The path is upstream's.
                let path = resources.path().child("containers").index(index).key(name).child("limits");
                let detail = format!("must be less than or equal to pod limits of {of_pod}");
                errors.invalid(&path, &Value::from(limit.to_string()), &detail);
            }
        }
    }
}

fn exceeded(at: &At<'_>, sum: Option<&i128>, what: &str, errors: &mut ErrorList) {
    let (Some(own), Some(sum)) = (formats::quantity(at), sum) else { return };
    if *sum > own.nano {
        let sum = api_machinery::quantity::Quantity { nano: *sum, format: own.format };
        let detail = format!("must be greater than or equal to {what} of {sum}");
        errors.invalid(&at.path(), &Value::from(own.to_string()), &detail);
    }
}

/// What all containers ask for at one time at most: those that run together, or an init container with the
/// sidecars that were started before it.
fn aggregate(spec: &Value, list: &str) -> Amounts {
    let mut together = Amounts::new();
    for container in cells::list(spec, "containers") {
        add(&mut together, container, list);
    }
    let (mut sidecars, mut at_most) = (Amounts::new(), Amounts::new());
    for container in cells::list(spec, "initContainers") {
        let mut now = sidecars.clone();
        add(&mut now, container, list);
        if child(container, "restartPolicy") == "Always" {
            add(&mut together, container, list);
            sidecars = now.clone();
        }
        raise(&mut at_most, now);
    }
    raise(&mut at_most, together);
    at_most
}

fn add(sum: &mut Amounts, container: &Value, list: &str) {
    let amounts = child(child(container, "resources"), list);
    for (name, amount) in amounts.as_object().into_iter().flatten() {
        let amount = formats::quantity(&At::root(amount)).map_or(0, |amount| amount.nano);
        let so_far = sum.entry(name.clone()).or_default();
        *so_far = so_far.saturating_add(amount);
    }
}

fn raise(most: &mut Amounts, other: Amounts) {
    for (name, amount) in other {
        let so_far = most.entry(name).or_default();
        *so_far = amount.max(*so_far);
    }
}
