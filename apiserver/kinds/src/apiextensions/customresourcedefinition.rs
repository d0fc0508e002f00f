//! CustomResourceDefinition.

use std::collections::HashSet;

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use serde_json::json;

use crate::at::{At, child, is_empty};
use crate::list::{admissionregistration_webhooks as webhooks, apiextensions_versions as versions};
use crate::{Kind, cells};

pub(crate) struct CustomResourceDefinition;

/// Groups of the community need an approval.
const APPROVAL: &str = "api-approved.kubernetes.io";
const MIXED: &str = "may have mixed case, but should otherwise match: ";

impl Kind for CustomResourceDefinition {
    fn resource(&self) -> GroupResource {
        GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
               "metadata": {"name": "foos.example.com"},
               "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"},
                        "versions": [{"name": "v1", "served": true, "storage": true,
                                      "schema": {"openAPIV3Schema": {"type": "object"}}}]}})
    }
    fn allows_unconditional_update(&self) -> bool {
        false
    }
    /// Singular and list kind follow from the kind.
    fn default(&self, object: &mut Value) {
        let kind = object::str_at(object, "spec.names.kind").to_owned();
        if kind.is_empty() || !object["spec"]["names"].is_object() {
            return;
        }
        let names = &mut object["spec"]["names"];
        for (field, value) in [("singular", kind.to_lowercase()), ("listKind", format!("{kind}List"))] {
            if is_empty(child(names, field)) {
                names[field] = value.into();
            }
        }
        if child(object, "spec.conversion").is_null() {
            object["spec"]["conversion"] = json!({"strategy": "None"});
        }
    }
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        object["status"] = json!({"storedVersions": stored(object)});
    }
    /// A version that becomes the stored one is remembered as such.
    fn prepare_update(&self, object: &mut Value, old: &Value, _has_status: bool) {
        crate::keep_field(object, old, "status");
        let had = child(object, "status.storedVersions").clone();
        for version in stored(object) {
            if !had.as_array().is_some_and(|had| had.contains(&version)) {
                match object.pointer_mut("/status/storedVersions").and_then(Value::as_array_mut) {
                    Some(list) => list.push(version),
                    None => object["status"]["storedVersions"] = json!([version]),
                }
            }
        }
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        // Only of a new one: group and plural of an old one are immutable.
        if object::resource_version(object).is_empty() {
            validate_name(&root, &spec, errors);
        }
        validate_group(&spec, errors);
        spec.field("scope").need_one_of(errors, &["Cluster", "Namespaced"]);
        versions::validate(&spec, errors);
        validate_names(&spec.field("names"), errors);
        versions::validate_shared(&spec, errors);
        validate_conversion(&spec, errors);
        validate_accepted(&root.field("status"), errors);
        versions::validate_stored(&root, errors);
        validate_approval(&root, errors);
        let preserve = spec.field("preserveUnknownFields");
        if preserve.flag() {
            let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema \
                          instead";
            preserve.invalid(errors, detail);
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        // Upstream fixes scope and kind when the type is served, which is at once; here nothing marks it as served.
        let fixed: &[&str] = if cells::condition_true(old, "Established") {
            &["scope", "names.kind", "group", "names.plural"]
        } else {
            &["scope", "group", "names.plural"]
        };
        let spec = root.field("spec");
        for path in fixed {
            let at = spec.field(path);
            at.unchanged(errors, child(child(old, "spec"), path));
        }
    }
    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        validate_accepted(&At::root(object).field("status"), errors);
    }
}

fn stored(object: &Value) -> Vec<Value> {
    let versions = cells::list(object, "spec.versions").iter();
    versions
        .filter(|version| child(version, "storage") == &Value::Bool(true))
        .map(|version| child(version, "name").clone())
        .collect()
}

fn validate_name(root: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    let wanted = format!("{}.{}", object::str_at(spec.value, "names.plural"), object::str_at(spec.value, "group"));
    if object::name(root.value) != wanted {
        let metadata = root.field("metadata");
        metadata.field("name").invalid(errors, "must be spec.names.plural+\".\"+spec.group");
    }
}

