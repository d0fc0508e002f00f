//! Autoscalers as `autoscaling/v1` has them, whose fields know of no metric but the processor's. As upstream, the rest
//! travels in annotations: metrics and conditions in types of that version, behavior in the server's internal one.

use api_machinery::quantity::Quantity;
use api_machinery::quote::json_quoted;
use api_machinery::{Value, object};
use serde_json::{Map, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// What clients say in these is dropped: behavior holds tolerances, too.
const TOLERANCES: [&str; 2] =
    ["autoscaling.alpha.kubernetes.io/scale-down-tolerance", "autoscaling.alpha.kubernetes.io/scale-up-tolerance"];

/// Percent of the processor that is wanted where nothing is.
const DEFAULT_UTILIZATION: i64 = 80;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Always written.
    Text,
    /// Written as zero when there is none.
    Amount,
    /// Left out when there is none.
    Maybe,
    Selector,
    Reference,
}

/// Its name in `autoscaling/v1`, where `autoscaling/v2` has it, and how it is written.
type Field = (&'static str, &'static str, Shape);
/// Where a metric comes from, and its fields in the order they are written.
type Source = (&'static str, &'static [Field]);

const NAME: Field = ("metricName", "metric.name", Shape::Text);
const SELECTOR: Field = ("selector", "metric.selector", Shape::Selector);
const METRIC_SELECTOR: Field = ("metricSelector", "metric.selector", Shape::Selector);
const DESCRIBED: Field = ("target", "describedObject", Shape::Reference);
const RESOURCE: Field = ("name", "name", Shape::Text);
const CONTAINER: Field = ("container", "container", Shape::Text);
const UTILIZATION: Field = ("targetAverageUtilization", "target.averageUtilization", Shape::Maybe);
const AVERAGE: Field = ("targetAverageValue", "target.averageValue", Shape::Maybe);
const UTILIZATION_NOW: Field = ("currentAverageUtilization", "current.averageUtilization", Shape::Maybe);
const AVERAGE_NOW: Field = ("currentAverageValue", "current.averageValue", Shape::Amount);

/// What metrics are to be.
const TARGETS: [Source; 5] = [
    (
        "object",
        &[
            DESCRIBED,
            NAME,
            ("targetValue", "target.value", Shape::Amount),
            SELECTOR,
            ("averageValue", "target.averageValue", Shape::Maybe),
        ],
    ),
    ("pods", &[NAME, ("targetAverageValue", "target.averageValue", Shape::Amount), SELECTOR]),
    ("resource", &[RESOURCE, UTILIZATION, AVERAGE]),
    ("containerResource", &[RESOURCE, UTILIZATION, AVERAGE, CONTAINER]),
    ("external", &[NAME, METRIC_SELECTOR, ("targetValue", "target.value", Shape::Maybe), AVERAGE]),
];

/// What they are.
const CURRENT: [Source; 5] = [
    (
        "object",
        &[
            DESCRIBED,
            NAME,
            ("currentValue", "current.value", Shape::Amount),
            SELECTOR,
            ("averageValue", "current.averageValue", Shape::Maybe),
        ],
    ),
    ("pods", &[NAME, AVERAGE_NOW, SELECTOR]),
    ("resource", &[RESOURCE, UTILIZATION_NOW, AVERAGE_NOW]),
    ("containerResource", &[RESOURCE, UTILIZATION_NOW, AVERAGE_NOW, CONTAINER]),
    (
        "external",
        &[
            NAME,
            METRIC_SELECTOR,
            ("currentValue", "current.value", Shape::Amount),
            ("currentAverageValue", "current.averageValue", Shape::Maybe),
        ],
    ),
];

/// A value as the field of a part (`spec`, `status`) of the stored object has it, null when it says nothing; `None`
/// when it does not fit.
pub(crate) type Conform<'a> = dyn Fn(&str, &str, Value) -> Option<Value> + 'a;

