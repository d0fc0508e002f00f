//! What is written as YAML is what upstream writes, byte for byte; and what is read is what upstream reads.

use api_codec::decode::{FieldValidation, Format, conform, parse};
use api_codec::{protobuf, yaml};
use api_machinery::{GroupVersion, GroupVersionKind, Value};
use api_schema::{Schema, TypeId};

fn type_of(value: &Value) -> Option<TypeId> {
    let gv = GroupVersion::parse(value["apiVersion"].as_str()?);
    let kind = value["kind"].as_str()?.into();
    Schema::builtin().type_of_kind(&GroupVersionKind { group: gv.group, version: gv.version, kind })
}

/// The first line that is another.
fn difference(found: &str, wanted: &str) -> String {
    let at = found.lines().zip(wanted.lines()).position(|(one, other)| one != other);
    let line = |text: &str| text.lines().nth(at.unwrap_or(usize::MAX)).unwrap_or("the end").to_owned();
    format!("line {}: {:?} is not {:?}", at.map_or(0, |at| at + 1), line(found), line(wanted))
}

/// From JSON of every version, and of what is served from protobuf as well. Of the latter nulls are not kept: a time
/// that is none, which only the sample of a PodDisruptionBudget has.
#[test]
fn golden_samples_are_written_as_yaml() {
    let Some(folder) = crate::golden::place("roundtrip") else { return };
    let entries = std::fs::read_dir(folder).expect("a folder of samples").map(|entry| entry.expect("an entry").path());
    let is_yaml = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "yaml");
    let (mut from_json, mut from_protobuf, mut wrong) = (0, 0, Vec::new());
    for path in entries.filter(is_yaml) {
        let wanted = std::fs::read_to_string(&path).expect("a sample");
        let json = std::fs::read(path.with_extension("json")).expect("the same in JSON");
        let mut json: Value = serde_json::from_slice(&json).expect("JSON");
        let mut compare = |found: String, wanted: &str| {
            if found != wanted {
                wrong.push(format!("{}: {}", path.display(), difference(&found, wanted)));
            }
        };
        compare(yaml::to_string(&json), &wanted);
        from_json += 1;
        let Some(id) = type_of(&json) else { continue };
        let packed = std::fs::read(path.with_extension("pb")).expect("the same in protobuf");
        let (_, mut value) = protobuf::decode(Schema::builtin(), &packed).expect("an object");
        conform(Schema::builtin(), id, &mut value, Vec::new(), FieldValidation::Strict).expect("conforms");
        let before = json.clone();
        crate::decode::without_nulls(&mut json);
        let wanted = if json == before { wanted } else { yaml::to_string(&json) };
        compare(yaml::to_string(&value), &wanted);
        from_protobuf += 1;
    }
    println!(
        "golden YAML written: {from_json} samples from JSON, {from_protobuf} of them from protobuf too, {} differ",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(from_json > 0, "no samples");
}

/// Samples hold little that is awkward; these rows are what upstream's writer made of what is.
#[test]
fn rows_of_upstreams_writer() {
    let table = include_str!("yaml_rows.tsv");
    let (mut rows, mut wrong) = (0, Vec::new());
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let (value, wanted) = line.split_once('\t').expect("two columns");
        let value: Value = serde_json::from_str(value).expect("JSON");
        let wanted: String = serde_json::from_str(wanted).expect("a text");
        let found = yaml::to_string(&value);
        rows += 1;
        if found != wanted {
            wrong.push(format!("{value}: {found:?} is not {wanted:?}"));
        }
    }
    println!("YAML: {rows} values as upstream writes them, {} differ", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What upstream's reader makes of YAML, but for what a row of [`READ_OTHERWISE`] says.
#[test]
fn rows_of_upstreams_reader() {
    let table = include_str!("yaml_read_rows.tsv");
    let (mut rows, mut otherwise, mut wrong) = (0, 0, Vec::new());
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let (text, wanted) = line.split_once('\t').expect("two columns");
        let text: String = serde_json::from_str(text).expect("a text");
        let wanted: Option<Value> = (!wanted.is_empty()).then(|| serde_json::from_str(wanted).expect("JSON"));
        let found = parse(Format::Yaml, text.as_bytes()).ok().map(|parsed| parsed.value);
        rows += 1;
        let excepted = READ_OTHERWISE.iter().any(|(of, _)| *of == text);
        otherwise += usize::from(excepted);
        if (found == wanted) == excepted {
            wrong.push(format!("{text:?}: {found:?}, and upstream {wanted:?}"));
        }
    }
    println!("YAML: {rows} texts read as upstream reads them, but for {otherwise}; {} differ", wrong.len());
    assert!(wrong.is_empty() && otherwise == READ_OTHERWISE.len(), "{}", wrong.join("\n"));
}

/// Texts, and why they are not read as upstream reads them.
const READ_OTHERWISE: [(&str, &str); 5] = [
    ("k: tRUE\n", "our reader takes true and false in any case"),
    ("k: 1_0.5\n", "our reader knows underscores in integers only"),
    ("k: 1e999\n", "refused: upstream makes a text of a number that is too large"),
    ("a: 1\n---\nb: 2\n", "refused: upstream reads the first document and says nothing of the others"),
    ("\ta: 1", "our reader takes a tab for a space there"),
];
