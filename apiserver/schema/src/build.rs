//! Reads the fact files. They are compiled in, so a mistake in them is a bug that any test shows: it panics.

use std::collections::{HashMap, HashSet};

use api_machinery::{GroupResource, GroupVersion, GroupVersionKind};

use crate::runtime_config::RuntimeConfig;
use crate::stage::VersionStage;
use crate::{
    Enum, FeatureGates, Field, Group, Holder, Lifecycle, ListType, MINOR, PatchStrategy, PrintColumn, Resource, Schema,
    Shape, Strategy, Subresource, Type, TypeId, facts, gate, gated,
};

/// A line's columns; what is missing or `-` is `None`.
pub(crate) struct Line<'a>(Vec<&'a str>);

impl<'a> Line<'a> {
    pub(crate) fn get(&self, index: usize) -> Option<&'a str> {
        self.0.get(index).copied().filter(|text| *text != "-" && !text.is_empty())
    }
    pub(crate) fn text(&self, index: usize) -> &'a str {
        self.get(index).unwrap_or("")
    }
    fn list(&self, index: usize) -> Vec<String> {
        self.get(index).map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default()
    }
    /// The core group is empty.
    fn group(&self, index: usize) -> &'a str {
        group_name(self.text(index))
    }
}

fn group_name(text: &str) -> &str {
    if text == "core" { "" } else { text }
}

pub(crate) fn lines(table: &str) -> impl Iterator<Item = Line<'_>> {
    table.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(|line| Line(line.split('\t').collect()))
}

fn group_version(text: &str) -> GroupVersion {
    let (group, version) = text.rsplit_once('/').unwrap_or(("", text));
    GroupVersion::new(group_name(group), version)
}

fn group_version_kind(text: &str) -> GroupVersionKind {
    let (gv, kind) = text.rsplit_once('/').expect("facts/types: a kind is group/version/Kind");
    kind_in(&group_version(gv), kind)
}

pub(crate) fn kind_in(gv: &GroupVersion, kind: &str) -> GroupVersionKind {
    GroupVersionKind { group: gv.group.clone(), version: gv.version.clone(), kind: kind.into() }
}

/// A type as its table has it, before inlining.
struct Raw<'a> {
    head: Line<'a>,
    fields: Vec<Line<'a>>,
}

/// What the inlined types around a field are.
#[derive(Default)]
struct Nesting {
    /// Their tags on the protobuf wire, as far as they have one.
    tags: Vec<u32>,
    names: Vec<String>,
}

struct Types<'a> {
    ids: HashMap<String, TypeId>,
    raw: Vec<(String, Raw<'a>)>,
}

impl<'a> Types<'a> {
    fn read() -> Self {
        let mut types = Self { ids: HashMap::new(), raw: Vec::new() };
        for (package, table) in facts::TYPES {
            for line in lines(table) {
                if line.0[0].is_empty() {
                    let (_, raw) = types.raw.last_mut().expect("facts/types: a field follows its type");
                    raw.fields.push(Line(line.0[1..].to_vec()));
                } else {
                    let name = format!("{package}.{}", line.0[0]);
                    types.ids.insert(name.clone(), TypeId(types.raw.len() as u32));
                    types.raw.push((name, Raw { head: line, fields: Vec::new() }));
                }
            }
        }
        types
    }

    fn id(&self, name: &str) -> TypeId {
        *self.ids.get(name).unwrap_or_else(|| panic!("facts/types: no type {name}"))
    }

