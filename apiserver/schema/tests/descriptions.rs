//! Descriptions say something about what there is, of everything that is served, and fit a line.

use std::collections::{BTreeMap, BTreeSet};

use api_schema::{Descriptions, Schema, Type, facts};

/// Characters of a text.
const LONGEST: usize = 160;

/// Group, name and text of every line.
fn lines() -> Vec<(&'static str, &'static str, &'static str)> {
    let of = |(group, table): &(&'static str, &'static str)| {
        let group = *group;
        table.lines().filter(|line| !line.starts_with('#')).map(move |line| {
            let (name, text) = line.split_once('\t').unwrap_or_else(|| panic!("{group}: no tab in {line:?}"));
            (group, name, text)
        })
    };
    facts::DESCRIPTIONS.iter().flat_map(of).collect()
}

/// Types by group and name, in all versions: `core`, `Pod`.
fn types(schema: &Schema) -> BTreeMap<(&str, &str), Vec<&Type>> {
    let mut all: BTreeMap<(&str, &str), Vec<&Type>> = BTreeMap::new();
    for (_, one) in schema.types() {
        let group = one.name.split('.').next().expect("a group");
        all.entry((group, one.short_name())).or_default().push(one);
    }
    all
}

#[test]
fn every_file_is_compiled_in() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/facts/descriptions");
    let entries = std::fs::read_dir(folder).expect("facts/descriptions");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.expect("an entry").file_name().to_string_lossy().trim_end_matches(".tsv").to_owned()
    };
    let files: BTreeSet<String> = entries.map(name).collect();
    let listed: BTreeSet<String> = facts::DESCRIPTIONS.iter().map(|(group, _)| (*group).to_owned()).collect();
    assert_eq!(files, listed);
}

#[test]
fn lines_are_sorted_sentences_that_fit() {
    let all = lines();
    for pair in all.windows(2) {
        let ((group, name, _), (next_group, next, _)) = (pair[0], pair[1]);
        assert!(group != next_group || name < next, "{group}: {next} belongs before {name}, or is there twice");
    }
    for (group, name, text) in all {
        let length = text.chars().count();
        assert!(length <= LONGEST, "{group} {name}: {length} characters, at most {LONGEST}");
        assert!(!text.contains(['\t', '`']) && text.trim() == text, "{group} {name}: {text:?}");
        assert!(name.ends_with(".*") || text.ends_with('.'), "{group} {name}: {text:?} ends without a full stop");
    }
}

/// A field that some version of the type has.
fn is_field(of: &[&Type], field: &str) -> bool {
    of.iter().any(|one| one.field(field).is_some())
}

/// Whether the fields of a type can mean what those of `like` mean: some have the same name.
fn is_alike(of: &[&Type], like: Option<&Vec<&Type>>) -> bool {
    like.into_iter().flatten().flat_map(|one| &one.fields).any(|field| is_field(of, &field.json))
}

fn names_what_exists(types: &BTreeMap<(&str, &str), Vec<&Type>>, group: &str, name: &str, text: &str) -> bool {
    let (owner, field) = name.split_once('.').map_or((name, None), |(owner, field)| (owner, Some(field)));
    let of = types.get(&(group, owner)).map(Vec::as_slice);
    match (group, field) {
        // The test of the OpenAPI documents looks at these.
        ("special", _) => true,
        ("shared", Some(field)) => owner == "*List" && is_field(&types[&("core", "PodList")], field),
        ("shared", None) => owner == "*List" || types.values().any(|of| is_field(of, owner)),
        (_, None) => of.is_some(),
        (_, Some("*")) => {
            let like = text.split_once('.').unwrap_or((group, text));
            of.is_some_and(|of| is_alike(of, types.get(&like)))
        }
        (_, Some(field)) => of.is_some_and(|of| is_field(of, field)),
    }
}

#[test]
fn every_line_names_what_exists() {
    let types = types(Schema::builtin());
    let wrong: Vec<String> = lines()
        .into_iter()
        .filter(|(group, name, text)| !names_what_exists(&types, group, name, text))
        .map(|(group, name, _)| format!("{group}: {name}"))
        .collect();
    assert!(wrong.is_empty(), "no such type or field: {wrong:#?}");
}

#[test]
fn everything_served_is_described() {
    let (schema, all) = (Schema::builtin(), Descriptions::builtin());
    let bare: Vec<&str> = schema
        .types()
        .filter(|(_, one)| all.of_type(schema, one).is_none())
        .map(|(_, one)| one.name.as_str())
        .collect();
    assert!(bare.is_empty(), "types without description: {bare:?}");
    let fields = || schema.types().flat_map(|(_, one)| one.fields.iter().map(move |field| (one, field)));
    let (described, without): (Vec<_>, Vec<_>) =
        fields().partition(|(one, field)| all.of_field(schema, one, field).is_some());
    let without: Vec<String> = without.iter().map(|(one, field)| format!("{}.{}", one.name, field.json)).collect();
    println!("described: {} of {} fields; without: {without:?}", described.len(), fields().count());
    assert!(without.is_empty(), "fields without description: {without:?}");
    // Only to be raised.
    assert!(described.len() >= 3410, "{} fields are described", described.len());
}

#[test]
fn texts_are_found_where_they_are_inherited() {
    let (schema, all) = (Schema::builtin(), Descriptions::builtin());
    let text = |name: &str, field: &str| {
        let one = schema.get(schema.type_named(name).expect(name));
        all.of_field(schema, one, one.field(field).expect(field)).expect("a description")
    };
    assert_eq!(text("core.v1.Volume", "hostPath"), text("core.v1.VolumeSource", "hostPath"), "inlined");
    assert_eq!(text("core.v1.EphemeralContainer", "image"), text("core.v1.Container", "image"), "inlined, and alike");
    assert_ne!(text("core.v1.EphemeralContainer", "ports"), text("core.v1.Container", "ports"));
    assert_eq!(text("apps.v1.DeploymentCondition", "reason"), text("meta.v1.Condition", "reason"), "of another group");
    assert_ne!(text("apps.v1.DeploymentCondition", "type"), text("meta.v1.Condition", "type"));
    assert_eq!(text("resource.v1beta1.ResourceClaimSpec", "devices"), text("resource.v1.ResourceClaimSpec", "devices"));
    assert_eq!(text("core.v1.Pod", "kind"), text("apps.v1.Deployment", "kind"), "shared");
    assert_eq!(text("core.v1.PodList", "items"), "The Pod objects themselves.");
    let list = schema.get(schema.type_named("apps.v1.DeploymentList").expect("a list"));
    assert_eq!(all.of_type(schema, list).expect("a description"), "A list of Deployment objects.");
}
