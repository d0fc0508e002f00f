//! CRI configurations from pod specifications.

use std::collections::HashMap;
use std::path::Path;

use k8s_openapi::api::core::v1 as api;
use kubelet_core::{hostname, pods, resources};
use kubelet_cri::{cri, labels};

use crate::agent::Node;
use crate::observe::HASH;
use crate::{cgroups, paths};

/// What a container tells of its pod when nobody else knows it any more; upstream's names.
pub(crate) const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
pub(crate) const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";
pub(crate) const PORTS: &str = "io.kubernetes.container.ports";

/// What of a container only the start knows.
pub(crate) struct Prepared {
    pub(crate) image: String,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) command: Vec<String>,
    pub(crate) args: Vec<String>,
    pub(crate) mounts: Vec<cri::Mount>,
    /// The container whose processes an ephemeral container sees.
    pub(crate) target: Option<String>,
    /// The user of the image, for specifications that name none.
    pub(crate) user: Option<ImageUser>,
}

/// Whom an image runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ImageUser {
    Number(i64),
    Name(String),
}

impl ImageUser {
    pub(crate) fn of(image: &cri::Image) -> Self {
        match (&image.uid, image.username.as_str()) {
            (Some(uid), _) => Self::Number(uid.value),
            (None, "") => Self::Number(0),
            (None, name) => Self::Name(name.to_owned()),
        }
    }
}

/// `Err`: the pod wants what this node cannot give.
pub(crate) fn sandbox(node: &Node, pod: &api::Pod, attempt: u32) -> Result<cri::PodSandboxConfig, String> {
    if pods::spec(pod).and_then(|s| s.host_users) == Some(false) {
        return Err("user namespaces (hostUsers: false) are not supported by this node".to_owned());
    }
    let (namespace, name, uid) = pods::identity(pod);
    let mut labels: HashMap<_, _> = pod.metadata.labels.clone().into_iter().flatten().collect();
    for (key, value) in [(labels::POD_NAME, name), (labels::POD_NAMESPACE, namespace), (labels::POD_UID, uid)] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    Ok(cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: name.to_owned(),
            uid: uid.to_owned(),
            namespace: namespace.to_owned(),
            attempt,
        }),
        hostname: if pods::host_network(pod) { String::new() } else { hostname::kernel(pod)? },
        log_directory: if node.hollow { String::new() } else { paths::log_dir(node, pod).display().to_string() },
        dns_config: if node.hollow { None } else { Some(crate::dns::config(pod)) },
        port_mappings: port_mappings(pod),
        labels,
        annotations: pod.metadata.annotations.clone().into_iter().flatten().collect(),
        linux: Some(linux_sandbox(node, pod)),
    })
}

fn linux_sandbox(node: &Node, pod: &api::Pod) -> cri::LinuxPodSandboxConfig {
    let security = pods::spec(pod).and_then(|s| s.security_context.clone()).unwrap_or_default();
    let privileged = pods::all_containers(pod)
        .iter()
        .any(|(_, c)| c.security_context.as_ref().and_then(|s| s.privileged).unwrap_or(false));
    cri::LinuxPodSandboxConfig {
        cgroup_parent: cgroups::parent(&node.config.cgroup_root, pod),
        security_context: Some(cri::LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces(pod)),
            run_as_user: security.run_as_user.map(|value| cri::Int64Value { value }),
            run_as_group: security.run_as_group.map(|value| cri::Int64Value { value }),
            supplemental_groups: groups(&security),
            supplemental_groups_policy: groups_policy(&security),
            privileged,
            seccomp: Some(profile(cri::security_profile::ProfileType::RuntimeDefault, "")),
            ..Default::default()
        }),
        sysctls: security.sysctls.into_iter().flatten().map(|s| (s.name, s.value)).collect(),
        ..Default::default()
    }
}

