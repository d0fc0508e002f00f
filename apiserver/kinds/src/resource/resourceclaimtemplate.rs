//! ResourceClaimTemplate.

use api_machinery::{ErrorList, GroupResource, Value};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child};
use crate::list::{resource_claim_spec as claim_spec, resource_immutable as immutable};
use crate::{Kind, cells, selectors};

pub(crate) struct ResourceClaimTemplate;

impl Kind for ResourceClaimTemplate {
    fn resource(&self) -> GroupResource {
        GroupResource::new("resource.k8s.io", "resourceclaimtemplates")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate",
               "metadata": {"name": "x", "namespace": "default"},
               "spec": {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "dc"}}]}}}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn default(&self, object: &mut Value) {
        if let Some(spec) = object.pointer_mut("/spec/spec") {
            claim_spec::default(spec);
        }
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        selectors::claim_metadata(&root.field("spec.metadata"), errors);
        claim_spec::validate(&root.field("spec.spec"), errors);
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        let now = internal(spec.value);
        let before = internal(child(old, "spec"));
        immutable::validate("ResourceClaimTemplateSpec", &spec.with(&now), &before, errors);
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(vec![cells::name(object), cells::age(object, now)])
    }
}

/// Inside upstream's server the fields of the metadata are the template's own.
fn internal(template: &Value) -> Value {
    let mut fields = child(template, "metadata").as_object().cloned().unwrap_or_default();
    fields.insert("spec".to_owned(), child(template, "spec").clone());
    fields.into()
}
