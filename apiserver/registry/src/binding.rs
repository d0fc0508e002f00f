//! `pods/binding` and the older `bindings`: a scheduler puts a pod on a node.

use std::sync::Arc;

use api_admission::Operation;
use api_machinery::object::{self, meta_mut};
use api_machinery::{ApiError, ErrorList, GroupKind, GroupResource, GroupVersionKind, ObjectKey, Path, Value, time};
use jiff::Timestamp;
use serde_json::{Map, json};

use crate::scope::Scope;
use crate::{Body, Registry, Written, body, metadata};

fn gvk() -> GroupVersionKind {
    GroupVersionKind { group: "".into(), version: "v1".into(), kind: "Binding".into() }
}

impl Registry {
    pub(crate) async fn bind(&self, scope: &Scope<'_>, body: Body) -> Result<Written, ApiError> {
        let type_id = self.schema.type_named("core.v1.Binding");
        let mut binding = body::object(self.schema, scope, body, type_id, &gvk())?;
        metadata::settle_namespace(&mut binding, scope.namespace)?;
        let name = pod_name(scope, &binding)?;
        object::meta_mut(&mut binding).insert("name".to_owned(), name.clone().into());
        let attributes = scope.attributes(Operation::Create, &name, None);
        self.admission.admit(&attributes, Some(&mut binding), self).await?;
        validate(&binding, &name)?;
        self.admission.validate(&attributes, Some(&binding), self).await?;
        let key = ObjectKey::new(GroupResource::new("", "pods"), scope.namespace, &name);
        let edit = |pod: &Value| assign(pod, &binding, scope.now);
        let (_, revision) = self.raw_update(scope, &key, &edit).await?;
        Ok(success(revision))
    }
}

/// The answer of subresources that only act.
pub(crate) fn success(revision: store_api::Revision) -> Written {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Written { object: Arc::new(status), created: true, pending: false, revision, warnings: Vec::new() }
}

fn pod_name(scope: &Scope<'_>, binding: &Value) -> Result<String, ApiError> {
    let given = object::name(binding);
    if scope.subresource == "binding" && !given.is_empty() && given != scope.name {
        return Err(ApiError::bad_request("name in URL does not match name in Binding object"));
    }
    let name = if scope.subresource == "binding" { scope.name } else { given };
    if name.is_empty() { Err(ApiError::bad_request("name is required")) } else { Ok(name.to_owned()) }
}

fn validate(binding: &Value, name: &str) -> Result<(), ApiError> {
    let mut errors = ErrorList::new();
    let target = Path::new("target");
    let kind = object::str_at(binding, "target.kind");
    if !matches!(kind, "" | "Node") {
        errors.not_supported_listed(&target.child("kind"), &kind.into(), &["Node", "<empty>"]);
    }
    if object::str_at(binding, "target.name").is_empty() {
        errors.required(&target.child("name"), "");
    }
    if errors.is_empty() {
        return Ok(());
    }
    // Upstream makes no `Invalid` of it and answers 500; what a client does wrong never is that here.
    Err(ApiError::invalid(&GroupKind { group: "".into(), kind: "Binding".into() }, name, errors))
}

/// The pod on its node.
fn assign(pod: &Value, binding: &Value, now: Timestamp) -> Result<Value, ApiError> {
    let name = object::name(pod);
    let refuse = |why: String| Err(ApiError::conflict(&GroupResource::new("", "pods/binding"), name, &why));
    let wanted = object::uid(binding);
    if !wanted.is_empty() && wanted != object::uid(pod) {
        let stored = object::uid(pod);
        return refuse(format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {stored}"));
    }
    if object::deletion_timestamp(pod).is_some() {
        return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let node = object::str_at(pod, "spec.nodeName");
    if !node.is_empty() {
        return refuse(format!("pod {name} is already assigned to node {node:?}"));
    }
    if object::at(pod, "spec.schedulingGates").and_then(Value::as_array).is_some_and(|gates| !gates.is_empty()) {
        return refuse(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut pod = pod.clone();
    pod["spec"]["nodeName"] = object::str_at(binding, "target.name").into();
    copy_missing(&mut pod, binding, "labels", false);
    copy_missing(&mut pod, binding, "annotations", true);
    if let Some(status) = pod.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("nominatedNodeName");
    }
    set_condition(&mut pod, json!({"type": "PodScheduled", "status": "True"}), now);
    Ok(pod)
}

/// Labels and annotations of a Binding become the pod's; only annotations replace what it has.
fn copy_missing(pod: &mut Value, binding: &Value, field: &str, replace: bool) {
    let Some(new) = object::meta(binding).and_then(|meta| meta.get(field)).and_then(Value::as_object) else { return };
    if new.is_empty() {
        return;
    }
    let own = meta_mut(pod).entry(field).or_insert_with(|| Value::Object(Map::new()));
    let Some(own) = own.as_object_mut() else { return };
    for (key, value) in new {
        if replace || !own.contains_key(key) {
            own.insert(key.clone(), value.clone());
        }
    }
}

/// Sets a condition of a pod; its transition time moves when its status does.
pub(crate) fn set_condition(pod: &mut Value, mut condition: Value, now: Timestamp) {
    let generation = object::generation(pod);
    let Some(root) = pod.as_object_mut() else { return };
    let status = root.entry("status").or_insert_with(|| json!({}));
    let Some(status) = status.as_object_mut() else { return };
    let list = status.entry("conditions").or_insert_with(|| json!([]));
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else { return };
    condition["lastProbeTime"] = Value::Null;
    condition["lastTransitionTime"] = time::seconds(now).into();
    if generation > 0 {
        condition["observedGeneration"] = generation.into();
    }
    match list.iter_mut().find(|old| old["type"] == condition["type"]) {
        None => list.push(condition),
        Some(old) => {
            if old["status"] == condition["status"] {
                condition["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            *old = condition;
        }
    }
}
