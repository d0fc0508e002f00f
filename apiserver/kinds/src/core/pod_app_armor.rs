//! AppArmor profiles that a pod's annotations name, as they were said before there were fields for them.

use api_machinery::{ErrorList, Value, object};
use serde_json::json;

use crate::at::{At, child, same};
use crate::cells;
use crate::list::core_pod_annotations::APP_ARMOR;
use crate::list::core_pod_warnings::Warnings;
use crate::list::core_security as security;

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
pub(crate) const USE_FIELD: &str = "deprecated since v1.30; use the \"appArmorProfile\" field instead";

/// The profile that an annotation stands for, whatever it is worth.
pub(crate) fn profile_of(annotation: &str) -> Option<Value> {
    match annotation {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        _ => {
            let name = annotation.strip_prefix("localhost/").filter(|name| !name.is_empty())?;
            Some(json!({"type": "Localhost", "localhostProfile": name}))
        }
    }
}

fn valid_profile_of(annotation: &str) -> Option<Value> {
    profile_of(annotation).filter(|profile| {
        let mut errors = ErrorList::new();
        security::validate_app_armor(&At::root(profile), &mut errors);
        errors.is_empty()
    })
}

fn is_of_windows(pod: &Value) -> bool {
    child(pod, "spec.os.name") == "windows"
}

/// Containers of a new pod that only an annotation names a profile for get it as a field, unless it is the pod's.
pub(crate) fn take_from_annotations(pod: &mut Value) {
    let annotations = child(pod, "metadata.annotations").as_object().into_iter().flatten();
    let annotations: Vec<(String, Value)> = annotations
        .filter_map(|(key, value)| Some((key.strip_prefix(APP_ARMOR)?.to_owned(), valid_profile_of(value.as_str()?)?)))
        .collect();
    if annotations.is_empty() || is_of_windows(pod) {
        return;
    }
    let of_pod = child(pod, "spec.securityContext.appArmorProfile").clone();
    for list in LISTS {
        let containers = pod.get_mut("spec").and_then(|spec| spec.get_mut(list)).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = object::str_at(container, "name");
            let profile = annotations.iter().find(|(of, _)| of == name).map(|(_, profile)| profile);
            if let Some(profile) = profile.filter(|profile| !same(profile, &of_pod))
                && child(container, "securityContext.appArmorProfile").is_null()
            {
                container["securityContext"]["appArmorProfile"] = profile.clone();
            }
        }
    }
}

/// Of annotations that stand alone, in a new pod after [`take_from_annotations`].
pub(crate) fn warn(pod: &At<'_>, warnings: &mut Warnings) {
    if is_of_windows(pod.value) {
        return;
    }
    let annotations = pod.field("metadata.annotations");
    for list in LISTS {
        for container in cells::list(child(pod.value, "spec"), list) {
            let name = object::str_at(container, "name");
            let key = format!("{APP_ARMOR}{name}");
            let Some(annotation) = annotations.value.get(&key).and_then(Value::as_str) else { continue };
            let alone = match child(container, "securityContext.appArmorProfile") {
                Value::Null => valid_profile_of(annotation).is_none(),
                _ => !is_written(pod.value, list, name),
            };
            if alone {
                warnings.say(&annotations.key(&key), USE_FIELD);
            }
        }
    }
}

/// Whether whoever wrote the pod set the container's profile: then somebody manages the field.
fn is_written(pod: &Value, list: &str, name: &str) -> bool {
    let (list, container) = (format!("f:{list}"), format!("k:{}", json!({"name": name})));
    cells::list(pod, "metadata.managedFields").iter().any(|entry| {
        let steps = ["fieldsV1", "f:spec", &list, &container, "f:securityContext", "f:appArmorProfile"];
        steps.iter().try_fold(entry, |fields, step| fields.get(*step)).is_some()
    })
}
