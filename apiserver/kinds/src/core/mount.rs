//! Validation of volume mounts and devices of a container.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, object};

use crate::at::{At, child};
use crate::formats;
use crate::list::core_pod_spec::Context;

pub(crate) fn validate(container: &At<'_>, context: &Context<'_>, errors: &mut ErrorList) {
    let (mounts, devices) = (container.field("volumeMounts"), container.field("volumeDevices"));
    let mut paths = HashSet::new();
    for mount in mounts.items() {
        validate_mount(&mount, context, errors);
        validate_mount_modes(&mounts, &mount, container, errors);
        let path = object::str_at(mount.value, "mountPath");
        if !path.is_empty() && paths.contains(&path) {
            mount.field("mountPath").invalid(errors, "must be unique");
        }
        paths.insert(path);
    }
    validate_devices(&devices, &mounts, context, errors);
}

fn validate_mount(mount: &At<'_>, context: &Context<'_>, errors: &mut ErrorList) {
    let (name, path) = (mount.field("name"), mount.field("mountPath"));
    if name.is_empty() {
        name.required(errors, "");
    } else if !context.volumes.contains_key(name.str()) {
        errors.not_found(&name.path(), name.value);
    }
    if path.is_empty() {
        path.required(errors, "");
    }
    let expression = mount.field("subPathExpr");
    if !expression.is_empty() {
        if !mount.field("subPath").is_empty() {
            expression.invalid(errors, "subPathExpr and subPath are mutually exclusive");
        }
        formats::local_descending_path(&expression, errors);
    }
}

/// These errors name the list, not the mount, as upstream's.
fn validate_mount_modes(mounts: &At<'_>, mount: &At<'_>, container: &At<'_>, errors: &mut ErrorList) {
    let in_list = mounts.with(mount.value);
    let sub_path = in_list.field("subPath");
    if !sub_path.is_empty() {
        formats::local_descending_path(&sub_path, errors);
    }
    let propagation = in_list.field("mountPropagation");
    let privileged = child(container.value, "securityContext.privileged") == &Value::Bool(true);
    match propagation.str() {
        "" | "None" | "HostToContainer" => {}
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
    let mounted: HashSet<&str> = mounts.list().iter().map(|mount| object::str_at(mount, "name")).collect();
    for device in devices.items() {
        let (name, path) = (device.field("name"), device.field("devicePath"));
        let (name_text, path_text) = (object::str_at(device.value, "name"), object::str_at(device.value, "devicePath"));
        if name.is_empty() {
            name.required(errors, "");
        }
        match context.volumes.get(name_text) {
            None => errors.not_found(&name.path(), name.value),
            Some(volume) if volume.get("persistentVolumeClaim").is_none() && volume.get("ephemeral").is_none() => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                name.invalid(errors, detail);
            }
            Some(_) => {}
        }
        if path.is_empty() {
            path.required(errors, "");
        }
        if names.contains(&name_text) {
            name.invalid(errors, "must be unique");
        }
        if paths.contains(&path_text) {
            path.invalid(errors, "must be unique");
        }
        formats::no_backsteps(&path, errors);
        if mounted.contains(name_text) {
            name.invalid(errors, "must not already exist in volumeMounts");
        }
        names.insert(name_text);
        paths.insert(path_text);
    }
}
