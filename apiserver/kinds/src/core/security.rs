//! Validation of security contexts.

use std::collections::HashSet;

use api_machinery::{ErrorList, Value, object};

use crate::at::{At, child};

/// Largest user or group id.
const MAX_ID: i64 = i32::MAX as i64;
const SECCOMP: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
/// Sysctls of these groups are of the host where a namespace is shared.
const NETWORK_SYSCTLS: &str = "net.";
const IPC_SYSCTLS: [&str; 3] = ["kernel.shm", "kernel.msg", "kernel.sem"];

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
    context.field("supplementalGroupsPolicy").one_of(errors, &["Merge", "Strict"]);
    context.field("fsGroupChangePolicy").one_of(errors, &["Always", "OnRootMismatch"]);
    context.field("seLinuxChangePolicy").one_of(errors, &["MountOption", "Recursive"]);
    validate_namespaces(spec, &context, errors);
    validate_sysctls(spec, &context.field("sysctls"), errors);
    validate_profile(&context.field("seccompProfile"), &SECCOMP, errors);
    validate_profile(&context.field("appArmorProfile"), &SECCOMP, errors);
}

fn validate_namespaces(spec: &At<'_>, context: &At<'_>, errors: &mut ErrorList) {
    let share = context.field("shareProcessNamespace").with(child(spec.value, "shareProcessNamespace"));
    if share.flag() && spec.field("hostPID").flag() {
        share.invalid(errors, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    if spec.field("hostUsers").value != &Value::Bool(false) {
        return;
    }
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        let at = spec.field(field);
        if at.flag() {
            at.forbidden(errors, "when `hostUsers` is false");
        }
    }
}

fn validate_sysctls(spec: &At<'_>, sysctls: &At<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for sysctl in sysctls.items() {
        let name = sysctl.field("name");
        let text = object::str_at(sysctl.value, "name");
        if text.is_empty() {
            name.required(errors, "");
        } else if !is_sysctl(text) {
            let detail = "must have at most 253 characters and match regex \
                          ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            name.invalid(errors, detail);
        } else if seen.contains(&text) {
            name.duplicate(errors);
        }
        if text.starts_with(NETWORK_SYSCTLS) && spec.field("hostNetwork").flag() {
            name.invalid(errors, "may not be specified when 'hostNetwork' is true");
        }
        let of_ipc = IPC_SYSCTLS.iter().any(|prefix| text.starts_with(prefix)) || text.starts_with("fs.mqueue.");
        if of_ipc && spec.field("hostIPC").flag() {
            name.invalid(errors, "may not be specified when 'hostIPC' is true");
        }
        seen.insert(text);
    }
}

fn is_sysctl(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= 253
        && text.split(['.', '/']).all(|part| {
            part.bytes().all(|c| inner(c) || c == b'-' || c == b'_')
                && part.bytes().next().is_some_and(inner)
                && part.bytes().last().is_some_and(inner)
        })
}

/// Seccomp and AppArmor profiles: a type, and a name exactly when it is a local one.
fn validate_profile(profile: &At<'_>, types: &[&str], errors: &mut ErrorList) {
    if !profile.present() {
        return;
    }
    let (kind, local) = (profile.field("type"), profile.field("localhostProfile"));
    match kind.str() {
        "" => kind.required(errors, "type is required when it is set"),
        "Localhost" if !local.present() => {
            local.required(errors, "must be set when profile type is Localhost");
        }
        "Localhost" => crate::formats::local_descending_path(&local, errors),
        text if !types.contains(&text) => kind.unsupported(errors, types),
        _ if local.present() => local.invalid(errors, "can only be set when profile type is Localhost"),
        _ => {}
    }
}

pub(crate) fn validate_container(context: &At<'_>, host_users: bool, errors: &mut ErrorList) {
    if !context.present() {
        return;
    }
    id(&context.field("runAsUser"), errors);
    id(&context.field("runAsGroup"), errors);
    let mount = context.field("procMount");
    match mount.str() {
        "" | "Default" => {}
        "Unmasked" if host_users => mount.invalid(errors, "`hostUsers` must be false to use `Unmasked`"),
        "Unmasked" => {}
        _ => mount.unsupported(errors, &["Default", "Unmasked"]),
    }
    validate_profile(&context.field("seccompProfile"), &SECCOMP, errors);
    validate_profile(&context.field("appArmorProfile"), &SECCOMP, errors);
    if context.field("allowPrivilegeEscalation").value != &Value::Bool(false) {
        return;
    }
    if context.field("privileged").flag() {
        context.invalid(errors, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
    }
    if context.field("capabilities.add").list().iter().any(|one| one == "CAP_SYS_ADMIN") {
        context.invalid(errors, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
    }
}
