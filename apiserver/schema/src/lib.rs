//! The type facts as data, and the one Schema type.
//!
//! `facts/` holds one table per group-version (fields, protobuf tags, merge keys, defaults, enums)
//! and the resource list. [`Schema::builtin`] parses them once; CustomResourceDefinitions become
//! the same types later. Everything that decodes, prunes, defaults, merges, converts or prints an
//! object is written over this data and knows no kind by name.

use std::collections::HashMap;
use std::sync::OnceLock;

use api_machinery::{GroupKind, GroupResource, GroupVersion, GroupVersionKind, Value};

mod build;
pub mod defaults;
mod descriptions;
pub mod facts;
mod gated;
mod gates;
mod runtime_config;
mod stage;

pub use defaults::DefaultRules;
pub use descriptions::Descriptions;
pub use gates::{FeatureGates, gate};
pub use runtime_config::RuntimeConfig;

/// Index of a [`Type`] in its [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypeId(pub u32);

/// All types and resources.
#[derive(Debug)]
pub struct Schema {
    types: Vec<Type>,
    by_name: HashMap<String, TypeId>,
    by_gvk: HashMap<GroupVersionKind, TypeId>,
    resources: Vec<Resource>,
    /// What is worked with, by what is stored, served or not.
    hubs: HashMap<GroupResource, Resource>,
    /// Indices of `resources` by plural: of all groups and versions that have one.
    by_plural: HashMap<String, Vec<usize>>,
    groups: Vec<Group>,
    selectable: HashMap<GroupResource, Vec<String>>,
    strategies: HashMap<GroupResource, Strategy>,
    columns: HashMap<GroupResource, Vec<PrintColumn>>,
    enums: HashMap<String, Enum>,
    defaults: HashMap<TypeId, DefaultRules>,
    gates: FeatureGates,
    gated: gated::GatedKinds,
}

/// The minor release of Kubernetes 1 that the facts are of.
pub const MINOR: u32 = 36;

/// When upstream stops serving a kind of a version: minor releases of Kubernetes 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    pub deprecated: u32,
    pub removed: Option<u32>,
    /// `group/version Kind` to use instead.
    pub replacement: Option<String>,
}

/// A message: `core.v1.PodSpec`.
#[derive(Debug, Default)]
pub struct Type {
    /// As the facts name it: `core.v1.PodSpec`.
    pub name: String,
    /// In protobuf tag order. Inlined (`(inline)`) fields are already flattened here for JSON.
    pub fields: Vec<Field>,
    /// The kinds it is, none for what is only part of others. `meta` types that every group has are listed under none.
    pub gvks: Vec<GroupVersionKind>,
    /// Whether it is registered in every group-version (`DeleteOptions`, `WatchEvent`, ...).
    pub in_every_group: bool,
    /// `k8s.io.api.core.v1.PodSpec`
    pub proto: String,
    /// `x-kubernetes-map-type`: merged as a whole by apply.
    pub atomic: bool,
    /// `x-kubernetes-unions`, as OpenAPI has it.
    pub unions: Option<Value>,
    /// Types whose fields are inlined, with the protobuf tag they are nested under (0: none, as TypeMeta).
    pub inlined: Vec<(TypeId, u32)>,
    /// Whether it has a field that is [`Field::told_empty`], or a type inside it has.
    pub tells_empty: bool,
    /// Names of `fields` with their indices, by name: together in memory, because every key of every body is looked up.
    sorted: Vec<(Box<str>, u16)>,
}

/// How a Go field holds its value: decides what counts as unset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Holder {
    /// Zero is unset.
    #[default]
    Value,
    /// Only absent (or null) is unset.
    Pointer,
    /// Empty is unset.
    Collection,
}

