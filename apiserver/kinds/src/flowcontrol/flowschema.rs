//! FlowSchema.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child};
use crate::{Kind, cells};

pub(crate) struct FlowSchema;

const MAX_PRECEDENCE: i64 = 10_000;
const VERBS: [&str; 9] = ["*", "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const URL_VERBS: [&str; 8] = ["*", "delete", "get", "head", "options", "patch", "post", "put"];

impl Kind for FlowSchema {
    fn resource(&self) -> GroupResource {
        GroupResource::new("flowcontrol.apiserver.k8s.io", "flowschemas")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": "x"},
               "spec": {"priorityLevelConfiguration": {"name": "global-default"}, "matchingPrecedence": 500,
                        "rules": [{"subjects": [{"kind": "User", "user": {"name": "u"}}],
                                   "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}})
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        let precedence = spec.field("matchingPrecedence");
        let number = precedence.int().unwrap_or(0);
        if number <= 0 {
            errors.invalid(&precedence.path(), &Value::from(number), "must be a positive value");
        } else if number > MAX_PRECEDENCE {
            precedence.invalid(errors, &format!("must not be greater than {MAX_PRECEDENCE}"));
        } else if number == 1 && object::name(object) != "exempt" {
            precedence.invalid(errors, "only the schema named 'exempt' may have matchingPrecedence 1");
        }
        let method = spec.field("distinguisherMethod.type");
        if spec.field("distinguisherMethod").present() && !["ByNamespace", "ByUser"].contains(&method.str()) {
            method.unsupported(errors, &["ByNamespace", "ByUser"]);
        }
        let level = spec.field("priorityLevelConfiguration.name");
        if level.is_empty() {
            level.required(errors, "must reference a priority level");
        } else {
            level.format(errors, names::dns1123_subdomain);
        }
        for rule in spec.field("rules").items() {
            validate_rule(&rule, errors);
        }
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let dangling = cells::condition(object, "Dangling").map_or("?", |one| object::str_at(one, "status"));
        Some(vec![
            cells::name(object),
            cells::text(object, "spec.priorityLevelConfiguration.name"),
            cells::int(object, "spec.matchingPrecedence").to_string().into(),
            cells::text_or(object, "spec.distinguisherMethod.type", "<none>"),
            cells::age(object, now),
            dangling.into(),
        ])
    }
}

fn validate_rule(rule: &At<'_>, errors: &mut ErrorList) {
    let subjects = rule.field("subjects");
    if subjects.is_empty() {
        subjects.required(errors, "subjects must contain at least one value");
    }
    for subject in subjects.items() {
        validate_subject(&subject, errors);
    }
    let (resources, urls) = (rule.field("resourceRules"), rule.field("nonResourceRules"));
    if resources.is_empty() && urls.is_empty() {
        rule.required(errors, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    for resource in resources.items() {
        validate_resource_rule(&resource, errors);
    }
    for url in urls.items() {
        validate_url_rule(&url, errors);
    }
}

fn validate_subject(subject: &At<'_>, errors: &mut ErrorList) {
    const KINDS: [(&str, &str); 3] = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];
    let kind = subject.field("kind");
    let Some((_, wanted)) = KINDS.iter().find(|(name, _)| *name == kind.str()) else {
        return kind.unsupported(errors, &["Group", "ServiceAccount", "User"]);
    };
    for (_, field) in KINDS {
        let at = subject.field(field);
        if field == *wanted && !at.present() {
            at.required(errors, &format!("{field} is required when subject kind is '{}'", kind.str()));
        } else if field == *wanted {
            at.field("name").need(errors);
            if field == "serviceAccount" {
                at.field("namespace").need(errors);
            }
        } else if at.present() {
            at.forbidden(errors, &format!("{field} is forbidden when subject kind is not '{field}'"));
        }
    }
}

/// With `*` nothing else may be named.
fn validate_all(list: &At<'_>, what: &str, errors: &mut ErrorList) {
    if list.is_empty() {
        list.required(errors, &format!("{what} must contain at least one value"));
    } else if list.list().len() > 1 && list.list().iter().any(|one| one == "*") {
        list.invalid(errors, "if '*' is present, must not specify other values");
    }
}

fn validate_verbs(verbs: &At<'_>, supported: &[&str], errors: &mut ErrorList) {
    validate_all(verbs, "verbs", errors);
    let known = |verb: &Value| verb.as_str().is_some_and(|verb| supported.contains(&verb));
    if !verbs.list().iter().all(known) {
        errors.not_supported(&verbs.path(), verbs.value, supported);
    }
}

fn validate_resource_rule(rule: &At<'_>, errors: &mut ErrorList) {
    validate_verbs(&rule.field("verbs"), &VERBS, errors);
    for field in ["apiGroups", "resources"] {
        validate_all(&rule.field(field), field, errors);
    }
    let namespaces = rule.field("namespaces");
    if namespaces.is_empty() && child(rule.value, "clusterScope") != &Value::Bool(true) {
        namespaces.required(errors, "resource rules that are not cluster scoped must supply at least one namespace");
    }
    for namespace in namespaces.items().filter(|one| one.str() != "*") {
        namespace.format(errors, names::dns1123_label);
    }
}

fn validate_url_rule(rule: &At<'_>, errors: &mut ErrorList) {
    validate_verbs(&rule.field("verbs"), &URL_VERBS, errors);
    let urls = rule.field("nonResourceURLs");
    validate_all(&urls, "nonResourceURLs", errors);
    for url in urls.items().filter(|url| url.str() != "*") {
        let text = url.str();
        if !text.starts_with('/') {
            url.invalid(errors, "must be an absolute path");
        } else if text.contains("//") {
            url.invalid(errors, "must not contain double slash");
        } else if text.trim_end_matches('*').contains('*') || (text.ends_with('*') && !text.ends_with("/*")) {
            url.invalid(errors, "wildcard can only do suffix matching");
        }
    }
}
