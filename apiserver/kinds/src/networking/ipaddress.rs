//! IPAddress.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child};
use crate::list::resource_immutable as immutable;
use crate::{Kind, cells, formats, meta};

pub(crate) struct IPAddress;

impl Kind for IPAddress {
    fn resource(&self) -> GroupResource {
        GroupResource::new("networking.k8s.io", "ipaddresses")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": {"name": "10.96.0.77"},
               "spec": {"parentRef": {"resource": "services", "name": "s", "namespace": "default"}}})
    }
    /// The address itself, in the one form it is printed in.
    fn validate_name(&self, name: &str) -> Vec<String> {
        formats::canonical_ip(name)
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let parent = root.field("spec.parentRef");
        if !parent.present() {
            return parent.required(errors, "");
        }
        parent.field("group").format_if_set(errors, names::dns1123_subdomain);
        for field in ["resource", "name"] {
            let at = parent.field(field);
            if at.need(errors) {
                at.format(errors, names::path_segment);
            }
        }
        parent.field("namespace").format_if_set(errors, names::path_segment);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let (parent, before) = (root.field("spec.parentRef"), child(old, "spec.parentRef"));
        if parent.present() {
            immutable::validate("ParentReference", &parent, before, errors);
        } else {
            parent.unchanged(errors, before);
        }
        meta::validate(self, object, false, errors);
    }
    fn cells(&self, object: &Value, _now: Timestamp) -> Option<Vec<Value>> {
        Some(vec![cells::name(object), parent(object).into()])
    }
}

/// `services/default/web`
fn parent(object: &Value) -> String {
    let parent = child(object, "spec.parentRef");
    if !parent.is_object() {
        return "<none>".to_owned();
    }
    let text = |field: &str| object::str_at(parent, field);
    let mut resource = GroupResource::new(text("group"), text("resource")).to_string();
    for part in [text("namespace"), text("name")].into_iter().filter(|part| !part.is_empty()) {
        resource.push('/');
        resource.push_str(part);
    }
    resource
}
