//! Validation of environment variables and references to fields.

use api_machinery::{ErrorList, Value, names};

use crate::at::At;
use crate::formats;

/// Pod fields an environment variable may show.
const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Pod fields a downward API volume may show.
pub(crate) const VOLUME_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// All labels that convert at all, for telling an unknown field from one of the wrong place.
const KNOWN_FIELDS: [&str; 6] = [
    "metadata.annotations",
    "metadata.labels",
    "spec.restartPolicy",
    "spec.schedulerName",
    "status.phase",
    "spec.host",
];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub(crate) fn validate(env: &At<'_>, errors: &mut ErrorList) {
    for one in env.items() {
        let name = one.field("name");
        if name.is_empty() {
            name.required(errors, "");
        } else {
            name.format(errors, formats::env_name);
        }
        validate_value_from(&one, errors);
    }
}

fn validate_value_from(env: &At<'_>, errors: &mut ErrorList) {
    const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    let from = env.field("valueFrom");
    if !from.present() {
        return;
    }
    let sources = SOURCES.iter().filter(|source| from.field(source).present()).count();
    validate_field_ref(&from.field("fieldRef"), &ENV_FIELDS, errors);
    validate_resource_ref(&from.field("resourceFieldRef"), false, errors);
    for source in ["configMapKeyRef", "secretKeyRef"] {
        validate_key_ref(&from.field(source), errors);
    }
    validate_file_ref(&from.field("fileKeyRef"), errors);
    let detail = match (sources, env.field("value").is_empty()) {
        (0, _) => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        (_, false) => "may not be specified when `value` is not empty",
        (1, true) => return,
        _ => "may not have more than one field specified at a time",
    };
    errors.invalid(&from.path(), &Value::from(""), detail);
}

/// A variable in a file of a volume.
fn validate_file_ref(reference: &At<'_>, errors: &mut ErrorList) {
    if !reference.present() {
        return;
    }
    let (key, volume, path) = (reference.field("key"), reference.field("volumeName"), reference.field("path"));
    if key.need(errors) {
        key.format(errors, formats::env_name);
    }
    if volume.need(errors) {
        volume.format(errors, names::dns1123_label);
    }
    if path.need(errors) {
        formats::no_backsteps(&path, errors);
    }
}

fn validate_key_ref(reference: &At<'_>, errors: &mut ErrorList) {
    if !reference.present() {
        return;
    }
    reference.field("name").format(errors, names::dns1123_subdomain);
    let key = reference.field("key");
    if key.is_empty() {
        key.required(errors, "");
    } else {
        key.format(errors, names::config_map_key);
    }
}

/// `fieldRef`: a known field, of those allowed here; labels and annotations by key too.
pub(crate) fn validate_field_ref(reference: &At<'_>, allowed: &[&str], errors: &mut ErrorList) {
    if !reference.present() {
        return;
    }
    let (version, path) = (reference.field("apiVersion"), reference.field("fieldPath"));
    if !version.need(errors) || !path.need(errors) {
        return;
    }
    if version.str() != "v1" {
        let detail = format!("error converting fieldPath: unsupported pod version: {}", version.str());
        return path.invalid(errors, &detail);
    }
    match (subscript(path.str()), path.str()) {
        // The old name of a node.
        (None, "spec.host") if allowed.contains(&"spec.nodeName") => {}
        (None, "spec.host") => errors.not_supported(&path.path(), &Value::from("spec.nodeName"), allowed),
        (None, text) if !ENV_FIELDS.contains(&text) && !KNOWN_FIELDS.contains(&text) => {
            path.invalid(errors, &format!("error converting fieldPath: field label not supported: {text}"));
        }
        (None, text) if !allowed.contains(&text) => path.unsupported(errors, allowed),
        (None, _) => {}
        (Some((map, key)), text) => match check_subscript(map, key) {
            Some(messages) => {
                let key = if map == "metadata.annotations" { key.to_lowercase() } else { key.to_owned() };
                let key = Value::from(key);
                messages.iter().for_each(|message| errors.invalid(&reference.path(), &key, message));
            }
            None => {
                let detail = format!("error converting fieldPath: field label does not support subscript: {text}");
                path.invalid(errors, &detail);
            }
        },
    }
}

/// `metadata.labels['key']`
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['").filter(|(map, _)| !map.is_empty())
}

/// What is wrong with the key; `None` where the map has no keys.
fn check_subscript(map: &str, key: &str) -> Option<Vec<String>> {
    match map {
        "metadata.annotations" => Some(names::qualified_name(&key.to_lowercase())),
        "metadata.labels" => Some(names::qualified_name(key)),
        _ => None,
    }
}

/// `resourceFieldRef`; a volume has to name the container.
pub(crate) fn validate_resource_ref(reference: &At<'_>, in_volume: bool, errors: &mut ErrorList) {
    if !reference.present() {
        return;
    }
    let (container, resource) = (reference.field("containerName"), reference.field("resource"));
    if in_volume && container.is_empty() {
        container.required(errors, "");
    } else if resource.need(errors) && !RESOURCES.contains(&resource.str()) && !is_of_huge_pages(resource.str()) {
        resource.unsupported(errors, &RESOURCES);
    }
    validate_divisor(resource.str(), &reference.field("divisor"), errors);
}

fn is_of_huge_pages(resource: &str) -> bool {
    ["limits.hugepages-", "requests.hugepages-"].iter().any(|prefix| resource.starts_with(prefix))
}

/// Compared in its canonical form; the error shows the resource, as upstream's.
fn validate_divisor(resource: &str, divisor: &At<'_>, errors: &mut ErrorList) {
    const BYTES: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    const LIST: &str = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei";
    let Some(amount) = formats::quantity(divisor).filter(|amount| amount.nano != 0) else { return };
    let (allowed, detail): (&[&str], String) = match resource {
        "limits.cpu" | "requests.cpu" => {
            (&["1m", "1"], "only divisor's values 1m and 1 are supported with the cpu resource".to_owned())
        }
        "limits.memory" | "requests.memory" => {
            (&BYTES, format!("only divisor's values {LIST} are supported with the memory resource"))
        }
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => {
            (&BYTES, format!("only divisor's values {LIST} are supported with the local ephemeral storage resource"))
        }
        text if is_of_huge_pages(text) => {
            (&BYTES, format!("only divisor's values {LIST} are supported with the hugepages resource"))
        }
        _ => return,
    };
    if !allowed.contains(&amount.to_string().as_str()) {
        errors.invalid(&divisor.path(), &Value::from(resource), &detail);
    }
}

/// Upstream takes the names of sources as if something followed them, so that they may end with a dash.
fn name_or_prefix(text: &str) -> Vec<String> {
    names::dns1123_subdomain(&names::mask_trailing_dash(text))
}

/// The errors on what source it is name the list, not the item, as upstream's.
pub(crate) fn validate_from(sources: &At<'_>, errors: &mut ErrorList) {
    for source in sources.items() {
        source.field("prefix").format_if_set(errors, formats::env_name);
        let of = ["configMapRef", "secretRef"];
        for name in of {
            let reference = source.field(name);
            if reference.present() && reference.field("name").need(errors) {
                reference.field("name").format(errors, name_or_prefix);
            }
        }
        match of.iter().filter(|name| source.field(name).present()).count() {
            0 => {
                errors.invalid(&sources.path(), &Value::from(""), "must specify one of: `configMapRef` or `secretRef`")
            }
            1 => {}
            _ => {
                let detail = "may not have more than one field specified at a time";
                errors.invalid(&sources.path(), &Value::from(""), detail);
            }
        }
    }
}
