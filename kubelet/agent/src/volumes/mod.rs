//! Volumes of pods: made before the sandbox, kept up to date, removed with the pod.

mod atomic;
mod host_path;
mod payload;
mod sub_path;
mod tokens;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, Pod, Volume, VolumeMount};
use kubelet_core::{env, hostname, pods};
use kubelet_cri::cri;

use crate::agent::Node;
use crate::{mounts, paths};

/// What is kept of a pod's volumes between refreshes.
#[derive(Default)]
pub(crate) struct PodVolumes {
    tokens: tokens::Tokens,
}

/// Kinds whose content is the kubelet's: containers only read them.
const READ_ONLY: &[&str] =
    &["kubernetes.io~configmap", "kubernetes.io~secret", "kubernetes.io~projected", "kubernetes.io~downward-api"];
/// Kinds that may hold secrets: never on a disk.
const IN_MEMORY: &[&str] = &["kubernetes.io~secret", "kubernetes.io~projected", "kubernetes.io~downward-api"];

/// The directory of upstream's plugin of this volume; `None`: of a kind we do not have.
fn plugin(volume: &Volume) -> Option<&'static str> {
    Some(match volume {
        v if v.empty_dir.is_some() => "kubernetes.io~empty-dir",
        v if v.config_map.is_some() => "kubernetes.io~configmap",
        v if v.secret.is_some() => "kubernetes.io~secret",
        v if v.projected.is_some() => "kubernetes.io~projected",
        v if v.downward_api.is_some() => "kubernetes.io~downward-api",
        v if v.host_path.is_some() => "kubernetes.io~host-path",
        _ => return None,
    })
}

fn volumes(pod: &Pod) -> &[Volume] {
    pods::spec(pod).and_then(|s| s.volumes.as_deref()).unwrap_or(&[])
}

fn volume_dir(node: &Node, pod: &Pod, volume: &Volume) -> Option<PathBuf> {
    if let Some(host) = &volume.host_path {
        return Some(PathBuf::from(&host.path));
    }
    Some(paths::pod_dir(node, pod).join("volumes").join(plugin(volume)?).join(&volume.name))
}

impl PodVolumes {
    /// Makes every volume, or brings it up to date. `first`: nothing has been made yet.
    /// `Err`: the message of a `FailedMount` event.
    pub(crate) async fn set_up(&mut self, node: &Node, pod: &Pod, ips: &[String], first: bool) -> Result<(), String> {
        if first {
            fs::create_dir_all(paths::pod_dir(node, pod)).map_err(|e| e.to_string())?;
        }
        for volume in volumes(pod) {
            self.set_up_one(node, pod, volume, ips, first)
                .await
                .map_err(|error| format!("MountVolume.SetUp failed for volume {:?} : {error}", volume.name))?;
        }
        Ok(())
    }

    async fn set_up_one(
        &mut self,
        node: &Node,
        pod: &Pod,
        volume: &Volume,
        ips: &[String],
        first: bool,
    ) -> Result<(), String> {
        let dir = volume_dir(node, pod, volume).ok_or("this kind of volume is not supported by the node")?;
        if let Some(host) = &volume.host_path {
            return if first { host_path::check(&dir, host.type_.as_deref().unwrap_or("")) } else { Ok(()) };
        }
        if let Some(empty) = &volume.empty_dir {
            return if first { empty_dir(&dir, empty, fs_group(pod)) } else { Ok(()) };
        }
        if first && plugin(volume).is_some_and(|p| IN_MEMORY.contains(&p)) {
            fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
            keep_in_memory(&dir, None)?;
        }
        let age = if first { crate::objects::FRESH } else { std::time::Duration::from_secs(10) };
        let source = payload::Source { node, pod, ips, age };
        let files = payload::collect(&source, volume, &mut self.tokens).await?;
        atomic::write(&dir, &files, fs_group(pod)).map_err(|e| e.to_string())
    }

    /// The mounts of a container, with its hosts file and its termination log.
    pub(crate) fn mounts(
        &self,
        node: &Node,
        pod: &Pod,
        spec: &Container,
        attempt: u32,
        ips: &[String],
        environment: &BTreeMap<String, String>,
    ) -> Result<Vec<cri::Mount>, String> {
        let mut mounts = Vec::new();
        for (index, mount) in spec.volume_mounts.iter().flatten().enumerate() {
            let place = paths::sub_path(node, pod, &mount.name, &spec.name, index);
            mounts.push(volume_mount(node, pod, mount, &place, environment)?);
        }
        let text = |e: std::io::Error| e.to_string();
        if !mounts.iter().any(|m| m.container_path == "/etc/hosts") {
            let hosts = paths::hosts_file(node, pod);
            let of_node = fs::read_to_string("/etc/hosts").unwrap_or_default();
            fs::write(&hosts, hostname::hosts(pod, ips, &of_node)).map_err(text)?;
            fs::set_permissions(&hosts, fs::Permissions::from_mode(0o644)).map_err(text)?;
            mounts.push(bind("/etc/hosts", &hosts));
        }
        let message_path = spec.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
        if !message_path.is_empty() {
            let file = paths::termination_log(node, pod, &spec.name, attempt);
            if let Some(dir) = file.parent() {
                fs::create_dir_all(dir).map_err(text)?;
            }
            fs::write(&file, b"").map_err(text)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).map_err(text)?;
            mounts.push(bind(message_path, &file));
        }
        Ok(mounts)
    }

    /// Removes everything of the pod but its logs.
    pub(crate) async fn tear_down(&mut self, node: &Node, pod: &Pod) -> Result<(), String> {
        if node.hollow || pods::identity(pod).2.is_empty() {
            return Ok(());
        }
        let dir = paths::pod_dir(node, pod);
        let removed = tokio::task::spawn_blocking(move || remove(&dir)).await;
        removed.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
    }
}

