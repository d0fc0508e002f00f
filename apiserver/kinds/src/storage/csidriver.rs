//! CSIDriver.

use std::collections::HashSet;

use api_machinery::{ErrorList, GroupResource, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, IMMUTABLE, child, same};
use crate::{Kind, cells};

pub(crate) struct CSIDriver;

impl Kind for CSIDriver {
    fn resource(&self) -> GroupResource {
        GroupResource::new("storage.k8s.io", "csidrivers")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "x.example.com"}, "spec": {}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn allows_unconditional_update(&self) -> bool {
        false
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        for field in ["attachRequired", "podInfoOnMount", "storageCapacity"] {
            let at = spec.field(field);
            if !at.present() {
                at.required(errors, "");
            }
        }
        spec.field("fsGroupPolicy").one_of(errors, &["File", "None", "ReadWriteOnceWithFSType"]);
        let modes = spec.field("volumeLifecycleModes");
        for mode in modes.items() {
            modes.with(mode.value).one_of(errors, &["Ephemeral", "Persistent"]);
        }
        let mut seen = HashSet::new();
        for request in spec.field("tokenRequests").items() {
            let audience = object::str_at(request.value, "audience");
            if seen.contains(&audience) {
                request.field("audience").duplicate(errors);
            }
            seen.insert(audience);
            request.field("expirationSeconds").between(errors, 600, 1 << 32);
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        let old = child(old, "spec");
        // The first path is upstream's own spelling.
        for (field, path) in [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")]
        {
            let at = spec.field(path).with(child(spec.value, field));
            if !same(at.value, child(old, field)) {
                at.invalid(errors, IMMUTABLE);
            }
        }
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let flag = |field: &str| (child(child(object, "spec"), field) == &Value::Bool(true)).into();
        let or_unset = |text: String| if text.is_empty() { Value::from("<unset>") } else { text.into() };
        let audiences = cells::joined_field(cells::list(object, "spec.tokenRequests"), "audience");
        let modes = cells::joined(object, "spec.volumeLifecycleModes", ",");
        Some(vec![
            cells::name(object),
            flag("attachRequired"),
            flag("podInfoOnMount"),
            flag("storageCapacity"),
            or_unset(audiences),
            flag("requiresRepublish"),
            if modes.is_empty() { "<none>".into() } else { modes.into() },
            cells::age(object, now),
        ])
    }
}
