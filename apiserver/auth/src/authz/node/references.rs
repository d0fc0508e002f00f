//! What a pod refers to: the edges of upstream's graph that lead to a node through one of its pods.

use std::collections::BTreeSet;

use api_machinery::{Value, object};
use serde::{Deserialize, Deserializer};

/// What a pod needs from its namespace. Small, where a pod is large: a node's are looked through for each of its
/// requests.
#[derive(Debug, PartialEq, Eq)]
pub struct References {
    pub(super) namespace: Box<str>,
    /// Resource and name.
    names: Vec<(&'static str, Box<str>)>,
}

/// A pod that a kubelet shows and does not run: it must not reach anything by it.
const MIRROR: &str = "kubernetes.io/config.mirror";

impl References {
    pub fn of(pod: &Value) -> Self {
        let names = references(pod).into_iter().map(|(resource, name)| (resource, name.into()));
        Self { namespace: object::namespace(pod).into(), names: names.collect() }
    }

    pub(super) fn has(&self, resource: &str, namespace: &str, name: &str) -> bool {
        *self.namespace == *namespace
            && self.names.iter().any(|(own, own_name)| *own == resource && **own_name == *name)
    }

    /// Names of one resource.
    pub(super) fn of_resource<'a>(&'a self, resource: &'a str) -> impl Iterator<Item = &'a str> {
        self.names.iter().filter(move |(own, _)| *own == resource).map(|(_, name)| &**name)
    }
}

/// From a whole pod.
impl<'de> Deserialize<'de> for References {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|pod| Self::of(&pod))
    }
}

/// (resource, name)
fn references(pod: &Value) -> BTreeSet<(&'static str, String)> {
    let mut found = BTreeSet::new();
    let Some(spec) = pod.get("spec") else { return found };
    if object::annotation(pod, MIRROR).is_some() {
        return found;
    }
    let mut add = |resource: &'static str, name: Option<&Value>| {
        if let Some(name) = name.and_then(Value::as_str).filter(|name| !name.is_empty()) {
            found.insert((resource, name.to_owned()));
        }
    };
    add("serviceaccounts", spec.get("serviceAccountName"));
    for secret in list(spec, "imagePullSecrets") {
        add("secrets", secret.get("name"));
    }
    for volume in list(spec, "volumes") {
        of_volume(object::name(pod), volume, &mut add);
    }
    for container in ["containers", "initContainers", "ephemeralContainers"].iter().flat_map(|field| list(spec, field))
    {
        of_container(container, &mut add);
    }
    of_claims(pod, spec, &mut add);
    found
}

fn of_volume(pod: &str, volume: &Value, add: &mut impl FnMut(&'static str, Option<&Value>)) {
    add("secrets", object::at(volume, "secret.secretName"));
    add("secrets", object::at(volume, "azureFile.secretName"));
    add("configmaps", object::at(volume, "configMap.name"));
    add("persistentvolumeclaims", object::at(volume, "persistentVolumeClaim.claimName"));
    if volume.get("ephemeral").is_some_and(Value::is_object) {
        let name = object::str_at(volume, "name");
        add("persistentvolumeclaims", Some(&Value::from(format!("{pod}-{name}"))));
    }
    for kind in ["cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"] {
        add("secrets", object::at(volume, &format!("{kind}.secretRef.name")));
    }
    add("secrets", object::at(volume, "csi.nodePublishSecretRef.name"));
    for source in object::at(volume, "projected.sources").and_then(Value::as_array).into_iter().flatten() {
        add("secrets", object::at(source, "secret.name"));
        add("configmaps", object::at(source, "configMap.name"));
    }
}

fn of_container(container: &Value, add: &mut impl FnMut(&'static str, Option<&Value>)) {
    for source in list(container, "envFrom") {
        add("secrets", object::at(source, "secretRef.name"));
        add("configmaps", object::at(source, "configMapRef.name"));
    }
    for variable in list(container, "env") {
        add("secrets", object::at(variable, "valueFrom.secretKeyRef.name"));
        add("configmaps", object::at(variable, "valueFrom.configMapKeyRef.name"));
    }
}

/// Resource claims that are named, made from a template, or stand for extended resources.
fn of_claims(pod: &Value, spec: &Value, add: &mut impl FnMut(&'static str, Option<&Value>)) {
    for claim in list(spec, "resourceClaims") {
        add("resourceclaims", claim.get("resourceClaimName"));
    }
    let made = object::at(pod, "status.resourceClaimStatuses").and_then(Value::as_array);
    for claim in made.into_iter().flatten() {
        add("resourceclaims", claim.get("resourceClaimName"));
    }
    add("resourceclaims", object::at(pod, "status.extendedResourceClaimStatus.resourceClaimName"));
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Secrets that a persistent volume makes a kubelet read: (namespace, name).
pub(super) fn secrets_of_volume(volume: &Value) -> Vec<(&str, &str)> {
    let claim = object::str_at(volume, "spec.claimRef.namespace");
    let spec = volume.get("spec").unwrap_or(&Value::Null);
    let mut found = Vec::new();
    if let Some(file) = spec.get("azureFile") {
        found.push((object::str_at(file, "secretNamespace"), object::str_at(file, "secretName")));
    }
    for kind in ["cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"] {
        if let Some(secret) = spec.get(kind).and_then(|source| source.get("secretRef")) {
            found.push((object::str_at(secret, "namespace"), object::str_at(secret, "name")));
        }
    }
    // What only controllers use is not here.
    for secret in ["nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"] {
        if let Some(secret) = spec.get("csi").and_then(|source| source.get(secret)) {
            found.push((object::str_at(secret, "namespace"), object::str_at(secret, "name")));
        }
    }
    // Without a namespace it is the claim's.
    found
        .into_iter()
        .map(|(namespace, name)| if namespace.is_empty() { (claim, name) } else { (namespace, name) })
        .filter(|(_, name)| !name.is_empty())
        .collect()
}
