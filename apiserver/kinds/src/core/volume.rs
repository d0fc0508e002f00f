//! Validation of the volumes of a pod.

use std::collections::{HashMap, HashSet};

use api_machinery::{ErrorList, Value, names, object};

use crate::at::At;
use crate::formats;
use crate::list::core_env as env;
use crate::list::core_pod_spec::Of;
use crate::list::core_projected as projected;
use crate::list::core_volume_source as shared;

pub(crate) const ONE_ONLY: &str = "may not specify more than 1 volume type";

/// By name, those in which nothing is wrong: mounts do not find the others, as upstream's do not.
pub(crate) type Volumes<'a> = HashMap<&'a str, &'a Value>;

pub(crate) fn validate<'a>(volumes: &At<'a>, of: Of<'_>, errors: &mut ErrorList) -> Volumes<'a> {
    let claims = claims_made(volumes, of);
    let mut found = HashMap::new();
    for (volume, value) in volumes.items().zip(volumes.list()) {
        let before = errors.len();
        let (name, text) = (volume.field("name"), object::str_at(value, "name"));
        validate_source(&volume, text, of, errors);
        if text.is_empty() {
            name.required(errors, "");
        } else {
            name.format(errors, names::dns1123_label);
        }
        if found.contains_key(text) {
            name.duplicate(errors);
        }
        if errors.len() == before {
            found.insert(text, value);
        }
        let claim = volume.field("persistentVolumeClaim.claimName");
        if claims.contains(claim.str()) {
            claim.invalid(errors, "must not reference a PVC that gets created for an ephemeral volume");
        }
    }
    found
}

/// Names of the claims that are made for a pod's ephemeral volumes.
fn claims_made(volumes: &At<'_>, of: Of<'_>) -> HashSet<String> {
    let Of::Pod(pod) = of else { return HashSet::new() };
    if object::name(pod).is_empty() {
        return HashSet::new();
    }
    let ephemeral = volumes.items().filter(|volume| volume.field("ephemeral").present());
    ephemeral.map(|volume| claim_name(pod, volume.field("name").str())).collect()
}

fn claim_name(pod: &Value, volume: &str) -> String {
    format!("{}-{volume}", object::name(pod))
}

/// Upstream looks at the sources in this order; the first one counts, all others are forbidden. With it, the name
/// that the error of one too many gives it.
const SOURCES: [(&str, &str); 30] = [
    ("emptyDir", "emptyDir"),
    ("hostPath", "hostPath"),
    ("gitRepo", "gitRepo"),
    ("gcePersistentDisk", "gcePersistentDisk"),
    ("awsElasticBlockStore", "awsElasticBlockStore"),
    ("secret", "secret"),
    ("nfs", "nfs"),
    ("iscsi", "iscsi"),
    ("glusterfs", "glusterfs"),
    ("flocker", "flocker"),
    ("persistentVolumeClaim", "persistentVolumeClaim"),
    ("rbd", "rbd"),
    ("cinder", "cinder"),
    ("cephfs", "cephFS"),
    ("quobyte", "quobyte"),
    ("downwardAPI", "downwarAPI"),
    ("fc", "fc"),
    ("flexVolume", "flexVolume"),
    ("configMap", "configMap"),
    ("azureFile", "azureFile"),
    ("vsphereVolume", "vsphereVolume"),
    ("photonPersistentDisk", "photonPersistentDisk"),
    ("portworxVolume", "portworxVolume"),
    ("azureDisk", "azureDisk"),
    ("storageos", "storageos"),
    ("projected", "projected"),
    ("scaleIO", "scaleIO"),
    ("csi", "csi"),
    ("ephemeral", "ephemeral"),
    ("image", "image"),
];

fn validate_source(volume: &At<'_>, name: &str, of: Of<'_>, errors: &mut ErrorList) {
    let mut found = 0;
    for (source, called) in SOURCES {
        let at = volume.field(source);
        if !at.present() {
            continue;
        }
        found += 1;
        if found > 1 {
            volume.field(called).forbidden(errors, ONE_ONLY);
        } else {
            validate_one(source, &at, of, errors);
            validate_ephemeral_name(source, volume, of, errors);
        }
        if source == "iscsi" {
            shared::validate_initiator_length(&volume.field("name"), name, &at, errors);
        }
    }
    if found == 0 {
        volume.required(errors, "must specify a volume type");
    }
}

