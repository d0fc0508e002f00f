//! A document of `/openapi/v3` in protobuf: of gnostic's `openapi.v3` schema
//! (`github.com/google/gnostic-models/openapiv3/OpenAPIv3.proto`).

use serde_json::Value;

use super::Kind::{
    Any, Anys, Bool, Double, Either, EitherMap, Eithers, Integer, Map, One, Special, Specials, Text, Texts,
};
use super::{
    Message, any, either, message, named, only, push_bytes, push_double, push_number, requirement, schema_or_bool,
};

/// What clients name it in `Accept`; the second is the valid media type, and what the answer is marked with.
pub(crate) const ACCEPTED: [&str; 2] = ["application/com.github.proto-openapi.spec.v3@v1.0+protobuf", MEDIA_TYPE];
pub(crate) const MEDIA_TYPE: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";

static DOCUMENT: Message = Message {
    fields: &[
        ("openapi", 1, Text),
        ("info", 2, One(&INFO)),
        ("paths", 4, Map(1, &PATH_ITEM)),
        ("components", 5, One(&COMPONENTS)),
        ("security", 6, Specials(requirement)),
    ],
    extensions: Some(9),
};

static INFO: Message =
    Message { fields: &[("title", 1, Text), ("description", 2, Text), ("version", 6, Text)], extensions: Some(7) };

static COMPONENTS: Message = Message {
    fields: &[
        ("schemas", 1, EitherMap(&SCHEMA)),
        ("responses", 2, EitherMap(&RESPONSE)),
        ("parameters", 3, EitherMap(&PARAMETER)),
        ("requestBodies", 5, EitherMap(&REQUEST_BODY)),
        ("securitySchemes", 7, EitherMap(&SECURITY_SCHEME)),
    ],
    extensions: Some(10),
};

static PATH_ITEM: Message = Message {
    fields: &[
        ("$ref", 1, Text),
        ("summary", 2, Text),
        ("description", 3, Text),
        ("get", 4, One(&OPERATION)),
        ("put", 5, One(&OPERATION)),
        ("post", 6, One(&OPERATION)),
        ("delete", 7, One(&OPERATION)),
        ("options", 8, One(&OPERATION)),
        ("head", 9, One(&OPERATION)),
        ("patch", 10, One(&OPERATION)),
        ("parameters", 13, Eithers(&PARAMETER)),
    ],
    extensions: Some(14),
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Texts),
        ("summary", 2, Text),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("parameters", 6, Eithers(&PARAMETER)),
        ("requestBody", 7, Either(&REQUEST_BODY)),
        ("responses", 8, Special(responses)),
        ("deprecated", 10, Bool),
        ("security", 11, Specials(requirement)),
    ],
    extensions: Some(13),
};

static PARAMETER: Message = Message {
    fields: &[
        ("name", 1, Text),
        ("in", 2, Text),
        ("description", 3, Text),
        ("required", 4, Bool),
        ("deprecated", 5, Bool),
        ("allowEmptyValue", 6, Bool),
        ("style", 7, Text),
        ("explode", 8, Bool),
        ("schema", 10, Either(&SCHEMA)),
        ("content", 13, Map(1, &MEDIA)),
    ],
    extensions: Some(14),
};

static REQUEST_BODY: Message = Message {
    fields: &[("description", 1, Text), ("content", 2, Map(1, &MEDIA)), ("required", 3, Bool)],
    extensions: Some(4),
};

static RESPONSE: Message =
    Message { fields: &[("description", 1, Text), ("content", 3, Map(1, &MEDIA))], extensions: Some(5) };

static MEDIA: Message = Message { fields: &[("schema", 1, Either(&SCHEMA)), ("example", 2, Any)], extensions: Some(5) };

static SECURITY_SCHEME: Message = Message {
    fields: &[
        ("type", 1, Text),
        ("description", 2, Text),
        ("name", 3, Text),
        ("in", 4, Text),
        ("scheme", 5, Text),
        ("bearerFormat", 6, Text),
    ],
    extensions: Some(9),
};

