//! IngressClass.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, IMMUTABLE, child};
use crate::{Kind, cells, formats, meta};

pub(crate) struct IngressClass;

const MAX_CONTROLLER: usize = 250;

impl Kind for IngressClass {
    fn resource(&self) -> GroupResource {
        GroupResource::new("networking.k8s.io", "ingressclasses")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "x"},
               "spec": {"controller": "example.com/c"}})
    }
    /// Of an update, first what may not change.
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        if meta::is_new(object) {
            validate_class(object, errors);
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let controller = root.field("spec.controller");
        if controller.str() != object::str_at(old, "spec.controller") {
            errors.invalid(&controller.path(), &Value::from(controller.str()), IMMUTABLE);
        }
        meta::validate(self, object, false, errors);
        validate_class(object, errors);
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        Some(vec![
            cells::name(object),
            cells::text(object, "spec.controller"),
            parameters(object).into(),
            cells::age(object, now),
        ])
    }
}

fn validate_class(object: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let controller = root.field("spec.controller");
    if controller.str().len() > MAX_CONTROLLER {
        controller.too_long(errors, MAX_CONTROLLER);
    }
    formats::domain_prefixed_path(&controller, errors);
    let parameters = root.field("spec.parameters");
    if parameters.present() {
        validate_parameters(&parameters, errors);
    }
}

fn validate_parameters(parameters: &At<'_>, errors: &mut ErrorList) {
    let group = parameters.field("apiGroup");
    if group.present() {
        group.format(errors, names::dns1123_subdomain);
    }
    for field in ["kind", "name"] {
        let at = parameters.field(field);
        if at.need(errors) {
            at.format(errors, names::path_segment);
        }
    }
    let (scope, namespace) = (parameters.field("scope"), parameters.field("namespace"));
    if !scope.present() {
        return scope.required(errors, "");
    }
    match scope.str() {
        "Cluster" if namespace.present() => {
            namespace.forbidden(errors, "`parameters.scope` is set to 'Cluster'");
        }
        "Cluster" => {}
        "Namespace" if !namespace.present() => {
            namespace.required(errors, "`parameters.scope` is set to 'Namespace'");
        }
        "Namespace" => namespace.format(errors, names::dns1123_label),
        _ => scope.unsupported(errors, &["Cluster", "Namespace"]),
    }
}

/// `ingressparameters.example.com/x`
fn parameters(object: &Value) -> String {
    let parameters = child(object, "spec.parameters");
    if !parameters.is_object() {
        return "<none>".to_owned();
    }
    let text = |field: &str| object::str_at(parameters, field);
    match text("apiGroup") {
        "" => format!("{}/{}", text("kind"), text("name")),
        group => format!("{}.{group}/{}", text("kind"), text("name")),
    }
}