pub(crate) fn to_v2(value: &mut Value, conform: &Conform<'_>) {
    value["apiVersion"] = "autoscaling/v2".into();
    let metrics = take_annotation(value, METRICS).map(|list| metrics_of(&list, &TARGETS, true));
    let current = take_annotation(value, CURRENT_METRICS).map(|list| metrics_of(&list, &CURRENT, false));
    let behavior = take_annotation(value, BEHAVIOR);
    let conditions = take_annotation(value, CONDITIONS);
    for annotation in TOLERANCES {
        take_annotation(value, annotation);
    }
    let mut metrics = list_of(metrics.and_then(|list| conform("spec", "metrics", list)));
    metrics.extend(take(value, "spec", "targetCPUUtilizationPercentage").map(|target| wanted(&target)));
    if !metrics.is_empty() {
        put(value, "spec", "metrics", metrics.into());
    }
    let percentage = take(value, "status", "currentCPUUtilizationPercentage").map(|now| {
        let now = json!({"averageUtilization": now});
        json!([{"type": "Resource", "resource": {"name": "cpu", "current": now}}])
    });
    // The annotation says more than the field, even that there is nothing.
    let current = current.and_then(|list| conform("status", "currentMetrics", list)).or(percentage);
    let behavior = behavior.and_then(|behavior| conform("spec", "behavior", behavior));
    let conditions = conditions.and_then(|list| conform("status", "conditions", list));
    for (part, field, item) in
        [("status", "currentMetrics", current), ("spec", "behavior", behavior), ("status", "conditions", conditions)]
    {
        if let Some(item) = item.filter(|item| !is_empty(item)) {
            put(value, part, field, item);
        }
    }
}

/// What is wanted of an autoscaler in `autoscaling/v2` that says nothing.
pub(crate) fn default_metrics(value: &mut Value) {
    if object::at(value, "spec.metrics").is_none_or(is_empty) {
        put(value, "spec", "metrics", json!([wanted(&DEFAULT_UTILIZATION.into())]));
    }
}

pub(crate) fn to_v1(value: &mut Value) {
    value["apiVersion"] = "autoscaling/v1".into();
    for annotation in [METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR].into_iter().chain(TOLERANCES) {
        take_annotation(value, annotation);
    }
    let wanted = list_of(take(value, "spec", "metrics"));
    let (cpu, others): (Vec<Value>, Vec<Value>) =
        wanted.into_iter().partition(|metric| utilization(metric, "target").is_some());
    if let Some(target) = cpu.first().and_then(|metric| utilization(metric, "target")) {
        put(value, "spec", "targetCPUUtilizationPercentage", target.clone());
    }
    if !others.is_empty() {
        annotate(value, METRICS, metrics_text(&others, &TARGETS));
    }
    let current = list_of(take(value, "status", "currentMetrics"));
    if let Some(now) = current.iter().rev().find_map(|metric| utilization(metric, "current")) {
        put(value, "status", "currentCPUUtilizationPercentage", now.clone());
    }
    if !current.is_empty() {
        annotate(value, CURRENT_METRICS, metrics_text(&current, &CURRENT));
    }
    if let Some(behavior) = take(value, "spec", "behavior") {
        annotate(value, BEHAVIOR, behavior_text(&behavior));
    }
    let conditions = list_of(take(value, "status", "conditions"));
    if !conditions.is_empty() {
        annotate(value, CONDITIONS, listed(conditions.iter().map(condition_text)));
    }
    // This version writes the number even when it is zero.
    if let Some(status) = value.get_mut("status").and_then(Value::as_object_mut) {
        status.entry("currentReplicas").or_insert_with(|| 0.into());
    }
}

fn wanted(percentage: &Value) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": percentage});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

/// Percent of the processor, where a metric is of that.
fn utilization<'v>(metric: &'v Value, at: &str) -> Option<&'v Value> {
    let is_cpu = object::str_at(metric, "type") == "Resource" && object::str_at(metric, "resource.name") == "cpu";
    let percentage = metric.get("resource")?.get(at)?.get("averageUtilization")?;
    (is_cpu && percentage.is_number()).then_some(percentage)
}

