//! DaemonSet.

use api_machinery::{ErrorList, GroupResource, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child};
use crate::list::apps_workload as workload;
use crate::{Kind, cells};

pub(crate) struct DaemonSet;

impl Kind for DaemonSet {
    fn resource(&self) -> GroupResource {
        GroupResource::new("apps", "daemonsets")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "x", "namespace": "default"},
               "spec": {"selector": {"matchLabels": {"a": "b"}},
                        "template": {"metadata": {"labels": {"a": "b"}},
                                     "spec": {"containers": [{"name": "c", "image": "registry.example/x:1"}]}}}})
    }
    fn default(&self, object: &mut Value) {
        workload::default_template(object);
        if object::str_at(object, "spec.updateStrategy.type") != "RollingUpdate" {
            return;
        }
        let strategy = &mut object["spec"]["updateStrategy"];
        for (field, value) in [("maxUnavailable", 1), ("maxSurge", 0)] {
            if child(child(strategy, "rollingUpdate"), field).is_null() {
                strategy["rollingUpdate"][field] = value.into();
            }
        }
    }
    /// `templateGeneration` counts changes of the template and belongs to the server.
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        if let Some(map) = object.as_object_mut() {
            map.remove("status");
        }
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        workload::validate_selector(&spec, "daemonset", false, errors);
        workload::validate_template_selected(&spec, errors);
        workload::validate_template(&spec, "DaemonSet", errors);
        spec.field("minReadySeconds").not_negative(errors);
        validate_strategy(&spec.field("updateStrategy"), errors);
        spec.field("revisionHistoryLimit").not_negative(errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        workload::validate_selector_unchanged(object, old, errors);
    }
    fn validate_status_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        const COUNTS: [&str; 8] = [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
        ];
        workload::validate_status_counts(object, &COUNTS, errors);
        workload::validate_collisions(object, old, errors);
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let int = |field: &str| Value::from(cells::int(child(object, "status"), field));
        let [names, images, selector] = workload::wide_cells(object);
        Some(vec![
            cells::name(object),
            int("desiredNumberScheduled"),
            int("currentNumberScheduled"),
            int("numberReady"),
            int("updatedNumberScheduled"),
            int("numberAvailable"),
            cells::labels(child(object, "spec.template.spec.nodeSelector")).into(),
            cells::age(object, now),
            names,
            images,
            selector,
        ])
    }
}

fn validate_strategy(strategy: &At<'_>, errors: &mut ErrorList) {
    let rolling = strategy.field("rollingUpdate");
    match object::str_at(strategy.value, "type") {
        "OnDelete" => {}
        "RollingUpdate" if !rolling.present() => rolling.required(errors, ""),
        "RollingUpdate" => validate_rolling(&rolling, errors),
        _ => errors.not_supported(&strategy.path(), strategy.value, &["OnDelete", "RollingUpdate"]),
    }
}

fn validate_rolling(rolling: &At<'_>, errors: &mut ErrorList) {
    let (unavailable, surge) = (rolling.field("maxUnavailable"), rolling.field("maxSurge"));
    workload::validate_unavailable(&unavailable, errors);
    workload::validate_unavailable(&surge, errors);
    match (workload::is_zero(unavailable.value), workload::is_zero(surge.value)) {
        (true, true) => unavailable.required(errors, "cannot be 0 when maxSurge is 0"),
        (false, false) => surge.invalid(errors, "may not be set when maxUnavailable is non-zero"),
        _ => {}
    }
}
