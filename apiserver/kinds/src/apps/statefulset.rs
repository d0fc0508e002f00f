//! StatefulSet.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child, same};
use crate::list::apps_workload as workload;
use crate::{Kind, ScalePaths, cells};

const MAY_CHANGE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

pub(crate) struct StatefulSet;

impl Kind for StatefulSet {
    fn resource(&self) -> GroupResource {
        GroupResource::new("apps", "statefulsets")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "x", "namespace": "default"},
               "spec": {"serviceName": "s", "selector": {"matchLabels": {"a": "b"}},
                        "template": {"metadata": {"labels": {"a": "b"}},
                                     "spec": {"containers": [{"name": "c", "image": "registry.example/x:1"}]}}}})
    }
    fn default(&self, object: &mut Value) {
        workload::default_template(object);
        let strategy = child(object, "spec.updateStrategy");
        if object::str_at(strategy, "type") == "RollingUpdate" && child(strategy, "rollingUpdate.partition").is_null() {
            object["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = 0.into();
        }
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        validate_policies(&spec, errors);
        spec.field("replicas").not_negative(errors);
        spec.field("minReadySeconds").not_negative(errors);
        spec.field("ordinals.start").not_negative(errors);
        spec.field("serviceName").format_if_set(errors, names::dns1123_subdomain);
        workload::validate_selector(&spec, "statefulset", true, errors);
        workload::validate_template_selected_if_said(&spec, errors);
        workload::validate_template(&spec, errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let (spec, old) = (root.field("spec"), child(old, "spec"));
        let differs = |one: &Value, other: &Value| {
            one.as_object()
                .into_iter()
                .flatten()
                .any(|(field, value)| !MAY_CHANGE.contains(&field.as_str()) && !same(value, child(other, field)))
        };
        if differs(spec.value, old) || differs(old, spec.value) {
            spec.forbidden(
                errors,
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                 'minReadySeconds' are forbidden",
            );
        }
    }
    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        const COUNTS: [&str; 6] = [
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "observedGeneration",
        ];
        workload::validate_status_counts(object, &COUNTS, errors);
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let ready = format!("{}/{}", cells::int(object, "status.readyReplicas"), cells::int(object, "spec.replicas"));
        let [names, images] = cells::containers(object, "spec.template.spec");
        Some(vec![cells::name(object), ready.into(), cells::age(object, now), names, images])
    }
    fn scale(&self) -> Option<ScalePaths> {
        Some(workload::SCALE)
    }
}

fn validate_policies(spec: &At<'_>, errors: &mut ErrorList) {
    let management = spec.field("podManagementPolicy");
    match management.str() {
        "" => management.required(errors, ""),
        "OrderedReady" | "Parallel" => {}
        _ => management.invalid(errors, "must be 'OrderedReady' or 'Parallel'"),
    }
    let strategy = spec.field("updateStrategy");
    let rolling = strategy.field("rollingUpdate");
    match object::str_at(strategy.value, "type") {
        "" => strategy.required(errors, ""),
        "OnDelete" if rolling.present() => rolling.invalid(errors, "only allowed for updateStrategy 'RollingUpdate'"),
        "OnDelete" => {}
        "RollingUpdate" => {
            rolling.field("partition").not_negative(errors);
            let unavailable = rolling.field("maxUnavailable");
            if unavailable.present() {
                workload::validate_unavailable(&unavailable, errors);
                if workload::is_zero(unavailable.value) {
                    unavailable.invalid(errors, "cannot be 0");
                }
            }
        }
        _ => strategy.invalid(errors, "must be 'RollingUpdate' or 'OnDelete'"),
    }
    for field in ["whenDeleted", "whenScaled"] {
        let policy = spec.field("persistentVolumeClaimRetentionPolicy");
        policy.field(field).one_of(errors, &["Delete", "Retain"]);
    }
}