#[derive(Debug)]
pub struct Field {
    pub json: String,
    pub shape: Shape,
    pub required: bool,
    pub omit_empty: bool,
    /// An empty list or map is not an absent one: no default takes its place, and validation sees it. It is left out
    /// of what is stored all the same.
    pub told_empty: bool,
    /// Closed enum: only these values; empty also where OpenAPI is not to show them.
    pub enum_values: Vec<String>,
    /// Strategic merge patch.
    pub patch: PatchStrategy,
    pub merge_key: Option<String>,
    pub list_type: ListType,
    /// Whether the facts name a list type: OpenAPI shows it only then.
    pub list_type_known: bool,
    pub list_map_keys: Vec<String>,
    /// `x-kubernetes-map-type` of a map or message field: `atomic` or `granular`.
    pub map_type: Option<String>,
    /// Its place in the Go struct, those of inlined structs counted with it: the order that Go writes JSON in.
    pub go_order: u16,
    /// Protobuf tag (0: none).
    pub tag: u32,
    /// Tags of the inlined messages this field is nested in on the protobuf wire, outermost first.
    pub nesting: Vec<u32>,
    /// Protobuf field name where it is not the JSON name.
    pub proto_name: Option<String>,
    pub holder: Holder,
    /// OpenAPI default.
    pub default: Option<Value>,
    /// Names of the structs that the Go type embeds and this field is in, outermost first.
    pub embedded: Vec<String>,
    /// The Go type as upstream's messages print it: `int32`, `v1.PullPolicy`, `[]v1.Container`.
    pub go_type: String,
    /// What Go calls the list or map as a whole, where that has a name: `v1.ResourceList`.
    pub go_alias: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Bool,
    Int32,
    Int64,
    Float64,
    String,
    /// base64 in JSON
    Bytes,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    Duration,
    /// Any JSON, kept as it is (RawExtension, JSON, FieldsV1, ...).
    Any,
    Message(TypeId),
    List(Box<Shape>),
    Map(Box<Shape>),
    /// Whichever of these has the JSON type found (JSONSchemaPropsOrBool, ...).
    OneOf(Vec<Shape>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    pub merge: bool,
    pub replace: bool,
    pub retain_keys: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    #[default]
    Atomic,
    Set,
    Map,
}

/// One served resource of one group-version.
#[derive(Clone, Debug)]
pub struct Resource {
    pub gv: GroupVersion,
    /// `deployments`
    pub plural: String,
    pub singular: String,
    pub kind: String,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub subresources: Vec<Subresource>,
    /// The type of the kind; `None` for what has no body type of its own.
    pub type_id: Option<TypeId>,
    pub storage_version_hash: String,
    /// Where objects of this resource are stored, which may differ from `gv`/`plural` (events.k8s.io -> core).
    pub storage: GroupResource,
    /// Version the stored bytes are in.
    pub storage_gv: GroupVersion,
    /// Version the object is worked with in: what rules are about, and what caches have.
    pub hub_gv: GroupVersion,
    /// The type of the kind in that version.
    pub hub_type_id: Option<TypeId>,
    /// The feature gate without which it is not served.
    pub gate: Option<String>,
    /// Set where the version is one that [`MINOR`] has deprecated.
    pub deprecation: Option<Lifecycle>,
}

#[derive(Clone, Debug)]
pub struct Subresource {
    /// `status`
    pub name: String,
    /// What the body is: `autoscaling/v1 Scale` for `scale`.
    pub gvk: GroupVersionKind,
    pub verbs: Vec<String>,
    pub type_id: Option<TypeId>,
}

/// A group as discovery lists it.
#[derive(Clone, Debug)]
pub struct Group {
    pub name: String,
    /// Preferred first.
    pub versions: Vec<String>,
}

/// How updates of a resource behave, where upstream's registries differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strategy {
    /// PUT on a missing object creates it.
    pub create_on_update: bool,
    /// PUT without resourceVersion is allowed.
    pub unconditional_update: bool,
    /// Fields a write to the main resource cannot change: `status`.
    pub reset_on_main: Vec<String>,
    /// Fields a write to `/status` cannot change: `spec`, `metadata.labels`.
    pub reset_on_status: Vec<String>,
}

/// A column of a resource's `Table`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrintColumn {
    pub name: String,
    /// `string`, `integer`, `date`, ...
    pub kind: String,
    /// `name` or empty.
    pub format: String,
    /// Above 0: only in wide output.
    pub priority: i32,
}

/// A named string type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enum {
    /// Nothing but `values` is allowed.
    pub closed: bool,
    pub values: Vec<String>,
}

impl Resource {
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(&self.gv.group, &self.plural)
    }
    pub fn group_kind(&self) -> GroupKind {
        GroupKind { group: self.gv.group.clone(), kind: self.kind.as_str().into() }
    }
    pub fn gvk(&self) -> GroupVersionKind {
        build::kind_in(&self.gv, &self.kind)
    }
    /// Whether its objects are of this kind.
    pub fn is_of(&self, gvk: &GroupVersionKind) -> bool {
        *self.kind == *gvk.kind && self.gv.version == gvk.version && self.gv.group == gvk.group
    }
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|own| own == verb)
    }
}