    fn shape(&self, ftype: &str) -> Shape {
        if let Some(element) = ftype.strip_prefix("[]") {
            return Shape::List(Box::new(self.shape(element)));
        }
        if let Some(element) = ftype.strip_prefix("map[string]") {
            return Shape::Map(Box::new(self.shape(element)));
        }
        let props = || Shape::Message(self.id("apiextensions.v1.JSONSchemaProps"));
        match ftype {
            "string" => Shape::String,
            "bool" => Shape::Bool,
            "int32" => Shape::Int32,
            "int64" => Shape::Int64,
            "double" => Shape::Float64,
            "bytes" => Shape::Bytes,
            "Quantity" => Shape::Quantity,
            "IntOrString" => Shape::IntOrString,
            "Time" => Shape::Time,
            "MicroTime" => Shape::MicroTime,
            "Duration" => Shape::Duration,
            "RawExtension" | "FieldsV1" | "any" | "apiextensions.v1.JSON" => Shape::Any,
            "apiextensions.v1.JSONSchemaPropsOrArray" => Shape::OneOf(vec![props(), Shape::List(Box::new(props()))]),
            "apiextensions.v1.JSONSchemaPropsOrBool" => Shape::OneOf(vec![props(), Shape::Bool]),
            "apiextensions.v1.JSONSchemaPropsOrStringArray" => {
                Shape::OneOf(vec![props(), Shape::List(Box::new(Shape::String))])
            }
            message => Shape::Message(self.id(message)),
        }
    }

    fn field(&self, line: &Line<'_>, nesting: &Nesting) -> Field {
        let ftype = line.text(1);
        let flags = line.text(2).as_bytes();
        let strategies = line.list(6);
        let strategy = |name: &str| strategies.iter().any(|own| own == name);
        Field {
            json: line.text(0).to_owned(),
            shape: self.shape(ftype),
            required: flags[1] == b'R',
            omit_empty: flags[2] != b'k',
            told_empty: flags[2] == b'e',
            enum_values: line.list(5),
            patch: PatchStrategy {
                merge: strategy("merge"),
                replace: strategy("replace"),
                retain_keys: strategy("retainKeys"),
            },
            merge_key: line.get(7).map(str::to_owned),
            list_type: match line.get(8) {
                Some("map") => ListType::Map,
                Some("set") => ListType::Set,
                _ => ListType::Atomic,
            },
            list_type_known: line.get(8).is_some(),
            list_map_keys: line.list(9),
            map_type: line.get(10).map(str::to_owned),
            go_order: 0,
            tag: line.get(3).map_or(0, |tag| tag.parse().expect("facts/types: a tag is a number")),
            nesting: nesting.tags.clone(),
            embedded: nesting.names.clone(),
            proto_name: line.get(12).map(str::to_owned),
            holder: match flags[0] {
                b'v' => Holder::Value,
                b'p' => Holder::Pointer,
                _ => Holder::Collection,
            },
            default: line.get(4).map(|text| serde_json::from_str(text).expect("facts/types: a default is JSON")),
            go_type: go_type(ftype, line.get(11)),
            go_alias: line.get(11).filter(|_| !ftype.ends_with("string")).map(str::to_owned),
        }
    }

    /// The fields of a type, those of inlined types among them.
    fn fields(&self, id: TypeId, nesting: &mut Nesting, out: &mut Vec<Field>) {
        for line in &self.raw[id.0 as usize].1.fields {
            if line.text(0) != "(inline)" {
                out.push(Field { go_order: out.len() as u16, ..self.field(line, nesting) });
                continue;
            }
            let tag: Option<u32> = line.get(3).map(|tag| tag.parse().expect("facts/types: a tag is a number"));
            let inlined = line.text(1);
            let name = inlined.rsplit('.').next().unwrap_or(inlined).to_owned();
            nesting.tags.extend(tag);
            nesting.names.push(name);
            self.fields(self.id(inlined), nesting, out);
            nesting.names.pop();
            if tag.is_some() {
                nesting.tags.pop();
            }
        }
    }

    fn build(&self) -> Vec<Type> {
        let mut types: Vec<Type> = (0..self.raw.len()).map(|index| self.build_one(TypeId(index as u32))).collect();
        mark_telling(&mut types);
        types
    }