static SCHEMA: Message = Message {
    fields: &[
        ("nullable", 1, Bool),
        ("readOnly", 3, Bool),
        ("writeOnly", 4, Bool),
        ("example", 7, Any),
        ("deprecated", 8, Bool),
        ("title", 9, Text),
        ("multipleOf", 10, Double),
        ("maximum", 11, Double),
        ("exclusiveMaximum", 12, Bool),
        ("minimum", 13, Double),
        ("exclusiveMinimum", 14, Bool),
        ("maxLength", 15, Integer),
        ("minLength", 16, Integer),
        ("pattern", 17, Text),
        ("maxItems", 18, Integer),
        ("minItems", 19, Integer),
        ("uniqueItems", 20, Bool),
        ("maxProperties", 21, Integer),
        ("minProperties", 22, Integer),
        ("required", 23, Texts),
        ("enum", 24, Anys),
        ("type", 25, Text),
        ("allOf", 26, Eithers(&SCHEMA)),
        ("oneOf", 27, Eithers(&SCHEMA)),
        ("anyOf", 28, Eithers(&SCHEMA)),
        ("not", 29, One(&SCHEMA)),
        ("items", 30, Special(items)),
        ("properties", 31, EitherMap(&SCHEMA)),
        ("additionalProperties", 32, Special(additional_properties)),
        ("default", 33, Special(default)),
        ("description", 34, Text),
        ("format", 35, Text),
    ],
    extensions: Some(36),
};

/// The document in protobuf.
pub(crate) fn encode(document: &Value) -> Vec<u8> {
    message(&DOCUMENT, document)
}

/// `Responses { default = 1, response_or_reference = 2, specification_extension = 3 }`
fn responses(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        match name.as_str() {
            "default" => push_bytes(&mut out, 1, &either(&RESPONSE, value)),
            name if name.starts_with("x-") => push_bytes(&mut out, 3, &named(name, &any(value))),
            name => push_bytes(&mut out, 2, &named(name, &either(&RESPONSE, value))),
        }
    }
    out
}

/// `ItemsItem { schema_or_reference = 1 }`
fn items(value: &Value) -> Vec<u8> {
    only(1, &either(&SCHEMA, value))
}

fn additional_properties(value: &Value) -> Vec<u8> {
    schema_or_bool(value, |schema| either(&SCHEMA, schema))
}

