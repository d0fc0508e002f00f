//! StatefulSet.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child, same};
use crate::list::{apps_workload as workload, core_persistentvolumeclaim};
use crate::{Kind, ScalePaths, cells, formats};

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
        let new = object::resource_version(object).is_empty();
        validate_policies(&spec, errors);
        if new {
            for template in spec.field("volumeClaimTemplates").items() {
                core_persistentvolumeclaim::validate_spec(&template.field("spec"), errors);
            }
        }
        for field in ["replicas", "minReadySeconds", "ordinals.start"] {
            spec.field(field).not_negative(errors);
        }
        if new {
            spec.field("serviceName").format_if_set(errors, names::dns1123_label);
        }
        workload::validate_selector(&spec, "statefulset", true, errors);
        workload::validate_template_selected(&spec, errors);
        let with_claims = with_claims(spec.value);
        workload::validate_template(&spec.with(&with_claims), "StatefulSet", errors);
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
    fn validate_status_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        const COUNTS: [&str; 6] = [
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "observedGeneration",
        ];
        workload::validate_status_counts(object, &COUNTS, errors);
        let order = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        let order = order.map(|field| (field, "replicas", "status.replicas"));
        workload::validate_status_order(object, &order, errors);
        let ready = [("availableReplicas", "readyReplicas", "status.readyReplicas")];
        workload::validate_status_order(object, &ready, errors);
        workload::validate_collisions(object, old, errors);
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

/// The spec with what each pod of the set gets: a volume for each claim, and names of its own.
fn with_claims(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let names: Vec<String> = cells::list(&spec, "volumeClaimTemplates")
        .iter()
        .map(|template| object::str_at(template, "metadata.name").to_owned())
        .collect();
    let Some(pod) = spec.pointer_mut("/template/spec").and_then(Value::as_object_mut) else { return spec };
    pod.remove("subdomain");
    pod.remove("hostname");
    if names.is_empty() {
        return spec;
    }
    let own = pod.get("volumes").and_then(Value::as_array).cloned().unwrap_or_default();
    let own = own.into_iter().filter(|volume| !names.iter().any(|name| object::str_at(volume, "name") == name));
    let made = names.iter().map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
    pod.insert("volumes".to_owned(), made.chain(own).collect());
    spec
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
        "RollingUpdate" => validate_rolling(&rolling, errors),
        _ => strategy.invalid(errors, "must be 'RollingUpdate' or 'OnDelete'"),
    }
    let policy = spec.field("persistentVolumeClaimRetentionPolicy");
    for field in ["whenDeleted", "whenScaled"].iter().filter(|_| policy.present()) {
        policy.field(field).exactly_one_of(errors, &["Retain", "Delete"]);
    }
}

fn validate_rolling(rolling: &At<'_>, errors: &mut ErrorList) {
    rolling.field("partition").not_negative(errors);
    let unavailable = rolling.field("maxUnavailable");
    if !unavailable.present() {
        return;
    }
    formats::count_or_percent(&unavailable, errors);
    if workload::is_zero(unavailable.value) {
        unavailable.invalid(errors, "cannot be 0");
    }
    formats::at_most_100_percent(&unavailable, errors);
}
