//! CustomResourceDefinition.

use std::collections::HashSet;

use api_machinery::quote::quoted;
use api_machinery::{ErrorList, GroupResource, Value, names, object};
use serde_json::json;

use crate::at::{At, child, is_empty};
use crate::list::apiextensions_ratchet::{self as ratchet, Demands};
use crate::list::{
    admissionregistration_webhooks as webhooks, apiextensions_approval as approval,
    apiextensions_string_formats as string_formats, apiextensions_versions as versions,
    resource_immutable as immutable,
};
use crate::{Kind, cells, meta};

pub(crate) struct CustomResourceDefinition;

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
    fn default(&self, object: &mut Value) {
        if let Some(names) = object.pointer_mut("/spec/names") {
            default_names(names);
        }
        if object["spec"].is_object() && child(object, "spec.conversion").is_null() {
            object["spec"]["conversion"] = json!({"strategy": "None"});
        }
        // Upstream keeps what is in it, not that it is there.
        if let Some(conversion) = object.pointer_mut("/spec/conversion").and_then(Value::as_object_mut)
            && conversion.get("webhook").is_some_and(says_nothing)
        {
            conversion.remove("webhook");
        }
        let status = child(object, "status");
        if (status.is_null() || status.is_object())
            && is_empty(child(status, "storedVersions"))
            && let Some(name) = stored(object).cloned()
        {
            object["status"]["storedVersions"] = json!([name]);
        }
    }
    fn prepare_create(&self, object: &mut Value, _has_status: bool) {
        object["status"] = json!({"storedVersions": stored(object).map(|name| [name])});
    }
    /// A version that becomes the stored one is remembered as such.
    fn prepare_update(&self, object: &mut Value, old: &Value, _has_status: bool) {
        crate::keep_field(object, old, "status");
        let Some(name) = stored(object).cloned() else { return };
        match object.pointer_mut("/status/storedVersions").and_then(Value::as_array_mut) {
            Some(list) if list.contains(&name) => {}
            Some(list) => list.push(name),
            None => object["status"]["storedVersions"] = json!([name]),
        }
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        // One that changes is looked at together with what it was.
        if meta::is_new(object) {
            let root = At::root(object);
            validate_name(&root, &root.field("spec"), errors);
            validate_all(&root, &Value::Null, errors);
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        validate_all(&At::root(object), old, errors);
    }
    fn generation_grows(&self, object: &Value, old: &Value) -> bool {
        !immutable::is_same(child(object, "spec"), child(old, "spec"))
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        let schemas = versions::schemas(child(object, "spec"));
        let formats = schemas.into_iter().flat_map(string_formats::unrecognized);
        formats.map(|format| format!("unrecognized format {}", quoted(&format))).collect()
    }
    /// Of what was there before nothing is told.
    fn update_warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        let before: HashSet<String> = self.warnings(old).into_iter().collect();
        self.warnings(object).into_iter().filter(|warning| !before.contains(warning)).collect()
    }
    fn validate_status_update(&self, object: &Value, _old: &Value, errors: &mut ErrorList) {
        validate_accepted(&At::root(object).field("status"), errors);
    }
}

/// A webhook without a client and without versions.
fn says_nothing(webhook: &Value) -> bool {
    child(webhook, "clientConfig").is_null() && is_empty(child(webhook, "conversionReviewVersions"))
}

/// Singular and list kind follow from the kind.
fn default_names(names: &mut Value) {
    let kind = object::str_at(names, "kind").to_owned();
    if kind.is_empty() {
        return;
    }
    for (field, value) in [("singular", kind.to_lowercase()), ("listKind", format!("{kind}List"))] {
        if is_empty(child(names, field)) {
            names[field] = value.into();
        }
    }
}

/// The version that objects are stored in; the first, where there are several.
fn stored(object: &Value) -> Option<&Value> {
    let mut versions = cells::list(object, "spec.versions").iter();
    versions.find(|version| child(version, "storage") == &Value::Bool(true)).map(|version| child(version, "name"))
}

/// `old` is null for a new definition.
fn validate_all(root: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let demands = Demands::of(old);
    let spec = root.field("spec");
    validate_group(&spec, errors);
    spec.field("scope").need_one_of(errors, &["Cluster", "Namespaced"]);
    versions::validate(&spec, &demands, errors);
    validate_names(&spec.field("names"), errors);
    versions::validate_shared(&spec, &demands, errors);
    validate_conversion(&spec, &demands, errors);
    if old.is_object() {
        validate_fixed(&spec, old, errors);
    }
    validate_accepted(&root.field("status"), errors);
    versions::validate_stored(root, errors);
    approval::validate(root, old, errors);
    let preserve = spec.field("preserveUnknownFields");
    if preserve.flag() && child(old, "spec.preserveUnknownFields") != &Value::Bool(true) {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema \
                      instead";
        preserve.invalid(errors, detail);
    }
}

fn validate_fixed(spec: &At<'_>, old: &Value, errors: &mut ErrorList) {
    // Upstream fixes scope and kind when the type is served, which is at once; here nothing marks it as served.
    for path in ["scope", "names.kind", "group", "names.plural"] {
        spec.field(path).unchanged(errors, child(child(old, "spec"), path));
    }
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

fn validate_conversion(spec: &At<'_>, demands: &Demands<'_>, errors: &mut ErrorList) {
    let conversion = spec.field("conversion");
    if !conversion.present() {
        return;
    }
    let (strategy, webhook) = (conversion.field("strategy"), child(conversion.value, "webhook"));
    if strategy.str() != "None" && spec.field("preserveUnknownFields").flag() {
        let shown = Value::from(strategy.str());
        errors.invalid(&strategy.path(), &shown, "must be None if spec.preserveUnknownFields is true");
    }
    strategy.need_one_of(errors, &["None", "Webhook"]);
    // Errors name what they are about as the old versions of this type did.
    let client = conversion.field("webhookClientConfig").with(child(webhook, "clientConfig"));
    let versions = conversion.field("conversionReviewVersions").with(child(webhook, "conversionReviewVersions"));
    if strategy.str() == "Webhook" {
        if client.present() {
            webhooks::validate_client(&client, errors);
            let authority = client.field("caBundle");
            if demands.sound_authority
                && !authority.is_empty()
                && let Some(why) = ratchet::why_unsound(authority.str())
            {
                authority.invalid(errors, &why);
            }
        } else {
            client.required(errors, "required when strategy is set to Webhook");
        }
        return validate_review_versions(&versions, demands, errors);
    }
    for (at, said) in [(&client, client.present()), (&versions, !versions.is_empty())] {
        if said {
            at.forbidden(errors, "should not be set when strategy is not set to Webhook");
        }
    }
}

fn validate_review_versions(versions: &At<'_>, demands: &Demands<'_>, errors: &mut ErrorList) {
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
    if demands.known_review_version && !ratchet::knows_a_review(versions.value) {
        versions.invalid(errors, "must include at least one of v1, v1beta1");
    }
}
