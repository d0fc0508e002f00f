//! What is served: `/api`, `/apis` and below, the aggregated form, and `/version`. Built once, as bytes.

use std::collections::BTreeMap;

use api_machinery::GroupVersion;
use api_schema::{Resource, Schema, Subresource};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// The Kubernetes version this server behaves as.
pub(crate) const MAJOR: &str = "1";
pub(crate) const MINOR: &str = "36";
const _: () = assert!(api_schema::MINOR == 36, "the facts are of the version that this server behaves as");
pub(crate) const GIT_VERSION: &str = concat!("v1.36.2+kontiki.", env!("CARGO_PKG_VERSION"));
/// Parameters of the media type of aggregated discovery.
pub(crate) const AGGREGATED: &str = "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// A document with its strong ETag.
#[derive(Clone)]
pub(crate) struct Document {
    pub bytes: Bytes,
    /// Quoted.
    pub etag: String,
}

impl Document {
    pub(crate) fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let etag = format!("\"{}\"", hash(&bytes));
        Self { bytes, etag }
    }
    fn json(value: &Value) -> Self {
        Self::new(value.to_string())
    }
}

/// Upper-case hex of SHA-256, as upstream writes hashes of documents (theirs is SHA-512).
pub(crate) fn hash(bytes: &[u8]) -> String {
    hex::encode_upper(Sha256::digest(bytes))
}

/// Every discovery document.
pub(crate) struct Discovery {
    /// By path: `/api`, `/apis`, `/api/v1`, `/apis/apps`, `/apis/apps/v1`.
    legacy: BTreeMap<String, Document>,
    /// By path: `/api` and `/apis`.
    aggregated: BTreeMap<&'static str, Document>,
}

fn texts(list: &[String]) -> Value {
    list.iter().map(String::as_str).collect()
}

/// One entry of an APIResourceList.
fn legacy_resource(resource: &Resource) -> Value {
    let mut entry = json!({"name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
        "kind": resource.kind, "verbs": texts(&resource.verbs)});
    if !resource.short_names.is_empty() {
        entry["shortNames"] = texts(&resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = texts(&resource.categories);
    }
    if !resource.storage_version_hash.is_empty() {
        entry["storageVersionHash"] = resource.storage_version_hash.as_str().into();
    }
    entry
}

fn legacy_subresource(resource: &Resource, sub: &Subresource) -> Value {
    let mut entry = json!({"name": format!("{}/{}", resource.plural, sub.name), "singularName": "",
        "namespaced": resource.namespaced, "kind": &*sub.gvk.kind, "verbs": texts(&sub.verbs)});
    if (&sub.gvk.group, &sub.gvk.version) != (&resource.gv.group, &resource.gv.version) {
        if !sub.gvk.group.is_empty() {
            entry["group"] = (&*sub.gvk.group).into();
        }
        entry["version"] = (&*sub.gvk.version).into();
    }
    entry
}

fn resources_of<'a>(schema: &'a Schema, gv: &GroupVersion) -> Vec<&'a Resource> {
    let mut all: Vec<&Resource> = schema.resources().iter().filter(|resource| resource.gv == *gv).collect();
    all.sort_by(|a, b| a.plural.cmp(&b.plural));
    all
}