fn validate_group(spec: &At<'_>, errors: &mut ErrorList) {
    let group = spec.field("group");
    if !group.need(errors) {
        return;
    }
    let messages = names::dns1123_subdomain(group.str());
    if !messages.is_empty() {
        group.invalid(errors, &messages.join(","));
    } else if !group.str().contains('.') {
        group.invalid(errors, "should be a domain with at least one dot");
    }
}

/// The groups of the community, unless what is in them was approved; the annotation says where, or that it was not.
fn validate_approval(root: &At<'_>, errors: &mut ErrorList) {
    let group = object::str_at(root.value, "spec.group");
    let is_under = |domain: &str| group == domain || group.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    if !is_under("k8s.io") && !is_under("kubernetes.io") {
        return;
    }
    let notes = root.field("metadata.annotations");
    let approval = notes.key(APPROVAL);
    let is_link = ["http://", "https://"].iter().any(|scheme| approval.str().starts_with(scheme));
    if approval.is_empty() {
        let detail = format!(
            "protected groups must have approval annotation {APPROVAL:?}, see https://github.com/kubernetes/enhancements/pull/1111"
        );
        approval.required(errors, &detail);
    } else if !approval.str().starts_with("unapproved") && !is_link {
        let detail = format!(
            "protected groups must have approval annotation {APPROVAL:?} with either a URL or a reason starting with \
             \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
        );
        approval.invalid(errors, &detail);
    }
}

fn validate_names(all: &At<'_>, errors: &mut ErrorList) {
    for field in ["plural", "singular", "kind", "listKind"] {
        all.field(field).need(errors);
    }
    validate_words(all, errors);
}

/// Those that were accepted, which may be none.
fn validate_accepted(status: &At<'_>, errors: &mut ErrorList) {
    validate_words(&status.field("acceptedNames"), errors);
}

fn validate_words(all: &At<'_>, errors: &mut ErrorList) {
    for (field, intro) in [("plural", ""), ("singular", ""), ("kind", MIXED), ("listKind", MIXED)] {
        let at = all.field(field);
        let text = if intro.is_empty() { at.str().to_owned() } else { at.str().to_lowercase() };
        if !at.is_empty() {
            validate_word(&at, &text, intro, errors);
        }
    }
    for name in all.field("shortNames").items() {
        validate_word(&name, name.str(), "", errors);
    }
    let list = all.field("listKind");
    if !list.is_empty() && all.field("kind").str() == list.str() {
        list.invalid(errors, "kind and listKind may not be the same");
    }
    for name in all.field("categories").items() {
        validate_word(&name, name.str(), "", errors);
    }
}

fn validate_word(at: &At<'_>, text: &str, intro: &str, errors: &mut ErrorList) {
    let messages = names::dns1035_label(text);
    if !messages.is_empty() {
        at.invalid(errors, &format!("{intro}{}", messages.join(",")));
    }
}

fn validate_conversion(spec: &At<'_>, errors: &mut ErrorList) {
    let conversion = spec.field("conversion");
    if !conversion.present() {
        return;
    }
    let (strategy, webhook) = (conversion.field("strategy"), child(conversion.value, "webhook"));
    strategy.need_one_of(errors, &["None", "Webhook"]);
    // Errors name what they are about as the old versions of this type did.
    let client = conversion.field("webhookClientConfig").with(child(webhook, "clientConfig"));
    let versions = conversion.field("conversionReviewVersions").with(child(webhook, "conversionReviewVersions"));
    if strategy.str() == "Webhook" {
        if client.present() {
            webhooks::validate_client(&client, errors);
        } else {
            client.required(errors, "required when strategy is set to Webhook");
        }
        return validate_review_versions(&versions, errors);
    }
    for (at, said) in [(&client, client.present()), (&versions, !versions.is_empty())] {
        if said {
            at.forbidden(errors, "should not be set when strategy is not set to Webhook");
        }
    }
}

fn validate_review_versions(versions: &At<'_>, errors: &mut ErrorList) {
    if !versions.need(errors) {
        return;
    }
    let mut seen = HashSet::new();
    for version in versions.items() {
        if seen.insert(version.value.as_str()) {
            version.format(errors, names::dns1035_label);
        } else {
            version.invalid(errors, "duplicate version");
        }
    }
    if !seen.contains(&Some("v1")) && !seen.contains(&Some("v1beta1")) {
        versions.invalid(errors, "must include at least one of v1, v1beta1");
    }
}