    fn build_one(&self, id: TypeId) -> Type {
        let (name, raw) = &self.raw[id.0 as usize];
        let mut fields = Vec::new();
        self.fields(id, &mut Nesting::default(), &mut fields);
        // Stable: fields without a tag (TypeMeta) come first, in their own order.
        fields.sort_by_cached_key(|field| {
            let mut key = field.nesting.clone();
            key.push(field.tag);
            if field.tag == 0 { Vec::new() } else { key }
        });
        let inlined = raw.fields.iter().filter(|line| line.text(0) == "(inline)");
        let kinds = raw.head.get(1).filter(|text| *text != "meta");
        let mut one = Type {
            name: name.clone(),
            fields,
            gvks: kinds.map(|text| text.split(',').map(group_version_kind).collect()).unwrap_or_default(),
            in_every_group: raw.head.get(1) == Some("meta"),
            proto: raw.head.text(2).to_owned(),
            atomic: raw.head.get(3) == Some("atomic"),
            unions: raw.head.get(4).map(|text| serde_json::from_str(text).expect("facts/types: unions are JSON")),
            inlined: inlined
                .map(|line| (self.id(line.text(1)), line.get(3).map_or(0, |tag| tag.parse().expect("a tag"))))
                .collect(),
            tells_empty: false,
            sorted: Vec::new(),
        };
        one.index_fields();
        one
    }
}

/// Finds out which types [tell an empty list from none](Type::tells_empty).
fn mark_telling(types: &mut [Type]) {
    let telling = leading(types, |id| types[id.0 as usize].fields.iter().any(|field| field.told_empty));
    telling.into_iter().for_each(|id| types[id.0 as usize].tells_empty = true);
}

pub(crate) fn ids(types: &[Type]) -> impl Iterator<Item = TypeId> {
    (0..types.len()).map(|index| TypeId(index as u32))
}

