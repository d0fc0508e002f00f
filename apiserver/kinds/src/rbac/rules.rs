//! What roles and bindings share.

use api_machinery::{ErrorList, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child, same};
use crate::cells;

pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

/// Rules of a role; only those of cluster roles may be about URLs.
pub(crate) fn validate(rules: &At<'_>, namespaced: bool, errors: &mut ErrorList) {
    for rule in rules.items() {
        let (verbs, groups, resources, urls) =
            (rule.field("verbs"), rule.field("apiGroups"), rule.field("resources"), rule.field("nonResourceURLs"));
        if verbs.is_empty() {
            verbs.required(errors, "verbs must contain at least one value");
        }
        if !urls.is_empty() {
            if namespaced {
                urls.invalid(errors, "namespaced rules cannot apply to non-resource URLs");
            }
            if !groups.is_empty() || !resources.is_empty() || !rule.field("resourceNames").is_empty() {
                urls.invalid(errors, "rules cannot apply to both regular resources and non-resource URLs");
            }
            continue;
        }
        if groups.is_empty() {
            groups.required(errors, "resource rules must supply at least one api group");
        }
        if resources.is_empty() {
            resources.required(errors, "resource rules must supply at least one resource");
        }
    }
}

/// Groups of subjects and of the role, by kind.
pub(crate) fn default_binding(object: &mut Value) {
    if object["roleRef"].is_object() && object::str_at(object, "roleRef.apiGroup").is_empty() {
        object["roleRef"]["apiGroup"] = GROUP.into();
    }
    let subjects = object.get_mut("subjects").and_then(Value::as_array_mut);
    for subject in subjects.into_iter().flatten() {
        let known = matches!(object::str_at(subject, "kind"), "User" | "Group");
        if known && object::str_at(subject, "apiGroup").is_empty() {
            subject["apiGroup"] = GROUP.into();
        }
    }
}

pub(crate) fn validate_binding(object: &Value, roles: &[&str], errors: &mut ErrorList) {
    let root = At::root(object);
    let role = root.field("roleRef");
    let group = role.field("apiGroup");
    if group.str() != GROUP {
        group.unsupported(errors, &[GROUP]);
    }
    let kind = role.field("kind");
    if !roles.contains(&kind.str()) {
        kind.unsupported_listed(errors, roles);
    }
    let name = role.field("name");
    if name.need(errors) {
        name.format(errors, api_machinery::names::path_segment);
    }
    for subject in root.field("subjects").items() {
        validate_subject(&subject, roles.contains(&"Role"), errors);
    }
}

/// In a namespaced binding, an account may be of the binding's namespace.
fn validate_subject(subject: &At<'_>, namespaced: bool, errors: &mut ErrorList) {
    let (kind, group) = (subject.field("kind"), subject.field("apiGroup"));
    subject.field("name").need(errors);
    match kind.str() {
        "ServiceAccount" => {
            subject.field("name").format_if_set(errors, api_machinery::names::dns1123_subdomain);
            if !group.is_empty() {
                group.unsupported(errors, &[""]);
            }
            if !namespaced {
                subject.field("namespace").need(errors);
            }
        }
        "User" | "Group" => {
            if group.str() != GROUP {
                group.unsupported(errors, &[GROUP]);
            }
        }
        _ => kind.unsupported_listed(errors, &["ServiceAccount", "User", "Group"]),
    }
}

pub(crate) fn validate_binding_update(object: &Value, old: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let role = root.field("roleRef");
    if !same(role.value, child(old, "roleRef")) {
        // Upstream shows it with the names its fields have in Go.
        let text = |field: &str| object::str_at(role.value, field);
        let shown = json!({"APIGroup": text("apiGroup"), "Kind": text("kind"), "Name": text("name")});
        errors.invalid(&role.path(), &shown, "cannot change roleRef");
    }
}

pub(crate) fn binding_cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let role = format!("{}/{}", object::str_at(object, "roleRef.kind"), object::str_at(object, "roleRef.name"));
    let of = |kind: &str| {
        let subjects = cells::list(object, "subjects").iter().filter(|one| object::str_at(one, "kind") == kind);
        let names: Vec<String> = subjects
            .map(|one| match kind {
                "ServiceAccount" => format!("{}/{}", object::str_at(one, "namespace"), object::str_at(one, "name")),
                _ => object::str_at(one, "name").to_owned(),
            })
            .collect();
        Value::from(names.join(", "))
    };
    vec![cells::name(object), role.into(), cells::age(object, now), of("User"), of("Group"), of("ServiceAccount")]
}
