//! ResourceQuota accounting: what objects use, which quotas count them, and whether there is room. Pure.
//!
//! Who writes an object raises `status.used` of the quotas in the same transaction ([`charge`]); what falls is
//! computed anew by a controller ([`recalculated`]). Both count by the functions here, so they agree.

mod amounts;
mod charge;
mod claims;
mod counts;
mod pod_resources;
mod pods;
mod recalculate;
mod scopes;
mod services;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde_json::Value;

pub use amounts::{Amounts, parse as amounts};
pub use charge::{Charge, Written, charge};
pub use counts::counted;
pub use pod_resources::{is_best_effort, requested as pod_requests, without_overhead};
pub use recalculate::{UsedBy, number_of, recalculated, sum};

use crate::GroupResource;

/// Who counts the objects of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counter {
    Pods,
    Services,
    Claims,
    /// By number only.
    Objects,
}

/// `None`: nobody counts such objects.
fn counter(resource: &GroupResource) -> Option<Counter> {
    let reviews = ["authentication.k8s.io", "authorization.k8s.io"];
    match (&*resource.group, &*resource.resource) {
        ("", "pods") => Some(Counter::Pods),
        ("", "services") => Some(Counter::Services),
        ("", "persistentvolumeclaims") => Some(Counter::Claims),
        ("" | "events.k8s.io", "events") | ("", "bindings" | "componentstatuses") => None,
        (group, _) if reviews.contains(&group) => None,
        _ => Some(Counter::Objects),
    }
}

/// Of these names of a quota, those that objects of the resource use.
pub fn matching<'n>(resource: &GroupResource, names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    let Some(counter) = counter(resource) else { return Vec::new() };
    let (count, alias) = (counts::name(resource), counts::alias(resource));
    let own = |name: &str| match counter {
        Counter::Pods => pods::counts(name),
        Counter::Services => services::counts(name),
        Counter::Claims => claims::counts(name),
        Counter::Objects => alias == Some(name),
    };
    names.into_iter().filter(|name| *name == count || own(name)).collect()
}

/// What one object uses.
pub fn usage(resource: &GroupResource, object: &Value, now: Timestamp) -> Amounts {
    let mut used = match counter(resource) {
        None => return Amounts::new(),
        Some(Counter::Pods) => pods::usage(object, now),
        Some(Counter::Services) => services::usage(object),
        Some(Counter::Claims) => claims::usage(object),
        Some(Counter::Objects) => {
            counts::alias(resource).map(|name| (name.to_owned(), amounts::ONE)).into_iter().collect()
        }
    };
    used.insert(counts::name(resource), amounts::ONE);
    used
}

/// Whether all scopes of a quota hold this object.
pub fn in_scope(resource: &GroupResource, object: &Value, quota: &Value) -> bool {
    let holds = |scope: &scopes::Scope<'_>| match counter(resource) {
        Some(Counter::Pods) => pods::in_scope(object, scope),
        Some(Counter::Claims) => claims::in_scope(object, scope),
        _ => false,
    };
    scopes::of(quota).iter().all(holds)
}
