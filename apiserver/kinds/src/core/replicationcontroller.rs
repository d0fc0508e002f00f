//! ReplicationController.

use api_machinery::{ErrorList, GroupResource, Path, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child, is_empty, same};
use crate::list::{apps_workload as workload, core_pod_spec as pod_spec};
use crate::{Kind, ScalePaths, cells};

pub(crate) struct ReplicationController;

impl Kind for ReplicationController {
    fn resource(&self) -> GroupResource {
        GroupResource::new("", "replicationcontrollers")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "x", "namespace": "default"},
               "spec": {"selector": {"a": "b"},
                        "template": {"metadata": {"labels": {"a": "b"}},
                                     "spec": {"containers": [{"name": "c", "image": "registry.example/x:1"}]}}}})
    }
    /// Selector and labels are the template's labels where they are left out.
    fn default(&self, object: &mut Value) {
        workload::default_template(object);
        let labels = child(object, "spec.template.metadata.labels").clone();
        if is_empty(&labels) {
            return;
        }
        if is_empty(child(object, "spec.selector")) {
            object["spec"]["selector"] = labels.clone();
        }
        if is_empty(child(object, "metadata.labels")) {
            object::meta_mut(object).insert("labels".to_owned(), labels);
        }
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        spec.field("minReadySeconds").not_negative(errors);
        let selector = spec.field("selector");
        if selector.is_empty() {
            selector.required(errors, "");
        }
        spec.field("replicas").not_negative(errors);
        let template = spec.field("template");
        if !template.present() {
            return template.required(errors, "");
        }
        if !selector.is_empty() {
            let labels = template.field("metadata.labels");
            let wanted = selector.value.as_object().into_iter().flatten();
            let selected = wanted.into_iter().all(|(key, value)| labels.value.get(key) == Some(value));
            if !selected {
                labels.invalid(errors, "`selector` does not match template `labels`");
            }
        }
        pod_spec::validate_template_of_workload(&template, "ReplicationController", errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        validate_converted(object, old, errors);
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        workload::warnings(object)
    }
    /// About the template that it had before, as upstream has it.
    fn update_warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        workload::changed_template_warnings(old, object)
    }
    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        const COUNTS: [&str; 5] =
            ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
        workload::validate_status_counts(object, &COUNTS, errors);
        workload::validate_status_order(object, &workload::REPLICA_ORDER, errors);
    }
    fn field(&self, object: &Value, field: &str) -> Option<String> {
        (field == "status.replicas").then(|| cells::int(object, field).to_string())
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let int = |path: &str| Value::from(cells::int(object, path));
        let [names, images] = cells::containers(object, "spec.template.spec");
        Some(vec![
            cells::name(object),
            int("spec.replicas"),
            int("status.replicas"),
            int("status.readyReplicas"),
            cells::age(object, now),
            names,
            images,
            cells::labels(child(object, "spec.selector")).into(),
        ])
    }
    fn scale(&self) -> Option<ScalePaths> {
        Some(workload::SCALE)
    }
}

/// Fields of another version that this one cannot say are named by annotations, and stay.
fn validate_converted(object: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let selector = root.field("spec.selector");
    let notes = child(old, "metadata.annotations").as_object().into_iter().flatten();
    for (key, value) in notes.filter(|(key, _)| key.starts_with("non-convertible.kubernetes.io")) {
        let Some((_, field)) = key.split_once('/').filter(|(_, field)| !field.contains('/')) else { continue };
        if !field.contains("selector") {
            errors.not_found_as(&Path::new(field), value, "unknown non-convertible field");
        } else if !same(selector.value, child(old, "spec.selector")) {
            selector.invalid(errors, "cannot update non-convertible selector");
        }
    }
}