fn bind(container_path: &str, host_path: &Path) -> cri::Mount {
    cri::Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.display().to_string(),
        ..Default::default()
    }
}

/// `place`: where a part of the volume is shown, if that is what is mounted.
fn volume_mount(
    node: &Node,
    pod: &Pod,
    mount: &VolumeMount,
    place: &Path,
    environment: &BTreeMap<String, String>,
) -> Result<cri::Mount, String> {
    let volume = volumes(pod).iter().find(|v| v.name == mount.name);
    let volume = volume.ok_or_else(|| format!("cannot find volume {:?} to mount into container", mount.name))?;
    let dir =
        volume_dir(node, pod, volume).ok_or_else(|| format!("volume {:?} is of an unsupported kind", mount.name))?;
    let sub_path = match (&mount.sub_path_expr, &mount.sub_path) {
        (Some(expression), _) if !expression.is_empty() => {
            Some(env::expand(expression, |name| environment.get(name).map(String::as_str)))
        }
        (_, Some(path)) if !path.is_empty() => Some(path.clone()),
        _ => None,
    };
    let host = match sub_path {
        Some(sub) => sub_path::prepare(&dir, &sub, place)
            .map(|()| place.to_owned())
            .map_err(|e| format!("failed to prepare subPath for volumeMount {:?}: {e}", mount.name))?,
        None => dir,
    };
    let owned = plugin(volume).is_some_and(|p| READ_ONLY.contains(&p));
    let propagation = match mount.mount_propagation.as_deref() {
        Some("Bidirectional") => cri::MountPropagation::PropagationBidirectional,
        Some("HostToContainer") => cri::MountPropagation::PropagationHostToContainer,
        _ => cri::MountPropagation::PropagationPrivate,
    };
    let container_path =
        if mount.mount_path.starts_with('/') { mount.mount_path.clone() } else { format!("/{}", mount.mount_path) };
    Ok(cri::Mount {
        container_path,
        host_path: host.display().to_string(),
        readonly: owned || mount.read_only.unwrap_or(false),
        propagation: propagation as i32,
        ..Default::default()
    })
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let group = pods::spec(pod)?.security_context.as_ref()?.fs_group?;
    u32::try_from(group).ok()
}

/// A directory of its own, on disk or in memory.
fn empty_dir(dir: &Path, source: &EmptyDirVolumeSource, group: Option<u32>) -> Result<(), String> {
    let text = |e: std::io::Error| e.to_string();
    fs::create_dir_all(dir).map_err(text)?;
    if source.medium.as_deref() == Some("Memory") {
        let size = source.size_limit.as_ref().and_then(|q| api_machinery::quantity::Quantity::parse(&q.0).ok());
        keep_in_memory(dir, size.map(|q| q.value()))?;
    }
    if let Some(group) = group {
        std::os::unix::fs::chown(dir, None, Some(group)).map_err(text)?;
    }
    // The group's bit is inherited by what is made inside.
    let mode = if group.is_some() { 0o2777 } else { 0o777 };
    fs::set_permissions(dir, fs::Permissions::from_mode(mode)).map_err(text)
}

/// Mounts a tmpfs of at most `size` bytes, unless there is one.
fn keep_in_memory(dir: &Path, size: Option<i64>) -> Result<(), String> {
    if mounts::below(dir).map_err(|e| e.to_string())?.iter().any(|point| point == dir) {
        return Ok(());
    }
    let options = size.map(|size| format!("size={size}"));
    let flags = nix::mount::MsFlags::MS_NOSUID | nix::mount::MsFlags::MS_NODEV;
    nix::mount::mount(Some("tmpfs"), dir, Some("tmpfs"), flags, options.as_deref())
        .map_err(|e| format!("mounting tmpfs: {e}"))
}

/// Removes a pod's directory; never what is mounted in it.
fn remove(dir: &Path) -> std::io::Result<()> {
    for point in mounts::below(dir)? {
        nix::mount::umount2(&point, nix::mount::MntFlags::UMOUNT_NOFOLLOW)?;
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes files of pods that are no longer known.
pub(crate) fn remove_leftovers(root: &Path, known: &dyn Fn(&str) -> bool) {
    let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect::<Vec<_>>();
    let name = |path: &Path| path.file_name().and_then(|n| n.to_str()).unwrap_or("").to_owned();
    for dir in entries(&root.join("pods")) {
        if !known(&name(&dir))
            && let Err(error) = remove(&dir)
        {
            tracing::warn!(%error, dir = %dir.display(), "removing files of a pod that is gone");
        }
    }
    for dir in entries(&root.join("logs")) {
        let name = name(&dir);
        let uid = name.rsplit('_').next().unwrap_or("");
        if !known(uid) {
            let _ = fs::remove_dir_all(&dir);
        }
    }
}
