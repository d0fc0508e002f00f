//! FlowSchema.

use std::collections::HashSet;

use api_machinery::{ErrorList, GroupResource, UserInfo, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, same};
use crate::list::networking_servicecidr::keep_all_but_status;
use crate::{Kind, cells, meta};

pub(crate) struct FlowSchema;

const MAX_PRECEDENCE: i64 = 10_000;
/// Of resources and of other URLs alike.
const VERBS: [&str; 9] = ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

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
    fn prepare_status_update(&self, object: &mut Value, old: &Value) {
        keep_all_but_status(object, old);
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        validate_precedence(&spec.field("matchingPrecedence"), object::name(object), errors);
        let method = spec.field("distinguisherMethod");
        if method.present() && !["ByNamespace", "ByUser"].contains(&method.field("type").str()) {
            // Upstream shows all of it, with the name its field has in Go.
            let shown = json!({"Type": method.field("type").str()});
            errors.not_supported(&method.field("type").path(), &shown, &["ByNamespace", "ByUser"]);
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
        let name = object::name(object);
        if mandatory(name).is_some_and(|fixed| !same(spec.value, &fixed)) {
            spec.invalid(errors, &format!("spec of '{name}' must equal the fixed value"));
        }
        conditions(&root, errors);
    }
    fn validate_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        meta::validate(self, object, false, errors);
    }
    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        conditions(&At::root(object), errors);
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

fn validate_precedence(precedence: &At<'_>, name: &str, errors: &mut ErrorList) {
    let number = precedence.int().unwrap_or(0);
    if number <= 0 {
        errors.invalid(&precedence.path(), &Value::from(number), "must be a positive value");
    }
    if number > MAX_PRECEDENCE {
        precedence.invalid(errors, &format!("must not be greater than {MAX_PRECEDENCE}"));
    }
    if number == 1 && name != "exempt" {
        precedence.invalid(errors, "only the schema named 'exempt' may have matchingPrecedence 1");
    }
}

/// The two schemas without which requests would go unclassified, and nobody could mend that.
fn mandatory(name: &str) -> Option<Value> {
    let (precedence, groups): (i64, &[&str]) = match name {
        "exempt" => (1, &[UserInfo::MASTERS]),
        "catch-all" => (MAX_PRECEDENCE, &["system:unauthenticated", "system:authenticated"]),
        _ => return None,
    };
    let subjects: Vec<Value> = groups.iter().map(|group| json!({"kind": "Group", "group": {"name": group}})).collect();
    let mut spec = json!({"matchingPrecedence": precedence, "priorityLevelConfiguration": {"name": name},
        "rules": [{"subjects": subjects,
                   "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true,
                                      "namespaces": ["*"]}],
                   "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]});
    if name == "catch-all" {
        spec["distinguisherMethod"] = json!({"type": "ByUser"});
    }
    Some(spec)
}

/// Conditions of both kinds of this group: each type once.
pub(crate) fn conditions(root: &At<'_>, errors: &mut ErrorList) {
    let conditions = root.field("status.conditions");
    let mut seen = HashSet::new();
    for condition in conditions.items() {
        let kind = condition.field("type");
        if !seen.insert(kind.str().to_owned()) {
            errors.duplicate(&kind.path(), &kind.str().into());
        }
        kind.need(errors);
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

const SUBJECTS: [(&str, &str); 3] = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];

fn validate_subject(subject: &At<'_>, errors: &mut ErrorList) {
    let kind = subject.field("kind");
    let Some((_, wanted)) = SUBJECTS.iter().find(|(name, _)| *name == kind.str()) else {
        return kind.unsupported(errors, &["Group", "ServiceAccount", "User"]);
    };
    let at = subject.field(wanted);
    if at.present() {
        validate_named(&at, *wanted == "serviceAccount", errors);
    } else {
        at.required(errors, &format!("{wanted} is required when subject kind is '{}'", kind.str()));
    }
    for (name, field) in SUBJECTS.iter().filter(|(_, field)| field != wanted) {
        let at = subject.field(field);
        if at.present() {
            at.forbidden(errors, &format!("{field} is forbidden when subject kind is not '{name}'"));
        }
    }
}

fn validate_named(at: &At<'_>, is_account: bool, errors: &mut ErrorList) {
    let (name, namespace) = (at.field("name"), at.field("namespace"));
    if name.need(errors) && is_account && name.str() != "*" {
        name.format(errors, names::dns1123_subdomain);
    }
    if !is_account {
        return;
    }
    if namespace.is_empty() {
        namespace.required(errors, "must specify namespace for service account");
    } else {
        namespace.format(errors, names::dns1123_label);
    }
}

fn has_all(list: &At<'_>) -> bool {
    list.list().iter().any(|one| one == "*")
}

/// With `*` nothing else may be named.
fn validate_all(list: &At<'_>, absent: &str, others: &str, errors: &mut ErrorList) {
    if list.is_empty() {
        list.required(errors, absent);
    } else if list.list().len() > 1 && has_all(list) {
        list.invalid(errors, &format!("if '*' is present, must not specify other {others}"));
    }
}

fn validate_verbs(verbs: &At<'_>, errors: &mut ErrorList) {
    validate_all(verbs, "verbs must contain at least one value", "verbs", errors);
    let known = |verb: &Value| verb.as_str().is_some_and(|verb| VERBS.contains(&verb));
    if !has_all(verbs) && !verbs.list().iter().all(known) {
        errors.not_supported(&verbs.path(), verbs.value, &VERBS);
    }
}

fn validate_resource_rule(rule: &At<'_>, errors: &mut ErrorList) {
    validate_verbs(&rule.field("verbs"), errors);
    let (groups, resources) = (rule.field("apiGroups"), rule.field("resources"));
    validate_all(&groups, "resource rules must supply at least one api group", "api groups", errors);
    validate_all(&resources, "resource rules must supply at least one resource", "resources", errors);
    let namespaces = rule.field("namespaces");
    if !namespaces.is_empty() || !rule.field("clusterScope").flag() {
        let absent = "resource rules that are not cluster scoped must supply at least one namespace";
        validate_all(&namespaces, absent, "namespaces", errors);
    }
    if has_all(&namespaces) {
        return;
    }
    for namespace in namespaces.items() {
        for message in names::dns1123_label(namespace.str()) {
            let detail = format!("each member of this list must be '*' or a DNS-1123 label; {message}");
            namespace.invalid(errors, &detail);
        }
    }
}

fn validate_url_rule(rule: &At<'_>, errors: &mut ErrorList) {
    validate_verbs(&rule.field("verbs"), errors);
    let urls = rule.field("nonResourceURLs");
    validate_all(&urls, "nonResourceURLs must contain at least one value", "non-resource URLs", errors);
    if has_all(&urls) {
        return;
    }
    for url in urls.items() {
        if let Some(detail) = url_is_wrong(url.str()) {
            url.invalid(errors, detail);
        }
    }
}

fn url_is_wrong(url: &str) -> Option<&'static str> {
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !url.starts_with('/') => Some("must start with slash"),
        _ if url.contains(' ') => Some("must not contain white-space"),
        _ if url.contains("//") => Some("must not contain double slash"),
        _ => match url.matches('*').count() {
            0 => None,
            1 if url.ends_with("/*") => None,
            _ => Some("wildcard can only do suffix matching"),
        },
    }
}
