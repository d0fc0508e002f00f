//! Validation of the volumes of a pod.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, names, object};

use crate::at::At;
use crate::formats;
use crate::list::core_env as env;
use crate::list::core_pod_spec::Of;

/// Driver names of CSI have at most so many bytes.
const MAX_DRIVER_NAME: usize = 63;
const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
/// Seconds a token may live at least and at most.
const TOKEN_SECONDS: (i64, i64) = (600, 1 << 32);

pub(crate) fn validate(volumes: &At<'_>, of: Of, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for volume in volumes.items() {
        let name = volume.field("name");
        let text = object::str_at(volume.value, "name");
        if text.is_empty() {
            name.required(errors, "");
        } else {
            name.format(errors, names::dns1123_label);
        }
        if !text.is_empty() && seen.contains(&text) {
            name.duplicate(errors);
        }
        seen.insert(text);
        validate_source(&volume, of, errors);
    }
}

/// Upstream looks at the sources in this order; the first one counts, all others are forbidden.
const SOURCES: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "azureFile",
    "configMap",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
    "cinder",
    "flexVolume",
];

fn validate_source(volume: &At<'_>, of: Of, errors: &mut ErrorList) {
    let mut found = 0;
    for source in SOURCES {
        let at = volume.field(source);
        if !at.present() {
            continue;
        }
        found += 1;
        if found > 1 {
            at.forbidden(errors, "may not specify more than 1 volume type");
        } else {
            validate_one(source, &at, of, errors);
        }
    }
    if found == 0 {
        volume.required(errors, "must specify a volume type");
    }
}

fn validate_one(kind: &str, source: &At<'_>, of: Of, errors: &mut ErrorList) {
    match kind {
        "emptyDir" => {
            let limit = source.field("sizeLimit");
            if formats::quantity(&limit).is_some_and(|limit| limit.nano < 0) {
                limit.forbidden(errors, "SizeLimit field must be a valid resource quantity");
            }
        }
        "hostPath" => validate_host_path(source, errors),
        "secret" => {
            source.field("secretName").need(errors);
            validate_items(source, errors);
        }
        "configMap" => {
            source.field("name").need(errors);
            validate_items(source, errors);
        }
        "persistentVolumeClaim" => {
            source.field("claimName").need(errors);
        }
        "nfs" => validate_nfs(source, errors),
        "downwardAPI" => {
            mode(&source.field("defaultMode"), errors);
            validate_downward_items(source, source, errors);
        }
        "projected" => validate_projected(source, errors),
        "csi" => validate_csi(source, errors),
        "image" => {
            let reference = source.field("reference");
            if of == Of::Pod {
                reference.need(errors);
            }
            source.field("pullPolicy").one_of(errors, &["Always", "IfNotPresent", "Never"]);
        }
        "ephemeral" => validate_ephemeral(source, errors),
        _ => validate_persistent(kind, source, errors),
    }
}

/// Kinds of storage that a pod and a persistent volume may name in the same way.
pub(crate) fn validate_persistent(kind: &str, source: &At<'_>, errors: &mut ErrorList) {
    let needed: &[&str] = match kind {
        "hostPath" => return validate_host_path(source, errors),
        "nfs" => return validate_nfs(source, errors),
        "csi" => return validate_csi(source, errors),
        "gcePersistentDisk" => &["pdName"],
        "awsElasticBlockStore" | "cinder" | "portworxVolume" => &["volumeID"],
        "azureDisk" => &["diskName", "diskURI"],
        "azureFile" => &["secretName", "shareName"],
        "cephfs" => &["monitors"],
        "rbd" => &["monitors", "image"],
        "iscsi" => &["targetPortal", "iqn"],
        "glusterfs" => &["endpoints", "path"],
        "vsphereVolume" => &["volumePath"],
        "flexVolume" => &["driver"],
        "photonPersistentDisk" => &["pdID"],
        "quobyte" => &["registry", "volume"],
        "scaleIO" => &["gateway", "system", "volumeName"],
        "gitRepo" => &["repository"],
        "local" => &["path"],
        _ => &[],
    };
    for field in needed {
        source.field(field).need(errors);
    }
}

fn validate_host_path(source: &At<'_>, errors: &mut ErrorList) {
    let path = source.field("path");
    if path.need(errors) {
        formats::no_backsteps(&path, errors);
    }
    let kind = source.field("type");
    if !HOST_PATH_TYPES.contains(&kind.str()) {
        kind.unsupported(errors, &HOST_PATH_TYPES);
    }
}

