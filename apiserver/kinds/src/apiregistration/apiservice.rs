//! APIService.

use api_machinery::{ErrorList, GroupResource, Path, Value, meta, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child};
use crate::list::networking_servicecidr::keep_all_but_status;
use crate::{Kind, cells};

pub(crate) struct APIService;

impl Kind for APIService {
    fn resource(&self) -> GroupResource {
        GroupResource::new("apiregistration.k8s.io", "apiservices")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.example.com"},
               "spec": {"group": "example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
                        "insecureSkipTLSVerify": true, "service": {"namespace": "default", "name": "s"}}})
    }
    fn validate_name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn allows_unconditional_update(&self) -> bool {
        false
    }
    /// Whoever serves a group reaches it on 443.
    fn default(&self, object: &mut Value) {
        if child(object, "spec.service").is_object() && child(object, "spec.service.port").is_null() {
            object["spec"]["service"]["port"] = 443.into();
        }
    }
    /// What this server serves itself is available from the beginning.
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        let available = json!({
            "type": "Available", "status": "True", "reason": "Local",
            "message": "Local APIServices are always available",
            "lastTransitionTime": child(object, "metadata.creationTimestamp"),
        });
        let is_local = child(object, "spec.service").is_null();
        object["status"] = if is_local { json!({"conditions": [available]}) } else { json!({}) };
    }
    fn prepare_status_update(&self, object: &mut Value, old: &Value) {
        keep_all_but_status(object, old);
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        let (group, version) = (spec.field("group"), spec.field("version"));
        validate_names(&root.field("metadata"), &format!("{}.{}", version.str(), group.str()), errors);
        if group.is_empty() && version.str() != "v1" {
            group.required(errors, "only v1 may have an empty group and it better be legacy kube");
        }
        group.format_if_set(errors, names::dns1123_subdomain);
        version.format(errors, names::dns1035_label);
        number(&spec.field("groupPriorityMinimum"), 20_000, "must be positive and less than 20000", errors);
        number(&spec.field("versionPriority"), 1000, "must be positive and less than 1000", errors);
        validate_service(&spec, errors);
    }
    fn validate_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        meta::validate_object_meta(object, false, &names::path_segment, &Path::new("metadata"), errors);
    }
    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        for condition in root.field("status.conditions").items() {
            let status = condition.field("status");
            if !["True", "False", "Unknown"].contains(&status.str()) {
                status.unsupported_listed(errors, &["True", "False", "Unknown"]);
            }
        }
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let service = child(object, "spec.service");
        let service = match service.is_object() {
            true => format!("{}/{}", object::str_at(service, "namespace"), object::str_at(service, "name")),
            false => "Local".to_owned(),
        };
        Some(vec![cells::name(object), service.into(), available(object).into(), cells::age(object, now)])
    }
}

/// A name that can be one at all says which version of which group this is.
fn validate_names(metadata: &At<'_>, wanted: &str, errors: &mut ErrorList) {
    for field in ["generateName", "name"] {
        let at = metadata.field(field);
        if !at.is_empty() && at.str() != wanted && names::path_segment(at.str()).is_empty() {
            at.invalid(errors, &format!("must be `spec.version+\".\"+spec.group`: {wanted:?}"));
        }
    }
}

fn number(at: &At<'_>, most: i64, detail: &str, errors: &mut ErrorList) {
    let value = at.int().unwrap_or(0);
    if value <= 0 || value > most {
        errors.invalid(&at.path(), &Value::from(value), detail);
    }
}

fn validate_service(spec: &At<'_>, errors: &mut ErrorList) {
    let (service, bundle, insecure) =
        (spec.field("service"), spec.field("caBundle"), spec.field("insecureSkipTLSVerify"));
    if !service.present() {
        if !bundle.is_empty() {
            let shown = format!("{} bytes", crate::formats::base64_len(bundle.str()));
            errors.invalid(&bundle.path(), &shown.into(), "local APIServices may not have a caBundle");
        }
        if insecure.flag() {
            insecure.invalid(errors, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    for field in ["namespace", "name"] {
        service.field(field).need(errors);
    }
    let port = service.field("port");
    let number = port.int().unwrap_or(0);
    if !(1..=65_535).contains(&number) {
        let detail = format!("port is not valid: {}", crate::at::PORT_RANGE);
        errors.invalid(&port.path(), &Value::from(number), &detail);
    }
    if insecure.flag() && !bundle.is_empty() {
        insecure.invalid(errors, "may not be true if caBundle is present");
    }
}

/// `True`, `False (MissingEndpoints)`
fn available(object: &Value) -> String {
    let Some(condition) = cells::condition(object, "Available") else { return "Unknown".to_owned() };
    match object::str_at(condition, "status") {
        "True" => "True".to_owned(),
        status => format!("{status} ({})", object::str_at(condition, "reason")),
    }
}
