//! Pod.

use api_machinery::{ErrorList, GroupResource, Path, Value, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child};
use crate::list::{
    core_affinity, core_pod_annotations, core_pod_app_armor, core_pod_cells, core_pod_default, core_pod_resize,
    core_pod_spec, core_pod_status, core_pod_update, core_pod_warnings, core_qos,
};
use crate::{Kind, meta};

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
        core_pod_default::pod(object);
        core_pod_status::settle_addresses(object);
    }
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        core_affinity::merge_label_keys(object);
        core_pod_app_armor::take_from_annotations(object);
        let class = core_qos::class(child(object, "spec"));
        object["status"] = json!({"phase": "Pending", "qosClass": class});
        if !child(object, "spec.schedulingGates").as_array().is_none_or(Vec::is_empty) {
            object["status"]["conditions"] = json!([gated_since(child(object, "metadata.creationTimestamp"))]);
        }
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        meta::validate_again(self, object, true, errors);
        let root = At::root(object);
        core_pod_spec::validate_pod(&root, errors);
        if meta::is_new(object) {
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
        if let Some(why) = core_pod_resize::refusal(old) {
            return errors.forbidden(&Path::new(core_pod_spec::NOWHERE), why);
        }
        self.validate(object, errors);
        core_pod_resize::validate(object, old, errors);
    }
    fn validate_ephemeral(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        if object::annotation(old, core_pod_annotations::MIRROR).is_some() {
            let why = "static pods do not support ephemeral containers";
            return errors.forbidden(&Path::new(core_pod_spec::NOWHERE), why);
        }
        self.validate(object, errors);
        core_pod_update::validate_annotations(&At::root(object), old, errors);
        core_pod_update::validate_ephemeral(object, old, errors);
    }
    fn prepare_status_update(&self, object: &mut Value, old: &Value) {
        core_pod_status::prepare(object, old);
    }
    /// Of a new pod; upstream warns of no update.
    fn warnings(&self, object: &Value) -> Vec<String> {
        if meta::is_new(object) { core_pod_warnings::of_pod(object) } else { Vec::new() }
    }
    fn generation_grows(&self, object: &Value, old: &Value) -> bool {
        !core_pod_update::is_same(child(object, "spec"), child(old, "spec"))
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

/// The condition of a pod that waits for its scheduling gates.
fn gated_since(time: &Value) -> Value {
    let message = "Scheduling is blocked due to non-empty scheduling gates";
    json!({"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": message,
           "lastTransitionTime": time})
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