fn validate_nfs(source: &At<'_>, errors: &mut ErrorList) {
    source.field("server").need(errors);
    let path = source.field("path");
    path.need(errors);
    if !path.str().starts_with('/') {
        path.invalid(errors, "must be an absolute path");
    }
}

/// A driver name: subdomain-like, upper case allowed, at most 63 bytes.
pub(crate) fn validate_driver_name(name: &At<'_>, errors: &mut ErrorList) {
    if name.is_empty() {
        return name.required(errors, "");
    }
    if name.str().len() > MAX_DRIVER_NAME {
        name.too_long(errors, MAX_DRIVER_NAME);
    }
    for message in names::dns1123_subdomain(&name.str().to_lowercase()) {
        name.invalid(errors, &message);
    }
}

fn validate_csi(source: &At<'_>, errors: &mut ErrorList) {
    validate_driver_name(&source.field("driver"), errors);
}

fn mode(at: &At<'_>, errors: &mut ErrorList) {
    if at.int().is_some_and(|mode| !(0..=0o777).contains(&mode)) {
        at.invalid(errors, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

/// `items` and `defaultMode` of Secret and ConfigMap volumes.
fn validate_items(source: &At<'_>, errors: &mut ErrorList) {
    mode(&source.field("defaultMode"), errors);
    for item in source.field("items").items() {
        item.field("key").need(errors);
        let path = item.field("path");
        if path.need(errors) {
            formats::local_non_reserved_path(&path, errors);
        }
        mode(&item.field("mode"), errors);
    }
}

/// The paths have no index, as upstream's.
fn validate_downward_items(source: &At<'_>, place: &At<'_>, errors: &mut ErrorList) {
    for item in source.field("items").items() {
        let item = place.with(item.value);
        let path = item.field("path");
        if path.need(errors) {
            formats::local_non_reserved_path(&path, errors);
        }
        let (field, resource) = (item.field("fieldRef"), item.field("resourceFieldRef"));
        if field.present() {
            env::validate_field_ref(&field, &env::VOLUME_FIELDS, errors);
            if resource.present() {
                errors.invalid(
                    &item.path(),
                    &Value::from("resource"),
                    "fieldRef and resourceFieldRef can not be specified simultaneously",
                );
            }
        } else if resource.present() {
            env::validate_resource_ref(&resource, true, errors);
        } else {
            item.required(errors, "one of fieldRef and resourceFieldRef is required");
        }
        mode(&item.field("mode"), errors);
    }
}

fn validate_projected(projected: &At<'_>, errors: &mut ErrorList) {
    const KINDS: [&str; 6] =
        ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"];
    mode(&projected.field("defaultMode"), errors);
    for source in projected.field("sources").items() {
        let mut found = 0;
        for kind in KINDS {
            let at = source.field(kind);
            if !at.present() {
                continue;
            }
            found += 1;
            if found > 1 {
                at.forbidden(errors, "may not specify more than 1 volume type");
            } else {
                validate_projection(kind, &at, errors);
            }
        }
    }
}

fn validate_projection(kind: &str, source: &At<'_>, errors: &mut ErrorList) {
    match kind {
        "secret" | "configMap" => {
            source.field("name").need(errors);
            validate_items(source, errors);
        }
        "downwardAPI" => validate_downward_items(source, source, errors),
        "serviceAccountToken" => validate_token(source, errors),
        "clusterTrustBundle" => {
            source.field("path").need(errors);
        }
        _ => {}
    }
}

fn validate_token(source: &At<'_>, errors: &mut ErrorList) {
    let seconds = source.field("expirationSeconds");
    if let Some(value) = seconds.int() {
        if value < TOKEN_SECONDS.0 {
            seconds.invalid(errors, "may not specify a duration less than 10 minutes");
        }
        if value > TOKEN_SECONDS.1 {
            seconds.invalid(errors, "may not specify a duration larger than 2^32 seconds");
        }
    }
    let path = source.field("path");
    if path.need(errors) {
        formats::local_non_reserved_path(&path, errors);
    }
}

fn validate_ephemeral(source: &At<'_>, errors: &mut ErrorList) {
    let template = source.field("volumeClaimTemplate");
    if !template.present() {
        return template.required(errors, "");
    }
    crate::list::core_persistentvolumeclaim::validate_spec(&template.field("spec"), errors);
}
