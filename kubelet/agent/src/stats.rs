//! What pods use, from the runtime and from the file system.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use kubelet_cri::{CriError, cri, labels};

use crate::agent::Node;
use crate::paths;

/// Files counted below one directory at most: beyond that the sum is a lower bound.
const MAX_FILES: usize = 100_000;

/// Stats of running containers by pod uid and container name.
pub(crate) async fn containers(
    node: &Node,
) -> Result<HashMap<String, BTreeMap<String, cri::ContainerStats>>, CriError> {
    let mut all: HashMap<String, BTreeMap<String, cri::ContainerStats>> = HashMap::new();
    for stats in node.runtime.container_stats().await? {
        let labels = stats.attributes.as_ref().map(|a| &a.labels);
        let label = |key: &str| labels.and_then(|l| l.get(key)).cloned();
        if let (Some(uid), Some(name)) = (label(labels::POD_UID), label(labels::CONTAINER_NAME)) {
            all.entry(uid).or_default().insert(name, stats);
        }
    }
    Ok(all)
}

fn number(value: Option<&cri::UInt64Value>) -> i64 {
    value.map_or(0, |value| i64::try_from(value.value).unwrap_or(i64::MAX))
}

/// Bytes that the kernel could not take away.
pub(crate) fn working_set(stats: &cri::ContainerStats) -> i64 {
    number(stats.memory.as_ref().and_then(|m| m.working_set_bytes.as_ref()))
}

/// Bytes written into the container's own layer.
pub(crate) fn writable_layer(stats: &cri::ContainerStats) -> i64 {
    number(stats.writable_layer.as_ref().and_then(|l| l.used_bytes.as_ref()))
}

/// Nanoseconds of CPU used so far.
pub(crate) fn cpu(stats: &cri::ContainerStats) -> i64 {
    number(stats.cpu.as_ref().and_then(|c| c.usage_core_nano_seconds.as_ref()))
}

/// Bytes on disk of a pod's logs and volumes. Blocking.
pub(crate) fn files(node: &Node, pod: &Pod) -> i64 {
    on_disk(&paths::log_dir(node, pod)).saturating_add(on_disk(&paths::pod_dir(node, pod)))
}

/// Bytes of the files below a directory that are on the same file system: what is in memory is not on disk.
fn on_disk(dir: &Path) -> i64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(device) = fs::symlink_metadata(dir).map(|m| m.dev()) else { return 0 };
    let (mut sum, mut seen, mut dirs) = (0_u64, 0, vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            seen += 1;
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.dev() == device {
                sum += metadata.blocks() * 512;
                dirs.extend(metadata.is_dir().then(|| entry.path()));
            }
        }
        if seen > MAX_FILES {
            break;
        }
    }
    i64::try_from(sum).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_below_a_directory() {
        let dir = std::env::temp_dir().join(format!("kontiki-stats-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        assert_eq!(on_disk(&dir), 0);
        fs::create_dir_all(dir.join("a/b")).expect("dirs");
        let before = on_disk(&dir);
        fs::write(dir.join("a/b/file"), vec![1; 64 * 1024]).expect("a file");
        assert!(on_disk(&dir) >= before + 64 * 1024);
        std::os::unix::fs::symlink("/usr", dir.join("link")).expect("a link");
        assert!(on_disk(&dir) < before + 1024 * 1024, "links are not followed");
        fs::remove_dir_all(&dir).expect("cleanup");
    }
}