fn namespaces(pod: &api::Pod) -> cri::NamespaceOption {
    let spec = pods::spec(pod);
    let host = |flag: Option<bool>, default| if flag == Some(true) { cri::NamespaceMode::Node } else { default } as i32;
    let shared = spec.and_then(|s| s.share_process_namespace) == Some(true);
    let pid = if shared { cri::NamespaceMode::Pod } else { cri::NamespaceMode::Container };
    cri::NamespaceOption {
        network: host(spec.and_then(|s| s.host_network), cri::NamespaceMode::Pod),
        pid: host(spec.and_then(|s| s.host_pid), pid),
        ipc: host(spec.and_then(|s| s.host_ipc), cri::NamespaceMode::Pod),
        target_id: String::new(),
    }
}

fn port_mappings(pod: &api::Pod) -> Vec<cri::PortMapping> {
    if pods::host_network(pod) {
        return Vec::new();
    }
    let sidecars = pods::init_containers(pod).iter().filter(|c| pods::is_sidecar(c));
    let ports = sidecars.chain(pods::app_containers(pod)).flat_map(|c| c.ports.iter().flatten());
    let mapping = |port: &api::ContainerPort| cri::PortMapping {
        protocol: match port.protocol.as_deref() {
            Some("UDP") => cri::Protocol::Udp,
            Some("SCTP") => cri::Protocol::Sctp,
            _ => cri::Protocol::Tcp,
        } as i32,
        container_port: port.container_port,
        host_port: port.host_port.unwrap_or(0),
        host_ip: port.host_ip.clone().unwrap_or_default(),
    };
    ports.filter(|p| p.host_port.is_some_and(|p| p > 0)).map(mapping).collect()
}

pub(crate) fn container(
    node: &Node,
    pod: &api::Pod,
    spec: &api::Container,
    attempt: u32,
    prepared: Prepared,
) -> Result<cri::ContainerConfig, String> {
    let (namespace, name, uid) = pods::identity(pod);
    let own = [
        (labels::POD_NAME, name),
        (labels::POD_NAMESPACE, namespace),
        (labels::POD_UID, uid),
        (labels::CONTAINER_NAME, &spec.name),
    ];
    Ok(cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: spec.name.clone(), attempt }),
        image: Some(cri::ImageSpec {
            image: prepared.image,
            user_specified_image: spec.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: prepared.command,
        args: prepared.args,
        working_dir: spec.working_dir.clone().unwrap_or_default(),
        envs: prepared.env.into_iter().map(|(key, value)| cri::KeyValue { key, value }).collect(),
        mounts: prepared.mounts,
        devices: Vec::new(),
        labels: own.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        annotations: annotations(pod, spec, attempt),
        log_path: paths::container_log(&spec.name, attempt),
        stdin: spec.stdin.unwrap_or(false),
        stdin_once: spec.stdin_once.unwrap_or(false),
        tty: spec.tty.unwrap_or(false),
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(linux_resources(node, pod, spec)),
            security_context: Some(linux_security(node, pod, spec, prepared.target.as_deref(), prepared.user)?),
        }),
    })
}

/// What is to be known of a container without its pod.
fn annotations(pod: &api::Pod, spec: &api::Container, attempt: u32) -> HashMap<String, String> {
    let message_path = spec.termination_message_path.clone().unwrap_or_else(|| "/dev/termination-log".into());
    let mut annotations = vec![
        (HASH, pods::container_hash(spec)),
        ("io.kubernetes.container.restartCount", attempt.to_string()),
        ("io.kubernetes.container.terminationMessagePath", message_path),
        (GRACE, pods::grace_seconds(pod).to_string()),
    ];
    let hook = spec.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref());
    annotations.extend(hook.and_then(|hook| serde_json::to_string(hook).ok()).map(|text| (PRE_STOP, text)));
    let ports = spec.ports.as_ref().filter(|ports| !ports.is_empty());
    annotations.extend(ports.and_then(|ports| serde_json::to_string(ports).ok()).map(|text| (PORTS, text)));
    annotations.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn linux_resources(node: &Node, pod: &api::Pod, spec: &api::Container) -> cri::LinuxContainerResources {
    let limits = resources::container_limits(pod, spec, node.machine.memory);
    cri::LinuxContainerResources {
        cpu_period: resources::CPU_PERIOD,
        cpu_quota: if limits.cpu_quota == 0 { -1 } else { limits.cpu_quota },
        cpu_shares: limits.cpu_shares,
        memory_limit_in_bytes: limits.memory,
        oom_score_adj: limits.oom_score_adj,
        ..Default::default()
    }
}

