//! Which volumes pods may have.

use std::collections::BTreeSet;

use api_machinery::{Value, object};

use super::super::pods::Pod;
use super::Finding;
use super::text::{finding, plural, quoted};

const ALLOWED: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
const RESTRICTED: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

fn is_set(volume: &Value, kind: &str) -> bool {
    volume.get(kind).is_some_and(|source| !source.is_null())
}

pub(super) fn host_paths(pod: Pod<'_>) -> Option<Finding> {
    let bad = pod.volumes().iter().filter(|volume| is_set(volume, "hostPath"));
    let bad: Vec<&str> = bad.map(|volume| object::str_at(volume, "name")).collect();
    if bad.is_empty() {
        return None;
    }
    finding("hostPath volumes", format!("{} {}", plural("volume", "volumes", bad.len()), quoted(&bad)))
}

pub(super) fn restricted(pod: Pod<'_>) -> Option<Finding> {
    let allowed = |volume: &Value| ALLOWED.iter().any(|kind| is_set(volume, kind));
    let bad: Vec<&Value> = pod.volumes().iter().filter(|volume| !allowed(volume)).collect();
    if bad.is_empty() {
        return None;
    }
    let kind = |volume: &&Value| RESTRICTED.into_iter().find(|kind| is_set(volume, kind)).unwrap_or("unknown");
    let kinds: BTreeSet<&str> = bad.iter().map(kind).collect();
    let detail = format!(
        "{} {} {} {} {}",
        plural("volume", "volumes", bad.len()),
        quoted(bad.iter().map(|volume| object::str_at(volume, "name"))),
        plural("uses", "use", bad.len()),
        plural("restricted volume type", "restricted volume types", kinds.len()),
        quoted(&kinds)
    );
    finding("restricted volume types", detail)
}
