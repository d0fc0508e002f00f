//! HorizontalPodAutoscaler, in the form it is stored in: autoscaling/v2.

use api_machinery::{ErrorList, GroupResource, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{ABOVE_ZERO, At, child, is_empty};
use crate::list::autoscaling_metric::{self as metric, SOURCES};
use crate::{Kind, cells, formats, meta};

pub(crate) struct HorizontalPodAutoscaler;

/// What autoscaling/v1 has no fields for is in these, and in no object that has the fields.
const ANNOTATIONS: [&str; 6] = [
    "autoscaling.alpha.kubernetes.io/metrics",
    "autoscaling.alpha.kubernetes.io/behavior",
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
    "autoscaling.alpha.kubernetes.io/current-metrics",
    "autoscaling.alpha.kubernetes.io/conditions",
];

const MAX_PERIOD: i64 = 1800;
const MAX_WINDOW: i64 = 3600;
/// So many metrics are shown in a cell.
const SHOWN: usize = 2;

impl Kind for HorizontalPodAutoscaler {
    fn resource(&self) -> GroupResource {
        GroupResource::new("autoscaling", "horizontalpodautoscalers")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
               "metadata": {"name": "x", "namespace": "default"},
               "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
                        "minReplicas": 1, "maxReplicas": 3}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn default(&self, object: &mut Value) {
        if child(object, "apiVersion") == "autoscaling/v1" {
            return;
        }
        drop_annotations(object);
        if !object["spec"].is_object() {
            return;
        }
        let spec = &mut object["spec"];
        if is_empty(child(spec, "metrics")) {
            spec["metrics"] = json!([{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 80}}}]);
        }
        if child(spec, "behavior").is_object() {
            default_behavior(&mut spec["behavior"]);
        }
    }
    /// A changed one is looked at in [`Self::validate_update`], as what was there before is believed.
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        if meta::is_new(object) {
            validate_spec(&At::root(object).field("spec"), &Value::Null, errors);
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        validate_spec(&At::root(object).field("spec"), child(old, "spec.scaleTargetRef"), errors);
    }
    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        for field in ["currentReplicas", "desiredReplicas"] {
            root.field("status").field(field).not_negative(errors);
        }
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let target = child(object, "spec.scaleTargetRef");
        let reference = format!("{}/{}", object::str_at(target, "kind"), object::str_at(target, "name"));
        let least = child(object, "spec.minReplicas").as_i64().map_or("<unset>".to_owned(), |least| least.to_string());
        Some(vec![
            cells::name(object),
            reference.into(),
            targets(object).into(),
            least.into(),
            cells::int(object, "spec.maxReplicas").to_string().into(),
            cells::int(object, "status.currentReplicas").to_string().into(),
            cells::age(object, now),
        ])
    }
}

/// Takes away what the fields say, if they say anything.
fn drop_annotations(object: &mut Value) {
    let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let Some(annotations) = meta.get_mut("annotations").and_then(Value::as_object_mut) else { return };
    annotations.retain(|key, _| !ANNOTATIONS.contains(&key.as_str()));
    if annotations.is_empty() {
        meta.remove("annotations");
    }
}

