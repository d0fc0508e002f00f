//! Workload: groups of pods that belong together, as templates.

use api_machinery::{ErrorList, GroupResource, Path, Value, names};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, IMMUTABLE, child};
use crate::list::resource_claim_spec::validate_set;
use crate::list::resource_immutable::means_the_same;
use crate::list::scheduling_podgroup::validate_policy;
use crate::{Kind, cells};

pub(crate) struct Workload;

const MAX_TEMPLATES: usize = 8;

impl Kind for Workload {
    fn resource(&self) -> GroupResource {
        GroupResource::new("scheduling.k8s.io", "workloads")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "Workload",
               "metadata": {"name": "x", "namespace": "default"},
               "spec": {"controllerRef": {"apiGroup": "batch", "kind": "Job", "name": "j"},
                        "podGroupTemplates": [{"name": "workers", "schedulingPolicy": {"gang": {"minCount": 3}}}]}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    /// Nothing of it may change, so what is there is not looked at again.
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        if !crate::meta::is_new(object) {
            return;
        }
        let root = At::root(object);
        let spec = root.field("spec");
        let (controller, templates) = (spec.field("controllerRef"), spec.field("podGroupTemplates"));
        if controller.present() {
            controller.field("apiGroup").format_if_set(errors, names::dns1123_subdomain);
            for field in ["kind", "name"] {
                let at = controller.field(field);
                if at.need(errors) {
                    at.format(errors, names::path_segment);
                }
            }
        }
        if templates.need(errors) {
            validate_set(&templates, MAX_TEMPLATES, "name", errors, |template, errors| {
                let name = template.field("name");
                if name.need(errors) {
                    name.format(errors, names::dns1123_label);
                }
                validate_policy(&template.field("schedulingPolicy"), errors);
            });
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        unchanged(object, old, &["controllerRef", "podGroupTemplates"], errors);
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(vec![cells::name(object), cells::age(object, now)])
    }
}

/// Fields of a spec that stay what they were.
pub(crate) fn unchanged(object: &Value, old: &Value, fields: &[&str], errors: &mut ErrorList) {
    let (spec, before) = (child(object, "spec"), child(old, "spec"));
    for field in fields.iter().filter(|field| !means_the_same(child(spec, field), child(before, field))) {
        errors.invalid_omitted(&Path::new("spec").child(field), IMMUTABLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        let told = |spec: Value| {
            let mut errors = ErrorList::new();
            Workload.validate(&json!({"spec": spec}), &mut errors);
            errors.causes().iter().map(|cause| format!("{} {}", cause.field, cause.message)).collect::<Vec<_>>()
        };
        assert_eq!(told(child(&Workload.sample(), "spec").clone()), [""; 0]);
        assert_eq!(told(json!({})), ["spec.podGroupTemplates Required value"]);
        let template = |policy: Value| json!({"name": "a", "schedulingPolicy": policy});
        let both = template(json!({"basic": {}, "gang": {"minCount": 0}}));
        assert_eq!(
            told(json!({"podGroupTemplates": [template(json!({})), both]})),
            [
                "spec.podGroupTemplates[0].schedulingPolicy Invalid value: \"\": must specify one of: `basic`, `gang`",
                "spec.podGroupTemplates[1].schedulingPolicy Invalid value: \"{basic, gang}\": must specify exactly one \
                 of: `basic`, `gang`",
                "spec.podGroupTemplates[1].schedulingPolicy.gang.minCount Required value",
                "spec.podGroupTemplates[1] Duplicate value: \"a\"",
            ]
        );
        let mut errors = ErrorList::new();
        let mut other = Workload.sample();
        other["spec"]["controllerRef"] = Value::Null;
        Workload.validate_update(&other, &Workload.sample(), &mut errors);
        assert_eq!(errors.causes()[0].field, "spec.controllerRef");
    }
}
