//! Priority: a pod's class becomes its number; there is one default class.

use std::sync::Arc;

use api_machinery::{ApiError, Value, object};
use async_trait::async_trait;

use crate::{Attributes, Operation, Plugin, View, lookup};

pub(crate) struct Priority;

const GROUP: &str = "scheduling.k8s.io";
const CLASSES: &str = "priorityclasses";
const DEFAULT_POLICY: &str = "PreemptLowerPriority";

#[async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }
    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(pod) = object.filter(|_| attributes.is("", "pods")) else { return Ok(()) };
        match (attributes.operation, attributes.old) {
            (Operation::Create, _) => set(attributes, pod, view).await,
            (Operation::Update, Some(old)) => {
                keep(pod, old);
                Ok(())
            }
            _ => Ok(()),
        }
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let Some(class) = object.filter(|_| attributes.is(GROUP, CLASSES)) else { return Ok(()) };
        if !matches!(attributes.operation, Operation::Create | Operation::Update) || !is_default(class) {
            return Ok(());
        }
        match default_class(view) {
            Some(other) if object::name(&other) != object::name(class) => {
                let why = format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    object::name(&other)
                );
                Err(attributes.forbidden(Some(class), &why))
            }
            _ => Ok(()),
        }
    }
}

fn is_default(class: &Value) -> bool {
    class.get("globalDefault") == Some(&Value::Bool(true))
}

/// Of several, the lowest.
fn default_class(view: &dyn View) -> Option<Arc<Value>> {
    let all = lookup::list(view, GROUP, CLASSES, None);
    all.into_iter().filter(|class| is_default(class)).min_by_key(|class| value(class))
}

fn value(class: &Value) -> i64 {
    class.get("value").and_then(Value::as_i64).unwrap_or(0)
}

fn policy(class: &Value) -> &str {
    class.get("preemptionPolicy").and_then(Value::as_str).filter(|text| !text.is_empty()).unwrap_or(DEFAULT_POLICY)
}

/// What was computed when the pod was created stays where an update leaves it out.
fn keep(pod: &mut Value, old: &Value) {
    for field in ["priority", "preemptionPolicy"] {
        let kept = object::at(old, "spec").and_then(|spec| spec.get(field));
        if let Some(kept) = kept
            && pod["spec"].is_object()
            && pod["spec"].get(field).is_none_or(Value::is_null)
        {
            pod["spec"][field] = kept.clone();
        }
    }
}

async fn set(attributes: &Attributes<'_>, pod: &mut Value, view: &dyn View) -> Result<(), ApiError> {
    let class = class_of(attributes, pod, view).await?;
    let (number, policy) = class.as_deref().map_or((0, DEFAULT_POLICY), |class| (value(class), policy(class)));
    let given = object::at(pod, "spec.priority").and_then(Value::as_i64);
    if let Some(given) = given.filter(|given| *given != number) {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
             computed {number} from the given PriorityClass name"
        );
        return Err(attributes.forbidden(Some(pod), &why));
    }
    let given = object::at(pod, "spec.preemptionPolicy").and_then(Value::as_str);
    if let Some(given) = given.filter(|given| *given != policy) {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        );
        return Err(attributes.forbidden(Some(pod), &why));
    }
    let spec = &mut pod["spec"];
    spec["priority"] = number.into();
    spec["preemptionPolicy"] = policy.into();
    if let Some(class) = class {
        spec["priorityClassName"] = object::name(&class).into();
    }
    Ok(())
}

/// The class the pod names, or the default one.
async fn class_of(attributes: &Attributes<'_>, pod: &Value, view: &dyn View) -> Result<Option<Arc<Value>>, ApiError> {
    let name = object::str_at(pod, "spec.priorityClassName");
    if name.is_empty() {
        return Ok(default_class(view));
    }
    match lookup::get(view, GROUP, CLASSES, "", name).await? {
        Some(class) => Ok(Some(class)),
        None => Err(attributes.forbidden(Some(pod), &format!("no PriorityClass with name {name} was found"))),
    }
}
