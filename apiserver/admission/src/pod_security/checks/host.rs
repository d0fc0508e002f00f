//! What pods may not have of their host.

use api_machinery::{Value, object};

use super::super::pods::{Pod, security};
use super::Finding;
use super::text::{finding, names, setters};

pub(super) fn namespaces(pod: Pod<'_>) -> Option<Finding> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| pod.spec.get(field) == Some(&Value::Bool(true)))
        .map(|field| format!("{field}=true"));
    let shared: Vec<String> = shared.collect();
    if shared.is_empty() { None } else { finding("host namespaces", shared.join(", ")) }
}

pub(super) fn windows_process(pod: Pod<'_>) -> Option<Finding> {
    const FIELD: &str = "windowsOptions.hostProcess";
    let yes = Some(&Value::Bool(true));
    let bad = names(pod, |container| security(container, FIELD) == yes);
    let who = setters(pod.security(FIELD) == yes, &bad)?;
    finding("hostProcess", format!("{who} must not set securityContext.windowsOptions.hostProcess=true"))
}

/// Sysctls of a pod's own namespaces, in the order versions allowed them.
const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

pub(super) fn sysctls_0(pod: Pod<'_>) -> Option<Finding> {
    sysctls(pod, 5)
}
pub(super) fn sysctls_27(pod: Pod<'_>) -> Option<Finding> {
    sysctls(pod, 6)
}
pub(super) fn sysctls_29(pod: Pod<'_>) -> Option<Finding> {
    sysctls(pod, 10)
}
pub(super) fn sysctls_32(pod: Pod<'_>) -> Option<Finding> {
    sysctls(pod, SAFE.len())
}

/// All but the first so many of the safe ones.
fn sysctls(pod: Pod<'_>, safe: usize) -> Option<Finding> {
    let set = pod.security("sysctls").and_then(Value::as_array).into_iter().flatten();
    let set = set.map(|one| object::str_at(one, "name"));
    let forbidden: Vec<&str> = set.filter(|name| !SAFE.iter().take(safe).any(|one| one == name)).collect();
    if forbidden.is_empty() { None } else { finding("forbidden sysctls", forbidden.join(", ")) }
}
