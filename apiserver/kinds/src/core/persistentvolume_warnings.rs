//! What a client is told of a PersistentVolume that is accepted.

use api_machinery::{Value, object};

use crate::at::At;
use crate::list::core_node_labels as node_labels;

/// Annotations that became fields.
const ANNOTATIONS: [(&str, &str); 2] = [
    ("volume.beta.kubernetes.io/storage-class", r#"deprecated since v1.8; use "storageClassName" attribute instead"#),
    ("volume.beta.kubernetes.io/mount-options", r#"deprecated since v1.31; use "mountOptions" attribute instead"#),
];
/// Sources that nothing mounts any more: as they are written, as they are called, and since when.
const SOURCES: [(&str, &str, &str); 6] = [
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

pub(crate) fn of(object: &Value) -> Vec<String> {
    let root = At::root(object);
    let spec = root.field("spec");
    let mut warnings = Vec::new();
    for (annotation, text) in ANNOTATIONS {
        if object::annotation(object, annotation).is_some() {
            warnings.push(format!("metadata.annotations[{annotation}]: {text}"));
        }
    }
    let reclaim = spec.field("persistentVolumeReclaimPolicy");
    if reclaim.str() == "Recycle" {
        warnings.push(format!(
            "{}: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic \
             provisioning.",
            reclaim.path()
        ));
    }
    for term in spec.field("nodeAffinity.required.nodeSelectorTerms").items() {
        for requirement in term.field("matchExpressions").items() {
            warnings.extend(of_label(&requirement.field("key")));
        }
    }
    for (source, called, text) in SOURCES {
        if spec.field(source).present() {
            warnings.push(format!("spec.{called}: {text}"));
        }
    }
    warnings
}

fn of_label(key: &At<'_>) -> Option<String> {
    let why = node_labels::deprecation(key.str())?;
    Some(format!("{}: {} is {why}", key.path(), key.str()))
}
