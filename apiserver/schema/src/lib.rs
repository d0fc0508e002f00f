//! The type facts as data, and the one Schema type.
//!
//! `facts/` holds one table per group-version (fields, protobuf tags, merge keys, defaults, enums)
//! and the resource list. [`Schema::builtin`] parses them once; CustomResourceDefinitions become
//! the same types later. Everything that decodes, prunes, defaults, merges, converts or prints an
//! object is written over this data and knows no kind by name.

use api_machinery::{GroupKind, GroupResource, GroupVersion, GroupVersionKind};

/// Index of a [`Type`] in its [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypeId(pub u32);

/// All types and resources.
#[derive(Debug)]
pub struct Schema {
    _private: (),
}

/// A message: `core.v1.PodSpec`.
#[derive(Debug)]
pub struct Type {
    /// As the facts name it: `core.v1.PodSpec`.
    pub name: String,
    /// In protobuf tag order. Inlined (`(inline)`) fields are already flattened here for JSON.
    pub fields: Vec<Field>,
}

#[derive(Debug)]
pub struct Field {
    pub json: String,
    pub shape: Shape,
    pub required: bool,
    pub omit_empty: bool,
    /// Closed enum: only these values.
    pub enum_values: Vec<String>,
    /// Strategic merge patch.
    pub patch: PatchStrategy,
    pub merge_key: Option<String>,
    pub list_type: ListType,
    pub list_map_keys: Vec<String>,
    /// Protobuf tag (0: none).
    pub tag: u32,
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

impl Resource {
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(&self.gv.group, &self.plural)
    }
    pub fn group_kind(&self) -> GroupKind {
        GroupKind { group: self.gv.group.clone(), kind: self.kind.as_str().into() }
    }
    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind {
            group: self.gv.group.clone(),
            version: self.gv.version.clone(),
            kind: self.kind.as_str().into(),
        }
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
        todo!()
    }
    pub fn get(&self, _id: TypeId) -> &Type {
        todo!()
    }
    /// `core.v1.Pod` -> its type.
    pub fn type_named(&self, _name: &str) -> Option<TypeId> {
        todo!()
    }
    /// The resource of a path: group (empty for core), version, plural.
    pub fn resource(&self, _group: &str, _version: &str, _plural: &str) -> Option<&Resource> {
        todo!()
    }
    /// The preferred served version of a stored resource.
    pub fn preferred(&self, _resource: &GroupResource) -> Option<&Resource> {
        todo!()
    }
    pub fn resource_of_kind(&self, _gvk: &GroupVersionKind) -> Option<&Resource> {
        todo!()
    }
    /// Every served resource, in discovery order.
    pub fn resources(&self) -> &[Resource] {
        todo!()
    }
    /// Groups in discovery order; the core group is "".
    pub fn groups(&self) -> &[Group] {
        todo!()
    }
}

impl Type {
    pub fn field(&self, _json: &str) -> Option<&Field> {
        todo!()
    }
}
