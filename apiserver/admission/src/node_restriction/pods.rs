//! A node's pods: mirror pods of its own, the status of what runs on it, and its evictions.

use api_machinery::{Value, object};

use super::{Case, Verdict, refuse, same};
use crate::order::service_account::MIRROR;
use crate::{Operation, lookup};

pub(crate) async fn judge(case: &Case<'_>) -> Verdict {
    let node = case.node;
    match (case.attributes.subresource, case.attributes.operation) {
        ("", Operation::Create) => create(case).await,
        ("", Operation::Delete) => {
            let pod = case.get("", "pods", case.attributes.namespace, case.attributes.name).await?;
            own(&pod, node, || format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
        }
        ("", _) => {
            refuse(format!("unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"))
        }
        ("status", _) => status(case),
        ("eviction", _) => {
            let pod = case.get("", "pods", case.attributes.namespace, case.name()).await?;
            own(&pod, node, || format!("node {node} can only evict pods with spec.nodeName set to itself"))
        }
        (other, _) => refuse(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed")),
    }
}

fn is_on(pod: &Value, node: &str) -> bool {
    object::str_at(pod, "spec.nodeName") == node
}

fn own(pod: &Value, node: &str, why: impl FnOnce() -> String) -> Verdict {
    if is_on(pod, node) { Ok(()) } else { refuse(why()) }
}

async fn create(case: &Case<'_>) -> Verdict {
    let (node, Some(pod)) = (case.node, case.object) else { return Ok(()) };
    if object::annotation(pod, MIRROR).is_none() {
        return refuse(format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"));
    }
    if !is_on(pod, node) {
        return refuse(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    check_owner(case, pod).await?;
    match reference(pod) {
        Ok(None) => Ok(()),
        Ok(Some(what)) => refuse(format!("node {node:?} can not create pods that reference {what}")),
        Err(why) => refuse(format!("error checking mirror pod for API references: {why}")),
    }
}

async fn check_owner(case: &Case<'_>, pod: &Value) -> Verdict {
    let name = case.node;
    let owner = match object::owner_references(pod) {
        [owner] => owner,
        [] => return refuse(format!("node {name:?} can only create pods with an owner reference set to itself")),
        _ => return refuse(format!("node {name:?} can only create pods with a single owner reference set to itself")),
    };
    let text = |field| object::str_at(owner, field);
    if (text("apiVersion"), text("kind"), text("name")) != ("v1", "Node", name) {
        return refuse(format!("node {name:?} can only create pods with an owner reference set to itself"));
    }
    if owner.get("controller") != Some(&Value::Bool(true)) {
        return refuse(format!("node {name:?} can only create pods with a controller owner reference set to itself"));
    }
    if owner.get("blockOwnerDeletion") == Some(&Value::Bool(true)) {
        return refuse(format!("node {name:?} must not set blockOwnerDeletion on an owner reference"));
    }
    let node = case.get("", "nodes", "", name).await?;
    let (given, known) = (text("uid"), object::uid(&node));
    if given == known {
        return Ok(());
    }
    refuse(format!("node {name} UID mismatch: expected {given} got {known}"))
}

fn is_set(holder: &Value, field: &str) -> bool {
    holder.get(field).is_some_and(Value::is_object)
}

/// What of the API a pod needs. The error: nobody knows.
fn reference(pod: &Value) -> Result<Option<&'static str>, String> {
    let in_containers = |from: &str, key: &str| {
        let lists = ["spec.initContainers", "spec.containers", "spec.ephemeralContainers"];
        lists.into_iter().flat_map(|list| lookup::items(pod, list)).any(|container| {
            let mut values = lookup::items(container, "env").iter().filter_map(|one| one.get("valueFrom"));
            lookup::items(container, "envFrom").iter().any(|one| is_set(one, from))
                || values.any(|one| is_set(one, key))
        })
    };
    if !object::str_at(pod, "spec.serviceAccountName").is_empty() {
        return Ok(Some("serviceaccounts"));
    }
    if !lookup::items(pod, "spec.imagePullSecrets").is_empty() || in_containers("secretRef", "secretKeyRef") {
        return Ok(Some("secrets"));
    }
    if in_containers("configMapRef", "configMapKeyRef") {
        return Ok(Some("configmaps"));
    }
    if !lookup::items(pod, "spec.resourceClaims").is_empty() {
        return Ok(Some("resourceclaims"));
    }
    for volume in lookup::items(pod, "spec.volumes") {
        if let Some(what) = of_volume(volume)? {
            return Ok(Some(what));
        }
    }
    Ok(None)
}

/// Volumes that a kubelet makes without asking.
const LOCAL: [&str; 14] = [
    "awsElasticBlockStore",
    "azureDisk",
    "downwardAPI",
    "emptyDir",
    "fc",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "hostPath",
    "image",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
];
/// Volumes that may need a Secret.
const WITH_SECRET: [&str; 8] =
    ["cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos", "vsphereVolume"];
const FROM_API: [(&str, &str); 8] = [
    ("configMap", "configmaps"),
    ("secret", "secrets"),
    ("csi", "csidrivers (via CSI volumes)"),
    ("glusterfs", "endpoints (via glusterFS volumes)"),
    ("persistentVolumeClaim", "persistentvolumeclaims"),
    ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
    ("azureFile", "secrets (via azureFile volumes)"),
    ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
];
const PROJECTED: [(&str, &str); 5] = [
    ("configMap", "configmaps"),
    ("secret", "secrets"),
    ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
    ("clusterTrustBundle", "clustertrustbundles"),
    ("podCertificate", "podcertificates"),
];

fn of_volume(volume: &Value) -> Result<Option<&'static str>, String> {
    let secret = WITH_SECRET.iter().any(|kind| volume.get(*kind).is_some_and(|source| is_set(source, "secretRef")));
    if secret {
        return Ok(Some("secrets"));
    }
    if let Some((_, what)) = FROM_API.iter().find(|(kind, _)| is_set(volume, kind)) {
        return Ok(Some(what));
    }
    let name = object::str_at(volume, "name");
    if is_set(volume, "projected") {
        for source in lookup::items(volume, "projected.sources") {
            if let Some((_, what)) = PROJECTED.iter().find(|(kind, _)| is_set(source, kind)) {
                return Ok(Some(what));
            }
            if !is_set(source, "downwardAPI") {
                return Err(format!("unknown source for projected volume {name:?}"));
            }
        }
        return Ok(None);
    }
    if LOCAL.iter().chain(&WITH_SECRET).any(|kind| is_set(volume, kind)) {
        return Ok(None);
    }
    Err(format!("unknown volume type for volume  {name:?}"))
}

fn status(case: &Case<'_>) -> Verdict {
    let node = case.node;
    let (Some(new), Some(old)) = (case.object, case.attributes.old) else { return Ok(()) };
    if !is_on(old, node) {
        return refuse(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"));
    }
    for (path, what) in [
        ("metadata.labels", "labels through pod status"),
        ("status.resourceClaimStatuses", "resource claim statues"),
        ("status.extendedResourceClaimStatus", "extended resource claim status"),
    ] {
        if !same(new, old, path) {
            return refuse(format!("node {node:?} cannot update {what}"));
        }
    }
    Ok(())
}