fn default_behavior(behavior: &mut Value) {
    let up = json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]});
    let down = json!({"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]});
    for (direction, defaults) in [("scaleUp", up), ("scaleDown", down)] {
        if !behavior[direction].is_object() {
            behavior[direction] = json!({});
        }
        for (field, value) in defaults.as_object().into_iter().flatten() {
            if child(child(behavior, direction), field).is_null() {
                behavior[direction][field] = value.clone();
            }
        }
    }
}

/// `believed` is a target whose version is right, whatever it is.
fn validate_spec(spec: &At<'_>, believed: &Value, errors: &mut ErrorList) {
    validate_bounds(spec, errors);
    let target = spec.field("scaleTargetRef");
    metric::validate_reference(&target, errors);
    let same = |field: &str| object::str_at(target.value, field) == object::str_at(believed, field);
    if believed.is_null() || !same("kind") || !same("apiVersion") {
        let in_core = target.field("kind").str() == "ReplicationController";
        metric::validate_version(&target.field("apiVersion"), in_core, errors);
    }
    validate_metrics(spec, errors);
    for direction in ["scaleUp", "scaleDown"] {
        validate_rules(&spec.field("behavior").field(direction), errors);
    }
}

fn validate_bounds(spec: &At<'_>, errors: &mut ErrorList) {
    let (least, most) = (spec.field("minReplicas"), spec.field("maxReplicas"));
    least.at_least(errors, 1, "must be greater than or equal to 1");
    if most.int().unwrap_or(0) == 0 {
        most.required(errors, "must be set and greater than 0");
    }
    most.at_least(errors, 0, "must be greater than or equal to 1");
    if least.int().is_some_and(|least| most.int().unwrap_or(0) < least) {
        let shown = Value::from(most.int().unwrap_or(0));
        errors.invalid(&most.path(), &shown, "must be greater than or equal to `minReplicas`");
    }
}

/// Only what is not about pods can tell that the first pod is wanted.
fn validate_metrics(spec: &At<'_>, errors: &mut ErrorList) {
    let metrics = spec.field("metrics");
    metrics.items().for_each(|one| metric::validate(&one, errors));
    let outside = |one: At<'_>| matches!(one.field("type").str(), "Object" | "External");
    if spec.field("minReplicas").int() == Some(0) && !metrics.items().any(outside) {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        metrics.forbidden(errors, detail);
    }
}

fn validate_rules(rules: &At<'_>, errors: &mut ErrorList) {
    if !rules.present() {
        return;
    }
    let window = rules.field("stabilizationWindowSeconds");
    window.at_least(errors, 0, "must be greater than or equal to zero");
    if window.int().is_some_and(|seconds| seconds > MAX_WINDOW) {
        window.invalid(errors, &format!("must be less than or equal to {MAX_WINDOW}"));
    }
    rules.field("selectPolicy").one_of_if_present(errors, &["Disabled", "Max", "Min"]);
    let policies = rules.field("policies");
    if policies.is_empty() {
        policies.required(errors, "must specify at least one Policy");
    }
    for policy in policies.items() {
        policy.field("type").exactly_one_of(errors, &["Percent", "Pods"]);
        for field in ["value", "periodSeconds"] {
            let at = policy.field(field);
            let number = at.int().unwrap_or(0);
            if number <= 0 {
                errors.invalid(&at.path(), &Value::from(number), ABOVE_ZERO);
            } else if field == "periodSeconds" && number > MAX_PERIOD {
                at.invalid(errors, &format!("must be less than or equal to {MAX_PERIOD}"));
            }
        }
    }
    formats::quantity_not_negative(&rules.field("tolerance"), errors);
}

/// `cpu: 12%/80%, memory: <unknown>/1Gi + 1 more...`
fn targets(object: &Value) -> String {
    let metrics = cells::list(object, "spec.metrics");
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let current = cells::list(object, "status.currentMetrics");
    let texts: Vec<String> =
        metrics.iter().enumerate().take(SHOWN).map(|(index, metric)| target(metric, current.get(index))).collect();
    let text = texts.join(", ");
    if metrics.len() > SHOWN { format!("{text} + {} more...", metrics.len() - SHOWN) } else { text }
}

fn target(metric: &Value, current: Option<&Value>) -> String {
    let kind = object::str_at(metric, "type");
    let Some((_, field)) = SOURCES.iter().find(|(name, _)| *name == kind) else { return "<unknown type>".to_owned() };
    let (source, seen) = (child(metric, field), current.map_or(&Value::Null, |current| child(current, field)));
    let now = |field: &str| match child(child(seen, "current"), field) {
        Value::String(text) => text.clone(),
        Value::Number(number) => format!("{number}%"),
        _ => "<unknown>".to_owned(),
    };
    let wanted = |field: &str| object::str_at(child(source, "target"), field).to_owned();
    let utilization = child(source, "target.averageUtilization").as_i64();
    let average = !wanted("averageValue").is_empty();
    match kind {
        "Resource" | "ContainerResource" => {
            let name = object::str_at(source, "name");
            match (average, utilization) {
                (true, _) => format!("{name}: {}/{}", now("averageValue"), wanted("averageValue")),
                (false, Some(percent)) => format!("{name}: {}/{percent}%", now("averageUtilization")),
                (false, None) => format!("{name}: {}/<auto>", now("averageUtilization")),
            }
        }
        "Pods" => format!("{}/{}", now("averageValue"), wanted("averageValue")),
        _ if average => format!("{}/{} (avg)", now("averageValue"), wanted("averageValue")),
        _ => format!("{}/{}", now("value"), wanted("value")),
    }
}
