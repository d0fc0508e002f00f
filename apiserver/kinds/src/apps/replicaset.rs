//! ReplicaSet.

use api_machinery::{ErrorList, GroupResource, Value};
use jiff::Timestamp;
use serde_json::json;

use crate::at::At;
use crate::list::apps_workload as workload;
use crate::{Kind, ScalePaths, cells};

pub(crate) struct ReplicaSet;

impl Kind for ReplicaSet {
    fn resource(&self) -> GroupResource {
        GroupResource::new("apps", "replicasets")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "x", "namespace": "default"},
               "spec": {"selector": {"matchLabels": {"a": "b"}},
                        "template": {"metadata": {"labels": {"a": "b"}},
                                     "spec": {"containers": [{"name": "c", "image": "registry.example/x:1"}]}}}})
    }
    fn default(&self, object: &mut Value) {
        workload::default_template(object);
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        spec.field("replicas").not_negative(errors);
        spec.field("minReadySeconds").not_negative(errors);
        workload::validate_selector(&spec, "deployment", true, errors);
        workload::validate_selected_template(&spec, "ReplicaSet", errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        workload::validate_selector_unchanged(object, old, errors);
    }
    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        const COUNTS: [&str; 6] = [
            "replicas",
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
            "observedGeneration",
            "terminatingReplicas",
        ];
        workload::validate_status_counts(object, &COUNTS, errors);
        workload::validate_status_order(object, &workload::REPLICA_ORDER, errors);
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let int = |path: &str| Value::from(cells::int(object, path));
        let [names, images, selector] = workload::wide_cells(object);
        Some(vec![
            cells::name(object),
            int("spec.replicas"),
            int("status.replicas"),
            int("status.readyReplicas"),
            cells::age(object, now),
            names,
            images,
            selector,
        ])
    }
    fn scale(&self) -> Option<ScalePaths> {
        Some(workload::SCALE)
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        workload::warnings(object)
    }
    fn update_warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        workload::changed_template_warnings(object, old)
    }
}
