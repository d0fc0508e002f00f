//! CustomResourceDefinition.

use std::collections::HashSet;

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use serde_json::json;

use crate::at::{At, IMMUTABLE, child, is_empty};
use crate::list::apiextensions_schema as schema;
use crate::{Kind, cells};

pub(crate) struct CustomResourceDefinition;

/// Groups of the community need an approval.
const APPROVAL: &str = "api-approved.kubernetes.io";
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

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
        validate_group(&root, &spec, errors);
        spec.field("scope").need_one_of(errors, &["Cluster", "Namespaced"]);
        validate_names(&spec.field("names"), errors);
        validate_versions(&root, &spec, errors);
        validate_conversion(&spec.field("conversion"), errors);
        if spec.field("preserveUnknownFields").flag() {
            let detail = "must be set to false in order to use v1 schemas";
            spec.field("preserveUnknownFields").invalid(errors, detail);
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let established = cells::condition_true(old, "Established");
        let mut same = |path: &str| {
            let at = root.field(path);
            if at.str() != object::str_at(old, path) {
                at.invalid(errors, IMMUTABLE);
            }
        };
        for path in ["spec.group", "spec.names.plural"] {
            same(path);
        }
        // Upstream: from the moment the type is served.
        if established || object::str_at(object, "spec.scope") != object::str_at(old, "spec.scope") {
            same("spec.scope");
        }
        if established {
            same("spec.names.kind");
        }
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
        root.field("metadata.name").invalid(errors, "must be spec.names.plural+\".\"+spec.group");
    }
}

fn validate_group(root: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    let group = spec.field("group");
    if group.is_empty() {
        return group.required(errors, "");
    }
    group.format(errors, names::dns1123_subdomain);
    if !group.str().contains('.') {
        group.invalid(errors, "should be a domain with at least one dot");
    }
    let protected = |domain: &str| group.str() == domain || group.str().ends_with(&format!(".{domain}"));
    if (protected("k8s.io") || protected("kubernetes.io")) && object::annotation(root.value, APPROVAL).is_none() {
        let metadata = root.field("metadata.annotations");
        metadata.key(APPROVAL).required(errors, "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111");
    }
}

fn validate_names(all: &At<'_>, errors: &mut ErrorList) {
    for field in ["plural", "singular", "kind", "listKind"] {
        let at = all.field(field);
        if !at.need(errors) {
            continue;
        }
        let lower = matches!(field, "kind" | "listKind");
        let text = if lower { at.str().to_lowercase() } else { at.str().to_owned() };
        for message in names::dns1035_label(&text) {
            at.invalid(errors, &message);
        }
    }
    if !all.field("kind").is_empty() && all.field("kind").str() == all.field("listKind").str() {
        all.field("listKind").invalid(errors, "kind and listKind may not be the same");
    }
    for list in ["shortNames", "categories"] {
        for name in all.field(list).items() {
            name.format(errors, names::dns1035_label);
        }
    }
}

/// What only one version has is told of the whole, as upstream keeps it there.
fn validate_versions(root: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    let versions = spec.field("versions");
    if versions.is_empty() {
        versions.required(errors, "must have at least one version");
    }
    let single = versions.list().len() == 1;
    let mut seen = HashSet::new();
    for version in versions.items() {
        let name = object::str_at(version.value, "name");
        for message in names::dns1035_label(name) {
            version.field("name").invalid(errors, &message);
            if single {
                errors.invalid(&spec.field("version").path(), &Value::from(name), &message);
            }
        }
        if seen.contains(&name) {
            versions.invalid(errors, "must contain unique version names");
        }
        seen.insert(name);
        validate_version(spec, &version, single, errors);
    }
    if stored(root.value).len() != 1 {
        versions.invalid(errors, "must have exactly one version marked as storage version");
    }
    let kept = root.field("status.storedVersions");
    if kept.is_empty() {
        kept.invalid(errors, "must have at least one stored version");
    }
    for version in kept.items().filter(|version| !seen.contains(&version.value.as_str().unwrap_or(""))) {
        version.invalid(errors, "must appear in spec.versions");
    }
}

fn validate_version(spec: &At<'_>, version: &At<'_>, single: bool, errors: &mut ErrorList) {
    let place = version.field("schema.openAPIV3Schema");
    if !place.present() {
        place.required(errors, "schemas are required");
    } else {
        let whole = spec.field("validation.openAPIV3Schema").with(place.value);
        schema::validate_root(if single { &whole } else { &place }, errors);
    }
    let base = if single { *spec } else { *version };
    let subresources = base.field("subresources").with(child(version.value, "subresources"));
    validate_scale(&subresources.field("scale"), errors);
    let columns = base.field("additionalPrinterColumns").with(child(version.value, "additionalPrinterColumns"));
    for column in columns.items() {
        validate_column(&column, errors);
    }
}

fn validate_scale(scale: &At<'_>, errors: &mut ErrorList) {
    if !scale.present() {
        return;
    }
    for (field, prefix, required) in [
        ("specReplicasPath", ".spec.", true),
        ("statusReplicasPath", ".status.", true),
        ("labelSelectorPath", ".status.", false),
    ] {
        let path = scale.field(field);
        if path.is_empty() {
            if required {
                path.required(errors, "");
            }
        } else if !(path.str().starts_with(prefix) || (!required && path.str().starts_with(".spec."))) {
            path.invalid(errors, &format!("should be a json path under {}", prefix.trim_end_matches('.')));
        }
    }
}

fn validate_column(column: &At<'_>, errors: &mut ErrorList) {
    column.field("name").need(errors);
    let kind = column.field("type");
    if kind.is_empty() {
        kind.required(errors, &format!("must be one of {}", COLUMN_TYPES.join(",")));
    } else if !COLUMN_TYPES.contains(&kind.str()) {
        kind.invalid(errors, &format!("must be one of {}", COLUMN_TYPES.join(",")));
    }
    let format = column.field("format");
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format.str()) {
        format.invalid(errors, &format!("must be one of {}", COLUMN_FORMATS.join(",")));
    }
    let path = column.field("JSONPath").with(child(column.value, "jsonPath"));
    if path.is_empty() {
        path.required(errors, "");
    } else if !path.str().starts_with('.') {
        path.invalid(errors, "must be a simple json path starting with .");
    }
}

fn validate_conversion(conversion: &At<'_>, errors: &mut ErrorList) {
    let (strategy, webhook) = (conversion.field("strategy"), conversion.field("webhook"));
    match strategy.str() {
        "" | "None" if !webhook.present() => {}
        "" | "None" => {
            conversion
                .field("webhookClientConfig")
                .forbidden(errors, "should not be set when strategy is not set to Webhook");
        }
        "Webhook" => {
            let client = conversion.field("webhookClientConfig").with(child(webhook.value, "clientConfig"));
            let versions =
                conversion.field("conversionReviewVersions").with(child(webhook.value, "conversionReviewVersions"));
            if !client.present() {
                client.required(errors, "required when strategy is set to Webhook");
            } else {
                crate::list::admissionregistration_webhooks::validate_client(&client, errors);
            }
            if versions.is_empty() {
                versions.required(errors, "");
            }
        }
        _ => strategy.unsupported(errors, &["None", "Webhook"]),
    }
}