/// Metrics of an annotation; what is none stays as it is, to be refused later.
fn metrics_of(list: &Value, sources: &[Source], targeted: bool) -> Value {
    match list {
        Value::Array(list) => list.iter().map(|metric| metric_of(metric, sources, targeted)).collect(),
        other => other.clone(),
    }
}

fn metric_of(metric: &Value, sources: &[Source], targeted: bool) -> Value {
    if !metric.is_object() {
        return metric.clone();
    }
    let mut made = Map::new();
    if let Some(kind) = named(metric, "type") {
        made.insert("type".to_owned(), kind.clone());
    }
    for (name, fields) in sources {
        if let Some(source) = named(metric, name) {
            let source = if source.is_object() { source_of(name, source, fields, targeted) } else { source.clone() };
            made.insert((*name).to_owned(), source);
        }
    }
    Value::Object(made)
}

fn source_of(name: &str, source: &Value, fields: &[Field], targeted: bool) -> Value {
    let mut made = json!({});
    for (served, stored, shape) in fields {
        let given = named(source, served).cloned();
        let given = given.or_else(|| (*shape == Shape::Amount).then(|| "0".into()));
        let Some(given) = given else { continue };
        match stored.split_once('.') {
            Some((part, field)) => made[part][field] = given,
            None => made[*stored] = given,
        }
    }
    if targeted {
        settle_target(name, &mut made["target"]);
    }
    made
}

/// A field that is set, in whatever case its name is: annotations are read by Go's own decoder.
fn named<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let map = value.as_object()?;
    let found =
        map.get(name).or_else(|| map.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, one)| one));
    found.filter(|one| !one.is_null())
}

/// Which of the numbers of a target counts.
fn settle_target(source: &str, target: &mut Value) {
    let has = |field: &str| target.get(field).is_some();
    let kind = match source {
        "object" if has("averageValue") => "AverageValue",
        "object" => "Value",
        "external" if has("value") => "Value",
        "resource" | "containerResource" if has("averageUtilization") => "Utilization",
        _ => "AverageValue",
    };
    let is_zero = |value: &Value| {
        let amount = value.as_str().and_then(|text| Quantity::parse(text).ok());
        amount.is_some_and(|amount| amount.is_zero())
    };
    let unset = source == "object" && has("averageValue") && target.get("value").is_some_and(is_zero);
    target["type"] = kind.into();
    if unset && let Some(target) = target.as_object_mut() {
        target.remove("value");
    }
}

fn metrics_text(metrics: &[Value], sources: &[Source]) -> String {
    listed(metrics.iter().map(|metric| {
        let kind = part("type", text_of(&metric["type"]));
        let sources = sources.iter().filter_map(|(name, fields)| {
            let source = metric.get(*name).filter(|source| source.is_object())?;
            let fields = fields.iter().filter_map(|(served, stored, shape)| {
                let value = object::at(source, stored).filter(|value| !value.is_null());
                Some(part(served, shape.text(value)?))
            });
            Some(part(name, braced(fields)))
        });
        braced(std::iter::once(kind).chain(sources))
    }))
}

