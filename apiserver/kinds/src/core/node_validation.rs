//! Validation of Nodes.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, names, object};

use crate::at::{ABOVE_ZERO, At, child};
use crate::list::{core_internal_json as internal, core_resource_name as resource_name};
use crate::{cells, formats};

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
/// Taints were written here as JSON, before they had a field.
const TAINTS: &str = "scheduler.alpha.kubernetes.io/taints";
const AVOIDED_PODS: &str = "scheduler.alpha.kubernetes.io/preferAvoidPods";

pub(crate) fn validate(object: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    validate_annotations(&root, errors);
    validate_taints(&At::named(child(object, "spec.taints"), "metadata.taints"), errors);
    validate_resources(&root, errors);
    let swap = At::named(child(object, "status.nodeInfo.swap.capacity"), "metadata.nodeSwapStatus.capacity");
    swap.at_least(errors, 1, ABOVE_ZERO);
    validate_features(&root.field("status.declaredFeatures"), errors);
    validate_cidrs(&root.field("spec.podCIDRs"), errors);
}

/// Of updates of the status, too.
pub(crate) fn validate_update(object: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    validate_annotations(&root, errors);
    validate_resources(&root, errors);
    validate_features(&root.field("status.declaredFeatures"), errors);
    let mut seen = HashSet::new();
    for address in root.field("status.addresses").items() {
        let [kind, text] = ["type", "address"].map(|field| object::str_at(address.value, field).to_owned());
        if !seen.insert((kind, text)) {
            errors.duplicate_printed(&address.path(), &internal::shown("NodeAddress", address.value), "");
        }
    }
    validate_kept(&root, old, errors);
    let source = root.field("spec.configSource");
    if source.present() {
        validate_config(&source, true, errors);
    }
    let config = root.field("status.config");
    for source in ["assigned", "active", "lastKnownGood"].map(|field| config.field(field)) {
        if source.present() {
            validate_config(&source, false, errors);
        }
    }
    validate_taints(&At::named(child(object, "spec.taints"), "metadata.taints"), errors);
    let external = root.field("spec.externalID");
    if external.str() != object::str_at(old, "spec.externalID") {
        external.forbidden(errors, "may not be updated");
    }
}

/// What is given to a node once.
fn validate_kept(root: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let (cidrs, old_cidrs) = (root.field("spec.podCIDRs"), cells::list(old, "spec.podCIDRs"));
    let detail = "node updates may not change podCIDR except from \"\" to valid";
    if old_cidrs.len() != cidrs.list().len() && !old_cidrs.is_empty() {
        cidrs.forbidden(errors, detail);
    } else {
        for _ in old_cidrs.iter().zip(cidrs.list()).filter(|(old, new)| old != new) {
            cidrs.forbidden(errors, detail);
        }
    }
    let provider = root.field("spec.providerID");
    let before = object::str_at(old, "spec.providerID");
    if !before.is_empty() && provider.str() != before {
        provider.forbidden(errors, "node updates may not change providerID except from \"\" to valid");
    }
}

fn validate_resources(root: &At<'_>, errors: &mut ErrorList) {
    for list in ["status.capacity", "status.allocatable"] {
        validate_amounts(root, list, errors);
    }
}

/// Where a kubelet takes its configuration from: a ConfigMap, of one version where it is used.
fn validate_config(source: &At<'_>, wanted: bool, errors: &mut ErrorList) {
    let map = source.field("configMap");
    if !map.present() {
        return source.invalid(errors, "exactly one reference subfield must be non-nil");
    }
    for field in ["uid", "resourceVersion"] {
        let at = map.field(field);
        if wanted && !at.is_empty() {
            at.forbidden(errors, &format!("{field} must not be set in spec"));
        } else if !wanted {
            at.need(errors);
        }
    }
    for (field, check) in [
        ("namespace", names::dns1123_label as fn(&str) -> Vec<String>),
        ("name", names::dns1123_subdomain),
        ("kubeletConfigKey", names::config_map_key),
    ] {
        let at = map.field(field);
        if at.need(errors) {
            at.format(errors, check);
        }
    }
}