fn validate_one(kind: &str, source: &At<'_>, of: Of<'_>, errors: &mut ErrorList) {
    match kind {
        "emptyDir" => {
            let limit = source.field("sizeLimit");
            if formats::quantity(&limit).is_some_and(|limit| limit.nano < 0) {
                limit.forbidden(errors, "SizeLimit field must be a valid resource quantity");
            }
        }
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
        "downwardAPI" => {
            mode(&source.field("defaultMode"), errors);
            for item in source.field("items").items() {
                validate_downward_item(source, &item, errors);
            }
        }
        "projected" => projected::validate(source, errors),
        "csi" => validate_csi(source, errors),
        "image" => {
            if matches!(of, Of::Pod(_)) {
                source.field("reference").need(errors);
            }
            source.field("pullPolicy").need_one_of(errors, &["Always", "IfNotPresent", "Never"]);
        }
        "ephemeral" => validate_ephemeral(source, errors),
        _ => shared::validate(kind, shared::Of::Pod, source, errors),
    }
}

fn validate_csi(source: &At<'_>, errors: &mut ErrorList) {
    shared::validate_driver_name(&source.field("driver"), errors);
    let reference = source.field("nodePublishSecretRef");
    if !reference.present() {
        return;
    }
    let name = reference.field("name");
    if name.need(errors) {
        // Upstream leaves the reference out of the path.
        source.field("name").with(name.value).format(errors, names::dns1123_subdomain);
    }
}

pub(crate) fn mode(at: &At<'_>, errors: &mut ErrorList) {
    if at.int().is_some_and(|mode| !(0..=0o777).contains(&mode)) {
        at.invalid(errors, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

/// `items` and `defaultMode` of Secret and ConfigMap volumes.
pub(crate) fn validate_items(source: &At<'_>, errors: &mut ErrorList) {
    mode(&source.field("defaultMode"), errors);
    for item in source.field("items").items() {
        item.field("key").need(errors);
        let path = item.field("path");
        path.need(errors);
        formats::local_non_reserved_path(&path, errors);
        mode(&item.field("mode"), errors);
    }
}

/// The paths begin at the source and have no index, as upstream's.
pub(crate) fn validate_downward_item(place: &At<'_>, item: &At<'_>, errors: &mut ErrorList) {
    let item = place.with(item.value);
    let path = item.field("path");
    path.need(errors);
    formats::local_non_reserved_path(&path, errors);
    let (field, resource) = (item.field("fieldRef"), item.field("resourceFieldRef"));
    if field.present() {
        env::validate_field_ref(&field, &env::VOLUME_FIELDS, errors);
        if resource.present() {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.invalid(&item.path(), &Value::from("resource"), detail);
        }
    } else if resource.present() {
        env::validate_resource_ref(&resource, true, errors);
    } else {
        item.required(errors, "one of fieldRef and resourceFieldRef is required");
    }
    mode(&item.field("mode"), errors);
}

fn validate_ephemeral(source: &At<'_>, errors: &mut ErrorList) {
    let template = source.field("volumeClaimTemplate");
    if !template.present() {
        return template.required(errors, "");
    }
    crate::selectors::claim_metadata(&template.field("metadata"), errors);
    crate::list::core_persistentvolumeclaim::validate_spec(&template.field("spec"), errors);
}

/// The claim is called after the pod and the volume; the name must do.
fn validate_ephemeral_name(kind: &str, volume: &At<'_>, of: Of<'_>, errors: &mut ErrorList) {
    let Of::Pod(pod) = of else { return };
    let name = volume.field("name");
    if kind != "ephemeral" || name.is_empty() || object::name(pod).is_empty() {
        return;
    }
    let claim = claim_name(pod, name.str());
    for message in names::dns1123_subdomain(&claim) {
        name.invalid(errors, &format!("PVC name {}: {message}", Value::from(claim.as_str())));
    }
}
