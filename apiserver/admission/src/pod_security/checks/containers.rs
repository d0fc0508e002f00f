//! What containers may not have.

use std::collections::BTreeSet;

use api_machinery::{Value, object};

use super::super::pods::{Pod, security};
use super::Finding;
use super::text::{containers, finding, names, plural, quoted, texts};

const NET_BIND: &str = "NET_BIND_SERVICE";
/// What container runtimes give by default, without NET_RAW.
const USUAL_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    NET_BIND,
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

pub(super) fn privileged(pod: Pod<'_>) -> Option<Finding> {
    let bad = names(pod, |container| security(container, "privileged") == Some(&Value::Bool(true)));
    if bad.is_empty() {
        return None;
    }
    finding("privileged", format!("{} must not set securityContext.privileged=true", containers(&bad)))
}

pub(super) fn escalation(pod: Pod<'_>) -> Option<Finding> {
    let bad = names(pod, |container| security(container, "allowPrivilegeEscalation") != Some(&Value::Bool(false)));
    if bad.is_empty() {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&bad));
    finding("allowPrivilegeEscalation != false", detail)
}

pub(super) fn escalation_unless_windows(pod: Pod<'_>) -> Option<Finding> {
    if pod.is_windows() { None } else { escalation(pod) }
}

/// The containers that add what is not allowed, and what that is.
fn adding<'a>(pod: Pod<'a>, allowed: impl Fn(&str) -> bool) -> (Vec<&'a str>, BTreeSet<&'a str>) {
    let mut forbidden = BTreeSet::new();
    let bad = names(pod, |container| {
        let added = texts(security(container, "capabilities.add"));
        let wrong: Vec<&str> = added.filter(|capability| !allowed(capability)).collect();
        forbidden.extend(&wrong);
        !wrong.is_empty()
    });
    (bad, forbidden)
}

fn must_not_add(bad: &[&str], forbidden: &BTreeSet<&str>) -> String {
    format!("{} must not include {} in securityContext.capabilities.add", containers(bad), quoted(forbidden))
}

pub(super) fn added_capabilities(pod: Pod<'_>) -> Option<Finding> {
    let (bad, forbidden) = adding(pod, |capability| USUAL_CAPABILITIES.contains(&capability));
    if bad.is_empty() { None } else { finding("non-default capabilities", must_not_add(&bad, &forbidden)) }
}

pub(super) fn kept_capabilities(pod: Pod<'_>) -> Option<Finding> {
    let keeping = names(pod, |container| !texts(security(container, "capabilities.drop")).any(|one| one == "ALL"));
    let (bad, forbidden) = adding(pod, |capability| capability == NET_BIND);
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keeping)));
    }
    if !bad.is_empty() {
        details.push(must_not_add(&bad, &forbidden));
    }
    if details.is_empty() { None } else { finding("unrestricted capabilities", details.join("; ")) }
}

pub(super) fn kept_capabilities_unless_windows(pod: Pod<'_>) -> Option<Finding> {
    if pod.is_windows() { None } else { kept_capabilities(pod) }
}

fn host_ports_of(container: &Value) -> impl Iterator<Item = String> {
    let ports = container.get("ports").and_then(Value::as_array).into_iter().flatten();
    ports.filter_map(|port| port.get("hostPort")?.as_i64()).filter(|port| *port != 0).map(|port| port.to_string())
}

pub(super) fn host_ports(pod: Pod<'_>) -> Option<Finding> {
    let mut ports: BTreeSet<String> = BTreeSet::new();
    let bad = names(pod, |container| {
        ports.extend(host_ports_of(container));
        host_ports_of(container).next().is_some()
    });
    if bad.is_empty() {
        return None;
    }
    let (uses, what) = (plural("uses", "use", bad.len()), plural("hostPort", "hostPorts", ports.len()));
    let ports = ports.into_iter().collect::<Vec<_>>().join(", ");
    finding("hostPort", format!("{} {uses} {what} {ports}", containers(&bad)))
}

/// Hosts a kubelet would be sent to for a container.
fn hosts_of(container: &Value) -> impl Iterator<Item = &str> {
    let handlers = ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle.postStart", "lifecycle.preStop"];
    let handlers = handlers.into_iter().filter_map(move |path| object::at(container, path));
    let hosts =
        handlers.flat_map(|handler| ["httpGet.host", "tcpSocket.host"].map(|path| object::str_at(handler, path)));
    hosts.filter(|host| !host.is_empty())
}

pub(super) fn probed_hosts(pod: Pod<'_>) -> Option<Finding> {
    let mut hosts: BTreeSet<&str> = BTreeSet::new();
    let bad = names(pod, |container| {
        hosts.extend(hosts_of(container));
        hosts_of(container).next().is_some()
    });
    if bad.is_empty() {
        return None;
    }
    let mut bad: Vec<&str> = bad;
    bad.sort_unstable();
    bad.dedup();
    let what = plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len());
    let uses = plural("uses", "use", bad.len());
    finding("probe or lifecycle host", format!("{} {uses} {what} {}", containers(&bad), quoted(&hosts)))
}

pub(super) fn proc_mount(pod: Pod<'_>) -> Option<Finding> {
    let mut types: BTreeSet<&str> = BTreeSet::new();
    let bad = names(pod, |container| {
        let wrong = security(container, "procMount").and_then(Value::as_str).filter(|mount| *mount != "Default");
        types.extend(wrong);
        wrong.is_some()
    });
    if bad.is_empty() {
        return None;
    }
    let detail = format!("{} must not set securityContext.procMount to {}", containers(&bad), quoted(&types));
    finding("procMount", detail)
}

pub(super) fn proc_mount_unless_own_users(pod: Pod<'_>) -> Option<Finding> {
    if pod.has_own_users() { None } else { proc_mount(pod) }
}
