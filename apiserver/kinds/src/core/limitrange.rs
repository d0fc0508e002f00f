//! LimitRange.

use std::collections::{BTreeSet, HashSet};

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use serde_json::{Map, json};

use crate::at::{At, child};
use crate::list::core_resource_name as resource_name;
use crate::{Kind, formats};

pub(crate) struct LimitRange;

impl Kind for LimitRange {
    fn resource(&self) -> GroupResource {
        GroupResource::new("", "limitranges")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "x", "namespace": "default"},
               "spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}}]}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn allows_create_on_update(&self) -> bool {
        true
    }
    /// Containers: the default limit is the maximum, the default request is the default limit, else the minimum.
    fn default(&self, object: &mut Value) {
        let limits = object.pointer_mut("/spec/limits").and_then(Value::as_array_mut);
        for limit in limits.into_iter().flatten() {
            if object::str_at(limit, "type") != "Container" {
                continue;
            }
            fill(limit, "default", "max");
            fill(limit, "defaultRequest", "default");
            fill(limit, "defaultRequest", "min");
        }
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let mut seen = HashSet::new();
        for limit in root.field("spec.limits").items() {
            let kind = object::str_at(limit.value, "type");
            validate_type(&limit.field("type"), errors);
            if !seen.insert(kind) {
                limit.field("type").duplicate(errors);
            }
            validate_limit(&limit, kind, errors);
        }
    }
}

fn fill(limit: &mut Value, field: &str, from: &str) {
    let Some(source) = limit.get(from).and_then(Value::as_object).cloned() else { return };
    if !limit[field].is_object() {
        limit[field] = Value::Object(Map::new());
    }
    if let Some(target) = limit[field].as_object_mut() {
        for (name, amount) in source {
            target.entry(name).or_insert(amount);
        }
    }
    if limit[field].as_object().is_some_and(Map::is_empty)
        && let Some(limit) = limit.as_object_mut()
    {
        limit.remove(field);
    }
}

fn validate_limit(limit: &At<'_>, kind: &str, errors: &mut ErrorList) {
    const FIELDS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
    let of_pods = matches!(kind, "Pod" | "Container");
    let is_default = |field: &str| matches!(field, "default" | "defaultRequest");
    for field in FIELDS.into_iter().filter(|field| kind != "Pod" || !is_default(field)) {
        for (name, amount) in limit.field(field).entries() {
            if of_pods {
                resource_name::validate_for_container(&amount, name, errors);
            } else {
                resource_name::validate(&amount, name, errors);
            }
        }
    }
    let lists = FIELDS.iter().filter(|field| kind != "Pod" || !is_default(field));
    let lists = lists.filter_map(|field| child(limit.value, field).as_object());
    let names: BTreeSet<&str> = lists.flat_map(|list| list.keys().map(String::as_str)).collect();
    for field in ["default", "defaultRequest"].iter().filter(|_| kind == "Pod") {
        let at = limit.field(field);
        if !at.is_empty() {
            at.forbidden(errors, "may not be specified when `type` is 'Pod'");
        }
    }
    if kind == "PersistentVolumeClaim" {
        let set = |field: &str| !child(child(limit.value, field), "storage").is_null();
        if !set("min") && !set("max") {
            limit
                .field("limits")
                .required(errors, "either minimum or maximum storage value is required, but neither was provided");
        }
    }
    for name in names {
        validate_order(limit, name, errors);
        validate_ratio(limit, name, errors);
        validate_fixed(limit, name, errors);
    }
}

/// A known type, or one with a prefix.
fn validate_type(kind: &At<'_>, errors: &mut ErrorList) {
    let before = errors.len();
    kind.format(errors, names::qualified_name);
    let known = ["Pod", "Container", "PersistentVolumeClaim"].contains(&kind.str()) || kind.str().contains('/');
    if errors.len() == before && !known {
        kind.invalid(errors, "must be a standard limit type or fully qualified");
    }
}

/// What cannot be overcommitted is asked for as it is limited.
fn validate_fixed(limit: &At<'_>, name: &str, errors: &mut ErrorList) {
    let requests = limit.field("defaultRequest");
    let request = requests.key(name);
    let default = formats::quantity(&At::root(child(child(limit.value, "default"), name)));
    if let (false, Some(default), Some(asked)) =
        (resource_name::is_overcommittable(name), default, formats::quantity(&request))
        && default.nano != asked.nano
    {
        let detail = format!("default value {default} must equal to defaultRequest value {asked} in {name}");
        request.invalid(errors, &detail);
    }
}

/// `min <= defaultRequest <= default <= max`
fn validate_order(limit: &At<'_>, name: &str, errors: &mut ErrorList) {
    let of = |field: &str| formats::quantity(&At::root(child(child(limit.value, field), name)));
    let (min, max, default, request) = (of("min"), of("max"), of("default"), of("defaultRequest"));
    let mut check = |field: &str, low: Option<_>, high: Option<_>, words: &str| {
        let (Some(low), Some(high)): (
            Option<api_machinery::quantity::Quantity>,
            Option<api_machinery::quantity::Quantity>,
        ) = (low, high) else {
            return;
        };
        if low.nano > high.nano {
            let at = limit.field(field);
            let at = at.key(name);
            errors.invalid(&at.path(), at.value, &format!("{} is greater than {} {words}", low, high));
        }
    };
    check("min", min, max, "max value");
    check("defaultRequest", min, request, "default request value");
    check("defaultRequest", request, max, "max value");
    check("defaultRequest", request, default, "default limit value");
    check("default", min, default, "default value");
    check("default", default, max, "max value");
}

fn validate_ratio(limit: &At<'_>, name: &str, errors: &mut ErrorList) {
    let ratios = limit.field("maxLimitRequestRatio");
    let at = ratios.key(name);
    let Some(ratio) = formats::quantity(&at) else { return };
    if ratio.nano < 1_000_000_000 {
        at.invalid(errors, &format!("ratio {ratio} is less than 1"));
    }
    let of = |field: &str| formats::quantity(&At::root(child(child(limit.value, field), name)));
    let (Some(min), Some(max)) = (of("min"), of("max")) else { return };
    let most = max.nano as f64 / min.nano as f64;
    if ratio.nano as f64 / 1e9 > most {
        at.invalid(errors, &format!("ratio {ratio} is greater than max/min = {most:.6}"));
    }
}
