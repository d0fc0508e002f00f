//! Validation of security contexts.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, object};

use crate::at::{At, child};
use crate::formats;
use crate::list::{core_internal_json as internal, core_windows as windows};

/// Largest user or group id.
const MAX_ID: i64 = i32::MAX as i64;
const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
/// Bytes of a profile's path: `PATH_MAX` without the last.
const MAX_PROFILE: usize = 4095;
/// Bytes of a sysctl's name.
const MAX_SYSCTL: usize = 253;
/// These sysctls are of the host where a namespace is shared.
const NETWORK_SYSCTLS: &str = "net.";
const QUEUE_SYSCTLS: &str = "fs.mqueue.";
const IPC_SYSCTLS: [&str; 10] = [
    "kernel.sem",
    "kernel.shm",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
    "kernel.msg",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
];

fn id(at: &At<'_>, errors: &mut ErrorList) {
    at.between(errors, 0, MAX_ID);
}

pub(crate) fn validate_pod(spec: &At<'_>, errors: &mut ErrorList) {
    let context = spec.field("securityContext");
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(&context.field(field), errors);
    }
    for group in context.field("supplementalGroups").items() {
        id(&group, errors);
    }
    let share = context.field("shareProcessNamespace").with(child(spec.value, "shareProcessNamespace"));
    if share.flag() && spec.field("hostPID").flag() {
        share.invalid(errors, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    validate_sysctls(spec, &context.field("sysctls"), errors);
    context.field("fsGroupChangePolicy").one_of_if_present(errors, &["Always", "OnRootMismatch"]);
    validate_seccomp(&context.field("seccompProfile"), errors);
    windows::validate_options(&context.field("windowsOptions"), errors);
    validate_app_armor(&context.field("appArmorProfile"), errors);
    context.field("supplementalGroupsPolicy").one_of_if_present(errors, &["Merge", "Strict"]);
    // `MountOption` needs SELinuxMount, which is off.
    context.field("seLinuxChangePolicy").one_of_if_present(errors, &["Recursive"]);
}

fn validate_sysctls(spec: &At<'_>, sysctls: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for sysctl in sysctls.items() {
        let name = sysctl.field("name");
        let text = object::str_at(sysctl.value, "name");
        let dotted = dotted(text);
        if text.is_empty() {
            name.required(errors, "");
        } else if !is_sysctl(text) {
            let detail = "must have at most 253 characters and match regex \
                          ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            name.invalid(errors, detail);
        } else if seen.contains(&text) {
            name.duplicate(errors);
        }
        if dotted.starts_with(NETWORK_SYSCTLS) && spec.field("hostNetwork").flag() {
            name.invalid(errors, "may not be specified when 'hostNetwork' is true");
        }
        let of_ipc = dotted.starts_with(QUEUE_SYSCTLS) || IPC_SYSCTLS.contains(&dotted.as_str());
        if of_ipc && spec.field("hostIPC").flag() {
            name.invalid(errors, "may not be specified when 'hostIPC' is true");
        }
        seen.insert(text);
    }
}

/// The name with dots between its parts: where a slash comes first, slashes are what separates and dots are not.
fn dotted(name: &str) -> String {
    if name.find(['.', '/']).is_none_or(|first| name[first..].starts_with('.')) {
        return name.to_owned();
    }
    let swapped = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    name.chars().map(swapped).collect()
}

fn is_sysctl(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= MAX_SYSCTL
        && text.split(['.', '/']).all(|part| {
            part.bytes().all(|c| inner(c) || c == b'-' || c == b'_')
                && part.bytes().next().is_some_and(inner)
                && part.bytes().last().is_some_and(inner)
        })
}

/// A type, and a path exactly when it is a profile of the node's own.
fn validate_seccomp(profile: &At<'_>, errors: &mut ErrorList) {
    if !profile.present() {
        return;
    }
    let (kind, local) = (profile.field("type"), profile.field("localhostProfile"));
    if kind.is_empty() {
        kind.required(errors, "type is required when seccompProfile is set");
    } else {
        kind.one_of(errors, &PROFILES);
    }
    match (kind.str() == "Localhost", local.present()) {
        (true, false) => local.required(errors, "must be set when seccomp type is Localhost"),
        (true, true) => formats::local_descending_path(&local, errors),
        (false, true) => {
            let shown = internal::shown("SeccompProfile", profile.value);
            errors.invalid_printed(&local.path(), &shown, "can only be set when seccomp type is Localhost");
        }
        (false, false) => {}
    }
}

/// As for seccomp, but of what is local the name is not a path.
pub(crate) fn validate_app_armor(profile: &At<'_>, errors: &mut ErrorList) {
    const NEEDED: &str = "must be set when AppArmor type is Localhost";
    if !profile.present() {
        return;
    }
    let (kind, local) = (profile.field("type"), profile.field("localhostProfile"));
    match kind.str() {
        "Localhost" if !local.present() => local.required(errors, NEEDED),
        "Localhost" => {
            if local.str().trim() != local.str() {
                local.invalid(errors, "must not be padded with whitespace");
            } else if local.is_empty() {
                local.required(errors, NEEDED);
            }
            if local.str().len() > MAX_PROFILE {
                local.too_long(errors, MAX_PROFILE);
            }
        }
        "RuntimeDefault" | "Unconfined" if local.present() => {
            local.invalid(errors, "can only be set when AppArmor type is Localhost");
        }
        "RuntimeDefault" | "Unconfined" => {}
        "" => kind.required(errors, "type is required when appArmorProfile is set"),
        _ => kind.unsupported(errors, &PROFILES),
    }
}

pub(crate) fn validate_container(context: &At<'_>, host_users: bool, errors: &mut ErrorList) {
    if !context.present() {
        return;
    }
    id(&context.field("runAsUser"), errors);
    id(&context.field("runAsGroup"), errors);
    let mount = context.field("procMount");
    mount.one_of_if_present(errors, &["Default", "Unmasked"]);
    if host_users && mount.str() == "Unmasked" {
        mount.invalid(errors, "`hostUsers` must be false to use `Unmasked`");
    }
    validate_seccomp(&context.field("seccompProfile"), errors);
    validate_escalation(context, errors);
    windows::validate_options(&context.field("windowsOptions"), errors);
    validate_app_armor(&context.field("appArmorProfile"), errors);
}

fn validate_escalation(context: &At<'_>, errors: &mut ErrorList) {
    if context.field("allowPrivilegeEscalation").value != &Value::Bool(false) {
        return;
    }
    if context.field("privileged").flag() {
        context.invalid(errors, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
    }
    for _ in context.field("capabilities.add").list().iter().filter(|one| *one == "CAP_SYS_ADMIN") {
        context.invalid(errors, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
    }
}