fn groups(security: &api::PodSecurityContext) -> Vec<i64> {
    let mut groups: Vec<i64> = security.supplemental_groups.clone().unwrap_or_default();
    groups.extend(security.fs_group);
    groups.sort_unstable();
    groups.dedup();
    groups
}

fn groups_policy(security: &api::PodSecurityContext) -> i32 {
    match security.supplemental_groups_policy.as_deref() {
        Some("Strict") => cri::SupplementalGroupsPolicy::Strict as i32,
        _ => cri::SupplementalGroupsPolicy::Merge as i32,
    }
}

fn linux_security(
    node: &Node,
    pod: &api::Pod,
    spec: &api::Container,
    target: Option<&str>,
    image_user: Option<ImageUser>,
) -> Result<cri::LinuxContainerSecurityContext, String> {
    let of_pod = pods::spec(pod).and_then(|s| s.security_context.clone()).unwrap_or_default();
    let own = spec.security_context.clone().unwrap_or_default();
    let (user, username) = match (own.run_as_user.or(of_pod.run_as_user), image_user) {
        (Some(user), _) | (None, Some(ImageUser::Number(user))) => (Some(user), String::new()),
        (None, Some(ImageUser::Name(name))) => (None, name),
        (None, None) => (None, String::new()),
    };
    let group = own.run_as_group.or(of_pod.run_as_group);
    let privileged = own.privileged.unwrap_or(false);
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let seccomp = own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref());
    let apparmor = own.app_armor_profile.as_ref().or(of_pod.app_armor_profile.as_ref());
    let list = |paths: &[&str]| -> Vec<String> {
        if privileged || unmasked { Vec::new() } else { paths.iter().map(|p| (*p).to_owned()).collect() }
    };
    Ok(cri::LinuxContainerSecurityContext {
        capabilities: own.capabilities.map(|c| cri::Capability {
            add_capabilities: c.add.unwrap_or_default(),
            drop_capabilities: c.drop.unwrap_or_default(),
            add_ambient_capabilities: Vec::new(),
        }),
        privileged,
        namespace_options: Some(match target {
            Some(id) => {
                let (pid, target_id) = (cri::NamespaceMode::Target as i32, id.to_owned());
                cri::NamespaceOption { pid, target_id, ..namespaces(pod) }
            }
            None => namespaces(pod),
        }),
        run_as_user: user.map(|value| cri::Int64Value { value }),
        run_as_username: username,
        run_as_group: group.map(|value| cri::Int64Value { value }),
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups: groups(&of_pod),
        supplemental_groups_policy: groups_policy(&of_pod),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: list(MASKED),
        readonly_paths: list(READ_ONLY),
        seccomp: Some(seccomp_profile(&node.config.root_dir.join("seccomp"), privileged, seccomp)?),
        apparmor: apparmor.map(|p| match p.type_.as_str() {
            "Localhost" => {
                profile(cri::security_profile::ProfileType::Localhost, p.localhost_profile.as_deref().unwrap_or(""))
            }
            "Unconfined" => profile(cri::security_profile::ProfileType::Unconfined, ""),
            _ => profile(cri::security_profile::ProfileType::RuntimeDefault, ""),
        }),
        ..Default::default()
    })
}

/// Parts of /proc and /sys that containers do not see.
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Parts they cannot write.
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn profile(kind: cri::security_profile::ProfileType, reference: &str) -> cri::SecurityProfile {
    cri::SecurityProfile { profile_type: kind as i32, localhost_ref: reference.to_owned() }
}