/// `DefaultType { number = 1, boolean = 2, string = 3 }`: empty for objects and lists, which it has no place for.
fn default(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Value::Number(number) => push_double(&mut out, 1, number.as_f64().unwrap_or(0.0)),
        Value::Bool(on) => push_number(&mut out, 2, u64::from(*on)),
        Value::String(text) => push_bytes(&mut out, 3, text.as_bytes()),
        Value::Null | Value::Array(_) | Value::Object(_) => {}
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use api_schema::Schema;
    use serde_json::json;

    use super::super::Kind;
    use super::super::reading::{all, of, texts};
    use super::*;

    /// Fields of a value, and of what is inside it, that no table has.
    fn left_out(table: &Message, value: &Value, out: &mut BTreeSet<String>) {
        for (name, value) in value.as_object().into_iter().flatten().filter(|(name, _)| !name.starts_with("x-")) {
            let Some((_, _, kind)) = table.fields.iter().find(|(own, ..)| own == name) else {
                out.insert(name.clone());
                continue;
            };
            let list = || value.as_array().into_iter().flatten();
            let map = || value.as_object().into_iter().flatten().map(|(_, value)| value);
            match kind {
                Kind::One(of) => left_out(of, value, out),
                Kind::Many(of) => list().for_each(|item| left_out(of, item, out)),
                Kind::Map(_, of) => map().for_each(|item| left_out(of, item, out)),
                Kind::Either(of) => left_out_of_either(of, value, out),
                Kind::Eithers(of) => list().for_each(|item| left_out_of_either(of, item, out)),
                Kind::EitherMap(of) => map().for_each(|item| left_out_of_either(of, item, out)),
                Kind::Special(_) if name == "responses" => {
                    map().for_each(|item| left_out_of_either(&RESPONSE, item, out));
                }
                Kind::Special(_) if name != "default" && value.is_object() => left_out_of_either(&SCHEMA, value, out),
                _ => {}
            }
        }
    }

    /// A reference has no other field.
    fn left_out_of_either(of: &Message, value: &Value, out: &mut BTreeSet<String>) {
        match value.get("$ref") {
            Some(_) => out.extend(value.as_object().into_iter().flatten().map(|(name, _)| name.clone())),
            None => left_out(of, value, out),
        }
    }

    #[test]
    fn every_document_is_carried_whole() {
        let documents = api_codec::openapi::v3(Schema::builtin());
        let (mut missing, mut bytes) = (BTreeSet::new(), 0);
        for (path, document) in &documents {
            left_out(&DOCUMENT, document, &mut missing);
            let packed = encode(document);
            bytes += packed.len();
            let names =
                |at: &str| document.pointer(at).and_then(Value::as_object).map(|map| map.keys().cloned().collect());
            assert_eq!(Some(texts(&packed, &[4, 1, 1])), names("/paths"), "{path}");
            assert_eq!(Some(texts(&packed, &[5, 1, 1, 1])), names("/components/schemas"), "{path}");
        }
        println!("{} documents of OpenAPI v3 are {bytes} bytes in protobuf", documents.len());
        assert_eq!(missing, BTreeSet::from(["$ref".to_owned()]));
    }

    #[test]
    fn parts() {
        let documents: std::collections::BTreeMap<_, _> = api_codec::openapi::v3(Schema::builtin())
            .into_iter()
            .map(|(path, one)| (path.clone(), encode(&one)))
            .collect();
        let core = &documents["api/v1"];
        assert_eq!(texts(core, &[1]), ["3.0.0"]);
        let pod = all(of(core, &[5, 1, 1], "io.k8s.api.core.v1.Pod"), &[1])[0];
        assert_eq!(texts(pod, &[25]), ["object"]);
        let spec = all(of(pod, &[31, 1], "spec"), &[1])[0];
        assert_eq!(texts(spec, &[26, 2, 1]), ["#/components/schemas/io.k8s.api.core.v1.PodSpec"]);
        assert_eq!(all(spec, &[33]), [b""], "there is a default, and no place for what it is");
        let kinds = texts(of(pod, &[36], "x-kubernetes-group-version-kind"), &[2]);
        let kinds: Value = serde_json::from_str(&kinds[0]).expect("is JSON");
        assert_eq!(kinds, json!([{"group": "", "kind": "Pod", "version": "v1"}]));
        let containers = of(all(of(core, &[5, 1, 1], "io.k8s.api.core.v1.PodSpec"), &[1])[0], &[31, 1], "containers");
        let container = texts(containers, &[1, 30, 1, 2, 1]);
        assert_eq!(container, ["#/components/schemas/io.k8s.api.core.v1.Container"]);
        let protocol = of(all(of(core, &[5, 1, 1], "io.k8s.api.core.v1.ServicePort"), &[1])[0], &[31, 1], "protocol");
        assert_eq!(texts(protocol, &[1, 33, 3]), ["TCP"], "a default");
        let create = all(of(core, &[4, 1], "/api/v1/namespaces/{namespace}/pods"), &[6])[0];
        assert_eq!(texts(create, &[5]), ["createCoreV1NamespacedPod"]);
        let body = of(create, &[7, 1, 2, 1], "*/*");
        assert_eq!(texts(body, &[1, 2, 1]), ["#/components/schemas/io.k8s.api.core.v1.Pod"]);
        let created = of(all(of(create, &[8, 2], "201"), &[1])[0], &[3, 1], "application/json");
        assert_eq!(texts(created, &[1, 2, 1]), ["#/components/schemas/io.k8s.api.core.v1.Pod"]);
        assert_eq!(texts(of(core, &[5, 7, 1], "BearerToken"), &[1, 3]), ["authorization"]);
    }

    #[test]
    fn defaults() {
        assert_eq!(default(&json!(1)), [9, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
        assert_eq!(default(&json!(true)), [16, 1]);
        assert_eq!(default(&json!("a")), [26, 1, b'a']);
        assert_eq!(default(&json!({})), [0; 0]);
    }
}
