//! `/openapi/v2` in protobuf, the only form that Go clients ask for: the document of gnostic's `openapi.v2` schema
//! (`github.com/google/gnostic-models/openapiv2/OpenAPIv2.proto`).

use serde_json::Value;

use super::Kind::{Any, Anys, Bool, Integer, Many, Map, One, Special, Specials, Text, Texts};
use super::{Message, map, message, only, push_bytes, requirement, schema_or_bool};

/// What clients name it in `Accept`; the second is the valid media type, and what the answer is marked with.
pub(crate) const ACCEPTED: [&str; 2] = ["application/com.github.proto-openapi.spec.v2@v1.0+protobuf", MEDIA_TYPE];
pub(crate) const MEDIA_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, Text),
        ("info", 2, One(&INFO)),
        ("host", 3, Text),
        ("basePath", 4, Text),
        ("schemes", 5, Texts),
        ("consumes", 6, Texts),
        ("produces", 7, Texts),
        ("paths", 8, Special(paths)),
        ("definitions", 9, Map(1, &SCHEMA)),
        ("security", 12, Specials(requirement)),
        ("securityDefinitions", 13, Special(security_definitions)),
    ],
    extensions: Some(16),
};

static INFO: Message =
    Message { fields: &[("title", 1, Text), ("version", 2, Text), ("description", 3, Text)], extensions: Some(7) };

static PATH_ITEM: Message = Message {
    fields: &[
        ("$ref", 1, Text),
        ("get", 2, One(&OPERATION)),
        ("put", 3, One(&OPERATION)),
        ("post", 4, One(&OPERATION)),
        ("delete", 5, One(&OPERATION)),
        ("options", 6, One(&OPERATION)),
        ("head", 7, One(&OPERATION)),
        ("patch", 8, One(&OPERATION)),
        ("parameters", 9, Specials(parameter)),
    ],
    extensions: Some(10),
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Texts),
        ("summary", 2, Text),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("produces", 6, Texts),
        ("consumes", 7, Texts),
        ("parameters", 8, Specials(parameter)),
        ("responses", 9, Special(responses)),
        ("schemes", 10, Texts),
        ("deprecated", 11, Bool),
        ("security", 12, Specials(requirement)),
    ],
    extensions: Some(13),
};

static BODY_PARAMETER: Message = Message {
    fields: &[
        ("description", 1, Text),
        ("name", 2, Text),
        ("in", 3, Text),
        ("required", 4, Bool),
        ("schema", 5, One(&SCHEMA)),
    ],
    extensions: Some(6),
};

static QUERY_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, Bool),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("allowEmptyValue", 5, Bool),
        ("type", 6, Text),
        ("format", 7, Text),
        ("default", 10, Any),
        ("pattern", 17, Text),
        ("uniqueItems", 20, Bool),
        ("enum", 21, Anys),
    ],
    extensions: Some(23),
};

/// Of the path, and of headers.
static PATH_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, Bool),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 5, Text),
        ("format", 6, Text),
        ("default", 9, Any),
        ("pattern", 16, Text),
        ("uniqueItems", 19, Bool),
        ("enum", 20, Anys),
    ],
    extensions: Some(22),
};

static REFERENCE: Message = Message { fields: &[("$ref", 1, Text), ("description", 2, Text)], extensions: None };

static RESPONSE: Message =
    Message { fields: &[("description", 1, Text), ("schema", 2, Special(schema_item))], extensions: Some(5) };

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, Text),
        ("format", 2, Text),
        ("title", 3, Text),
        ("description", 4, Text),
        ("default", 5, Any),
        ("maxLength", 11, Integer),
        ("minLength", 12, Integer),
        ("pattern", 13, Text),
        ("maxItems", 14, Integer),
        ("minItems", 15, Integer),
        ("uniqueItems", 16, Bool),
        ("maxProperties", 17, Integer),
        ("minProperties", 18, Integer),
        ("required", 19, Texts),
        ("enum", 20, Anys),
        ("additionalProperties", 21, Special(additional_properties)),
        ("type", 22, Special(type_item)),
        ("items", 23, Special(schema_item)),
        ("allOf", 24, Many(&SCHEMA)),
        ("properties", 25, Map(1, &SCHEMA)),
        ("discriminator", 26, Text),
        ("readOnly", 27, Bool),
        ("example", 30, Any),
    ],
    extensions: Some(31),
};

static API_KEY: Message = Message {
    fields: &[("type", 1, Text), ("name", 2, Text), ("in", 3, Text), ("description", 4, Text)],
    extensions: Some(5),
};

/// The document in protobuf.
pub(crate) fn encode(document: &Value) -> Vec<u8> {
    message(&DOCUMENT, document)
}

fn paths(value: &Value) -> Vec<u8> {
    map(value, 2, |item| message(&PATH_ITEM, item))
}

