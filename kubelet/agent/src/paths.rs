//! Where things of pods are, below the root directory.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use kubelet_core::pods;

use crate::agent::Node;

pub(crate) fn pod_dir(node: &Node, pod: &Pod) -> PathBuf {
    node.config.root_dir.join("pods").join(pods::identity(pod).2)
}

/// `ROOT/logs/NAMESPACE_NAME_UID`
pub(crate) fn log_dir(node: &Node, pod: &Pod) -> PathBuf {
    let (namespace, name, uid) = pods::identity(pod);
    node.config.root_dir.join("logs").join(format!("{namespace}_{name}_{uid}"))
}

/// A container's log, relative to the pod's.
pub(crate) fn container_log(name: &str, attempt: u32) -> String {
    format!("{name}/{attempt}.log")
}

/// The file mounted at `terminationMessagePath`.
pub(crate) fn termination_log(node: &Node, pod: &Pod, name: &str, attempt: u32) -> PathBuf {
    pod_dir(node, pod).join("containers").join(name).join(attempt.to_string())
}

pub(crate) fn hosts_file(node: &Node, pod: &Pod) -> PathBuf {
    pod_dir(node, pod).join("etc-hosts")
}

/// Where a container is shown a part of a volume: the `index`th of its mounts.
pub(crate) fn sub_path(node: &Node, pod: &Pod, volume: &str, container: &str, index: usize) -> PathBuf {
    pod_dir(node, pod).join("volume-subpaths").join(volume).join(container).join(index.to_string())
}
