//! Ingress.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child};
use crate::list::core_service::load_balancer_addresses;
use crate::list::core_service_status as service_status;
use crate::{Kind, cells, formats, meta};

pub(crate) struct Ingress;

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
/// So many hosts are shown in a cell.
const SHOWN: usize = 3;

impl Kind for Ingress {
    fn resource(&self) -> GroupResource {
        GroupResource::new("networking.k8s.io", "ingresses")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "x", "namespace": "default"},
               "spec": {"rules": [{"host": "a.example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix",
                        "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}})
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        let class = spec.field("ingressClassName");
        let backend = spec.field("defaultBackend");
        if spec.field("rules").is_empty() && !backend.present() {
            let rules = spec.field("rules");
            errors.invalid(&spec.path(), rules.value, "either `defaultBackend` or `rules` must be specified");
        }
        if backend.present() {
            validate_backend(&backend, errors);
        }
        for rule in spec.field("rules").items() {
            validate_rule(&rule, errors);
        }
        for tls in spec.field("tls").items() {
            for host in tls.field("hosts").items() {
                validate_host_name(&host, errors);
            }
            tls.field("secretName").format_if_set(errors, names::dns1123_subdomain);
        }
        if class.present() {
            class.format(errors, names::dns1123_subdomain);
        }
        if meta::is_new(object) {
            validate_class_is_one(&root, errors);
        }
    }
    fn validate_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        meta::validate(self, object, true, errors);
    }
    fn validate_status_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        for ingress in root.field("status.loadBalancer.ingress").items() {
            service_status::validate_address(&ingress, old, errors);
        }
    }
    /// Of a new one that says its class in the old way.
    fn warnings(&self, object: &Value) -> Vec<String> {
        let says_it_once = child(object, "spec.ingressClassName").is_null();
        if !meta::is_new(object) || !says_it_once || object::annotation(object, CLASS_ANNOTATION).is_none() {
            return Vec::new();
        }
        vec![format!("annotation {CLASS_ANNOTATION:?} is deprecated, please use 'spec.ingressClassName' instead")]
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let class = match object::annotation(object, CLASS_ANNOTATION) {
            Some(class) if object::str_at(object, "spec.ingressClassName").is_empty() => class.into(),
            _ => cells::text_or(object, "spec.ingressClassName", "<none>"),
        };
        let ports = if cells::list(object, "spec.tls").is_empty() { "80" } else { "80, 443" };
        Some(vec![
            cells::name(object),
            class,
            hosts(object).into(),
            load_balancer_addresses(object).join(",").into(),
            ports.into(),
            cells::age(object, now),
        ])
    }
}

/// The old annotation and the field, of a new object.
fn validate_class_is_one(root: &At<'_>, errors: &mut ErrorList) {
    let class = root.field("spec.ingressClassName");
    let Some(said) = object::annotation(root.value, CLASS_ANNOTATION) else { return };
    if class.present() && class.str() != said {
        let place = root.field("annotations");
        let path = place.field(CLASS_ANNOTATION).path();
        errors.invalid(&path, &Value::from(said), "must match `ingressClassName` when both are specified");
    }
}

fn validate_host_name(host: &At<'_>, errors: &mut ErrorList) {
    if host.str().contains('*') {
        host.format(errors, names::wildcard_dns1123_subdomain);
    } else {
        host.format(errors, names::dns1123_subdomain);
    }
}

fn validate_rule(rule: &At<'_>, errors: &mut ErrorList) {
    let host = rule.field("host");
    if !host.is_empty() {
        if formats::parse_ip(host.str()).is_some() {
            host.invalid(errors, "must be a DNS name, not an IP address");
        }
        validate_host_name(&host, errors);
    }
    let http = rule.field("http");
    if !http.present() {
        return;
    }
    let paths = http.field("paths");
    if paths.is_empty() {
        paths.required(errors, "");
    }
    for path in paths.items() {
        validate_path(&path, errors);
    }
}

fn validate_path(path: &At<'_>, errors: &mut ErrorList) {
    const REFUSED: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
    let (kind, text) = (path.field("pathType"), path.field("path"));
    if !kind.present() {
        return kind.required(errors, "pathType must be specified");
    }
    match kind.str() {
        "Exact" | "Prefix" => {
            if !text.str().starts_with('/') {
                errors.invalid(&text.path(), &Value::from(text.str()), "must be an absolute path");
            }
            for refused in REFUSED {
                if text.str().contains(refused) {
                    text.invalid(errors, &format!("must not contain '{refused}'"));
                }
            }
            for refused in ["/..", "/."] {
                if text.str().ends_with(refused) {
                    text.invalid(errors, &format!("cannot end with '{refused}'"));
                }
            }
        }
        "ImplementationSpecific" if !text.is_empty() && !text.str().starts_with('/') => {
            text.invalid(errors, "must be an absolute path");
        }
        "ImplementationSpecific" => {}
        _ => kind.unsupported(errors, &["Exact", "ImplementationSpecific", "Prefix"]),
    }
    validate_backend(&path.field("backend"), errors);
}

fn validate_backend(backend: &At<'_>, errors: &mut ErrorList) {
    let (service, resource) = (backend.field("service"), backend.field("resource"));
    match (service.present(), resource.present()) {
        (true, true) => errors.invalid(&backend.path(), &"".into(), "cannot set both resource and service backends"),
        (false, false) => errors.invalid(&backend.path(), &"".into(), "resource or service backend is required"),
        (false, true) => {
            let group = resource.field("apiGroup");
            if group.present() {
                group.format(errors, names::dns1123_subdomain);
            }
            for field in ["kind", "name"] {
                let at = resource.field(field);
                if at.need(errors) {
                    at.format(errors, names::path_segment);
                }
            }
        }
        (true, false) => validate_service(backend, &service, errors),
    }
}

/// Services may begin with a digit since RelaxedServiceNameValidation.
fn validate_service(backend: &At<'_>, service: &At<'_>, errors: &mut ErrorList) {
    let name = service.field("name");
    if name.is_empty() {
        name.required(errors, "");
    } else {
        name.format(errors, names::dns1123_label);
    }
    let (port_name, number) = (service.field("port.name"), service.field("port.number"));
    match (port_name.is_empty(), number.int().unwrap_or(0)) {
        (true, 0) => backend.required(errors, "port name or number is required"),
        (true, _) => formats::port(&number, errors),
        (false, 0) => port_name.format(errors, names::port_name),
        (false, _) => errors.invalid(&backend.path(), &"".into(), "cannot set both port name & port number"),
    }
}

fn hosts(object: &Value) -> String {
    let all: Vec<&str> = cells::list(object, "spec.rules")
        .iter()
        .map(|rule| object::str_at(rule, "host"))
        .filter(|host| !host.is_empty())
        .collect();
    if all.is_empty() {
        return "*".to_owned();
    }
    let text = all.iter().take(SHOWN).copied().collect::<Vec<_>>().join(",");
    if all.len() > SHOWN { format!("{text} + {} more...", all.len() - SHOWN) } else { text }
}
