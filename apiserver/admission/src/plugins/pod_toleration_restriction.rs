//! PodTolerationRestriction: what taints the pods of a namespace tolerate by default, and may tolerate at all.

use api_machinery::{ApiError, Reason, Value, object, quota};
use async_trait::async_trait;
use serde_json::json;

use crate::{Attributes, Operation, Plugin, View, lookup};

/// What counts in namespaces that say nothing.
#[derive(Default)]
pub(crate) struct PodTolerationRestriction {
    defaults: Vec<Value>,
    allowed: Vec<Value>,
}

const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const ALLOWED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";
const MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";

impl PodTolerationRestriction {
    /// `default` and `whitelist`: lists of tolerations.
    pub(crate) fn configured(configuration: &Value) -> Result<Self, String> {
        let list = |field| match configuration.get(field) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list.clone()),
            Some(_) => Err(format!("{field}: must be a list of tolerations")),
        };
        Ok(Self { defaults: list("default")?, allowed: list("whitelist")? })
    }
}

#[async_trait]
impl Plugin for PodTolerationRestriction {
    fn name(&self) -> &'static str {
        "PodTolerationRestriction"
    }
    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(pod) = object.filter(|_| attributes.writes("", "pods")) else { return Ok(()) };
        let namespace = lookup::namespace(attributes, view).await?;
        let mut more = match attributes.operation {
            Operation::Create => said(&namespace, DEFAULTS)?.unwrap_or_else(|| self.defaults.clone()),
            _ => Vec::new(),
        };
        if !quota::is_best_effort(pod) {
            more.push(json!({"key": MEMORY_PRESSURE, "operator": "Exists", "effect": "NoSchedule"}));
        }
        if !more.is_empty() {
            let own = lookup::items(pod, "spec.tolerations").to_vec();
            pod["spec"]["tolerations"] = merged(own, more).into();
        }
        self.check(&namespace, pod)
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(pod) = object.filter(|_| attributes.writes("", "pods")) else { return Ok(()) };
        self.check(&*lookup::namespace(attributes, view).await?, pod)
    }
}

impl PodTolerationRestriction {
    fn check(&self, namespace: &Value, pod: &Value) -> Result<(), ApiError> {
        let (allowed, whose) = match said(namespace, ALLOWED)? {
            Some(allowed) => (allowed, "namespace"),
            None => (self.allowed.clone(), "cluster"),
        };
        let covered = |toleration: &Value| allowed.iter().any(|wider| is_superset(wider, toleration));
        if allowed.is_empty() || lookup::items(pod, "spec.tolerations").iter().all(covered) {
            return Ok(());
        }
        let why = format!(
            "pod tolerations (possibly merged with namespace default tolerations) conflict with its {whose} whitelist"
        );
        // Not of the kinds that upstream's server knows, so an error of its own.
        Err(ApiError::new(500, Reason::Unknown, why))
    }
}

/// The tolerations in an annotation of a namespace; `None`: it has none.
fn said(namespace: &Value, key: &str) -> Result<Option<Vec<Value>>, ApiError> {
    match object::annotation(namespace, key) {
        None => Ok(None),
        Some("") => Ok(Some(Vec::new())),
        Some(text) => {
            let read = serde_json::from_str(text);
            read.map(Some).map_err(|error| ApiError::new(500, Reason::Unknown, error.to_string()))
        }
    }
}

/// Both, without those that another one covers.
fn merged(first: Vec<Value>, second: Vec<Value>) -> Vec<Value> {
    let all: Vec<Value> = first.into_iter().chain(second).collect();
    let mut merged: Vec<Value> = Vec::new();
    for (index, one) in all.iter().enumerate() {
        let later = all[index + 1..].iter().any(|other| !same(other, one) && is_superset(other, one));
        if !later && !merged.iter().any(|other| is_superset(other, one)) {
            merged.push(one.clone());
        }
    }
    merged
}

fn same(a: &Value, b: &Value) -> bool {
    let seconds = |one: &Value| one.get("tolerationSeconds").and_then(Value::as_i64);
    let text = ["key", "operator", "value", "effect"];
    text.iter().all(|field| object::str_at(a, field) == object::str_at(b, field)) && seconds(a) == seconds(b)
}

/// Whether `wider` tolerates everything that the other does.
fn is_superset(wider: &Value, toleration: &Value) -> bool {
    if same(wider, toleration) {
        return true;
    }
    let of = |one, field| object::str_at(one, field);
    let (key, operator, effect) = (of(wider, "key"), of(wider, "operator"), of(wider, "effect"));
    if of(toleration, "key") != key && !(key.is_empty() && operator == "Exists") {
        return false;
    }
    if of(toleration, "effect") != effect && !effect.is_empty() {
        return false;
    }
    let seconds = |one: &Value| one.get("tolerationSeconds").and_then(Value::as_i64);
    if effect == "NoExecute"
        && let Some(most) = seconds(wider)
        && seconds(toleration).is_none_or(|seconds| seconds > most)
    {
        return false;
    }
    match operator {
        "Exists" => true,
        "" | "Equal" => of(toleration, "operator") == "Equal" && of(toleration, "value") == of(wider, "value"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wider_tolerations_cover_others() {
        let rows = [
            (json!({"operator": "Exists"}), json!({"key": "a", "operator": "Equal", "value": "b"}), true),
            (json!({"key": "a", "operator": "Exists"}), json!({"key": "b", "operator": "Exists"}), false),
            (json!({"key": "a", "operator": "Exists"}), json!({"key": "a", "operator": "Equal", "value": "1"}), true),
            (json!({"key": "a", "value": "1"}), json!({"key": "a", "operator": "Equal", "value": "1"}), true),
            (json!({"key": "a", "value": "1"}), json!({"key": "a", "operator": "Equal", "value": "2"}), false),
            (
                json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}),
                json!({"key": "a", "operator": "Exists", "effect": "NoExecute"}),
                false,
            ),
            (
                json!({"key": "a", "operator": "Exists"}),
                json!({"key": "a", "operator": "Exists", "effect": "NoExecute"}),
                true,
            ),
        ];
        for (wider, toleration, covers) in rows {
            assert_eq!(is_superset(&wider, &toleration), covers, "{wider} {toleration}");
        }
        let (narrow, wide) =
            (json!({"key": "a", "operator": "Equal", "value": "1"}), json!({"key": "a", "operator": "Exists"}));
        assert_eq!(merged(vec![narrow.clone()], vec![wide.clone()]), std::slice::from_ref(&wide));
        assert_eq!(merged(vec![wide.clone()], vec![narrow, wide.clone()]), [wide]);
    }
}
