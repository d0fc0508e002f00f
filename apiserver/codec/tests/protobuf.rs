//! Every upstream sample is written byte for byte and read back to its JSON; nothing that is broken makes us panic.

use std::collections::BTreeMap;

use api_codec::decode::{FieldValidation, conform};
use api_codec::protobuf::{Encoded, decode, encode};
use api_machinery::{GroupVersion, GroupVersionKind, Value};
use api_schema::{Schema, TypeId};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

struct Sample {
    name: String,
    text: Vec<u8>,
    json: Value,
    pb: Vec<u8>,
}

fn samples() -> Vec<Sample> {
    let Some(folder) = crate::golden::place("roundtrip") else { return Vec::new() };
    let entries = std::fs::read_dir(&folder).expect("a folder of samples");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut samples: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "pb"))
        .map(|path| {
            let text = std::fs::read(path.with_extension("json")).expect("a sample");
            Sample {
                name: path.file_stem().expect("a name").to_string_lossy().into_owned(),
                json: serde_json::from_slice(&text).expect("is JSON"),
                text,
                pb: std::fs::read(&path).expect("a sample"),
            }
        })
        .collect();
    samples.sort_by(|one, other| one.name.cmp(&other.name));
    samples
}

fn type_of(value: &Value) -> Option<TypeId> {
    let gv = GroupVersion::parse(value["apiVersion"].as_str()?);
    let kind = value["kind"].as_str()?.into();
    Schema::builtin().type_of_kind(&GroupVersionKind { group: gv.group, version: gv.version, kind })
}

fn conformed(mut value: Value) -> Value {
    let id = type_of(&value).expect("a known kind");
    conform(Schema::builtin(), id, &mut value, Vec::new(), FieldValidation::Strict).expect("conforms");
    value
}

/// Where two values differ, for people.
fn difference(path: &str, one: &Value, other: &Value) -> Option<String> {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let names = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
            let at =
                |map: &serde_json::Map<String, Value>, name: &String| map.get(name).cloned().unwrap_or(Value::Null);
            names.filter_map(|name| difference(&format!("{path}.{name}"), &at(one, name), &at(other, name))).next()
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => one
            .iter()
            .zip(other)
            .enumerate()
            .find_map(|(i, (one, other))| difference(&format!("{path}[{i}]"), one, other)),
        (one, other) if one == other => None,
        (one, other) => Some(format!("{path}: {one} is not {other}")),
    }
}

