//! Annotations with a meaning for pods, of pods and of templates.

use api_machinery::{ErrorList, Value, object};

use crate::at::At;
use crate::formats;
use crate::list::{core_affinity as affinity, core_windows as windows};

/// Of pods that a kubelet runs from a file.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
pub(crate) const SECCOMP_OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
pub(crate) const SECCOMP_OF_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
pub(crate) const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// In upstream's order.
pub(crate) fn validate(annotations: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    let (mirror, tolerations) = (annotations.key(MIRROR), annotations.key(TOLERATIONS));
    let (cost, seccomp) = (annotations.key(DELETION_COST), annotations.key(SECCOMP_OF_POD));
    if mirror.present() && spec.field("nodeName").is_empty() {
        mirror.invalid(errors, "must set spec.nodeName if mirror pod annotation is set");
    }
    if !tolerations.is_empty() {
        validate_tolerations(annotations, &tolerations, errors);
    }
    if cost.present() && !is_cost(cost.str()) {
        cost.invalid(errors, "must be a 32bit integer");
    }
    // The errors of these name them as fields, as upstream's.
    if seccomp.present() {
        validate_seccomp(&annotations.field(SECCOMP_OF_POD).with(seccomp.value), errors);
    }
    for (key, at) in annotations.entries().filter(|(key, _)| key.starts_with(SECCOMP_OF_CONTAINER)) {
        validate_seccomp(&annotations.field(key).with(at.value), errors);
    }
    for (key, at) in annotations.entries() {
        if let Some(container) = key.strip_prefix(APP_ARMOR) {
            validate_app_armor(&at, container, spec, errors);
        }
    }
}

/// Digits, no plus, no leading zero.
fn is_cost(text: &str) -> bool {
    let first = text.bytes().next();
    let begins = text == "0" || first == Some(b'-') || first.is_some_and(|c| (b'1'..=b'9').contains(&c));
    begins && text.parse::<i32>().is_ok()
}

fn validate_tolerations(annotations: &At<'_>, at: &At<'_>, errors: &mut ErrorList) {
    match serde_json::from_str::<Value>(at.str()) {
        Ok(list @ (Value::Array(_) | Value::Null)) => {
            affinity::validate_tolerations(&annotations.field(TOLERATIONS).with(&list), errors);
        }
        Ok(_) => {
            let detail = "json: cannot unmarshal object into Go value of type []v1.Toleration";
            errors.invalid(&annotations.path(), &Value::from(TOLERATIONS), detail);
        }
        Err(error) => errors.invalid(&annotations.path(), &Value::from(TOLERATIONS), &error.to_string()),
    }
}

fn validate_seccomp(at: &At<'_>, errors: &mut ErrorList) {
    match at.str() {
        "runtime/default" | "docker/default" | "unconfined" => {}
        text => match text.strip_prefix("localhost/") {
            Some(path) => {
                let path = Value::from(path);
                formats::local_descending_path(&at.with(&path), errors);
            }
            None => at.invalid(errors, "must be a valid seccomp profile"),
        },
    }
}

fn validate_app_armor(at: &At<'_>, container: &str, spec: &At<'_>, errors: &mut ErrorList) {
    let mut found = false;
    windows::each_container(spec, &mut |one| found |= object::str_at(one.value, "name") == container);
    if !found {
        errors.invalid(&at.path(), &Value::from(container), "container not found");
    }
    let known = matches!(at.str(), "" | "runtime/default" | "unconfined") || at.str().starts_with("localhost/");
    if !known {
        at.invalid(errors, &format!("invalid AppArmor profile name: {}", Value::from(at.str())));
    }
}

/// What is said twice, in an annotation and in a field, is said alike.
pub(crate) fn validate_agreement(annotations: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    let text = |key: &str| annotations.value.get(key).and_then(Value::as_str);
    let of_pod = spec.field("securityContext.seccompProfile");
    if let Some(annotation) = text(SECCOMP_OF_POD) {
        agree(&of_pod, annotation, "seccomp", errors);
    }
    windows::each_container(spec, &mut |container| {
        let name = object::str_at(container.value, "name");
        if let Some(annotation) = text(&format!("{SECCOMP_OF_CONTAINER}{name}")) {
            agree(&container.field("securityContext.seccompProfile"), annotation, "seccomp", errors);
        }
    });
    if object::str_at(spec.value, "os.name") == "windows" {
        return;
    }
    let of_pod = crate::at::child(spec.value, "securityContext.appArmorProfile");
    windows::each_container(spec, &mut |container| {
        let name = object::str_at(container.value, "name");
        let own = container.field("securityContext.appArmorProfile");
        let profile = if own.present() { own } else { own.with(of_pod) };
        if let Some(annotation) = text(&format!("{APP_ARMOR}{name}")) {
            agree(&profile, annotation, "apparmor", errors);
        }
    });
}

fn agree(profile: &At<'_>, annotation: &str, what: &str, errors: &mut ErrorList) {
    let (kind, local) = (profile.field("type"), profile.field("localhostProfile"));
    let same = match kind.str() {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => annotation == "runtime/default" || (what == "seccomp" && annotation == "docker/default"),
        "Localhost" => match annotation.strip_prefix("localhost/") {
            Some(path) if local.value.as_str() != Some(path) => {
                return local.forbidden(errors, &format!("{what} profile in annotation and field must match"));
            }
            path => path.is_some(),
        },
        _ => true,
    };
    if !same {
        kind.forbidden(errors, &format!("{what} type in annotation and field must match"));
    }
}
