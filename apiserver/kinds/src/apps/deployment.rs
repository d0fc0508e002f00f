//! Deployment.

use api_machinery::{ErrorList, GroupResource, Path, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, NOT_NEGATIVE, child, same_behind_pointers};
use crate::list::{apps_workload as workload, core_internal_json as internal};
use crate::{Kind, ScalePaths, cells};

const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";

pub(crate) struct Deployment;

impl Kind for Deployment {
    fn resource(&self) -> GroupResource {
        GroupResource::new("apps", "deployments")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x", "namespace": "default"},
               "spec": {"selector": {"matchLabels": {"a": "b"}},
                        "template": {"metadata": {"labels": {"a": "b"}},
                                     "spec": {"containers": [{"name": "c", "image": "registry.example/x:1"}]}}}})
    }
    /// Rolling numbers exist for rolling updates only.
    fn default(&self, object: &mut Value) {
        workload::default_template(object);
        if object::str_at(object, "spec.strategy.type") != "RollingUpdate" {
            return;
        }
        let strategy = &mut object["spec"]["strategy"];
        for field in ["maxUnavailable", "maxSurge"] {
            if child(child(strategy, "rollingUpdate"), field).is_null() {
                strategy["rollingUpdate"][field] = "25%".into();
            }
        }
    }
    /// Annotations count as well: a change of them is seen by the controller as one of the spec.
    fn generation_grows(&self, object: &Value, old: &Value) -> bool {
        let differs = |path: &str| !same_behind_pointers(child(object, path), child(old, path));
        differs("spec") || differs("metadata.annotations")
    }
    /// Labels stay too, as upstream.
    fn prepare_status_update(&self, object: &mut Value, old: &Value) {
        crate::keep_field(object, old, "spec");
        let labels = child(old, "metadata.labels").clone();
        let meta = object::meta_mut(object);
        match labels.is_null() {
            true => meta.remove("labels"),
            false => meta.insert("labels".to_owned(), labels),
        };
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        spec.field("replicas").not_negative(errors);
        workload::validate_selector(&spec, "deployment", true, errors);
        workload::validate_selected_template(&spec, "ReplicaSet", errors);
        validate_strategy(&spec.field("strategy"), errors);
        for field in ["minReadySeconds", "revisionHistoryLimit"] {
            spec.field(field).not_negative(errors);
        }
        validate_rollback(object, errors);
        spec.field("progressDeadlineSeconds").not_negative(errors);
        let (deadline, ready) =
            (spec.field("progressDeadlineSeconds"), spec.field("minReadySeconds").int().unwrap_or(0));
        if deadline.int().is_some_and(|seconds| seconds <= ready) {
            deadline.invalid(errors, "must be greater than minReadySeconds");
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        workload::validate_selector_unchanged(object, old, errors);
    }
    fn validate_status_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        const COUNTS: [&str; 8] = [
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "terminatingReplicas",
            "collisionCount",
        ];
        workload::validate_status_counts(object, &COUNTS, errors);
        let mut order = workload::REPLICA_ORDER;
        order[0].0 = "updatedReplicas";
        workload::validate_status_order(object, &order, errors);
        workload::validate_collisions(object, old, errors);
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let int = |path: &str| cells::int(object, path);
        let [names, images, selector] = workload::wide_cells(object);
        Some(vec![
            cells::name(object),
            format!("{}/{}", int("status.readyReplicas"), int("spec.replicas")).into(),
            int("status.updatedReplicas").into(),
            int("status.availableReplicas").into(),
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

/// The revision to go back to, a field of versions before v1 that lives on as an annotation.
fn validate_rollback(object: &Value, errors: &mut ErrorList) {
    let revision = object::annotation(object, ROLLBACK_TO).and_then(|text| text.parse::<i64>().ok());
    if let Some(revision) = revision.filter(|revision| *revision < 0) {
        errors.invalid(&Path::new("spec.rollback.version"), &revision.into(), NOT_NEGATIVE);
    }
}

fn validate_strategy(strategy: &At<'_>, errors: &mut ErrorList) {
    let rolling = strategy.field("rollingUpdate");
    match object::str_at(strategy.value, "type") {
        "Recreate" if rolling.present() => {
            rolling.forbidden(errors, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" if !rolling.present() => rolling.required(errors, "this should be defaulted and never be nil"),
        "RollingUpdate" => validate_rolling(&rolling, errors),
        _ => {
            let shown = internal::shown("DeploymentStrategy", strategy.value);
            errors.not_supported_printed(&strategy.path(), &shown, &["Recreate", "RollingUpdate"]);
        }
    }
}

fn validate_rolling(rolling: &At<'_>, errors: &mut ErrorList) {
    let (unavailable, surge) = (rolling.field("maxUnavailable"), rolling.field("maxSurge"));
    crate::formats::count_or_percent(&unavailable, errors);
    crate::formats::count_or_percent(&surge, errors);
    if workload::is_zero(unavailable.value) && workload::is_zero(surge.value) {
        unavailable.invalid(errors, "may not be 0 when `maxSurge` is 0");
    }
    crate::formats::at_most_100_percent(&unavailable, errors);
}
