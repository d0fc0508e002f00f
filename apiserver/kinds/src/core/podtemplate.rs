//! PodTemplate.

use api_machinery::{ErrorList, GroupResource, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child, same_behind_pointers};
use crate::list::{core_pod_default, core_pod_spec, core_pod_warnings};
use crate::{Kind, cells, meta};

pub(crate) struct PodTemplate;

impl Kind for PodTemplate {
    fn resource(&self) -> GroupResource {
        GroupResource::new("", "podtemplates")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x", "namespace": "default"},
               "template": {"metadata": {"labels": {"a": "b"}},
                            "spec": {"containers": [{"name": "c", "image": "registry.example/x:1"}]}}})
    }
    fn default(&self, object: &mut Value) {
        if let Some(template) = object.get_mut("template") {
            core_pod_default::template(template);
        }
    }
    fn generation_grows(&self, object: &Value, old: &Value) -> bool {
        !same_behind_pointers(child(object, "template"), child(old, "template"))
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        core_pod_spec::validate_template(&root.field("template"), errors);
    }
    /// Of a new one: whether an update changes the template cannot be told here.
    fn warnings(&self, object: &Value) -> Vec<String> {
        if !meta::is_new(object) {
            return Vec::new();
        }
        core_pod_warnings::of_template(&At::root(object).field("template"))
    }
    fn update_warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        if object::generation(object) == object::generation(old) {
            return Vec::new();
        }
        core_pod_warnings::of_template(&At::root(object).field("template"))
    }
    fn cells(&self, object: &Value, _now: Timestamp) -> Option<Vec<Value>> {
        let [names, images] = cells::containers(object, "template.spec");
        let labels = cells::labels(child(object, "template.metadata.labels"));
        Some(vec![cells::name(object), names, images, labels.into()])
    }
}