impl Shape {
    fn text(self, value: Option<&Value>) -> Option<String> {
        match (self, value) {
            (Self::Maybe | Self::Selector, None) => None,
            (Self::Text, None) => Some("\"\"".to_owned()),
            (Self::Amount, None) => Some("\"0\"".to_owned()),
            (Self::Reference, None) => Some(r#"{"kind":"","name":""}"#.to_owned()),
            (Self::Selector, Some(value)) => Some(braced(set_parts(value, &["matchLabels", "matchExpressions"]))),
            (Self::Reference, Some(value)) => Some(braced(set_parts(value, &["kind", "name", "apiVersion"]))),
            (Self::Text | Self::Amount | Self::Maybe, Some(value)) => Some(text_of(value)),
        }
    }
}

/// With the names that fields have inside upstream's server, none of them left out.
fn behavior_text(behavior: &Value) -> String {
    braced([("ScaleUp", "scaleUp"), ("ScaleDown", "scaleDown")].into_iter().map(|(name, field)| {
        let rules = &behavior[field];
        if !rules.is_object() {
            return part(name, Value::Null);
        }
        let policies = match &rules["policies"] {
            Value::Array(policies) => listed(policies.iter().map(|policy| {
                let fields = [("Type", "type"), ("Value", "value"), ("PeriodSeconds", "periodSeconds")];
                braced(fields.into_iter().map(|(name, field)| part(name, text_of(&policy[field]))))
            })),
            _ => Value::Null.to_string(),
        };
        let rules = [
            part("StabilizationWindowSeconds", text_of(&rules["stabilizationWindowSeconds"])),
            part("SelectPolicy", text_of(&rules["selectPolicy"])),
            part("Policies", policies),
            part("Tolerance", text_of(&rules["tolerance"])),
        ];
        part(name, braced(rules.into_iter()))
    }))
}

fn condition_text(condition: &Value) -> String {
    let always = ["type", "status", "lastTransitionTime"].into_iter();
    let always = always.map(|field| part(field, text_of(&condition[field])));
    braced(always.chain(set_parts(condition, &["reason", "message"])))
}

/// The fields that are there.
fn set_parts<'v>(value: &'v Value, fields: &'v [&'v str]) -> impl Iterator<Item = String> + 'v {
    let set = move |field: &&'v str| value.get(*field).filter(|value| !is_empty(value));
    fields.iter().filter_map(move |field| Some(part(field, text_of(set(field)?))))
}

/// As Go writes it.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => json_quoted(text),
        Value::Array(list) => listed(list.iter().map(text_of)),
        Value::Object(map) => {
            braced(map.iter().map(|(name, value)| format!("{}:{}", json_quoted(name), text_of(value))))
        }
        other => other.to_string(),
    }
}

fn part(name: &str, text: impl std::fmt::Display) -> String {
    format!("{name:?}:{text}")
}

fn braced(parts: impl Iterator<Item = String>) -> String {
    format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
}

