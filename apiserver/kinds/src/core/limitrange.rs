//! LimitRange.

use std::collections::{BTreeSet, HashSet};

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use serde_json::{Map, json};

use crate::at::{At, child};
use crate::list::core_resource_name as resource_name;
use crate::{Kind, formats, meta};

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
    /// One without a name is called as its uid.
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        let uid = object::uid(object).to_owned();
        if object::name(object).is_empty() && !uid.is_empty() {
            object::meta_mut(object).insert("name".to_owned(), uid.into());
        }
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        meta::validate_again(self, object, true, errors);
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
    let of_pod = kind == "Pod";
    validate_names(limit, kind, &["max", "min"], errors);
    let defaults = ["default", "defaultRequest"];
    if !of_pod {
        validate_names(limit, kind, &defaults, errors);
    }
    for at in defaults.map(|field| limit.field(field)).iter().filter(|at| of_pod && !at.is_empty()) {
        at.forbidden(errors, "may not be specified when `type` is 'Pod'");
    }
    if kind == "PersistentVolumeClaim" {
        let set = |field: &str| !child(child(limit.value, field), "storage").is_null();
        if !set("min") && !set("max") {
            limit
                .field("limits")
                .required(errors, "either minimum or maximum storage value is required, but neither was provided");
        }
    }
    validate_names(limit, kind, &["maxLimitRequestRatio"], errors);
    let lists = ["max", "min", "maxLimitRequestRatio"].into_iter().chain(defaults.into_iter().filter(|_| !of_pod));
    let lists = lists.filter_map(|field| child(limit.value, field).as_object());
    let names: BTreeSet<&str> = lists.flat_map(|list| list.keys().map(String::as_str)).collect();
    for name in names {
        validate_order(limit, name, of_pod, errors);
        validate_ratio(limit, name, errors);
        if !of_pod {
            validate_fixed(limit, name, errors);
        }
    }
}

fn validate_names(limit: &At<'_>, kind: &str, fields: &[&str], errors: &mut ErrorList) {
    for list in fields.iter().map(|field| limit.field(field)) {
        for (name, amount) in list.entries() {
            if matches!(kind, "Pod" | "Container") {
                resource_name::validate_for_container(&amount, name, errors);
            } else {
                resource_name::validate(&amount, name, errors);
            }
        }
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
    let default = formats::quantity(&limit.field("default").key(name));
    if let (false, Some(default), Some(asked)) =
        (resource_name::is_overcommittable(name), default, formats::quantity(&request))
        && default.nano != asked.nano
    {
        let detail = format!("default value {default} must equal to defaultRequest value {asked} in {name}");
        request.invalid(errors, &detail);
    }
}

/// `min <= defaultRequest <= default <= max`; defaults of pods are forbidden, and looked at no further.
fn validate_order(limit: &At<'_>, name: &str, of_pod: bool, errors: &mut ErrorList) {
    /// The field the error is at, the one it shows, and the two that are compared.
    const PAIRS: [(&str, &str, &str, &str); 6] = [
        ("min", "min", "min", "max"),
        ("defaultRequest", "defaultRequest", "min", "defaultRequest"),
        ("defaultRequest", "defaultRequest", "defaultRequest", "max"),
        ("defaultRequest", "defaultRequest", "defaultRequest", "default"),
        ("default", "min", "min", "default"),
        ("default", "max", "default", "max"),
    ];
    let of = |field: &str| formats::quantity(&limit.field(field).key(name));
    for (place, shown, low, high) in PAIRS.iter().filter(|(place, ..)| !of_pod || *place == "min") {
        let (Some(less), Some(more)) = (of(low), of(high)) else { continue };
        if less.nano > more.nano {
            let at = limit.field(place);
            let called = match (*low, *high) {
                (_, "defaultRequest") => "default request",
                ("defaultRequest", "default") => "default limit",
                (_, high) => high,
            };
            let low = if *low == "defaultRequest" { "default request" } else { *low };
            let detail = format!("{low} value {less} is greater than {called} value {more}");
            errors.invalid(&at.key(name).path(), limit.field(shown).key(name).value, &detail);
        }
    }
}

fn validate_ratio(limit: &At<'_>, name: &str, errors: &mut ErrorList) {
    let ratios = limit.field("maxLimitRequestRatio");
    let at = ratios.key(name);
    let Some(ratio) = formats::quantity(&at) else { return };
    if ratio.nano < 1_000_000_000 {
        at.invalid(errors, &format!("ratio {ratio} is less than 1"));
    }
    let of = |field: &str| formats::quantity(&limit.field(field).key(name));
    let (Some(min), Some(max)) = (of("min"), of("max")) else { return };
    let most = max.nano as f64 / min.nano as f64;
    if ratio.nano as f64 / 1e9 > most {
        at.invalid(errors, &format!("ratio {ratio} is greater than max/min = {most:.6}"));
    }
}
