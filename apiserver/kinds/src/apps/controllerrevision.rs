//! ControllerRevision.

use api_machinery::{ErrorList, GroupResource, GroupVersion, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, IMMUTABLE, child};
use crate::{Kind, cells, meta};

pub(crate) struct ControllerRevision;

impl Kind for ControllerRevision {
    fn resource(&self) -> GroupResource {
        GroupResource::new("apps", "controllerrevisions")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "ControllerRevision",
               "metadata": {"name": "x", "namespace": "default"}, "data": {"a": 1}, "revision": 1})
    }
    fn has_generation(&self) -> bool {
        false
    }
    /// Upstream looks at the metadata of a changed one as if it was new, and only of a new one at what data is.
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        meta::validate_again(self, object, true, errors);
        let root = At::root(object);
        root.field("revision").not_negative(errors);
        if meta::is_new(object) {
            validate_data(&root.field("data"), errors);
        }
    }
    /// Data is compared to the letter: what is empty in it is not what is absent.
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let data = root.field("data");
        if data.value != child(old, "data") {
            data.invalid(errors, IMMUTABLE);
        }
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let revision = cells::int(object, "revision").to_string();
        Some(vec![cells::name(object), controller(object).into(), revision.into(), cells::age(object, now)])
    }
}

fn validate_data(data: &At<'_>, errors: &mut ErrorList) {
    match data.value {
        Value::Null => data.required(errors, "data is mandatory"),
        Value::Object(_) => {}
        _ => data.required(errors, "data must be a valid JSON object"),
    }
}

/// `statefulset.apps/web`
fn controller(object: &Value) -> String {
    let owner = object::owner_references(object).iter().find(|one| child(one, "controller") == &Value::Bool(true));
    let Some(owner) = owner else { return "<none>".to_owned() };
    let version = GroupVersion::parse(object::str_at(owner, "apiVersion"));
    let kind = object::str_at(owner, "kind").to_lowercase();
    let name = object::str_at(owner, "name");
    if version.group.is_empty() { format!("{kind}/{name}") } else { format!("{kind}.{}/{name}", version.group) }
}
