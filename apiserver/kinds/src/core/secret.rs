//! Secret.

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::{Map, json};

use crate::at::{At, IMMUTABLE};
use crate::list::core_configmap::forbid_changes_when_immutable;
use crate::list::core_secret_warnings as secret_warnings;
use crate::{Kind, cells, formats, meta};

const MAX_BYTES: usize = 1024 * 1024;

pub(crate) struct Secret;

impl Kind for Secret {
    fn resource(&self) -> GroupResource {
        GroupResource::new("", "secrets")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x", "namespace": "default"},
               "type": "Opaque", "data": {"key": "dmFsdWU="}})
    }
    fn has_generation(&self) -> bool {
        false
    }
    /// `stringData` is merged into `data`, encoded; it is never stored.
    fn default(&self, object: &mut Value) {
        let Some(map) = object.as_object_mut() else { return };
        let Some(Value::Object(plain)) = map.remove("stringData") else { return };
        let data = map.entry("data").or_insert_with(|| Value::Object(Map::new()));
        if data.is_null() {
            *data = Value::Object(Map::new());
        }
        let Some(data) = data.as_object_mut() else { return };
        for (key, value) in plain {
            data.insert(key, formats::to_base64(value.as_str().unwrap_or("").as_bytes()).into());
        }
    }
    /// The type may be left out of an update.
    fn prepare_update(&self, object: &mut Value, old: &Value, _has_status: bool) {
        if object::str_at(object, "type").is_empty() {
            crate::keep_field(object, old, "type");
        }
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        if meta::is_new(object) {
            validate_data(object, errors);
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let kind = root.field("type");
        if kind.str() != object::str_at(old, "type") {
            kind.invalid(errors, IMMUTABLE);
        }
        forbid_changes_when_immutable(object, old, &["data"], errors);
        meta::validate_again(self, object, true, errors);
        validate_data(object, errors);
    }
    fn warnings(&self, object: &Value) -> Vec<String> {
        secret_warnings::of(object)
    }
    fn field(&self, object: &Value, field: &str) -> Option<String> {
        (field == "type").then(|| object::str_at(object, "type").to_owned())
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let count = cells::len(object, "data");
        Some(vec![cells::name(object), cells::text(object, "type"), count.into(), cells::age(object, now)])
    }
}

fn validate_data(object: &Value, errors: &mut ErrorList) {
    let root = At::root(object);
    let data = root.field("data");
    let mut bytes = 0;
    for (key, value) in data.entries() {
        for message in names::config_map_key(key) {
            errors.invalid(&value.path(), &Value::from(key), &message);
        }
        bytes += formats::base64_len(value.str());
    }
    if bytes > MAX_BYTES {
        data.too_long(errors, MAX_BYTES);
    }
    validate_of_type(&root, &data, errors);
}

/// Keys that a type demands.
fn validate_of_type(root: &At<'_>, data: &At<'_>, errors: &mut ErrorList) {
    let need = |errors: &mut ErrorList, keys: &[&str]| {
        for key in keys {
            if data.value.get(*key).is_none() {
                data.key(key).required(errors, "");
            }
        }
    };
    match root.field("type").str() {
        "kubernetes.io/tls" => need(errors, &["tls.crt", "tls.key"]),
        "kubernetes.io/ssh-auth" if data.key("ssh-privatekey").is_empty() => {
            data.key("ssh-privatekey").required(errors, "");
        }
        "kubernetes.io/basic-auth" if ["username", "password"].iter().all(|key| data.value.get(*key).is_none()) => {
            need(errors, &["username", "password"]);
        }
        "kubernetes.io/dockercfg" => json_key(data, ".dockercfg", errors),
        "kubernetes.io/dockerconfigjson" => json_key(data, ".dockerconfigjson", errors),
        "kubernetes.io/service-account-token" => {
            let name = "kubernetes.io/service-account.name";
            let (meta, annotations) = (root.field("metadata"), "annotations");
            let annotations = meta.field(annotations);
            if annotations.key(name).is_empty() {
                annotations.key(name).required(errors, "");
            }
        }
        _ => {}
    }
}

/// The key must be there and hold a JSON object.
fn json_key(data: &At<'_>, key: &str, errors: &mut ErrorList) {
    let at = data.key(key);
    let Some(text) = at.value.as_str() else { return at.required(errors, "") };
    // Nothing of the contents is said, not even where they are wrong.
    if let Some(why) = why_no_object(&formats::base64(text).unwrap_or_default()) {
        errors.invalid(&at.path(), &Value::from("<secret contents redacted>"), &why);
    }
}

/// In the words of Go's decoder, where it does not go far into the text.
fn why_no_object(text: &[u8]) -> Option<String> {
    let unfit =
        |kind: &str| Some(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"));
    match serde_json::from_slice::<Value>(text) {
        Ok(Value::Object(_) | Value::Null) => None,
        Ok(Value::Array(_)) => unfit("array"),
        Ok(Value::String(_)) => unfit("string"),
        Ok(Value::Number(_)) => unfit("number"),
        Ok(Value::Bool(_)) => unfit("bool"),
        Err(error) if error.is_eof() => Some("unexpected end of JSON input".to_owned()),
        Err(_) => {
            let first = text.trim_ascii_start().first().map(|byte| char::from(*byte));
            let wrong = first.filter(|first| first.is_ascii_graphic() && !"{[\"'-0123456789tfn".contains(*first));
            Some(wrong.map_or_else(
                || "is not a JSON object".to_owned(),
                |first| format!("invalid character '{first}' looking for beginning of value"),
            ))
        }
    }
}
