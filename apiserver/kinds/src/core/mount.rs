//! Validation of volume mounts and devices of a container.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, object};

use crate::at::{At, child};
use crate::formats;
use crate::list::core_pod_spec::Context;

pub(crate) fn validate(container: &At<'_>, context: &Context<'_>, errors: &mut ErrorList) {
    let (mounts, devices) = (container.field("volumeMounts"), container.field("volumeDevices"));
    let mut paths = HashSet::new();
    let (names, places) = (texts(devices.list(), "name"), texts(devices.list(), "devicePath"));
    for mount in mounts.items() {
        validate_mount(&mount, &mut paths, context, errors);
        validate_not_a_device(&mount, &names, &places, errors);
        validate_mount_modes(&mounts, &mount, container, errors);
    }
    validate_devices(&devices, &mounts, context, errors);
}

fn validate_mount<'a>(mount: &At<'a>, paths: &mut HashSet<&'a str>, context: &Context<'_>, errors: &mut ErrorList) {
    let (name, path) = (mount.field("name"), mount.field("mountPath"));
    name.need(errors);
    if !context.volumes.contains_key(name.str()) {
        errors.not_found(&name.path(), &Value::from(name.str()));
    }
    path.need(errors);
    if !paths.insert(object::str_at(mount.value, "mountPath")) {
        errors.invalid(&path.path(), &Value::from(path.str()), "must be unique");
    }
}

/// A field of every element: lists are long, so that none is looked through for each element of another.
fn texts<'v>(list: &'v [Value], field: &str) -> HashSet<&'v str> {
    list.iter().map(|one| object::str_at(one, field)).collect()
}

/// A volume is in a container as files or as a device, and so is a path.
fn validate_not_a_device(mount: &At<'_>, names: &HashSet<&str>, places: &HashSet<&str>, errors: &mut ErrorList) {
    let (name, path) = (mount.field("name"), mount.field("mountPath"));
    if names.contains(name.str()) {
        name.invalid(errors, "must not already exist in volumeDevices");
    }
    if places.contains(path.str()) {
        path.invalid(errors, "must not already exist as a path in volumeDevices");
    }
}

/// These errors name the list, not the mount, as upstream's.
fn validate_mount_modes(mounts: &At<'_>, mount: &At<'_>, container: &At<'_>, errors: &mut ErrorList) {
    let in_list = mounts.with(mount.value);
    let sub_path = in_list.field("subPath");
    if !sub_path.is_empty() {
        formats::local_descending_path(&sub_path, errors);
    }
    let expression = in_list.field("subPathExpr");
    if !expression.is_empty() {
        if !sub_path.is_empty() {
            mount.field("subPathExpr").invalid(errors, "subPathExpr and subPath are mutually exclusive");
        }
        formats::local_descending_path(&expression, errors);
    }
    let propagation = in_list.field("mountPropagation");
    let privileged = child(container.value, "securityContext.privileged") == &Value::Bool(true);
    match propagation.str() {
        "" if !propagation.present() => {}
        "None" | "HostToContainer" => {}
        "Bidirectional" if privileged => {}
        "Bidirectional" => {
            propagation.forbidden(errors, "Bidirectional mount propagation is available only to privileged containers");
        }
        _ => propagation.unsupported(errors, &["Bidirectional", "HostToContainer", "None"]),
    }
    let recursive = in_list.field("recursiveReadOnly");
    if !recursive.present() || recursive.str() == "Disabled" {
        return;
    }
    if !["Enabled", "IfPossible"].contains(&recursive.str()) {
        return recursive.unsupported(errors, &["Disabled", "Enabled", "IfPossible"]);
    }
    if !in_list.field("readOnly").flag() {
        recursive.forbidden(errors, "may only be specified when readOnly is true");
    }
    if !matches!(propagation.str(), "" | "None") {
        recursive.forbidden(errors, "may only be specified when mountPropagation is None or not specified");
    }
}

fn validate_devices(devices: &At<'_>, mounts: &At<'_>, context: &Context<'_>, errors: &mut ErrorList) {
    let (mut names, mut paths) = (HashSet::new(), HashSet::new());
    let (mounted_names, mounted_paths) = (texts(mounts.list(), "name"), texts(mounts.list(), "mountPath"));
    for device in devices.items() {
        let (name, path) = (device.field("name"), device.field("devicePath"));
        let (name_text, path_text) = (object::str_at(device.value, "name"), object::str_at(device.value, "devicePath"));
        name.need(errors);
        if names.contains(name_text) {
            name.invalid(errors, "must be unique");
        }
        match context.volumes.get(name_text) {
            None => errors.not_found(&name.path(), &Value::from(name_text)),
            Some(volume) if volume.get("persistentVolumeClaim").is_none() && volume.get("ephemeral").is_none() => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                name.invalid(errors, detail);
            }
            Some(_) => {}
        }
        path.need(errors);
        if paths.contains(path_text) {
            path.invalid(errors, "must be unique");
        }
        if path_text.split('/').any(|part| part == "..") {
            path.invalid(errors, "can not contain backsteps ('..')");
        } else {
            paths.insert(path_text);
        }
        if mounted_names.contains(name_text) {
            name.invalid(errors, "must not already exist in volumeMounts");
        }
        if mounted_paths.contains(path_text) {
            path.invalid(errors, "must not already exist as a path in volumeMounts");
        }
        if !name_text.is_empty() {
            names.insert(name_text);
        }
    }
}
