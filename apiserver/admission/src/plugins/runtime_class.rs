//! RuntimeClass: a pod's class says what it costs on top and where it may run.

use std::sync::Arc;

use api_machinery::quantity::Quantity;
use api_machinery::{ApiError, Reason, Value, object};
use async_trait::async_trait;
use serde_json::json;

use crate::{Attributes, Plugin, View, lookup};

pub(crate) struct RuntimeClass;

#[async_trait]
impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }
    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(pod) = object.filter(|_| attributes.creates("", "pods")) else { return Ok(()) };
        let Some(class) = class_of(attributes, pod, view).await? else { return Ok(()) };
        set_overhead(attributes, pod, &class)?;
        set_scheduling(attributes, pod, &class)
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(pod) = object.filter(|_| attributes.creates("", "pods")) else { return Ok(()) };
        let class = class_of(attributes, pod, view).await?;
        // Even without amounts, it is there.
        let own = object::at(pod, "spec.overhead").filter(|own| own.is_object());
        match (own, class.as_deref().and_then(overhead_of)) {
            (Some(_), None) => {
                let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
                Err(attributes.forbidden(Some(pod), why))
            }
            (own, Some(of_class)) if !same_amounts(own.unwrap_or(&Value::Null), of_class) => {
                let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
                Err(attributes.forbidden(Some(pod), why))
            }
            _ => Ok(()),
        }
    }
}

fn has_amounts(amounts: &Value) -> bool {
    amounts.as_object().is_some_and(|map| !map.is_empty())
}

fn same_amounts(left: &Value, right: &Value) -> bool {
    let parsed = |amounts: &Value| -> Vec<(String, Option<i128>)> {
        let all = amounts.as_object().into_iter().flatten();
        let mut all: Vec<_> = all
            .map(|(name, amount)| {
                let text = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
                (name.clone(), Quantity::parse(&text).ok().map(|amount| amount.nano))
            })
            .collect();
        all.sort();
        all
    };
    parsed(left) == parsed(right)
}

async fn class_of(attributes: &Attributes<'_>, pod: &Value, view: &dyn View) -> Result<Option<Arc<Value>>, ApiError> {
    let Some(name) = object::at(pod, "spec.runtimeClassName").and_then(Value::as_str) else { return Ok(None) };
    if let Some(why) = lookup::unaskable(name) {
        return Err(ApiError::new(500, Reason::Unknown, why));
    }
    match lookup::get(view, "node.k8s.io", "runtimeclasses", "", name).await? {
        Some(class) => Ok(Some(class)),
        None => Err(attributes.forbidden(Some(pod), &format!("pod rejected: RuntimeClass {name:?} not found"))),
    }
}

/// What a class says that its pods cost, null when it says nothing of it.
fn overhead_of(class: &Value) -> Option<&Value> {
    let overhead = class.get("overhead").filter(|overhead| overhead.is_object())?;
    Some(overhead.get("podFixed").unwrap_or(&Value::Null))
}

fn set_overhead(attributes: &Attributes<'_>, pod: &mut Value, class: &Value) -> Result<(), ApiError> {
    let Some(overhead) = overhead_of(class) else { return Ok(()) };
    let own = object::at(pod, "spec.overhead").filter(|own| has_amounts(own));
    if own.is_some_and(|own| !same_amounts(own, overhead)) {
        let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
        return Err(attributes.forbidden(Some(pod), why));
    }
    if let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) {
        if has_amounts(overhead) {
            spec.insert("overhead".to_owned(), overhead.clone());
        } else {
            spec.remove("overhead");
        }
    }
    Ok(())
}

/// The class's node selector and tolerations are added to the pod's own.
fn set_scheduling(attributes: &Attributes<'_>, pod: &mut Value, class: &Value) -> Result<(), ApiError> {
    let selector = object::at(class, "scheduling.nodeSelector").and_then(Value::as_object);
    for (key, value) in selector.into_iter().flatten() {
        let own = object::at(pod, "spec.nodeSelector").and_then(|own| own.get(key));
        if own.is_some_and(|own| own != value) {
            let why = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                value.as_str().unwrap_or(""),
                own.and_then(Value::as_str).unwrap_or("")
            );
            return Err(attributes.forbidden(Some(pod), &why));
        }
        pod["spec"]["nodeSelector"][key] = value.clone();
    }
    let tolerations = object::at(class, "scheduling.tolerations").and_then(Value::as_array);
    for toleration in tolerations.into_iter().flatten() {
        match pod["spec"].get_mut("tolerations").and_then(Value::as_array_mut) {
            Some(own) if own.contains(toleration) => {}
            Some(own) => own.push(toleration.clone()),
            None => pod["spec"]["tolerations"] = json!([toleration]),
        }
    }
    Ok(())
}
