//! Pod.

use api_machinery::{ErrorList, GroupResource, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::Kind;
use crate::at::{At, child, same};
use crate::list::{
    core_affinity, core_pod_annotations, core_pod_cells, core_pod_default, core_pod_resize, core_pod_spec,
    core_pod_status, core_pod_update, core_qos,
};

pub(crate) struct Pod;

impl Kind for Pod {
    fn resource(&self) -> GroupResource {
        GroupResource::new("", "pods")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": "default"},
               "spec": {"containers": [{"name": "c", "image": "registry.example/x:1"}]}})
    }
    fn default(&self, object: &mut Value) {
        if let Some(spec) = object.get_mut("spec") {
            core_pod_default::pod_spec(spec);
            core_pod_default::requests_from_limits(spec);
        }
    }
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        core_affinity::merge_label_keys(object);
        let class = core_qos::class(child(object, "spec"));
        object["status"] = json!({"phase": "Pending", "qosClass": class});
        if !child(object, "spec.schedulingGates").as_array().is_none_or(Vec::is_empty) {
            let message = "Scheduling is blocked due to non-empty scheduling gates";
            object["status"]["conditions"] =
                json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": message}]);
        }
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        core_pod_spec::validate_pod(&root, errors);
        if object::resource_version(object).is_empty() {
            validate_new(&root, errors);
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        core_pod_update::validate(object, old, errors);
    }
    fn validate_status_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        core_pod_status::validate(object, old, errors);
    }
    fn prepare_resize(&self, object: &mut Value, old: &Value) {
        core_pod_resize::prepare(object, old);
    }
    fn validate_resize(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        core_pod_resize::validate(object, old, errors);
    }
    fn prepare_status_update(&self, object: &mut Value, old: &Value) {
        core_pod_status::prepare(object, old);
    }
    fn generation_grows(&self, object: &Value, old: &Value) -> bool {
        !same(child(object, "spec"), child(old, "spec"))
    }
    fn field(&self, object: &Value, field: &str) -> Option<String> {
        let text = |path: &str| Some(object::str_at(object, path).to_owned());
        match field {
            "spec.nodeName"
            | "spec.restartPolicy"
            | "spec.schedulerName"
            | "spec.serviceAccountName"
            | "status.phase"
            | "status.nominatedNodeName" => text(field),
            "spec.host" => text("spec.nodeName"),
            "spec.hostNetwork" => Some((child(object, field) == &Value::Bool(true)).to_string()),
            "status.podIP" => Some(core_pod_cells::first_ip(object).to_owned()),
            // Accepted, never set: upstream does not put it in the selectable set.
            "status.podIPs" => Some(String::new()),
            _ => None,
        }
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(core_pod_cells::cells(object, now))
    }
    fn row_conditions(&self, object: &Value) -> Vec<Value> {
        let phase = object::str_at(object, "status.phase");
        let message = match phase {
            "Succeeded" => "The pod has completed successfully.",
            "Failed" => "The pod failed.",
            _ => return Vec::new(),
        };
        vec![json!({"type": "Completed", "status": "True", "reason": phase, "message": message})]
    }
    /// What the pod asks for; at once when it never ran on a node or is over already.
    fn default_grace_period(&self, object: &Value) -> Option<i64> {
        let never_bound = object::str_at(object, "spec.nodeName").is_empty();
        let over = matches!(object::str_at(object, "status.phase"), "Failed" | "Succeeded");
        let asked = child(object, "spec.terminationGracePeriodSeconds").as_i64().unwrap_or(0);
        Some(if never_bound || over { 0 } else { asked })
    }
}

/// What a pod may have later, but not at first.
fn validate_new(root: &At<'_>, errors: &mut ErrorList) {
    let spec = root.field("spec");
    let (ephemeral, node) = (spec.field("ephemeralContainers"), spec.field("nodeName"));
    if !ephemeral.is_empty() {
        ephemeral.forbidden(errors, "cannot be set on create");
    }
    if !node.is_empty() && !spec.field("schedulingGates").is_empty() {
        node.forbidden(errors, "cannot be set until all schedulingGates have been cleared");
    }
    core_pod_annotations::validate_agreement(&root.field("metadata.annotations"), &spec, errors);
}