fn sorted_subresources(resource: &Resource) -> Vec<&Subresource> {
    let mut all: Vec<&Subresource> = resource.subresources.iter().collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn resource_list(schema: &Schema, gv: &GroupVersion) -> Value {
    let mut entries = Vec::new();
    for resource in resources_of(schema, gv) {
        entries.push(legacy_resource(resource));
        entries.extend(sorted_subresources(resource).into_iter().map(|sub| legacy_subresource(resource, sub)));
    }
    let mut list = json!({"kind": "APIResourceList", "groupVersion": gv.to_string(), "resources": entries});
    if !gv.group.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    list
}

fn group_entry(name: &str, versions: &[String]) -> Value {
    let entry = |version: &String| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    let all: Vec<Value> = versions.iter().map(entry).collect();
    json!({"name": name, "preferredVersion": all.first(), "versions": all})
}

fn gvk_json(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

fn aggregated_resource(resource: &Resource) -> Value {
    let kind = gvk_json(&resource.gv.group, &resource.gv.version, &resource.kind);
    let mut entry = json!({"resource": resource.plural, "responseKind": kind,
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular, "verbs": texts(&resource.verbs)});
    if !resource.short_names.is_empty() {
        entry["shortNames"] = texts(&resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = texts(&resource.categories);
    }
    let subresources: Vec<Value> = sorted_subresources(resource)
        .into_iter()
        .map(|sub| {
            json!({"subresource": sub.name, "verbs": texts(&sub.verbs),
                "responseKind": gvk_json(&sub.gvk.group, &sub.gvk.version, &sub.gvk.kind)})
        })
        .collect();
    if !subresources.is_empty() {
        entry["subresources"] = subresources.into();
    }
    entry
}

fn aggregated_group(schema: &Schema, name: &str, versions: &[String]) -> Value {
    let version = |version: &String| {
        let resources = resources_of(schema, &GroupVersion::new(name, version));
        let resources: Vec<Value> = resources.into_iter().map(aggregated_resource).collect();
        json!({"version": version, "resources": resources, "freshness": "Current"})
    };
    let mut metadata = Map::new();
    if !name.is_empty() {
        metadata.insert("name".to_owned(), name.into());
    }
    json!({"metadata": metadata, "versions": versions.iter().map(version).collect::<Vec<_>>()})
}

fn aggregated_list(schema: &Schema, core: bool) -> Value {
    let groups = schema.groups().iter().filter(|group| group.name.is_empty() == core);
    let items: Vec<Value> = groups.map(|group| aggregated_group(schema, &group.name, &group.versions)).collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

impl Discovery {
    /// `address` (`host:port`) is what `/api` advertises.
    pub(crate) fn new(schema: &Schema, address: &str) -> Self {
        let mut legacy = BTreeMap::new();
        let addresses = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]);
        let api = json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses});
        legacy.insert("/api".to_owned(), Document::json(&api));
        let mut entries = Vec::new();
        for group in schema.groups() {
            for version in &group.versions {
                let gv = GroupVersion::new(&group.name, version);
                let path = if group.name.is_empty() { format!("/api/{gv}") } else { format!("/apis/{gv}") };
                legacy.insert(path, Document::json(&resource_list(schema, &gv)));
            }
            if group.name.is_empty() {
                continue;
            }
            let mut entry = group_entry(&group.name, &group.versions);
            entries.push(entry.clone());
            entry["kind"] = "APIGroup".into();
            entry["apiVersion"] = "v1".into();
            legacy.insert(format!("/apis/{}", group.name), Document::json(&entry));
        }
        let apis = json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": entries});
        legacy.insert("/apis".to_owned(), Document::json(&apis));
        let aggregated = [("/api", true), ("/apis", false)]
            .map(|(path, core)| (path, Document::json(&aggregated_list(schema, core))));
        Self { legacy, aggregated: aggregated.into_iter().collect() }
    }

    pub(crate) fn legacy(&self, path: &str) -> Option<&Document> {
        self.legacy.get(path)
    }

    pub(crate) fn aggregated(&self, path: &str) -> Option<&Document> {
        self.aggregated.get(path)
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.legacy.keys().map(String::as_str)
    }
}

/// The body of `/version`.
pub(crate) fn version() -> Value {
    json!({
        "major": MAJOR, "minor": MINOR, "emulationMajor": MAJOR, "emulationMinor": MINOR,
        "minCompatibilityMajor": MAJOR, "minCompatibilityMinor": "35",
        "gitVersion": GIT_VERSION, "gitCommit": "unknown", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, goarch()),
    })
}

/// Without the leading `v`.
pub(crate) fn binary_version() -> &'static str {
    GIT_VERSION.trim_start_matches('v')
}

pub(crate) fn emulated_version() -> String {
    format!("{MAJOR}.{MINOR}")
}

/// Go's name of this machine's architecture.
fn goarch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
