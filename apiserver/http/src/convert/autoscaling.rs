//! autoscaling/v1 HorizontalPodAutoscaler, stored as autoscaling/v2: one CPU target is a field,
//! everything else v1 has no field for travels in annotations, as upstream's conversion keeps it.

use api_machinery::Value;
use api_machinery::object::{annotation, meta_mut};
use serde_json::{Map, json};

use super::{Conversion, rename};

pub(super) struct Autoscalers;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const OWN: [&str; 4] = [METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR];

fn part<'a>(object: &'a Value, field: &str) -> Option<&'a Map<String, Value>> {
    object.get(field)?.as_object()
}

fn list<'a>(map: Option<&'a Map<String, Value>>, field: &str) -> &'a [Value] {
    map.and_then(|map| map.get(field)).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// `averageUtilization` of a v2 metric on CPU, target or current.
fn cpu_utilization<'a>(metric: &'a Value, holder: &str) -> Option<&'a Value> {
    let resource = metric.get("resource").filter(|resource| resource["name"] == "cpu")?;
    resource.get(holder)?.get("averageUtilization")
}

/// The first CPU utilization and the metrics that are not it.
fn split<'a>(metrics: &'a [Value], holder: &str) -> (Option<&'a Value>, Vec<&'a Value>) {
    let at = metrics.iter().position(|metric| cpu_utilization(metric, holder).is_some());
    let value = at.and_then(|at| cpu_utilization(&metrics[at], holder));
    let rest = metrics.iter().enumerate().filter(|(index, _)| Some(*index) != at).map(|(_, metric)| metric);
    (value, rest.collect())
}

fn annotate(object: &mut Value, key: &str, value: String) {
    let annotations = meta_mut(object).entry("annotations").or_insert_with(|| json!({}));
    if let Some(map) = annotations.as_object_mut() {
        map.insert(key.to_owned(), value.into());
    }
}

/// The JSON of one of our annotations; `None` when absent or not JSON.
fn annotated(object: &Value, key: &str) -> Option<Value> {
    serde_json::from_str(annotation(object, key)?).ok()
}

fn drop_annotations(object: &mut Value) {
    let metadata = meta_mut(object);
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|key, _| !OWN.contains(&key.as_str()));
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
}

impl Conversion for Autoscalers {
    fn to_served(&self, stored: &Value) -> Value {
        let mut served =
            json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "spec": {}, "status": {}});
        served["metadata"] = stored.get("metadata").cloned().unwrap_or_else(|| json!({}));
        let mut to = Map::new();
        let from = part(stored, "spec");
        let (cpu, rest) = split(list(from, "metrics"), "target");
        if let Some(from) = from {
            for name in ["scaleTargetRef", "minReplicas", "maxReplicas"] {
                rename(from, &mut to, name, name);
            }
        }
        if let Some(cpu) = cpu {
            to.insert("targetCPUUtilizationPercentage".to_owned(), cpu.clone());
        }
        served["spec"] = Value::Object(to);
        if !rest.is_empty() {
            annotate(&mut served, METRICS, json!(rest).to_string());
        }
        if let Some(behavior) = from.and_then(|from| from.get("behavior")) {
            annotate(&mut served, BEHAVIOR, behavior.to_string());
        }
        status_to_served(stored, &mut served);
        served
    }

    fn to_stored(&self, served: &Value) -> Value {
        let mut stored = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"});
        stored["metadata"] = served.get("metadata").cloned().unwrap_or_else(|| json!({}));
        drop_annotations(&mut stored);
        if let Some(from) = part(served, "spec") {
            let mut to = Map::new();
            for name in ["scaleTargetRef", "minReplicas", "maxReplicas"] {
                rename(from, &mut to, name, name);
            }
            let mut metrics = Vec::new();
            if let Some(target) = from.get("targetCPUUtilizationPercentage").filter(|target| !target.is_null()) {
                metrics.push(json!({"type": "Resource", "resource": {"name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": target}}}));
            }
            if let Some(Value::Array(rest)) = annotated(served, METRICS) {
                metrics.extend(rest);
            }
            if !metrics.is_empty() {
                to.insert("metrics".to_owned(), metrics.into());
            }
            if let Some(behavior) = annotated(served, BEHAVIOR) {
                to.insert("behavior".to_owned(), behavior);
            }
            stored["spec"] = Value::Object(to);
        }
        status_to_stored(served, &mut stored);
        stored
    }
}

const STATUS: [&str; 4] = ["observedGeneration", "lastScaleTime", "currentReplicas", "desiredReplicas"];

fn status_to_served(stored: &Value, served: &mut Value) {
    let Some(from) = part(stored, "status") else { return };
    let mut to = Map::new();
    for name in STATUS {
        rename(from, &mut to, name, name);
    }
    // v1 always sends both counts.
    for name in ["currentReplicas", "desiredReplicas"] {
        to.entry(name).or_insert_with(|| 0.into());
    }
    let (cpu, rest) = split(list(Some(from), "currentMetrics"), "current");
    if let Some(cpu) = cpu {
        to.insert("currentCPUUtilizationPercentage".to_owned(), cpu.clone());
    }
    served["status"] = Value::Object(to);
    if !rest.is_empty() {
        annotate(served, CURRENT_METRICS, json!(rest).to_string());
    }
    if let Some(conditions) = from.get("conditions") {
        annotate(served, CONDITIONS, conditions.to_string());
    }
}

fn status_to_stored(served: &Value, stored: &mut Value) {
    let Some(from) = part(served, "status") else { return };
    let mut to = Map::new();
    for name in STATUS {
        rename(from, &mut to, name, name);
    }
    let mut metrics = Vec::new();
    if let Some(current) = from.get("currentCPUUtilizationPercentage").filter(|current| !current.is_null()) {
        metrics
            .push(json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": current}}}));
    }
    if let Some(Value::Array(rest)) = annotated(served, CURRENT_METRICS) {
        metrics.extend(rest);
    }
    if !metrics.is_empty() {
        to.insert("currentMetrics".to_owned(), metrics.into());
    }
    if let Some(conditions) = annotated(served, CONDITIONS) {
        to.insert("conditions".to_owned(), conditions);
    }
    stored["status"] = Value::Object(to);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_loses_nothing() {
        let memory = json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}});
        let stored = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "h", "annotations": {"mine": "kept"}},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "minReplicas": 1, "maxReplicas": 3,
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}, memory]},
            "status": {"currentReplicas": 1, "desiredReplicas": 2, "conditions": [{"type": "ScalingActive", "status": "True"}],
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 7}}}]}});
        let served = Autoscalers.to_served(&stored);
        assert_eq!(served["spec"]["targetCPUUtilizationPercentage"], 80);
        assert_eq!(served["status"]["currentCPUUtilizationPercentage"], 7);
        assert!(served["spec"].get("metrics").is_none());
        assert_eq!(Autoscalers.to_stored(&served), stored);
    }

    #[test]
    fn a_plain_v1_object_becomes_one_cpu_metric() {
        let served = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
            "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"}, "targetCPUUtilizationPercentage": 50}});
        let stored = Autoscalers.to_stored(&served);
        assert_eq!(stored["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
        assert!(stored.get("status").is_none());
    }
}
