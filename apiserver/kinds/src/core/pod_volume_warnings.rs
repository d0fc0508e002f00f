//! Warnings about volumes: kinds that are gone or going, and files that are put over each other.

use api_machinery::quote::quoted;
use api_machinery::{Value, object};

use crate::at::{At, child};
use crate::cells;
use crate::list::core_pod_warnings::{Warnings, warn_of_fraction};

/// Kinds of storage, and what errors call them.
const DEPRECATED: [(&str, &str, &str); 9] = [
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];
const SOURCES: [&str; 6] =
    ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"];

/// Where a file is put, and by what.
struct Place<'a> {
    /// Without slashes at its end.
    path: &'a str,
    source: String,
}

impl Place<'_> {
    fn shown(&self) -> String {
        if self.source.is_empty() { quoted(self.path) } else { format!("{} ({})", quoted(self.path), self.source) }
    }
    /// Whether both are one place, or one is within the other.
    fn overlaps(&self, other: &Self) -> bool {
        let within = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let both_named = !self.path.is_empty() && !other.path.is_empty();
        both_named && (within(self.path, other.path) || within(other.path, self.path))
    }
}

pub(crate) fn warn(volumes: &At<'_>, warnings: &mut Warnings) {
    for volume in volumes.items() {
        for (field, called, why) in DEPRECATED {
            if volume.field(field).present() {
                warnings.say(&volume.field(called), why);
            }
        }
        let resources = volume.field("ephemeral.volumeClaimTemplate.spec.resources");
        for list in ["requests", "limits"] {
            warn_of_fraction(&resources.field(list).key("storage"), warnings);
        }
    }
    for volume in volumes.list() {
        warn_of_overlaps(volume, warnings);
    }
}

fn warn_of_overlaps(volume: &Value, warnings: &mut Warnings) {
    for (field, kind, called) in [("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")] {
        let source = child(volume, field);
        let what = format!("{kind} {}", quoted(object::str_at(source, called)));
        compare(volume, &what, &items(source, ""), warnings);
    }
    compare(volume, "DownwardAPI", &items(child(volume, "downwardAPI"), ""), warnings);
    let mut projected = Vec::new();
    for source in cells::list(volume, "projected.sources") {
        if SOURCES.iter().all(|kind| child(source, kind).is_null()) {
            let name = quoted(object::str_at(volume, "name"));
            warnings.add(format!("volume {name} (Projected) has no sources provided"));
        }
        projected.extend(projection(source));
    }
    compare(volume, "Projected", &projected, warnings);
}

/// The files of a ConfigMap, a Secret or a downward API volume.
fn items<'a>(holder: &'a Value, source: &str) -> Vec<Place<'a>> {
    let place = |path: &'a str| Place { path: path.trim_end_matches('/'), source: source.to_owned() };
    cells::list(holder, "items").iter().map(|item| place(object::str_at(item, "path"))).collect()
}

/// The files of one source of a projected volume.
fn projection(source: &Value) -> Vec<Place<'_>> {
    let (config, secret) = (child(source, "configMap"), child(source, "secret"));
    let (downward, token) = (child(source, "downwardAPI"), child(source, "serviceAccountToken"));
    let name = |of: &Value| quoted(object::str_at(of, "name"));
    if !child(config, "items").is_null() {
        items(config, &format!("ConfigMap {}", name(config)))
    } else if !child(secret, "items").is_null() {
        items(secret, &format!("Secret {}", name(secret)))
    } else if !child(downward, "items").is_null() {
        items(downward, "DownwardAPI")
    } else if token.is_null() {
        Vec::new()
    } else {
        let path = object::str_at(token, "path").trim_end_matches('/');
        vec![Place { path, source: "ServiceAccountToken".to_owned() }]
    }
}

/// `what`: the kind of volume, as warnings say it.
fn compare(volume: &Value, what: &str, places: &[Place<'_>], warnings: &mut Warnings) {
    let name = object::str_at(volume, "name");
    for (index, place) in places.iter().enumerate() {
        for other in &places[..index] {
            if !warnings.may_compare() {
                return;
            }
            if place.overlaps(other) {
                let (name, place, other) = (quoted(name), place.shown(), other.shown());
                warnings.add(format!("volume {name} ({what}): overlapping paths: {place} with {other}"));
            }
        }
    }
}
