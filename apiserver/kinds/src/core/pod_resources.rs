//! Validation of what a pod as a whole asks for, against what its containers do.

use std::collections::{BTreeMap, BTreeSet};

use api_machinery::quantity::Quantity;
use api_machinery::{ErrorList, Value};

use crate::at::{At, child};
use crate::list::core_resource_name as resource_name;
use crate::{cells, formats};

/// By the names of resources.
type Amounts = BTreeMap<String, Quantity>;

/// `claims_of_pod`: the names of the pod's claims.
pub(crate) fn validate(spec: &At<'_>, claims_of_pod: &BTreeSet<&str>, errors: &mut ErrorList) {
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
    resource_name::validate_claims(&claims, claims_of_pod, errors);
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

fn exceeded(at: &At<'_>, sum: Option<&Quantity>, what: &str, errors: &mut ErrorList) {
    let (Some(own), Some(sum)) = (formats::quantity(at), sum) else { return };
    if sum.nano > own.nano {
        let detail = format!("must be greater than or equal to {what} of {sum}");
        errors.invalid(&at.path(), &Value::from(own.to_string()), &detail);
    }
}

/// What all containers ask for at one time at most: those that run together, or an init container with the
/// sidecars that were started before it. `list` is `requests` or `limits`.
pub(crate) fn aggregate(spec: &Value, list: &str) -> Amounts {
    let mut together = Amounts::new();
    for container in cells::list(spec, "containers") {
        add(&mut together, &amounts(container, list));
    }
    let (mut sidecars, mut of_init) = (Amounts::new(), Amounts::new());
    for container in cells::list(spec, "initContainers") {
        let mut now = amounts(container, list);
        if child(container, "restartPolicy") == "Always" {
            add(&mut together, &now);
            add(&mut sidecars, &now);
            now.clone_from(&sidecars);
        } else {
            add(&mut now, &sidecars);
        }
        raise(&mut of_init, now);
    }
    raise(&mut together, of_init);
    together
}

fn amounts(container: &Value, list: &str) -> Amounts {
    let amounts = child(child(container, "resources"), list).as_object().into_iter().flatten();
    let read = |amount| formats::quantity(&At::root(amount)).unwrap_or(Quantity::ZERO);
    amounts.map(|(name, amount)| (name.clone(), read(amount))).collect()
}

/// A sum is written as its first part is.
fn add(sum: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        sum.entry(name.clone()).and_modify(|so_far| *so_far = *so_far + *amount).or_insert(*amount);
    }
}

fn raise(most: &mut Amounts, other: Amounts) {
    for (name, amount) in other {
        let so_far = most.entry(name).or_insert(amount);
        if amount.nano > so_far.nano {
            *so_far = amount;
        }
    }
}
