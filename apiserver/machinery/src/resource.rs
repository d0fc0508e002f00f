//! Names of groups, versions, kinds and resources, and where an object is kept.

use std::fmt;
use std::sync::Arc;

/// `apps` / `v1`. The core group is the empty string, as on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersion {
    pub group: Arc<str>,
    pub version: Arc<str>,
}

impl GroupVersion {
    pub fn new(group: &str, version: &str) -> Self {
        Self { group: group.into(), version: version.into() }
    }
    /// Reads `apiVersion`: `v1` or `apps/v1`.
    pub fn parse(api_version: &str) -> Self {
        match api_version.split_once('/') {
            Some((group, version)) => Self::new(group, version),
            None => Self::new("", api_version),
        }
    }
}

/// As `apiVersion` has it.
impl fmt::Display for GroupVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.version) } else { write!(f, "{}/{}", self.group, self.version) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersionKind {
    pub group: Arc<str>,
    pub version: Arc<str>,
    pub kind: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupKind {
    pub group: Arc<str>,
    pub kind: Arc<str>,
}

/// `Deployment.apps`, or `Pod` in the core group, as upstream's messages have it.
impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.kind) } else { write!(f, "{}.{}", self.kind, self.group) }
    }
}

/// `deployments` in `apps`: what objects are stored, listed and watched under.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupResource {
    pub group: Arc<str>,
    pub resource: Arc<str>,
}

impl GroupResource {
    pub fn new(group: &str, resource: &str) -> Self {
        Self { group: group.into(), resource: resource.into() }
    }
}

/// `deployments.apps`, or `pods` in the core group, as upstream's messages have it.
impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.resource) } else { write!(f, "{}.{}", self.resource, self.group) }
    }
}

/// Where one object is: resource, namespace (empty when cluster-scoped) and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    pub resource: GroupResource,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

/// Everything the API server stores as objects lies below this prefix.
pub const REGISTRY_PREFIX: &str = "/registry/";

impl ObjectKey {
    pub fn new(resource: GroupResource, namespace: &str, name: &str) -> Self {
        Self { resource, namespace: namespace.into(), name: name.into() }
    }

    /// `/registry/GROUP/RESOURCE/NAMESPACE/NAME`; the core group is `core`, and the namespace part
    /// of a cluster-scoped object is empty, so every prefix ends with a separator (no `foo`/`foobar` overlap).
    pub fn store_key(&self) -> String {
        format!("{}{}/{}", Self::resource_prefix(&self.resource), self.namespace, self.name)
    }

    /// The prefix of all objects of a resource.
    pub fn resource_prefix(resource: &GroupResource) -> String {
        let group = if resource.group.is_empty() { "core" } else { &resource.group };
        format!("{REGISTRY_PREFIX}{group}/{}/", resource.resource)
    }

    /// Reads back what [`Self::store_key`] wrote.
    pub fn from_store_key(key: &str) -> Option<Self> {
        let mut parts = key.strip_prefix(REGISTRY_PREFIX)?.splitn(4, '/');
        let group = parts.next()?;
        let resource = parts.next()?;
        let namespace = parts.next()?;
        let name = parts.next()?;
        let group = if group == "core" { "" } else { group };
        Some(Self::new(GroupResource::new(group, resource), namespace, name))
    }
}
