//! A quota's status by what is there.

use serde_json::{Value, json};

use jiff::Timestamp;

use super::amounts::{Amounts, add, mask, number, parse, same, to_value};
use super::{counts, in_scope, matching, usage};
use crate::quantity::Quantity;
use crate::{GroupResource, object};

/// What the objects of one resource use of a quota. `None`: not known.
pub type UsedBy<'a> = dyn Fn(&GroupResource) -> Option<Amounts> + 'a;

/// `status` as it should be; `None`: as it is. What nobody here counts stays as it was.
pub fn recalculated(quota: &Value, used_by: &UsedBy<'_>) -> Option<Value> {
    let hard = parse(quota, "spec.hard");
    let before = parse(quota, "status.used");
    let mut used = before.clone();
    for resource in resources(&hard) {
        let names = matching(&resource, hard.keys().map(String::as_str));
        let Some(now) = (if names.is_empty() { None } else { used_by(&resource) }) else { continue };
        for name in names {
            used.insert(name.to_owned(), now.get(name).copied().unwrap_or(Quantity::ZERO));
        }
    }
    let used = mask(&used, hard.keys());
    let has = |field| object::at(quota, "status").and_then(|status| status.get(field)).is_some_and(Value::is_object);
    let told = has("hard") && has("used") && same(&parse(quota, "status.hard"), &hard);
    (!told || !same(&used, &before)).then(|| json!({"hard": to_value(&hard), "used": to_value(&used)}))
}

/// The resources whose objects these names may count.
fn resources(hard: &Amounts) -> Vec<GroupResource> {
    let core = ["pods", "services", "persistentvolumeclaims"].map(|plural| GroupResource::new("", plural));
    let mut all: Vec<GroupResource> = hard.keys().filter_map(|name| counts::counted(name)).chain(core).collect();
    all.sort();
    all.dedup();
    all
}

/// What these objects use of a quota together: those that it holds.
pub fn sum(resource: &GroupResource, objects: impl Iterator<Item = Value>, quota: &Value, now: Timestamp) -> Amounts {
    let held = objects.filter(|object| in_scope(resource, object, quota));
    held.fold(Amounts::new(), |mut sum, object| {
        add(&mut sum, &usage(resource, &object, now));
        sum
    })
}

/// What so many objects use of a quota that are only counted. Such objects are in no scope.
pub fn number_of(resource: &GroupResource, count: usize, quota: &Value) -> Amounts {
    let names = counts::alias(resource).map(str::to_owned).into_iter().chain([counts::name(resource)]);
    let count = if in_scope(resource, &Value::Null, quota) { count } else { 0 };
    names.map(|name| (name, number(count))).collect()
}
