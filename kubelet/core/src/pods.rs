//! Small questions about a pod's specification.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Probe};

use crate::observed::Kind;

/// `spec`, which every pod the API server accepted has.
pub fn spec(pod: &Pod) -> Option<&PodSpec> {
    pod.spec.as_ref()
}

pub fn init_containers(pod: &Pod) -> &[Container] {
    spec(pod).and_then(|s| s.init_containers.as_deref()).unwrap_or(&[])
}

pub fn app_containers(pod: &Pod) -> &[Container] {
    spec(pod).map_or(&[], |s| &s.containers)
}

/// Ephemeral containers in the shape of the others (they have no probes, ports or resources).
pub fn ephemeral_containers(pod: &Pod) -> Vec<Container> {
    let list = spec(pod).and_then(|s| s.ephemeral_containers.as_deref()).unwrap_or(&[]);
    list.iter()
        .cloned()
        .map(|c| Container {
            args: c.args,
            command: c.command,
            env: c.env,
            env_from: c.env_from,
            image: c.image,
            image_pull_policy: c.image_pull_policy,
            name: c.name,
            security_context: c.security_context,
            stdin: c.stdin,
            stdin_once: c.stdin_once,
            termination_message_path: c.termination_message_path,
            termination_message_policy: c.termination_message_policy,
            tty: c.tty,
            volume_devices: c.volume_devices,
            volume_mounts: c.volume_mounts,
            working_dir: c.working_dir,
            ..Container::default()
        })
        .collect()
}

/// Every container with its kind: init, app, ephemeral.
pub fn all_containers(pod: &Pod) -> Vec<(Kind, Container)> {
    let init = init_containers(pod).iter().cloned().map(|c| (Kind::Init, c));
    let app = app_containers(pod).iter().cloned().map(|c| (Kind::App, c));
    init.chain(app).chain(ephemeral_containers(pod).into_iter().map(|c| (Kind::Ephemeral, c))).collect()
}

pub fn find_container(pod: &Pod, name: &str) -> Option<(Kind, Container)> {
    all_containers(pod).into_iter().find(|(_, c)| c.name == name)
}

/// An init container that keeps running beside the others.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

pub fn restart_policy(pod: &Pod) -> &str {
    spec(pod).and_then(|s| s.restart_policy.as_deref()).unwrap_or("Always")
}

/// Whether an app container that exited so starts again, by its own rules, its own policy or the pod's.
pub fn should_restart(pod: &Pod, container: &Container, exit_code: i32) -> bool {
    for rule in container.restart_policy_rules.as_deref().unwrap_or(&[]) {
        let Some(codes) = &rule.exit_codes else { continue };
        let listed = codes.values.as_deref().unwrap_or(&[]).contains(&exit_code);
        let matches = if codes.operator == "NotIn" { !listed } else { listed };
        if matches {
            return rule.action == "Restart";
        }
    }
    match container.restart_policy.as_deref().unwrap_or_else(|| restart_policy(pod)) {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}

pub fn host_network(pod: &Pod) -> bool {
    spec(pod).and_then(|s| s.host_network).unwrap_or(false)
}

/// `namespace`, `name`, `uid`.
pub fn identity(pod: &Pod) -> (&str, &str, &str) {
    (
        pod.metadata.namespace.as_deref().unwrap_or("default"),
        pod.metadata.name.as_deref().unwrap_or(""),
        pod.metadata.uid.as_deref().unwrap_or(""),
    )
}

/// `name_namespace(uid)`, as messages name pods.
pub fn long_name(pod: &Pod) -> String {
    let (namespace, name, uid) = identity(pod);
    format!("{name}_{namespace}({uid})")
}

/// Seconds a pod has to end: of its deletion, or of its specification.
pub fn grace_seconds(pod: &Pod) -> i64 {
    let specified = spec(pod).and_then(|s| s.termination_grace_period_seconds).unwrap_or(30);
    pod.metadata.deletion_grace_period_seconds.unwrap_or(specified).max(0)
}

/// Seconds a probe that kills its container leaves it.
pub fn probe_grace(pod: &Pod, probe: Option<&Probe>) -> i64 {
    probe.and_then(|p| p.termination_grace_period_seconds).unwrap_or_else(|| grace_seconds(pod)).max(1)
}

pub fn priority(pod: &Pod) -> i32 {
    spec(pod).and_then(|s| s.priority).unwrap_or(0)
}

/// Whether the cluster depends on it: never evicted, killed last.
pub fn is_critical(pod: &Pod) -> bool {
    const SYSTEM_CRITICAL: i32 = 2_000_000_000;
    priority(pod) >= SYSTEM_CRITICAL
}

/// Phase `Succeeded` or `Failed`.
pub fn is_terminal(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Of what cannot change without making a container anew: its name and image.
pub fn container_hash(container: &Container) -> String {
    let text = [container.name.as_str(), container.image.as_deref().unwrap_or("")].join("\0");
    // FNV-1a, 32 bits: only differs between specifications, protects nothing.
    let hash = text.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    format!("{hash:x}")
}