impl Schema {
    /// The facts of Kubernetes v1.36, parsed on first use. What is off by default upstream is not here.
    pub fn builtin() -> &'static Schema {
        static BUILTIN: OnceLock<Schema> = OnceLock::new();
        BUILTIN.get_or_init(|| build::serving(&RuntimeConfig::default(), FeatureGates::default()))
    }
    /// [`Schema::builtin`] with the versions that upstream's `--runtime-config` and the features that its
    /// `--feature-gates` switch on or off.
    ///
    /// # Errors
    /// As [`RuntimeConfig::parse`] and [`FeatureGates::parse`].
    pub fn serving(runtime_config: &str, feature_gates: &str) -> Result<Schema, String> {
        let config = RuntimeConfig::parse(runtime_config, &build::known_versions())?;
        Ok(build::serving(&config, FeatureGates::parse(feature_gates)?))
    }
    /// What is wrong with one of the two, named as a flag.
    pub fn check(runtime_config: &str, feature_gates: &str) -> Result<(), String> {
        let config = RuntimeConfig::parse(runtime_config, &build::known_versions());
        config.map_err(|why| format!("--runtime-config: {why}"))?;
        FeatureGates::parse(feature_gates).map(drop).map_err(|why| format!("--feature-gates: {why}"))
    }
    /// Which features are on.
    pub fn gates(&self) -> &FeatureGates {
        &self.gates
    }
    /// Drops from an object, in the version it is worked with in, the fields whose gates are off; those of gates that
    /// `old` has fields of stay.
    pub fn drop_disabled(&self, resource: &Resource, object: &mut Value, old: &Value) {
        if let Some(gated) = resource.hub_type_id.and_then(|id| self.gated.get(&id)) {
            gated.drop_from(object, old);
        }
    }
    pub fn get(&self, id: TypeId) -> &Type {
        &self.types[id.0 as usize]
    }
    /// Every type, by id.
    pub fn types(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        self.types.iter().enumerate().map(|(index, one)| (TypeId(index as u32), one))
    }
    /// `core.v1.Pod` -> its type.
    pub fn type_named(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }
    /// The type of a kind, also of kinds that are no resource (`Scale`, `PodList`, `DeleteOptions` of any group).
    pub fn type_of_kind(&self, gvk: &GroupVersionKind) -> Option<TypeId> {
        self.by_gvk.get(gvk).copied().or_else(|| {
            let meta = self.type_named(&format!("meta.v1.{}", gvk.kind))?;
            self.get(meta).in_every_group.then_some(meta)
        })
    }
    /// The resource of a path: group (empty for core), version, plural.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Resource> {
        let named = self.by_plural.get(plural)?.iter().map(|index| &self.resources[*index]);
        named.into_iter().find(|one| *one.gv.version == *version && *one.gv.group == *group)
    }
    /// The preferred served version of a stored resource.
    pub fn preferred(&self, resource: &GroupResource) -> Option<&Resource> {
        let group = self.groups.iter().find(|group| *group.name == *resource.group)?;
        group.versions.iter().find_map(|version| self.resource(&resource.group, version, &resource.resource))
    }
    /// The version that objects of a stored resource are worked with in, also where it is not served.
    pub fn hub(&self, stored: &GroupResource) -> Option<&Resource> {
        self.hubs.get(stored)
    }
    /// [`Self::resource`] for what this program does itself, which is to go on where a version is switched off.
    pub fn own(&self, group: &str, version: &str, plural: &str) -> Option<&Resource> {
        let hub = || self.hub(&GroupResource::new(group, plural)).filter(|one| &*one.gv.version == version);
        self.resource(group, version, plural).or_else(hub)
    }
    /// [`Self::resource_of_kind`] for what this program does itself.
    pub fn own_of_kind(&self, gvk: &GroupVersionKind) -> Option<&Resource> {
        self.resource_of_kind(gvk).or_else(|| self.hubs.values().find(|one| one.is_of(gvk)))
    }
    /// The served resource whose objects are of a kind.
    pub fn resource_of_kind(&self, gvk: &GroupVersionKind) -> Option<&Resource> {
        self.resources.iter().find(|one| one.is_of(gvk))
    }
    /// Every served resource, in discovery order.
    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }
    /// Groups in discovery order; the core group is "".
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }
    /// What aggregation orders a group and a version of it by, both of which it may serve itself.
    pub fn aggregation_priorities(&self, group: &str, version: &str) -> Option<(u32, u32)> {
        build::priorities(group, version)
    }
    /// The field labels that selectors of a resource may name, `metadata.name` first.
    pub fn selectable_fields(&self, resource: &GroupResource) -> &[String] {
        self.selectable.get(resource).map_or(&[], Vec::as_slice)
    }
    /// How updates behave; `None` for what cannot be updated.
    pub fn strategy(&self, resource: &GroupResource) -> Option<&Strategy> {
        self.strategies.get(resource)
    }
    /// The columns of a resource's Table.
    pub fn print_columns(&self, resource: &GroupResource) -> Option<&[PrintColumn]> {
        self.columns.get(resource).map(Vec::as_slice)
    }
    /// Every resource that has columns.
    pub fn all_print_columns(&self) -> impl Iterator<Item = (&GroupResource, &[PrintColumn])> {
        self.columns.iter().map(|(resource, columns)| (resource, columns.as_slice()))
    }
    /// The known values of a named string type: `core.v1.PullPolicy`.
    pub fn enumeration(&self, name: &str) -> Option<&Enum> {
        self.enums.get(name)
    }
    /// The static defaults of a type, without those of types inside it that have their own.
    pub fn defaults(&self, id: TypeId) -> Option<&DefaultRules> {
        self.defaults.get(&id)
    }
}

impl Type {
    pub fn field(&self, json: &str) -> Option<&Field> {
        let found = self.sorted.binary_search_by(|(name, _)| (**name).cmp(json)).ok()?;
        Some(&self.fields[self.sorted[found].1 as usize])
    }
    /// `PodSpec`
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }
    fn index_fields(&mut self) {
        let named = self.fields.iter().enumerate().map(|(index, field)| (field.json.as_str().into(), index as u16));
        self.sorted = named.collect();
        self.sorted.sort();
    }
}
