//! Every upstream sample is written byte for byte and read back to its JSON; nothing that is broken makes us panic.

use std::collections::BTreeMap;
use std::path::PathBuf;

use api_codec::decode::{FieldValidation, conform};
use api_codec::protobuf::{decode, encode};
use api_machinery::{GroupVersion, GroupVersionKind, Value};
use api_schema::{Schema, TypeId};

struct Sample {
    name: String,
    json: Value,
    pb: Vec<u8>,
}

fn samples() -> Vec<Sample> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/api-surface/roundtrip");
    let folder = std::env::var_os("GOLDEN_DIR").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: no samples beside the checkout");
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut samples: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "pb"))
        .map(|path| Sample {
            name: path.file_stem().expect("a name").to_string_lossy().into_owned(),
            json: serde_json::from_slice(&std::fs::read(path.with_extension("json")).expect("a sample"))
                .expect("is JSON"),
            pb: std::fs::read(&path).expect("a sample"),
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
    println!("{good} samples equal both ways; not served, so not tried: {unknown:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
