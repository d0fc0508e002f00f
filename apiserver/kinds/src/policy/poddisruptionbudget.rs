//! PodDisruptionBudget.

use api_machinery::{ErrorList, GroupResource, Value, names};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child};
use crate::list::{apps_workload as workload, core_internal_json as internal};
use crate::{Kind, cells, selectors};

pub(crate) struct PodDisruptionBudget;

impl Kind for PodDisruptionBudget {
    fn resource(&self) -> GroupResource {
        GroupResource::new("policy", "poddisruptionbudgets")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
               "metadata": {"name": "x", "namespace": "default"},
               "spec": {"selector": {"matchLabels": {"a": "b"}}, "minAvailable": 1}})
    }
    fn allows_unconditional_update(&self) -> bool {
        false
    }
    /// Upstream asks no more of it than of any name in a path.
    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        let (least, most) = (spec.field("minAvailable"), spec.field("maxUnavailable"));
        if least.present() && most.present() {
            let shown = internal::shown("PodDisruptionBudgetSpec", spec.value);
            errors.invalid_printed(&spec.path(), &shown, "minAvailable and maxUnavailable cannot be both set");
        }
        for at in [&least, &most] {
            if at.present() {
                workload::validate_unavailable(at, errors);
            }
        }
        selectors::label_selector(&spec.field("selector"), errors);
        spec.field("unhealthyPodEvictionPolicy").one_of_if_present(errors, &["AlwaysAllow", "IfHealthyBudget"]);
    }
    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        const COUNTS: [&str; 4] = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
        let root = At::root(object);
        crate::conditions::validate(&root.field("status.conditions"), errors);
        workload::validate_status_counts(object, &COUNTS, errors);
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let bound = |field: &str| match child(child(object, "spec"), field) {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => "N/A".to_owned(),
        };
        Some(vec![
            cells::name(object),
            bound("minAvailable").into(),
            bound("maxUnavailable").into(),
            cells::int(object, "status.disruptionsAllowed").into(),
            cells::age(object, now),
        ])
    }
}
