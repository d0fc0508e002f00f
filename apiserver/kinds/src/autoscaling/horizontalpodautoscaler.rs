//! HorizontalPodAutoscaler, in the form it is stored in: autoscaling/v2.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{ABOVE_ZERO, At, POSITIVE, child, is_empty};
use crate::list::core_resource_name as resource_name;
use crate::{Kind, cells, formats};

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
        if most.int().unwrap_or(0) == 0 {
            most.required(errors, "must be set and greater than 0");
        }
        most.at_least(errors, 0, "must be greater than or equal to 1");
        if least.int().is_some_and(|least| most.int().unwrap_or(0) < least) {
            let shown = Value::from(most.int().unwrap_or(0));
            errors.invalid(&most.path(), &shown, "must be greater than or equal to `minReplicas`");
        }
        let target = spec.field("scaleTargetRef");
        validate_reference(&target, errors);
        // Of what is stored, the version is believed.
        if object::resource_version(object).is_empty() {
            let in_core = target.field("kind").str() == "ReplicationController";
            validate_version(&target.field("apiVersion"), in_core, errors);
        }
        for metric in spec.field("metrics").items() {
            validate_metric(&metric, errors);
        }
        for direction in ["scaleUp", "scaleDown"] {
            validate_rules(&spec.field("behavior").field(direction), errors);
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let target = root.field("spec.scaleTargetRef");
        let same = |field: &str| {
            object::str_at(target.value, field) == object::str_at(child(old, "spec.scaleTargetRef"), field)
        };
        if !same("kind") || !same("apiVersion") {
            let in_core = target.field("kind").str() == "ReplicationController";
            validate_version(&target.field("apiVersion"), in_core, errors);
        }
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

/// `GROUP/VERSION`; only what is in the core group has none.
fn validate_version(version: &At<'_>, in_core: bool, errors: &mut ErrorList) {
    let text = version.str();
    let detail = match text.matches('/').count() {
        0 | 1 if text.contains('/') || in_core => return,
        0 | 1 => "apiVersion must specify API group".to_owned(),
        _ => format!("unexpected GroupVersion string: {text}"),
    };
    errors.invalid(&version.path(), &Value::from(text), &detail);
}

/// Exactly the source that the type names. Of several, the first one is looked at.
fn validate_metric(metric: &At<'_>, errors: &mut ErrorList) {
    const ORDER: [&str; 5] = ["object", "external", "pods", "resource", "containerResource"];
    let kind = metric.field("type");
    let all = SOURCES.map(|(name, _)| name);
    if kind.is_empty() {
        kind.required(errors, "must specify a metric source type");
    }
    kind.exactly_one_of(errors, &all);
    let present: Vec<&str> = ORDER.into_iter().filter(|field| metric.field(field).present()).collect();
    if let Some(first) = present.first() {
        validate_source(first, &metric.field(first), errors);
    }
    let wanted = SOURCES.iter().find(|(name, _)| *name == kind.str()).map(|(_, field)| *field);
    match wanted {
        Some(field) if !present.contains(&field) => {
            metric.field(field).required(errors, "must populate information for the given metric source");
        }
        Some(_) => {}
        // Upstream says it twice.
        None => kind.exactly_one_of(errors, &all),
    }
    for field in present.iter().filter(|field| present.len() > 1 && Some(**field) != wanted) {
        metric.field(field).forbidden(errors, "must populate the given metric source only");
    }
}

fn validate_source(kind: &str, source: &At<'_>, errors: &mut ErrorList) {
    let target = source.field("target");
    if kind == "resource" || kind == "containerResource" {
        let name = source.field("name");
        if name.is_empty() {
            name.required(errors, "must specify a resource name");
        } else if kind == "containerResource" {
            resource_name::validate_for_container(&name, name.str(), errors);
        }
        if kind == "containerResource" {
            let container = source.field("container");
            if container.is_empty() {
                container.required(errors, "must specify a container");
            } else {
                container.format(errors, names::dns1123_label);
            }
        }
        validate_target(&target, errors);
        return validate_amount_of_resource(&target, errors);
    }
    if kind == "object" {
        let described = source.field("describedObject");
        validate_reference(&described, errors);
        validate_version(&described.field("apiVersion"), true, errors);
    }
    let name = source.field("metric.name");
    if name.is_empty() {
        name.required(errors, "must specify a metric name");
    } else {
        name.format(errors, names::path_segment);
    }
    validate_target(&target, errors);
    validate_amount_of_metric(kind, &target, errors);
}

fn validate_amount_of_resource(target: &At<'_>, errors: &mut ErrorList) {
    let (utilization, average) = (target.field("averageUtilization"), target.field("averageValue"));
    match (utilization.present(), average.present()) {
        (false, false) => {
            utilization.required(errors, "must set either a target raw value or a target utilization");
        }
        (true, true) => average.forbidden(errors, "may not set both a target raw value and a target utilization"),
        _ => {}
    }
}

fn validate_amount_of_metric(kind: &str, target: &At<'_>, errors: &mut ErrorList) {
    let (value, average) = (target.field("value"), target.field("averageValue"));
    let detail = match (kind, value.present(), average.present()) {
        ("pods", _, false) => "must specify a positive target averageValue",
        ("object", false, false) => "must set either a target value or averageValue",
        ("external", false, false) => "must set either a target value for metric or a per-pod target",
        ("external", true, true) => {
            return value.forbidden(errors, "may not set both a target value for metric and a per-pod target");
        }
        _ => return,
    };
    average.required(errors, detail);
}

fn validate_target(target: &At<'_>, errors: &mut ErrorList) {
    let kind = target.field("type");
    if kind.is_empty() {
        kind.required(errors, "must specify a metric target type");
    }
    if !["Utilization", "Value", "AverageValue"].contains(&kind.str()) {
        errors.invalid(&kind.path(), &kind.str().into(), "must be either Utilization, Value, or AverageValue");
    }
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