fn listed(parts: impl Iterator<Item = String>) -> String {
    format!("[{}]", parts.collect::<Vec<_>>().join(","))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn list_of(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

/// Removes a field that is there and not null.
fn take(value: &mut Value, part: &str, field: &str) -> Option<Value> {
    value.get_mut(part)?.as_object_mut()?.remove(field).filter(|value| !value.is_null())
}

fn put(value: &mut Value, part: &str, field: &str, item: Value) {
    if let Some(map) = value.as_object_mut() {
        let part = map.entry(part).or_insert_with(|| Value::Object(Map::new()));
        if let Some(part) = part.as_object_mut() {
            part.insert(field.to_owned(), item);
        }
    }
}

fn annotate(value: &mut Value, key: &str, text: String) {
    let annotations = object::meta_mut(value).entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    if let Some(map) = annotations.as_object_mut() {
        map.insert(key.to_owned(), text.into());
    }
}

/// The JSON of an annotation, which is removed; `None` where it is none.
fn take_annotation(value: &mut Value, key: &str) -> Option<Value> {
    let meta = object::meta_mut(value);
    let annotations = meta.get_mut("annotations")?.as_object_mut()?;
    let text = annotations.remove(key)?;
    if annotations.is_empty() {
        meta.remove("annotations");
    }
    serde_json::from_str(text.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use api_schema::{Resource, Schema};

    use super::*;
    use crate::convert;

    fn served() -> &'static Resource {
        Schema::builtin().resource("autoscaling", "v1", "horizontalpodautoscalers").expect("served")
    }

    fn v1_of(v2: &Value) -> Value {
        convert::from_storage(served(), v2.clone())
    }

    fn v2_of(v1: &Value) -> Value {
        convert::as_stored(Schema::builtin(), served(), v1.clone())
    }

    fn there_and_back(v2: &Value) -> (Value, Value) {
        let v1 = v1_of(v2);
        let back = v2_of(&v1);
        (v1, back)
    }

    /// What becomes of annotations, in `spec` and `status`.
    fn read(annotations: &Value, status: Value) -> [Value; 2] {
        let mut v2 = v2_of(&json!({"apiVersion": "autoscaling/v1", "spec": {}, "status": status,
            "metadata": {"name": "x", "annotations": annotations}}));
        assert_eq!(v2["metadata"], json!({"name": "x"}));
        [v2["spec"].take(), v2["status"].take()]
    }

    #[test]
    fn what_has_no_field_travels_in_annotations() {
        let queue = json!({"type": "External", "external": {
            "metric": {"name": "q", "selector": {"matchLabels": {"a": "b"}}},
            "target": {"type": "AverageValue", "averageValue": "3"}}});
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {
            "type": "Utilization", "averageUtilization": 50}}});
        let behavior = json!({"scaleUp": {"stabilizationWindowSeconds": 5, "selectPolicy": "Max", "policies": [
            {"type": "Pods", "value": 1, "periodSeconds": 15}]}, "scaleDown": {"tolerance": "50m"}});
        let v2 = json!({"apiVersion": "autoscaling/v2", "metadata": {"name": "x"},
            "spec": {"metrics": [queue, cpu], "behavior": behavior}});
        let (v1, back) = there_and_back(&v2);
        assert_eq!(v1["spec"], json!({"targetCPUUtilizationPercentage": 50}));
        let annotations = &v1["metadata"]["annotations"];
        let metrics = r#"[{"type":"External","external":{"metricName":"q","metricSelector":{"matchLabels":{"a":"b"}},"#;
        assert_eq!(annotations[METRICS], format!(r#"{metrics}"targetAverageValue":"3"}}}}]"#));
        let rules = r#"{"ScaleUp":{"StabilizationWindowSeconds":5,"SelectPolicy":"Max","#;
        let policies = r#""Policies":[{"Type":"Pods","Value":1,"PeriodSeconds":15}],"Tolerance":null},"#;
        let down = r#""StabilizationWindowSeconds":null,"SelectPolicy":null,"Policies":null,"Tolerance":"50m""#;
        assert_eq!(annotations[BEHAVIOR], format!(r#"{rules}{policies}"ScaleDown":{{{down}}}}}"#));
        assert_eq!(back, v2);
    }

    #[test]
    fn the_processor_of_now_is_told_twice() {
        let current = json!({"type": "Resource", "resource": {"name": "cpu", "current": {
            "averageUtilization": 7, "averageValue": "0"}}});
        let target = json!({"type": "AverageValue", "averageValue": "1"});
        let v2 = json!({"apiVersion": "autoscaling/v2", "metadata": {"name": "x"},
            "spec": {"metrics": [{"type": "Pods", "pods": {"metric": {"name": "m"}, "target": target}}]},
            "status": {"currentReplicas": 0, "currentMetrics": [current]}});
        let (v1, back) = there_and_back(&v2);
        assert_eq!(v1["status"], json!({"currentReplicas": 0, "currentCPUUtilizationPercentage": 7}));
        assert_eq!(
            v1["metadata"]["annotations"][CURRENT_METRICS],
            r#"[{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":7,"currentAverageValue":"0"}}]"#
        );
        assert_eq!(back, v2);
    }

    #[test]
    fn texts_are_written_as_go_does() {
        let condition = json!({"type": "ScalingActive", "status": "False", "lastTransitionTime": "2026-01-02T03:04:05Z",
            "reason": "R", "message": "1 < 2 & \"3\" \u{2028}"});
        let selector = json!({"matchExpressions": [{"key": "<k>", "operator": "In", "values": ["&"]}]});
        let v2 = json!({"apiVersion": "autoscaling/v2", "metadata": {"name": "x"},
            "spec": {"metrics": [{"type": "Object", "object": {
                "describedObject": {"kind": "Service", "name": "<s>", "apiVersion": "v1"},
                "metric": {"name": "m>n", "selector": selector},
                "target": {"type": "AverageValue", "averageValue": "2"}}}]},
            "status": {"currentReplicas": 1, "conditions": [condition]}});
        let (v1, back) = there_and_back(&v2);
        let annotations = &v1["metadata"]["annotations"];
        let head =
            r#"[{"type":"ScalingActive","status":"False","lastTransitionTime":"2026-01-02T03:04:05Z","reason":"R","#;
        assert_eq!(annotations[CONDITIONS], format!(r#"{head}"message":"1 \u003c 2 \u0026 \"3\" \u2028"}}]"#));
        let object = [
            r#"[{"type":"Object","object":{"target":{"kind":"Service","name":"\u003cs\u003e","apiVersion":"v1"},"#,
            r#""metricName":"m\u003en","targetValue":"0","selector":{"matchExpressions":[{"key":"\u003ck\u003e","#,
            r#""operator":"In","values":["\u0026"]}]},"averageValue":"2"}}]"#,
        ];
        assert_eq!(annotations[METRICS], object.concat());
        assert_eq!(back, v2);
    }

    #[test]
    fn annotations_that_fit_nothing_are_dropped() {
        for text in [
            "",
            "null",
            "[]",
            "{",
            r#"[{"type": 7}]"#,
            r#"[{"type": "Resource", "resource": {"name": "cpu", "targetAverageUtilization": "50"}}]"#,
            r#"[{"type": "Pods", "pods": {"metricName": "m", "targetAverageValue": "lots"}}]"#,
        ] {
            assert_eq!(read(&json!({METRICS: text}), json!({})), [json!({}), json!({})], "{text}");
        }
        for text in ["", "null", "{}", "[]", r#"{"ScaleUp": null}"#, r#"{"ScaleUp": {"Policies": {}}}"#] {
            assert_eq!(read(&json!({BEHAVIOR: text}), json!({})), [json!({}), json!({})], "{text}");
        }
        for text in ["", "null", "[]", r#"[{"lastTransitionTime": "today"}]"#] {
            assert_eq!(read(&json!({CONDITIONS: text}), json!({})), [json!({}), json!({})], "{text}");
        }
        let tolerances = json!({TOLERANCES[0]: "0.1", TOLERANCES[1]: "0.2"});
        assert_eq!(read(&tolerances, json!({})), [json!({}), json!({})]);
        let stored = json!({"apiVersion": "autoscaling/v2", "metadata": {"annotations": tolerances}, "spec": {}});
        assert_eq!(v1_of(&stored)["metadata"], json!({}));
    }

    #[test]
    fn current_metrics_take_the_place_of_the_percentage() {
        let now = || json!({"currentCPUUtilizationPercentage": 9});
        let of_field = json!({"currentMetrics": [
            {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 9}}}]});
        assert_eq!(read(&json!({CURRENT_METRICS: "no list"}), now())[1], of_field);
        // Even with none.
        for text in ["[]", "null"] {
            assert_eq!(read(&json!({CURRENT_METRICS: text}), now())[1], json!({}), "{text}");
        }
        let external = r#"[{"type": "External", "external": {"metricName": "q", "currentAverageValue": 3}}]"#;
        let current = json!({"value": "0", "averageValue": "3"});
        assert_eq!(
            read(&json!({CURRENT_METRICS: external}), now())[1],
            json!({"currentMetrics": [{"type": "External", "external": {"metric": {"name": "q"}, "current": current}}]})
        );
    }

    #[test]
    fn names_are_read_in_whatever_case() {
        let behavior = r#"{"scaleup": {"POLICIES": [{"type": "Pods", "VALUE": 1, "other": 2}], "tolerance": 0.1}}"#;
        let metrics = r#"[{"Type": "Pods", "PODS": {"metricname": "m", "Selector": {"MatchLabels": {"A": "b"}}}}]"#;
        let pods = json!({"metric": {"name": "m", "selector": {"matchLabels": {"A": "b"}}},
            "target": {"type": "AverageValue", "averageValue": "0"}});
        assert_eq!(
            read(&json!({METRICS: metrics, BEHAVIOR: behavior}), json!({}))[0],
            json!({"metrics": [{"type": "Pods", "pods": pods}],
                "behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 1}], "tolerance": "100m"}}})
        );
    }
}
