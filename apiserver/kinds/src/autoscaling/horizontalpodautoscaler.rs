//! HorizontalPodAutoscaler, in the form it is stored in: autoscaling/v2.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, POSITIVE, child, is_empty};
use crate::{Kind, cells, formats, selectors};

pub(crate) struct HorizontalPodAutoscaler;

const MAX_PERIOD: i64 = 1800;
const MAX_WINDOW: i64 = 3600;
/// So many metrics are shown in a cell.
const SHOWN: usize = 2;
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("External", "external"),
    ("ContainerResource", "containerResource"),
];

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
        if child(object, "apiVersion") == "autoscaling/v1" || !object["spec"].is_object() {
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
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        let (least, most) = (spec.field("minReplicas"), spec.field("maxReplicas"));
        least.at_least(errors, 1, "must be greater than or equal to 1");
        if most.int().unwrap_or(0) < 1 {
            errors.invalid(&most.path(), &Value::from(most.int().unwrap_or(0)), POSITIVE);
        }
        if least.int().is_some_and(|least| most.int().unwrap_or(0) < least) {
            most.invalid(errors, "must be greater than or equal to `minReplicas`");
        }
        validate_reference(&spec.field("scaleTargetRef"), errors);
        for metric in spec.field("metrics").items() {
            validate_metric(&metric, errors);
        }
        for direction in ["scaleUp", "scaleDown"] {
            validate_rules(&spec.field("behavior").field(direction), errors);
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

fn validate_reference(reference: &At<'_>, errors: &mut ErrorList) {
    for field in ["kind", "name"] {
        let at = reference.field(field);
        if at.need(errors) {
            at.format(errors, names::path_segment);
        }
    }
}

/// Exactly the source that the type names.
fn validate_metric(metric: &At<'_>, errors: &mut ErrorList) {
    let kind = metric.field("type");
    if kind.is_empty() {
        return kind.required(errors, "must specify a metric source type");
    }
    let Some((_, wanted)) = SOURCES.iter().find(|(name, _)| *name == kind.str()) else {
        let all: Vec<&str> = SOURCES.iter().map(|(name, _)| *name).collect();
        return kind.unsupported(errors, &all);
    };
    for (_, field) in SOURCES {
        let source = metric.field(field);
        if field == *wanted && !source.present() {
            source.required(errors, "must populate information for the given metric source");
        } else if field == *wanted {
            validate_source(field, &source, errors);
        } else if source.present() {
            source.forbidden(errors, "must populate the given metric source only");
        }
    }
}

fn validate_source(kind: &str, source: &At<'_>, errors: &mut ErrorList) {
    let target = source.field("target");
    let set = |field: &str| target.field(field).present();
    match kind {
        "resource" | "containerResource" => {
            source.field("name").need(errors);
            if kind == "containerResource" {
                source.field("container").need(errors);
            }
            validate_target(&target, errors);
            match (set("averageUtilization"), set("averageValue")) {
                (false, false) => {
                    let at = target.field("averageUtilization");
                    at.required(errors, "must set either a target raw value or a target utilization");
                }
                (true, true) => {
                    let at = target.field("averageValue");
                    at.forbidden(errors, "may not set both a target raw value and a target utilization");
                }
                _ => {}
            }
        }
        _ => {
            if kind == "object" {
                validate_reference(&source.field("describedObject"), errors);
            }
            let name = source.field("metric.name");
            if name.need(errors) {
                name.format(errors, names::path_segment);
            }
            selectors::label_selector(&source.field("metric.selector"), errors);
            validate_target(&target, errors);
            if kind == "pods" && !set("averageValue") {
                target.field("averageValue").required(errors, "must specify a positive target averageValue");
            }
            if kind != "pods" && !set("value") && !set("averageValue") {
                target
                    .field("averageValue")
                    .required(errors, "must set either a target value for metric or a per-pod target");
            }
        }
    }
}

fn validate_target(target: &At<'_>, errors: &mut ErrorList) {
    target.field("type").need_one_of(errors, &["AverageValue", "Utilization", "Value"]);
    for field in ["value", "averageValue"] {
        let at = target.field(field);
        if formats::quantity(&at).is_some_and(|amount| amount.nano <= 0) {
            at.invalid(errors, "must be positive");
        }
    }
    target.field("averageUtilization").at_least(errors, 1, POSITIVE);
}

fn validate_rules(rules: &At<'_>, errors: &mut ErrorList) {
    if !rules.present() {
        return;
    }
    let window = rules.field("stabilizationWindowSeconds");
    window.not_negative(errors);
    if window.int().is_some_and(|seconds| seconds > MAX_WINDOW) {
        window.invalid(errors, &format!("must be less than or equal to {MAX_WINDOW}"));
    }
    rules.field("selectPolicy").one_of(errors, &["Disabled", "Max", "Min"]);
    let policies = rules.field("policies");
    if policies.is_empty() {
        policies.required(errors, "must specify at least one Policy");
    }
    for policy in policies.items() {
        policy.field("type").one_of(errors, &["Percent", "Pods"]);
        for field in ["value", "periodSeconds"] {
            let at = policy.field(field);
            let number = at.int().unwrap_or(0);
            if number <= 0 {
                errors.invalid(&at.path(), &Value::from(number), POSITIVE);
            } else if field == "periodSeconds" && number > MAX_PERIOD {
                at.invalid(errors, &format!("must be less than or equal to {MAX_PERIOD}"));
            }
        }
    }
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