/// Fields that were annotations, which hold JSON.
fn validate_annotations(root: &At<'_>, errors: &mut ErrorList) {
    let notes = root.field("metadata.annotations");
    let parsed = |key: &str| {
        let text = notes.key(key).str();
        (!text.is_empty()).then(|| serde_json::from_str::<Value>(text))
    };
    match parsed(TAINTS) {
        None => {}
        Some(Ok(taints)) if taints.is_array() || taints.is_null() => {
            validate_taints(&notes.field(TAINTS).with(&taints), errors);
        }
        Some(Ok(_)) => errors.invalid(&notes.path(), &Value::from(TAINTS), "not a list of taints"),
        Some(Err(error)) => errors.invalid(&notes.path(), &Value::from(TAINTS), &error.to_string()),
    }
    match parsed(AVOIDED_PODS) {
        None => {}
        Some(Ok(avoided)) if avoided.is_object() || avoided.is_null() => {
            let place = notes.field(AVOIDED_PODS);
            for pods in place.with(child(&avoided, "preferAvoidPods")).items() {
                validate_avoided(&pods, errors);
            }
        }
        Some(Ok(_)) => {
            let path = notes.path().child("AvoidPods");
            errors.invalid(&path, &Value::from(AVOIDED_PODS), "not a description of pods to avoid");
        }
        Some(Err(error)) => {
            let path = notes.path().child("AvoidPods");
            errors.invalid(&path, &Value::from(AVOIDED_PODS), &error.to_string());
        }
    }
}

/// Pods of a controller.
fn validate_avoided(pods: &At<'_>, errors: &mut ErrorList) {
    let controller = child(pods.value, "podSignature.podController");
    let signature = pods.path().child("PodSignature");
    if controller.is_null() {
        errors.required(&signature, "");
    } else if child(controller, "controller") == &Value::Bool(false) {
        let path = signature.child("PodController").child("Controller");
        errors.invalid(&path, &Value::Bool(false), "must point to a controller");
    }
}

/// The path is upstream's: `metadata.taints`.
fn validate_taints(taints: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for taint in taints.items() {
        let (value, effect) = (taint.field("value"), taint.field("effect"));
        taint.field("key").format(errors, names::qualified_name);
        let messages = names::label_value(value.str());
        if !messages.is_empty() {
            value.invalid(errors, &messages.join(";"));
        }
        if effect.need(errors) && !EFFECTS.contains(&effect.str()) {
            effect.unsupported_listed(errors, &EFFECTS);
        }
        if !seen.insert((object::str_at(taint.value, "key"), object::str_at(taint.value, "effect"))) {
            let shown = internal::shown("Taint", taint.value);
            errors.duplicate_printed(&taint.path(), &shown, "taints must be unique by key and effect pair");
        }
    }
}

/// The path is dotted, not keyed: `status.capacity.cpu`. Names are anybody's.
fn validate_amounts(root: &At<'_>, list: &str, errors: &mut ErrorList) {
    let amounts = root.field(list);
    for (name, amount) in amounts.entries() {
        resource_name::validate_amount(&amounts.field(name).with(amount.value), name, errors);
    }
}

/// What a kubelet can do: in order, each once, `MyFeature/mySubFeature`.
fn validate_features(features: &At<'_>, errors: &mut ErrorList) {
    let word = |part: &str| part.bytes().all(|c| c.is_ascii_alphanumeric());
    for (index, feature) in features.items().enumerate() {
        let name = feature.str();
        let before = index.checked_sub(1).and_then(|before| features.list()[before].as_str()).unwrap_or("");
        if index > 0 && before == name {
            feature.duplicate(errors);
        } else if before > name {
            feature.invalid(errors, "list must be sorted alphabetically");
        }
        let shape = name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.split('/').all(|part| word(part) && part.starts_with(|c: char| c.is_ascii_alphabetic()));
        if name.len() > names::SUBDOMAIN_MAX_BYTES {
            feature.invalid(errors, &format!("invalid feature name {name:?}: must be no more than 253 characters"));
        } else if !shape {
            let detail = format!(
                "invalid feature name {name:?}: must start with an UpperCamelCase segment, with subsequent segments \
                 separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters \
                 and slashes"
            );
            feature.invalid(errors, &detail);
        }
    }
}

fn validate_cidrs(cidrs: &At<'_>, errors: &mut ErrorList) {
    for cidr in cidrs.items() {
        cidr.format(errors, formats::cidr);
    }
    let count = cidrs.list().len();
    if count < 2 {
        return;
    }
    let texts = cidrs.items().map(|cidr| cidr.str());
    let unread = texts.enumerate().find(|(_, text)| formats::parse_cidr(text).is_none());
    if let Some((index, text)) = unread {
        let detail = format!(
            "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{index}]: <nil> (invalid CIDR \
             address: {text})"
        );
        errors.internal(&cidrs.path(), &detail);
    }
    let blocks = cidrs.list().iter().map(|one| one.as_str().and_then(formats::parse_cidr));
    let families: Option<HashSet<bool>> = blocks.map(|block| block.map(|(ip, _)| ip.is_ipv4())).collect();
    if count > 2 || families.is_none_or(|families| families.len() < 2) {
        cidrs.invalid(errors, "may specify no more than one CIDR for each IP family");
    }
}