/// Profiles of the node's own are files below `dir`.
fn seccomp_profile(
    dir: &Path,
    privileged: bool,
    wished: Option<&api::SeccompProfile>,
) -> Result<cri::SecurityProfile, String> {
    use cri::security_profile::ProfileType;
    Ok(match wished.map(|w| (w.type_.as_str(), w.localhost_profile.as_deref())) {
        _ if privileged => profile(ProfileType::Unconfined, ""),
        Some(("RuntimeDefault", _)) => profile(ProfileType::RuntimeDefault, ""),
        Some(("Localhost", Some(file))) if !file.is_empty() => {
            profile(ProfileType::Localhost, &dir.join(file).display().to_string())
        }
        Some(("Localhost", _)) => {
            return Err("localhostProfile must be set if seccompProfile type is Localhost.".into());
        }
        _ => profile(ProfileType::Unconfined, ""),
    })
}

/// `runAsNonRoot` against what the image and the specification say.
pub(crate) fn check_non_root(pod: &api::Pod, spec: &api::Container, image: Option<&cri::Image>) -> Result<(), String> {
    let of_pod = pods::spec(pod).and_then(|s| s.security_context.as_ref());
    let own = spec.security_context.as_ref();
    let wanted = own.and_then(|s| s.run_as_non_root).or(of_pod.and_then(|s| s.run_as_non_root));
    if wanted != Some(true) {
        return Ok(());
    }
    let name = pods::long_name(pod);
    let suffix = format!("(pod: \"{name}\", container: {})", spec.name);
    match own.and_then(|s| s.run_as_user).or(of_pod.and_then(|s| s.run_as_user)) {
        Some(0) => return Err(format!("container's runAsUser breaks non-root policy {suffix}")),
        Some(_) => return Ok(()),
        None => {}
    }
    let Some(image) = image else { return Ok(()) };
    match (&image.uid, image.username.as_str()) {
        (Some(uid), _) if uid.value == 0 => {
            Err(format!("container has runAsNonRoot and image will run as root {suffix}"))
        }
        (None, "") => Err(format!("container has runAsNonRoot and image will run as root {suffix}")),
        (None, user) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root {suffix}"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn images_name_their_user_in_one_way_or_another() {
        let image = |uid: Option<i64>, username: &str| {
            let uid = uid.map(|value| cri::Int64Value { value });
            ImageUser::of(&cri::Image { uid, username: username.to_owned(), ..Default::default() })
        };
        assert_eq!(image(Some(7), ""), ImageUser::Number(7));
        assert_eq!(image(None, "app"), ImageUser::Name("app".to_owned()));
        assert_eq!(image(None, ""), ImageUser::Number(0), "nobody named is root");
    }

    #[test]
    fn containers_tell_how_they_are_to_end() {
        let pod: api::Pod = serde_json::from_value(json!({"spec": {"terminationGracePeriodSeconds": 7, "containers": [
            {"name": "c", "lifecycle": {"preStop": {"exec": {"command": ["x"]}}}, "ports": [{"containerPort": 80}]},
        ]}}))
        .expect("a pod");
        let told = annotations(&pod, &pods::app_containers(&pod)[0], 3);
        assert_eq!(told[GRACE], "7");
        assert_eq!(told[PRE_STOP], r#"{"exec":{"command":["x"]}}"#);
        assert_eq!(told[PORTS], r#"[{"containerPort":80}]"#);
    }

    #[test]
    fn seccomp_profiles_are_below_the_root_directory() {
        let wished = api::SeccompProfile { type_: "Localhost".into(), localhost_profile: Some("a/b.json".into()) };
        let profile = seccomp_profile(Path::new("/root-dir/seccomp"), false, Some(&wished)).expect("a profile");
        assert_eq!(profile.localhost_ref, "/root-dir/seccomp/a/b.json");
        let nameless = api::SeccompProfile { localhost_profile: Some(String::new()), ..wished };
        assert!(seccomp_profile(Path::new("/root-dir/seccomp"), false, Some(&nameless)).is_err());
    }
}
