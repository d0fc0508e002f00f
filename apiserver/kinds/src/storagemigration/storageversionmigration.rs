//! StorageVersionMigration: that everything of a resource be written anew.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, IMMUTABLE, child};
use crate::{Kind, cells, conditions, meta};

pub(crate) struct StorageVersionMigration;

const DONE: [(&str, &str); 2] = [("Succeeded", "Success"), ("Failed", "Failed")];

impl Kind for StorageVersionMigration {
    fn resource(&self) -> GroupResource {
        GroupResource::new("storagemigration.k8s.io", "storageversionmigrations")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "storagemigration.k8s.io/v1beta1", "kind": "StorageVersionMigration",
               "metadata": {"name": "x"}, "spec": {"resource": {"group": "apps", "resource": "deployments"}}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn allows_unconditional_update(&self) -> bool {
        false
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let of = root.field("spec.resource");
        let (resource, group) = (of.field("resource"), of.field("group"));
        if resource.is_empty() {
            resource.required(errors, "resource is required to be set");
        } else {
            joined(&resource, names::dns1035_label, errors);
        }
        if !group.is_empty() {
            joined(&group, names::dns1123_subdomain, errors);
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        meta::validate_again(self, object, false, errors);
        let root = At::root(object);
        root.field("spec").unchanged(errors, child(old, "spec"));
    }
    fn validate_status_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let status = root.field("status");
        let (version, before) = (status.field("resourceVersion"), object::str_at(old, "status.resourceVersion"));
        if !version.is_empty() && !is_version(version.str()) {
            let detail = format!("resource version is not well formed: {}", version.str());
            version.invalid(errors, &detail);
        }
        let list = status.field("conditions");
        conditions::validate(&list, errors);
        if !before.is_empty() && before != version.str() {
            errors.invalid(&version.path(), &Value::from(version.str()), IMMUTABLE);
        }
        validate_outcome(object, old, &list, errors);
    }
    fn cells(&self, object: &Value, _now: Timestamp) -> Option<Vec<Value>> {
        let of = |field: &str| object::str_at(object, field);
        let resource = GroupResource::new(of("spec.resource.group"), of("spec.resource.resource")).to_string();
        let stages = ["Running", "Failed", "Succeeded"];
        let mut states = cells::list(object, "status.conditions")
            .iter()
            .filter(|one| object::str_at(one, "status") == "True" && stages.contains(&object::str_at(one, "type")));
        let state = states.next_back().map_or("Unknown", |condition| object::str_at(condition, "type"));
        Some(vec![cells::name(object), resource.into(), state.into()])
    }
}

/// All that is wrong as one.
fn joined(at: &At<'_>, check: fn(&str) -> Vec<String>, errors: &mut ErrorList) {
    let messages = check(at.str());
    if !messages.is_empty() {
        at.invalid(errors, &messages.join(","));
    }
}

/// A number without leading zeros: what can be compared.
fn is_version(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0')
}

/// It ends one way, and stays as it ended.
fn validate_outcome(object: &Value, old: &Value, list: &At<'_>, errors: &mut ErrorList) {
    let is = |of: &Value, condition: &str| cells::condition_true(of, condition);
    if DONE.iter().all(|(condition, _)| is(object, condition)) {
        list.invalid(errors, "Both success and failed conditions cannot be true at the same time");
    }
    for (condition, named) in DONE {
        if is(old, condition) && !is(object, condition) {
            list.invalid(errors, &format!("{named} condition cannot be set to false once it is true"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations() {
        let told = |check: &dyn Fn(&mut ErrorList)| {
            let mut errors = ErrorList::new();
            check(&mut errors);
            errors.causes().iter().map(|cause| format!("{} {}", cause.field, cause.message)).collect::<Vec<_>>()
        };
        let kind = StorageVersionMigration;
        assert_eq!(told(&|errors| kind.validate(&kind.sample(), errors)), [""; 0]);
        let none = json!({"spec": {"resource": {"group": "-"}}});
        let found = told(&|errors| kind.validate(&none, errors));
        assert_eq!(found[0], "spec.resource.resource Required value: resource is required to be set");
        assert!(found[1].starts_with("spec.resource.group Invalid value: \"-\": a lowercase RFC 1123 subdomain"));
        let at = |version: &str, condition: &str, status: &str| {
            json!({"status": {"resourceVersion": version, "conditions": [{"type": condition, "status": status,
                   "reason": "R", "lastTransitionTime": "2024-01-01T00:00:00Z"}]}})
        };
        let old = at("7", "Succeeded", "True");
        assert_eq!(told(&|errors| kind.validate_status_update(&old, &old, errors)), [""; 0]);
        let found = told(&|errors| kind.validate_status_update(&at("08", "Succeeded", "False"), &old, errors));
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[1], "status.resourceVersion Invalid value: \"08\": field is immutable");
        assert!(found[2].ends_with("Success condition cannot be set to false once it is true"));
    }
}
