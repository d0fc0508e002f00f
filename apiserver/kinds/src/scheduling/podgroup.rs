//! PodGroup: pods that are scheduled together.

use std::collections::HashSet;

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child};
use crate::list::scheduling_workload::unchanged;
use crate::{Kind, cells, conditions};

pub(crate) struct PodGroup;

impl Kind for PodGroup {
    fn resource(&self) -> GroupResource {
        GroupResource::new("scheduling.k8s.io", "podgroups")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "PodGroup",
               "metadata": {"name": "x", "namespace": "default"},
               "spec": {"podGroupTemplateRef": {"workload": {"workloadName": "w", "podGroupTemplateName": "workers"}},
                        "schedulingPolicy": {"gang": {"minCount": 3}}}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        if !crate::meta::is_new(object) {
            return;
        }
        let root = At::root(object);
        let spec = root.field("spec");
        let reference = spec.field("podGroupTemplateRef");
        if reference.present() {
            validate_reference(&reference, errors);
        }
        validate_policy(&spec.field("schedulingPolicy"), errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        unchanged(object, old, &["podGroupTemplateRef", "schedulingPolicy"], errors);
    }
    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        conditions::validate(&root.field("status.conditions"), errors);
        let claims = cells::list(object, "spec.resourceClaims").iter();
        let claims: HashSet<&str> = claims.map(|claim| object::str_at(claim, "name")).collect();
        for status in root.field("status.resourceClaimStatuses").items() {
            let name = status.field("name");
            if !claims.contains(name.str()) {
                name.invalid(errors, "must match the name of an entry in `spec.resourceClaims`");
            }
        }
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let gang = !child(object, "spec.schedulingPolicy.gang").is_null();
        let workload = match child(object, "spec.podGroupTemplateRef.workload") {
            Value::Null => "<none>".into(),
            workload => cells::text(workload, "workloadName"),
        };
        let policy = if gang { "Gang" } else { "Basic" };
        Some(vec![cells::name(object), policy.into(), workload, state(object).into(), cells::age(object, now)])
    }
}

fn state(object: &Value) -> &str {
    if let Some(disrupted) = cells::condition(object, "DisruptionTarget") {
        return object::str_at(disrupted, "reason");
    }
    match cells::condition(object, "PodGroupScheduled") {
        None => "Pending",
        Some(_) if cells::condition_true(object, "PodGroupScheduled") => "Scheduled",
        Some(_) => "Unschedulable",
    }
}

fn validate_reference(reference: &At<'_>, errors: &mut ErrorList) {
    let workload = reference.field("workload");
    if !workload.present() {
        return errors.invalid(&reference.path(), &Value::from(""), "must specify one of: `workload`");
    }
    let (name, template) = (workload.field("workloadName"), workload.field("podGroupTemplateName"));
    if name.need(errors) {
        name.format(errors, names::dns1123_subdomain);
    }
    if template.need(errors) {
        template.format(errors, names::dns1123_label);
    }
}

/// One way or the other.
pub(crate) fn validate_policy(policy: &At<'_>, errors: &mut ErrorList) {
    let (basic, gang) = (policy.field("basic"), policy.field("gang"));
    match (basic.present(), gang.present()) {
        (false, false) => errors.invalid(&policy.path(), &Value::from(""), "must specify one of: `basic`, `gang`"),
        (true, true) => {
            let both = Value::from("{basic, gang}");
            errors.invalid(&policy.path(), &both, "must specify exactly one of: `basic`, `gang`");
        }
        _ => {}
    }
    if gang.present() {
        let least = gang.field("minCount");
        match least.int().unwrap_or(0) {
            0 => least.required(errors, ""),
            _ => least.at_least(errors, 1, "must be greater than or equal to 1"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups() {
        let told = |check: &dyn Fn(&mut ErrorList)| {
            let mut errors = ErrorList::new();
            check(&mut errors);
            errors.causes().iter().map(|cause| format!("{} {}", cause.field, cause.message)).collect::<Vec<_>>()
        };
        assert_eq!(told(&|errors| PodGroup.validate(&PodGroup.sample(), errors)), [""; 0]);
        let other = json!({"spec": {"podGroupTemplateRef": {}, "schedulingPolicy": {"gang": {"minCount": -1}}}});
        assert_eq!(
            told(&|errors| PodGroup.validate(&other, errors)),
            [
                "spec.podGroupTemplateRef Invalid value: \"\": must specify one of: `workload`",
                "spec.schedulingPolicy.gang.minCount Invalid value: -1: must be greater than or equal to 1",
            ]
        );
        let changed = told(&|errors| PodGroup.validate_update(&other, &PodGroup.sample(), errors));
        assert_eq!(changed.len(), 2, "{changed:?}");
        let claims = json!({"status": {"resourceClaimStatuses": [{"name": "c"}]}});
        let found = told(&|errors| PodGroup.validate_status_update(&claims, &Value::Null, errors));
        assert!(found[0].ends_with("must match the name of an entry in `spec.resourceClaims`"), "{found:?}");
    }
}
