//! LimitRanger: what containers, pods and claims of a namespace ask for by default, at least and at most.

use std::sync::Arc;

use api_machinery::quantity::Quantity;
use api_machinery::quota::Amounts;
use api_machinery::{ApiError, Value, object, quota};
use async_trait::async_trait;

use crate::lookup::items;
use crate::{Attributes, Operation, Plugin, View, lookup};

pub(crate) struct LimitRanger;

/// Says what was set, as upstream does.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

#[async_trait]
impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }
    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(pod) = object.filter(|_| concerns_pod(attributes)) else { return Ok(()) };
        for range in ranges(attributes, view) {
            set_defaults(pod, &range);
        }
        Ok(())
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(object) = object else { return Ok(()) };
        let check: fn(&Value, &Value, &mut Vec<String>) = if concerns_pod(attributes) {
            check_pod
        } else if attributes.writes("", "persistentvolumeclaims") && !is_going(attributes) {
            check_claim
        } else {
            return Ok(());
        };
        for range in ranges(attributes, view) {
            let mut found = Vec::new();
            for limit in items(&range, "spec.limits") {
                check(object, limit, &mut found);
            }
            if !found.is_empty() {
                let why = if found.len() == 1 { found.remove(0) } else { format!("[{}]", found.join(", ")) };
                return Err(attributes.forbidden(Some(object), &why));
            }
        }
        Ok(())
    }
}

/// A new pod, or one that is resized.
fn concerns_pod(attributes: &Attributes<'_>) -> bool {
    let resizes = attributes.operation == Operation::Update && attributes.subresource == "resize";
    attributes.creates("", "pods") || (resizes && attributes.is_any_of("", "pods") && !is_going(attributes))
}

/// What goes is let go, whatever it is.
fn is_going(attributes: &Attributes<'_>) -> bool {
    attributes.old.is_some_and(|old| object::deletion_timestamp(old).is_some())
}

fn ranges(attributes: &Attributes<'_>, view: &dyn View) -> Vec<Arc<Value>> {
    lookup::list(view, "", "limitranges", Some(attributes.namespace))
}

/// Defaults of a range for what containers leave out.
fn set_defaults(pod: &mut Value, range: &Value) {
    let of_containers =
        || items(range, "spec.limits").iter().filter(|limit| object::str_at(limit, "type") == "Container");
    let mut said = Vec::new();
    for list in ["containers", "initContainers"] {
        let containers = pod.get_mut("spec").and_then(|spec| spec.get_mut(list)).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            for limit in of_containers() {
                let kind = if list == "containers" { "container" } else { "init container" };
                for (field, of, word) in [("requests", "defaultRequest", "request"), ("limits", "default", "limit")] {
                    let set = merge(container, field, limit.get(of));
                    if !set.is_empty() {
                        let name = object::str_at(container, "name");
                        said.push(format!("{} {word} for {kind} {name}", set.join(", ")));
                    }
                }
            }
        }
    }
    if said.is_empty() {
        return;
    }
    let annotations = object::meta_mut(pod).entry("annotations").or_insert_with(|| Value::Object(Default::default()));
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(ANNOTATION.to_owned(), format!("LimitRanger plugin set: {}", said.join("; ")).into());
    }
}

/// Adds missing amounts; answers the names of what was added.
fn merge(container: &mut Value, field: &str, defaults: Option<&Value>) -> Vec<String> {
    let Some(defaults) = defaults.and_then(Value::as_object).filter(|map| !map.is_empty()) else { return Vec::new() };
    let mut set = Vec::new();
    for (name, amount) in defaults {
        let own = object::at(container, "resources").and_then(|own| own.get(field)).and_then(|own| own.get(name));
        if own.is_none() {
            container["resources"][field][name] = amount.clone();
            set.push(name.clone());
        }
    }
    set
}

struct Asked {
    requests: Amounts,
    limits: Amounts,
}

fn check_pod(pod: &Value, limit: &Value, found: &mut Vec<String>) {
    match object::str_at(limit, "type") {
        "Container" => {
            for container in items(pod, "spec.containers").iter().chain(items(pod, "spec.initContainers")) {
                check(&asked(container), limit, found);
            }
        }
        "Pod" => check(&of_whole_pod(pod), limit, found),
        _ => {}
    }
}

fn asked(container: &Value) -> Asked {
    Asked {
        requests: quota::amounts(container, "resources.requests"),
        limits: quota::amounts(container, "resources.limits"),
    }
}

/// The sum of the containers and sidecars, or the largest init container where that is more.
fn of_whole_pod(pod: &Value) -> Asked {
    let (requests, limits) = quota::without_overhead(pod);
    Asked { requests, limits }
}

fn check(asked: &Asked, limit: &Value, found: &mut Vec<String>) {
    let kind = object::str_at(limit, "type");
    for (name, least) in quota::amounts(limit, "min") {
        let says = format!("minimum {name} usage per {kind} is {least}");
        match (asked.requests.get(&name), asked.limits.get(&name)) {
            (None, _) => found.push(format!("{says}.  No request is specified")),
            (Some(request), _) if request.nano < least.nano => found.push(format!("{says}, but request is {request}")),
            (_, Some(most)) if most.nano < least.nano => found.push(format!("{says}, but limit is {most}")),
            _ => {}
        }
    }
    for (name, most) in quota::amounts(limit, "max") {
        let says = format!("maximum {name} usage per {kind} is {most}");
        match (asked.requests.get(&name), asked.limits.get(&name)) {
            (_, None) => found.push(format!("{says}.  No limit is specified")),
            (_, Some(limit)) if limit.nano > most.nano => found.push(format!("{says}, but limit is {limit}")),
            (Some(request), _) if request.nano > most.nano => found.push(format!("{says}, but request is {request}")),
            _ => {}
        }
    }
    for (name, ratio) in quota::amounts(limit, "maxLimitRequestRatio") {
        check_ratio(asked, kind, &name, ratio, found);
    }
}

fn check_ratio(asked: &Asked, kind: &str, name: &str, most: Quantity, found: &mut Vec<String>) {
    let says = format!("{name} max limit to request ratio per {kind} is {most}");
    let request = asked.requests.get(name).filter(|request| request.nano > 0);
    let limit = asked.limits.get(name).filter(|limit| limit.nano > 0);
    match (request, limit) {
        (None, _) => found.push(format!("{says}, but no request is specified or request is 0")),
        (_, None) => found.push(format!("{says}, but no limit is specified or limit is 0")),
        (Some(request), Some(limit)) => {
            let ratio = limit.nano as f64 / request.nano as f64;
            if ratio > most.nano as f64 / 1e9 {
                found.push(format!("{says}, but provided ratio is {ratio:.6}"));
            }
        }
    }
}

fn check_claim(claim: &Value, limit: &Value, found: &mut Vec<String>) {
    if object::str_at(limit, "type") != "PersistentVolumeClaim" {
        return;
    }
    let requests = quota::amounts(claim, "spec.resources.requests");
    for (field, word, outside) in [
        ("min", "minimum", (|asked, bound| asked < bound) as fn(i128, i128) -> bool),
        ("max", "maximum", |asked, bound| asked > bound),
    ] {
        for (name, bound) in quota::amounts(limit, field) {
            let says = format!("{word} {name} usage per PersistentVolumeClaim is {bound}");
            match requests.get(&name) {
                None => found.push(format!("{says}.  No request is specified")),
                Some(asked) if outside(asked.nano, bound.nano) => found.push(format!("{says}, but request is {asked}")),
                Some(_) => {}
            }
        }
    }
}