/// The types that are such themselves, and those that have one of them inside: once more for every level of types in
/// each other.
pub(crate) fn leading(types: &[Type], is_such: impl Fn(TypeId) -> bool) -> HashSet<TypeId> {
    let mut found: HashSet<TypeId> = ids(types).filter(|id| is_such(*id)).collect();
    loop {
        let has_one = |id: &TypeId| {
            let mut parts = types[id.0 as usize].fields.iter().filter_map(|field| message(&field.shape));
            parts.any(|part| found.contains(&part))
        };
        let more: Vec<TypeId> = ids(types).filter(|id| !found.contains(id) && has_one(id)).collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

/// The message that a field is, or is a list or a map of.
pub(crate) fn message(shape: &Shape) -> Option<TypeId> {
    match shape {
        Shape::Message(id) => Some(*id),
        Shape::List(element) | Shape::Map(element) => message(element),
        _ => None,
    }
}

/// `core.v1.PodSpec` is `v1.PodSpec` in Go's messages.
fn go_type(ftype: &str, alias: Option<&str>) -> String {
    // An alias of a list or map of strings names the element.
    if let (Some(alias), Some(container)) = (alias, ftype.strip_suffix("string")) {
        return format!("{container}{alias}");
    }
    for container in ["[]", "map[string]"] {
        if let Some(element) = ftype.strip_prefix(container) {
            return format!("{container}{}", go_type(element, None));
        }
    }
    match ftype {
        "double" => "float64".to_owned(),
        "bytes" => "[]uint8".to_owned(),
        "Quantity" => "resource.Quantity".to_owned(),
        "IntOrString" => "intstr.IntOrString".to_owned(),
        "Time" | "MicroTime" | "Duration" | "FieldsV1" => format!("v1.{ftype}"),
        "RawExtension" => "runtime.RawExtension".to_owned(),
        "any" => "interface {}".to_owned(),
        message => message.split_once('.').map_or(message, |(_, rest)| rest).to_owned(),
    }
}

/// Those of the table, then versions that only `resources` have; none that has no resource.
fn groups(resources: &[Resource]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut add = |name: &str, version: &str| match groups.iter_mut().find(|group| group.name == name) {
        Some(group) if group.versions.iter().any(|own| own == version) => {}
        Some(group) => group.versions.push(version.to_owned()),
        None => groups.push(Group { name: name.to_owned(), versions: vec![version.to_owned()] }),
    };
    for line in lines(facts::GROUPS) {
        let served = |one: &Resource| &*one.gv.group == line.group(0) && &*one.gv.version == line.text(1);
        if resources.iter().any(served) {
            add(line.group(0), line.text(1));
        }
    }
    for resource in resources {
        add(&resource.gv.group, &resource.gv.version);
    }
    groups
}

/// Of the APIService of a version: that of its group, and its own in the group.
pub(crate) fn priorities(group: &str, version: &str) -> Option<(u32, u32)> {
    let line = lines(facts::GROUPS).find(|line| (line.group(0), line.text(1)) == (group, version))?;
    let number = |text: &str| text.parse().expect("facts/groups.tsv: a priority is a number");
    Some((number(line.get(2)?), number(line.get(3)?)))
}

/// The versions that are served by default, and those that can be switched on.
pub(crate) fn known_versions() -> Vec<GroupVersion> {
    let of = |table: &'static str| lines(table).map(|line| GroupVersion::new(line.group(0), line.text(1)));
    let mut all: Vec<GroupVersion> = of(facts::RESOURCES).chain(of(facts::OFF)).collect();
    all.dedup();
    all
}

/// The version that a kind is worked with in, whatever it is served and stored in: the stored one, or `v1` where an
/// early one is stored of what is stable.
fn hub(stored: &GroupVersion, kind: &str, by_gvk: &HashMap<GroupVersionKind, TypeId>) -> GroupVersion {
    let stable = GroupVersion::new(&stored.group, "v1");
    let is_stable = || by_gvk.contains_key(&kind_in(&stable, kind));
    if VersionStage::of(&stored.version).is_early() && is_stable() { stable } else { stored.clone() }
}

/// What the bodies of a line's resource or subresource are.
fn kind_of(line: &Line<'_>) -> GroupVersionKind {
    kind_in(&group_version(line.text(5)), line.text(4))
}

fn resource(line: &Line<'_>, by_gvk: &HashMap<GroupVersionKind, TypeId>) -> Resource {
    let gv = GroupVersion::new(line.group(0), line.text(1));
    let gvk = kind_of(line);
    let storage_gv = line.get(10).map_or_else(|| gv.clone(), group_version);
    let type_id = by_gvk.get(&gvk).copied();
    let hub_gv = hub(&storage_gv, &gvk.kind, by_gvk);
    let worked = kind_in(&hub_gv, &gvk.kind);
    Resource {
        plural: line.text(2).to_owned(),
        singular: line.text(3).to_owned(),
        kind: line.text(4).to_owned(),
        namespaced: line.text(6) == "namespaced",
        verbs: line.list(7),
        short_names: line.list(8),
        categories: line.list(9),
        subresources: Vec::new(),
        type_id,
        hub_type_id: by_gvk.get(&worked).copied().or(type_id),
        storage_version_hash: line.text(11).to_owned(),
        storage: GroupResource::new(&storage_gv.group, line.text(2)),
        storage_gv,
        hub_gv,
        gate: line.get(12).map(str::to_owned),
        deprecation: None,
        gv,
    }
}

/// Every resource in every version, served or not.
fn resources(by_gvk: &HashMap<GroupVersionKind, TypeId>) -> Vec<Resource> {
    let mut resources: Vec<Resource> = Vec::new();
    for line in lines(facts::RESOURCES).chain(lines(facts::OFF)) {
        let Some((plural, name)) = line.text(2).split_once('/') else {
            resources.push(resource(&line, by_gvk));
            continue;
        };
        let gvk = kind_of(&line);
        let subresource =
            Subresource { name: name.to_owned(), verbs: line.list(7), type_id: by_gvk.get(&gvk).copied(), gvk };
        let of = GroupVersion::new(line.group(0), line.text(1));
        let owner = resources.iter_mut().rev().find(|one| one.plural == plural && one.gv == of);
        owner.unwrap_or_else(|| panic!("facts/resources.tsv: {plural}/{name}")).subresources.push(subresource);
    }
    let over = lines(facts::LIFECYCLES).map(|line| lifecycle(&line)).filter(|(_, one)| one.deprecated <= MINOR);
    let over: HashMap<_, _> = over.collect();
    resources.iter_mut().for_each(|one| one.deprecation = over.get(&one.gvk()).cloned());
    resources
}

fn lifecycle(line: &Line<'_>) -> (GroupVersionKind, Lifecycle) {
    let of = GroupVersion::new(line.group(0), line.text(1));
    let release = |text: &str| {
        let minor = text.strip_prefix("1.").and_then(|minor| minor.parse().ok());
        minor.expect("facts/lifecycles.tsv: a release is 1.N")
    };
    let lifecycle = Lifecycle {
        deprecated: release(line.text(3)),
        removed: line.get(4).map(release),
        replacement: line.get(5).map(str::to_owned),
    };
    (kind_in(&of, line.text(2)), lifecycle)
}

fn strategy(line: &Line<'_>) -> (GroupResource, Strategy) {
    let strategy = Strategy {
        create_on_update: line.text(2) == "true",
        unconditional_update: line.text(3) == "true",
        reset_on_main: line.list(4),
        reset_on_status: line.list(5),
    };
    (GroupResource::new(line.group(0), line.text(1)), strategy)
}

fn column(text: &str) -> PrintColumn {
    let mut parts = text.split('|');
    let mut next = || parts.next().expect("facts/printcolumns.tsv: four parts").to_owned();
    let (name, kind, format, priority) = (next(), next(), next(), next());
    let priority = priority.parse().expect("facts/printcolumns.tsv: a priority is a number");
    PrintColumn { name, kind, format, priority }
}

/// Group and resource of a line with group, version, resource; of two versions the first is kept.
fn per_resource<T>(table: &str, read: impl Fn(&Line<'_>) -> T) -> HashMap<GroupResource, T> {
    let mut map = HashMap::new();
    for line in lines(table) {
        map.entry(GroupResource::new(line.group(0), line.text(2))).or_insert_with(|| read(&line));
    }
    map
}

pub(crate) fn serving(config: &RuntimeConfig, gates: FeatureGates) -> Schema {
    let raw = Types::read();
    let mut types = raw.build();
    if !gates.enabled(gate::OPENAPI_ENUMS) {
        types.iter_mut().flat_map(|one| &mut one.fields).for_each(|field| field.enum_values.clear());
    }
    let by_gvk: HashMap<_, _> = types
        .iter()
        .enumerate()
        .flat_map(|(index, one)| one.gvks.iter().map(move |gvk| (gvk.clone(), TypeId(index as u32))))
        .collect();
    let mut resources = resources(&by_gvk);
    if !gates.enabled(gate::STORAGE_VERSION_HASH) {
        resources.iter_mut().for_each(|one| one.storage_version_hash.clear());
    }
    let is_hub = |one: &&Resource| one.gv == one.hub_gv && one.storage == one.group_resource();
    let hubs = resources.iter().filter(is_hub).map(|one| (one.storage.clone(), one.clone())).collect();
    let gate_is_on = |one: &Resource| one.gate.as_deref().is_none_or(|gate| gates.enabled(gate));
    resources.retain(|one| gate_is_on(one) && config.serves(&one.gv, &one.plural));
    let mut by_plural: HashMap<String, Vec<usize>> = HashMap::new();
    for (index, one) in resources.iter().enumerate() {
        by_plural.entry(one.plural.clone()).or_default().push(index);
    }
    let mut defaults: HashMap<TypeId, crate::DefaultRules> = HashMap::new();
    for line in lines(facts::DEFAULTS) {
        defaults.entry(raw.id(line.text(0))).or_default().add(&line.0[1..]);
    }
    let enums = lines(facts::ENUMS).map(|line| {
        let one = Enum { closed: line.text(2) == "yes", values: line.list(3) };
        (format!("{}.{}", line.text(0), line.text(1)), one)
    });
    Schema {
        by_name: raw.ids.clone(),
        gated: gated::of_kinds(&types, &gates),
        gates,
        types,
        by_gvk,
        groups: groups(&resources),
        resources,
        hubs,
        by_plural,
        selectable: per_resource(facts::FIELD_SELECTORS, |line| line.list(3)),
        strategies: lines(facts::STRATEGIES).map(|line| strategy(&line)).collect(),
        columns: per_resource(facts::PRINT_COLUMNS, |line| line.text(3).split(',').map(column).collect()),
        enums: enums.collect(),
        defaults,
    }
}