#[test]
fn golden_samples_both_ways() {
    let schema = Schema::builtin();
    let (mut good, mut unknown, mut wrong) = (0, BTreeMap::new(), Vec::new());
    for sample in samples() {
        if type_of(&sample.json).is_none() {
            let group = sample.json["apiVersion"].as_str().unwrap_or("without apiVersion").to_owned();
            *unknown.entry(group).or_insert(0) += 1;
            continue;
        }
        match encode(schema, &sample.json) {
            None => wrong.push(format!("{}: not encoded", sample.name)),
            Some(bytes) if Encoded::from_json(schema, &sample.text).is_none_or(|read| read.envelope != bytes) => {
                wrong.push(format!("{}: its text is encoded otherwise than its value", sample.name));
            }
            Some(bytes) if bytes != sample.pb => {
                let back = decode(schema, &bytes).map(|(_, value)| value).unwrap_or_default();
                let first = bytes.iter().zip(&sample.pb).position(|(one, other)| one != other);
                let difference = difference("", &back, &sample.json);
                wrong.push(format!("{}: other bytes from {first:?}: {difference:?}", sample.name));
            }
            Some(_) => match decode(schema, &sample.pb) {
                Err(error) => wrong.push(format!("{}: {}", sample.name, error.message)),
                Ok((_, value)) => match difference("", &conformed(value), &conformed(sample.json)) {
                    Some(difference) => wrong.push(format!("{}: {difference}", sample.name)),
                    None => good += 1,
                },
            },
        }
    }
    let untried: i32 = unknown.values().sum();
    println!(
        "golden protobuf: {good} kinds equal both ways, {} not; {untried} of versions that v1.36 serves no more have \
         no fields here: {unknown:?}",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(good > 0 || untried == 0, "no sample of what is served");
}

/// Every kind of change that a wire or an attacker may make.
fn change(bytes: &mut Vec<u8>, at: usize, with: u8, how: u8) {
    match how % 5 {
        0 => bytes[at] = with,
        1 => bytes[at] ^= 1 << (with % 8),
        2 => bytes.insert(at, with),
        3 => drop(bytes.remove(at)),
        _ => bytes.truncate(at.max(1)),
    }
}

#[test]
fn broken_samples_are_refused_or_read() {
    let samples = samples();
    if samples.is_empty() {
        return;
    }
    let config = ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let changes = proptest::collection::vec((any::<Index>(), any::<u8>(), any::<u8>()), 1..6);
    let schema = Schema::builtin();
    let (mut read, mut refused) = (0, 0);
    let checked = runner.run(&(any::<Index>(), changes), |(sample, changes)| {
        let mut bytes = sample.get(&samples).pb.clone();
        for (at, with, how) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            change(&mut bytes, at, with, how);
        }
        match decode(schema, &bytes) {
            Ok((_, value)) => {
                // What was read is an object that JSON can carry and protobuf can hold.
                let text = value.to_string();
                prop_assert_eq!(&serde_json::from_str::<Value>(&text).expect("is JSON"), &value);
                prop_assert!(encode(schema, &value).is_some() || !encodable(&value), "{}", text);
            }
            Err(error) => {
                prop_assert_eq!((error.code, error.reason.as_str()), (400, "BadRequest"), "{}", &error.message);
            }
        }
        Ok(())
    });
    checked.expect("holds");
    for sample in &samples {
        for length in 0..sample.pb.len() {
            match decode(schema, &sample.pb[..length]) {
                Ok(_) => read += 1,
                Err(error) => {
                    assert_eq!(error.code, 400, "{}", error.message);
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > read, "{read} {refused}");
}

/// Not what has numbers that no JSON of ours could have, which is found when it is conformed.
fn encodable(value: &Value) -> bool {
    let mut copy = value.clone();
    let Some(id) = type_of(value) else { return false };
    conform(Schema::builtin(), id, &mut copy, Vec::new(), FieldValidation::Ignore).is_ok()
}

/// Appends a field that holds these bytes.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![tag << 3 | 2];
    let mut length = bytes.len();
    while length > 0x7f {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

fn enveloped(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &meta), field(2, raw)].concat()
}

#[test]
fn refusals_say_why() {
    let pod = |raw: &[u8]| enveloped("v1", "Pod", raw);
    // JSONSchemaProps.items.schema, again and again.
    let mut deep = Vec::new();
    for _ in 0..2000 {
        let items = field(1, &field(1, &deep));
        deep = [&[0xc2, 1], &items[1..]].concat();
    }
    for (bytes, why) in [
        (Vec::new(), "empty data"),
        (b"k8s\0".to_vec(), "empty body"),
        (b"{}".to_vec(), "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"),
        (b"k8s\0\x0a\x7f".to_vec(), "unexpected EOF"),
        (
            enveloped("v1", "Pood", b""),
            "Pood in version \"v1\" cannot be handled as a Pood: no kind \"Pood\" is registered for version \"v1\" in \
             protobuf",
        ),
        (
            pod(&field(1, &[0x0a, 0x05, b'a'])),
            "Pod in version \"v1\" cannot be handled as a Pod: unexpected EOF (in field metadata)",
        ),
        (
            pod(&field(1, &field(1, b"\xff"))),
            "Pod in version \"v1\" cannot be handled as a Pod: proto: text is not valid UTF-8 (in field name)",
        ),
        (
            pod(&[0x08, 1]),
            "Pod in version \"v1\" cannot be handled as a Pod: proto: wrong wireType for a message or text (in field \
             metadata)",
        ),
        (pod(&[0x0c]), "Pod in version \"v1\" cannot be handled as a Pod: proto: wiretype end group for non-group"),
        (
            pod(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            "Pod in version \"v1\" cannot be handled as a Pod: proto: integer overflow",
        ),
    ] {
        let error = decode(Schema::builtin(), &bytes).expect_err(why);
        assert_eq!((error.code, error.message.as_str()), (400, why));
    }
    let names = field(1, &field(1, b"x"));
    let schema = field(1, &deep);
    let crd = enveloped(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        &[names, field(2, &field(7, &field(4, &schema)))].concat(),
    );
    let error = decode(Schema::builtin(), &crd).expect_err("is too deep");
    assert!(error.message.contains("exceeded max depth"), "{}", error.message);
}

#[test]
fn what_is_not_written_as_usual_is_read() {
    let read = |kind: &str, raw: &[u8]| decode(Schema::builtin(), &enveloped("v1", kind, raw)).expect(kind).1;
    let object = |kind: &str, mut more: Value| {
        more["apiVersion"] = json!("v1");
        more["kind"] = json!(kind);
        more
    };
    // Unknown fields of every wire type, and a group, are skipped; parts of a message add up.
    let unknown = [0xf8, 7, 5, 0xf9, 7, 1, 2, 3, 4, 5, 6, 7, 8, 0xfd, 7, 1, 2, 3, 4, 0xfb, 7, 0x08, 1, 0xfc, 7];
    let parts = [field(1, &field(1, b"a")), unknown.to_vec(), field(1, &field(3, b"b"))].concat();
    assert_eq!(read("Pod", &parts), object("Pod", json!({"metadata": {"name": "a", "namespace": "b"}})));
    // Numbers that come packed: PodSecurityContext.supplementalGroups.
    let packed = field(2, &field(14, &field(4, &[1, 2, 0xac, 2])));
    let groups = json!({"spec": {"securityContext": {"supplementalGroups": [1, 2, 300]}}});
    assert_eq!(read("Pod", &packed), object("Pod", groups));
    // Entries without a value, and keys of what is bytes.
    let entry = [field(2, &field(1, b"k")), field(3, &[field(1, b"b"), field(2, &[0, 255])].concat())].concat();
    let map = json!({"data": {"k": ""}, "binaryData": {"b": "AP8="}});
    assert_eq!(read("ConfigMap", &entry), object("ConfigMap", map));
    // No time, and one before 1970.
    let at = |time: &[u8]| field(1, &field(8, time));
    assert_eq!(read("Pod", &at(&[])), object("Pod", json!({"metadata": {"creationTimestamp": null}})));
    let before = json!({"metadata": {"creationTimestamp": "1969-12-31T23:59:59Z"}});
    let minus_one = [&[0x08][..], &[0xff; 9], &[1]].concat();
    assert_eq!(read("Pod", &at(&minus_one)), object("Pod", before.clone()));
    let written = encode(Schema::builtin(), &object("Pod", before.clone())).expect("is encoded");
    assert_eq!(conformed(decode(Schema::builtin(), &written).expect("reads").1)["metadata"], before["metadata"]);
}

#[test]
fn schemas_that_are_something_simpler() {
    let props = json!({"type": "object", "additionalProperties": false, "items": [{"type": "string"}],
        "additionalItems": {"type": "integer", "minimum": 1.5, "maximum": 2}, "default": {"a": [1, null]},
        "dependencies": {"a": ["b", "c"], "d": {"type": "string"}}, "enum": ["x", 1, true],
        "not": {"additionalProperties": true, "items": {"type": "string"}}});
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "a.b"}, "spec": {"group": "b", "names": {"kind": "A", "plural": "a"}, "scope": "Cluster",
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": props}}]}});
    let bytes = encode(Schema::builtin(), &crd).expect("is encoded");
    let back = conformed(decode(Schema::builtin(), &bytes).expect("reads").1);
    assert_eq!(difference("", &back["spec"], &crd["spec"]), None);
}

/// Lists are put together without knowing their type: it must be the same in all of them.
#[test]
fn lists_are_alike() {
    for (_, one) in Schema::builtin().types() {
        if one.short_name().ends_with("List") && !one.proto.is_empty() && one.field("items").is_some() {
            let tag = |name: &str| one.field(name).map(|field| field.tag);
            assert_eq!((tag("metadata"), tag("items")), (Some(1), Some(2)), "{}", one.name);
        }
    }
}
