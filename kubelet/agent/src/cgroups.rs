//! Where pods are in the cgroup tree (cgroupfs driver): `ROOT[/burstable|/besteffort]/podUID`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use kubelet_core::{pods, resources};

/// The parent that the runtime puts a pod's containers under.
pub(crate) fn parent(root: &str, pod: &Pod) -> String {
    let root = root.trim_matches('/');
    let root = if root.is_empty() { String::new() } else { format!("/{root}") };
    let class = match resources::qos_class(pod) {
        "Guaranteed" => "",
        "Burstable" => "/burstable",
        _ => "/besteffort",
    };
    format!("{root}{class}/pod{}", pods::identity(pod).2)
}

/// Every hierarchy: the one of cgroup v2, or one per controller of v1.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let cgroup = |line: &str| {
        let mut fields = line.split(' ');
        let path = fields.nth(1)?;
        matches!(fields.next(), Some("cgroup" | "cgroup2")).then(|| PathBuf::from(path))
    };
    mounts.lines().filter_map(cgroup).collect()
}

/// Removes the cgroups of a pod that has ended. What is busy stays for the next start of the agent.
pub(crate) fn remove(root: &str, pod: &Pod) {
    if pods::identity(pod).2.is_empty() {
        return;
    }
    let parent = parent(root, pod);
    for hierarchy in hierarchies() {
        remove_tree(&hierarchy.join(parent.trim_start_matches('/')));
    }
}

/// Cgroups are removed bottom up, directories only.
fn remove_tree(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        remove_tree(&entry.path());
    }
    let _ = fs::remove_dir(dir);
}

/// The node's own directory in every hierarchy where it is; none for a node that has the whole tree.
fn roots(root: &str) -> Vec<PathBuf> {
    let root = root.trim_matches('/');
    if root.is_empty() || Path::new(root).components().any(|part| part == std::path::Component::ParentDir) {
        return Vec::new();
    }
    hierarchies().into_iter().map(|hierarchy| hierarchy.join(root)).filter(|dir| dir.is_dir()).collect()
}

/// Processes of all pods of a node.
pub(crate) fn processes(root: &str) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    roots(root).iter().for_each(|dir| collect(dir, &mut found));
    found
}

fn collect(dir: &Path, found: &mut BTreeSet<i32>) {
    let list = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    found.extend(list.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), found);
        }
    }
}

/// Removes the node's own directory, once its pods have ended.
pub(crate) fn remove_root(root: &str) -> Result<(), String> {
    for dir in roots(root) {
        remove_tree(&dir);
        if dir.exists() {
            return Err(format!("{} is busy", dir.display()));
        }
    }
    Ok(())
}

/// Gives the cgroup of a pod its share of CPU against other pods, before its containers are in it.
pub(crate) fn prepare(root: &str, pod: &Pod) {
    let parent = parent(root, pod);
    let shares = resources::pod_cpu_shares(pod);
    for hierarchy in hierarchies() {
        let dir = hierarchy.join(parent.trim_start_matches('/'));
        let v1 = hierarchy.join("cpu.shares").exists();
        let v2 = hierarchy.join("cgroup.controllers").exists() && hierarchy.ends_with("cgroup");
        if !v1 && !v2 || fs::create_dir_all(&dir).is_err() {
            continue;
        }
        let written = if v1 {
            fs::write(dir.join("cpu.shares"), shares.to_string())
        } else {
            fs::write(dir.join("cpu.weight"), weight(shares).to_string())
        };
        if let Err(error) = written {
            tracing::debug!(%error, dir = %dir.display(), "setting the CPU share of a pod");
        }
    }
}

/// Shares of v1 (2..262144) as the weight of v2 (1..10000).
fn weight(shares: i64) -> i64 {
    (1 + (shares - 2) * 9999 / 262_142).clamp(1, 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_a_cgroup_of_its_own_ends_nothing() {
        for root in ["", "/", "//", "../..", "/kontiki/.."] {
            assert!(roots(root).is_empty() && processes(root).is_empty(), "{root:?}");
        }
    }

    #[test]
    fn parents() {
        let pod: Pod =
            serde_json::from_value(serde_json::json!({"metadata": {"uid": "u"}, "spec": {"containers": []}}))
                .expect("a pod");
        assert_eq!(parent("/kontiki/", &pod), "/kontiki/besteffort/podu");
        assert_eq!(parent("/", &pod), "/besteffort/podu");
        assert_eq!((weight(2), weight(262_144)), (1, 10_000));
    }
}
