//! Claims of devices that others use already: only namespaces with a label for that may hold them.
//!
//! Rules of kinds know one object only, so that the namespace is asked for beside them.

use api_machinery::{ApiError, ErrorList, GroupResource, ObjectKey, Path, Value, object};

use crate::Registry;
use crate::parts::Part;
use crate::scope::{Scope, is};

const GROUP: &str = "resource.k8s.io";
const LABEL: &str = "resource.kubernetes.io/admin-access";

/// Where upstream says that a new claim asks for it, and where an allocation grants it.
fn place(list: &str, index: usize) -> Path {
    list.split('.').fold(Path::new(""), |path, field| path.child(field)).index(index).child("adminAccess")
}

/// The first of a list that has the flag.
fn first(value: &Value, list: &str, flag: &str) -> Option<usize> {
    let items = object::at(value, list).and_then(Value::as_array)?;
    items.iter().position(|item| object::at(item, flag) == Some(&Value::Bool(true)))
}

/// What needs the label: in a new claim or template the first request, in a status the first device. What was granted
/// before is not asked about again.
fn wanted(resource: &GroupResource, part: Part, value: &Value, old: Option<&Value>) -> Option<Path> {
    const RESULTS: &str = "status.allocation.devices.results";
    const REQUESTS: &str = "spec.devices.requests";
    let flag = "exactly.adminAccess";
    match (part, old) {
        (Part::Whole, None) if is(resource, GROUP, "resourceclaims") => {
            first(value, REQUESTS, flag).map(|index| place(REQUESTS, index))
        }
        // Upstream names the place in the claim.
        (Part::Whole, None) if is(resource, GROUP, "resourceclaimtemplates") => {
            first(value, "spec.spec.devices.requests", flag).map(|index| place(REQUESTS, index))
        }
        (Part::Status, Some(old)) if is(resource, GROUP, "resourceclaims") => first(value, RESULTS, "adminAccess")
            .filter(|_| first(old, RESULTS, "adminAccess").is_none())
            .map(|index| place(RESULTS, index)),
        _ => None,
    }
}

impl Registry {
    /// Told of before everything else.
    pub(crate) async fn check_admin_access(
        &self,
        scope: &Scope<'_>,
        part: Part,
        value: &Value,
        old: Option<&Value>,
    ) -> Result<ErrorList, ApiError> {
        let mut errors = ErrorList::new();
        let Some(path) = wanted(&scope.resource.storage, part, value, old) else { return Ok(errors) };
        let key = ObjectKey::new(GroupResource::new("", "namespaces"), "", scope.namespace);
        let namespace = self.fresh(&key).await?.object;
        let labels = namespace.as_deref().and_then(|namespace| object::at(namespace, "metadata.labels"));
        if labels.and_then(|labels| labels.get(LABEL)) != Some(&Value::from("true")) {
            let detail =
                format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace");
            errors.forbidden(&path, &detail);
        }
        Ok(errors)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_needs_the_label() {
        let of = |resource: &str, part, value: &Value, old: Option<&Value>| {
            wanted(&GroupResource::new(GROUP, resource), part, value, old).map(|path| path.to_string())
        };
        let spec = json!({"devices": {"requests": [{"name": "a"}, {"exactly": {"adminAccess": true}}]}});
        let claim = json!({"spec": spec});
        let at = Some("spec.devices.requests[1].adminAccess".to_owned());
        assert_eq!(of("resourceclaims", Part::Whole, &claim, None), at);
        assert_eq!(of("resourceclaimtemplates", Part::Whole, &json!({"spec": {"spec": spec}}), None), at);
        assert_eq!(of("resourceclaims", Part::Whole, &claim, Some(&claim)), None);
        assert_eq!(of("deviceclasses", Part::Whole, &claim, None), None);
        let granted = json!({"status": {"allocation": {"devices": {"results": [{"adminAccess": true}]}}}});
        let at = Some("status.allocation.devices.results[0].adminAccess".to_owned());
        assert_eq!(of("resourceclaims", Part::Status, &granted, Some(&claim)), at);
        assert_eq!(of("resourceclaims", Part::Status, &granted, Some(&granted)), None);
    }
}
