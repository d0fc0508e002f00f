//! StatefulSet.

use std::collections::BTreeSet;

use api_machinery::quantity::Quantity;
use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child, same_behind_pointers};
use crate::list::{apps_workload as workload, core_persistentvolumeclaim, core_pod_annotations, core_pod_spec};
use crate::{Kind, ScalePaths, cells, formats, meta, selectors};

/// One, in the parts that quantities are counted in.
const WHOLE: i128 = 1_000_000_000;

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
    fn validate_name(&self, name: &str) -> Vec<String> {
        names::dns1123_label(name)
    }
    fn default(&self, object: &mut Value) {
        workload::default_template(object);
        let claims = object.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut);
        for claim in claims.into_iter().flatten().filter_map(Value::as_object_mut) {
            claim.insert("apiVersion".to_owned(), "v1".into());
            claim.insert("kind".to_owned(), "PersistentVolumeClaim".into());
            let status = claim.entry("status").or_insert_with(|| json!({}));
            if object::str_at(status, "phase").is_empty() && (status.is_object() || status.is_null()) {
                status["phase"] = "Pending".into();
            }
        }
        let strategy = child(object, "spec.updateStrategy");
        let rolling = child(strategy, "rollingUpdate");
        if object::str_at(strategy, "type") == "RollingUpdate"
            && rolling.is_object()
            && child(rolling, "partition").is_null()
        {
            object["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = 0.into();
        }
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        let new = meta::is_new(object);
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
        validate_template(&spec, errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let (spec, old) = (root.field("spec"), child(old, "spec"));
        let differs = |one: &Value, other: &Value| {
            one.as_object().into_iter().flatten().any(|(field, value)| {
                !MAY_CHANGE.contains(&field.as_str()) && !same_behind_pointers(value, child(other, field))
            })
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
        const COUNTS: [&str; 7] = [
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "observedGeneration",
            "collisionCount",
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
    fn update_warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        let mut warnings = workload::changed_template_warnings(object, old);
        warnings.extend(self.warnings(object));
        warnings
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        let root = At::root(object);
        let spec = root.field("spec");
        let claims = spec.field("volumeClaimTemplates");
        let mut warnings = workload::template_warnings(object);
        warnings.extend(claims.items().flat_map(|claim| claim_warnings(&claim, meta::is_new(object))));
        if spec.field("revisionHistoryLimit").int().is_some_and(|limit| limit < 0) {
            warnings.push(
                "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is \
                 recommended"
                    .to_owned(),
            );
        }
        warnings
    }
}

/// Storage that is no whole number of bytes. Upstream's paths are without `spec`, or in capitals.
fn claim_warnings(claim: &At<'_>, new: bool) -> Vec<String> {
    let spec = claim.field("spec");
    let path = if new { claim.path() } else { claim.path().child("Spec") };
    let resources = path.child("resources");
    let warning = |list: &str| {
        let amount = spec.field("resources").field(list).key("storage").value.clone();
        let quantity = Quantity::parse(amount.as_str()?).ok()?;
        let (path, shown) = (resources.child(list).key("storage"), quantity.to_string());
        let warning = format!("{path}: fractional byte value {shown:?} is invalid, must be an integer");
        (quantity.nano % WHOLE != 0).then_some(warning)
    };
    ["requests", "limits"].into_iter().filter_map(warning).collect()
}

/// The template as the pods of the set come out of it, which are restarted always and without a deadline.
fn validate_template(spec: &At<'_>, errors: &mut ErrorList) {
    let selector = spec.field("selector");
    if workload::is_readable(selector.value) {
        workload::validate_template_selected(spec, errors);
        let made = with_claims(spec.value);
        validate_made(&spec.with(&made).field("template"), errors);
    } else {
        errors.invalid_omitted(&selector.path(), &workload::shown_selector(selector.value));
    }
    let pod = spec.field("template.spec");
    pod.field("restartPolicy").exactly_one_of(errors, &["Always"]);
    let deadline = pod.field("activeDeadlineSeconds");
    if deadline.present() {
        deadline.forbidden(errors, "activeDeadlineSeconds in StatefulSet is not Supported");
    }
}

/// Upstream looks at labels and annotations once more.
fn validate_made(template: &At<'_>, errors: &mut ErrorList) {
    core_pod_spec::validate_template(template, errors);
    let labels = child(template.value, "metadata.labels");
    selectors::labels(&template.field("labels").with(labels), errors);
    let notes = template.field("annotations").with(child(template.value, "metadata.annotations"));
    selectors::annotations(&notes, errors);
    core_pod_annotations::validate(&notes, &template.field("spec"), errors);
}

/// The spec with what each pod of the set gets: a volume for each claim, and names of its own.
fn with_claims(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let names: BTreeSet<String> = cells::list(&spec, "volumeClaimTemplates")
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
    let own = own.into_iter().filter(|volume| !names.contains(object::str_at(volume, "name")));
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
        "OnDelete" if rolling.present() => {
            let shown = shown_rolling(&rolling);
            let detail = format!("{shown}: only allowed for updateStrategy 'RollingUpdate'");
            errors.invalid_omitted(&rolling.path(), &detail);
        }
        "OnDelete" => {}
        "RollingUpdate" => validate_rolling(&rolling, errors),
        kind => {
            let (kind, rolling) = (Value::from(kind), shown_rolling(&rolling));
            let shown = format!(r#"{{"Type":{kind},"RollingUpdate":{rolling}}}"#);
            let detail = format!("{shown}: must be 'RollingUpdate' or 'OnDelete'");
            errors.invalid_omitted(&strategy.path(), &detail);
        }
    }
    let policy = spec.field("persistentVolumeClaimRetentionPolicy");
    for field in ["whenDeleted", "whenScaled"].iter().filter(|_| policy.present()) {
        let at = policy.field(field);
        if !["Retain", "Delete"].contains(&at.str()) {
            at.unsupported_listed(errors, &["Retain", "Delete"]);
        }
    }
}

/// As upstream shows it, whose own fields have other names.
fn shown_rolling(rolling: &At<'_>) -> String {
    if !rolling.present() {
        return Value::Null.to_string();
    }
    let partition = rolling.field("partition").int().unwrap_or(0);
    format!(r#"{{"Partition":{partition},"MaxUnavailable":{}}}"#, rolling.field("maxUnavailable").value)
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
