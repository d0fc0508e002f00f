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
    if sources == 0 {
        let detail =
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        from.invalid(errors, detail);
    } else if !env.field("value").is_empty() {
        from.invalid(errors, "may not be specified when `value` is not empty");
    } else if sources > 1 {
        from.invalid(errors, "may not have more than one field specified at a time");
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
    if version.is_empty() {
        return version.required(errors, "");
    }
    if path.is_empty() {
        return path.required(errors, "");
    }
    if let Some((map, key)) = subscript(path.str()) {
        for message in check_subscript(map, key) {
            path.invalid(errors, &message);
        }
    } else if !ENV_FIELDS.contains(&path.str()) && !KNOWN_FIELDS.contains(&path.str()) {
        let detail = format!("error converting fieldPath: field label not supported: {}", path.str());
        path.invalid(errors, &detail);
    } else if !allowed.contains(&path.str()) {
        path.unsupported(errors, allowed);
    }
}

/// `metadata.labels['key']`
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['")
}

fn check_subscript(map: &str, key: &str) -> Vec<String> {
    match map {
        "metadata.annotations" => names::qualified_name(&key.to_lowercase()),
        "metadata.labels" => names::qualified_name(key),
        _ => vec![format!("{map:?} does not support subscript")],
    }
}

/// `resourceFieldRef`; a volume has to name the container.
pub(crate) fn validate_resource_ref(reference: &At<'_>, in_volume: bool, errors: &mut ErrorList) {
    if !reference.present() {
        return;
    }
    let (resource, divisor) = (reference.field("resource"), reference.field("divisor"));
    if in_volume && reference.field("containerName").is_empty() {
        return reference.field("containerName").required(errors, "");
    }
    if resource.is_empty() {
        return resource.required(errors, "");
    }
    let huge = resource.str().strip_prefix("limits.").or_else(|| resource.str().strip_prefix("requests."));
    if !RESOURCES.contains(&resource.str()) && !huge.is_some_and(|name| name.starts_with("hugepages-")) {
        return resource.unsupported(errors, &RESOURCES);
    }
    let allowed: &[&str] = match resource.str() {
        "limits.cpu" | "requests.cpu" => &["1m", "1"],
        _ => &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"],
    };
    let zero = formats::quantity(&divisor).is_none_or(|divisor| divisor.nano == 0);
    let text = divisor.value.as_str().map_or_else(|| divisor.value.to_string(), str::to_owned);
    if !zero && !allowed.contains(&text.as_str()) {
        let of = match resource.str() {
            "limits.cpu" | "requests.cpu" => "only divisor's values 1m and 1 are supported with the cpu resource",
            _ => {
                "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the resource"
            }
        };
        divisor.invalid(errors, of);
    }
}

/// The errors on what source it is name the list, not the item, as upstream's.
pub(crate) fn validate_from(sources: &At<'_>, errors: &mut ErrorList) {
    for source in sources.items() {
        source.field("prefix").format_if_set(errors, formats::env_name);
        let of = ["configMapRef", "secretRef"];
        for name in of {
            let reference = source.field(name);
            if reference.present() {
                reference.field("name").format(errors, names::dns1123_subdomain);
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