/// `ParametersItem { parameter = 1: { body = 1, non_body = 2: { header = 1, query = 3, path = 4 } }, reference = 2 }`
fn parameter(value: &Value) -> Vec<u8> {
    if value.get("$ref").is_some() {
        return only(2, &message(&REFERENCE, value));
    }
    let parameter = match value["in"].as_str() {
        Some("body") => only(1, &message(&BODY_PARAMETER, value)),
        Some("header") => only(2, &only(1, &message(&PATH_PARAMETER, value))),
        Some("path") => only(2, &only(4, &message(&PATH_PARAMETER, value))),
        _ => only(2, &only(3, &message(&QUERY_PARAMETER, value))),
    };
    only(1, &parameter)
}

/// `Responses { response_code = 1 }` of `ResponseValue { response = 1, reference = 2 }`
fn responses(value: &Value) -> Vec<u8> {
    map(value, 1, |response| match response.get("$ref") {
        Some(_) => only(2, &message(&REFERENCE, response)),
        None => only(1, &message(&RESPONSE, response)),
    })
}

/// `SchemaItem { schema = 1 }`, and `ItemsItem`, which is the same.
fn schema_item(value: &Value) -> Vec<u8> {
    only(1, &message(&SCHEMA, value))
}

fn additional_properties(value: &Value) -> Vec<u8> {
    schema_or_bool(value, |schema| message(&SCHEMA, schema))
}

/// `TypeItem { value = 1 }`: one type, or several.
fn type_item(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let single = std::slice::from_ref(value);
    for item in value.as_array().map_or(single, Vec::as_slice) {
        push_bytes(&mut out, 1, item.as_str().unwrap_or("").as_bytes());
    }
    out
}

/// `SecurityDefinitions { additional_properties = 1 }` of `SecurityDefinitionsItem { api_key_security = 2 }`
fn security_definitions(value: &Value) -> Vec<u8> {
    map(value, 1, |definition| only(2, &message(&API_KEY, definition)))
}

#[cfg(test)]
mod tests {
    use api_schema::Schema;
    use serde_json::json;

    use super::super::reading::{all, of, texts};
    use super::*;

    #[test]
    fn the_whole_document_is_carried() {
        let document = api_codec::openapi::v2(Schema::builtin());
        let bytes = encode(&document);
        let names = |field: &str| document[field].as_object().expect("a map").keys().cloned().collect::<Vec<_>>();
        assert_eq!(texts(&bytes, &[1]), ["2.0"]);
        assert_eq!(texts(&bytes, &[8, 2, 1]), names("paths"));
        assert_eq!(texts(&bytes, &[9, 1, 1]), names("definitions"));

        let pod = of(&bytes, &[9, 1], "io.k8s.api.core.v1.Pod");
        assert_eq!(texts(pod, &[22, 1]), ["object"]);
        assert_eq!(texts(of(pod, &[25, 1], "spec"), &[1]), ["#/definitions/io.k8s.api.core.v1.PodSpec"]);
        let kinds = texts(of(pod, &[31], "x-kubernetes-group-version-kind"), &[2]);
        let kinds: Value = serde_json::from_str(&kinds[0]).expect("is JSON");
        assert_eq!(kinds, json!([{"group": "", "kind": "Pod", "version": "v1"}]));
        let containers = of(of(&bytes, &[9, 1], "io.k8s.api.core.v1.PodSpec"), &[25, 1], "containers");
        assert_eq!(texts(containers, &[23, 1, 1]), ["#/definitions/io.k8s.api.core.v1.Container"]);
        assert_eq!(texts(of(containers, &[31], "x-kubernetes-patch-merge-key"), &[2]), ["\"name\""]);
        let data = of(of(&bytes, &[9, 1], "io.k8s.api.core.v1.ConfigMap"), &[25, 1], "data");
        assert_eq!(texts(data, &[21, 1, 22, 1]), ["string"]);

        let create = all(of(&bytes, &[8, 2], "/api/v1/namespaces/{namespace}/pods"), &[4])[0];
        assert_eq!(texts(create, &[5]), ["createCoreV1NamespacedPod"]);
        assert_eq!(texts(create, &[8, 1, 1, 5, 1]), ["#/definitions/io.k8s.api.core.v1.Pod"], "the body");
        assert!(texts(create, &[8, 1, 2, 3, 4]).contains(&"dryRun".to_owned()), "a parameter of the query");
        let created = of(create, &[9, 1], "201");
        assert_eq!(texts(created, &[1, 2, 1, 1]), ["#/definitions/io.k8s.api.core.v1.Pod"]);
        let of_path = texts(of(&bytes, &[8, 2], "/api/v1/namespaces/{namespace}/pods"), &[9, 1, 2, 4, 4]);
        assert_eq!(of_path, ["namespace"]);
        assert_eq!(texts(of(&bytes, &[13, 1], "BearerToken"), &[2, 2]), ["authorization"]);
    }
}
