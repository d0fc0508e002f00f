//! Network namespaces of sandboxes that were not ended in order.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::ContainerdConfig;

/// Where libcni keeps what its plugins answered: `NETWORK-CONTAINER-INTERFACE`.
const RESULTS: &str = "/var/lib/cni/results";

/// Removes them, and with them the links in them.
pub(super) fn remove(containerd: &ContainerdConfig) -> Result<(), String> {
    let results = results(&containerd.bridge);
    let of_results = results.iter().filter_map(|(file, _)| network_of_result(&fs::read(file).ok()?));
    for path in namespaces(&containerd.dir).into_iter().chain(of_results) {
        // Not mounted, or gone: what is left is a file, or nothing.
        let _ = nix::mount::umount2(&path, nix::mount::MntFlags::MNT_DETACH);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("{}: {error}", path.display()));
            }
            _ => {}
        }
    }
    for (file, id) in results {
        // Leftovers in a cache hurt nobody.
        let _ = fs::remove_file(&file);
        let _ = fs::remove_file(file.with_file_name(format!("cni-loopback-{id}-lo")));
    }
    Ok(())
}

/// Results of the pod network, with their containers.
fn results(network: &str) -> Vec<(PathBuf, String)> {
    let prefix = format!("{network}-");
    let files = fs::read_dir(RESULTS).into_iter().flatten().flatten().map(|entry| entry.path());
    let ours = files.filter_map(|file| {
        let id = container_of(file.file_name()?.to_str()?, &prefix)?.to_owned();
        Some((file, id))
    });
    ours.collect()
}

/// The container of a result named `PREFIX`, the container's id in hex, `-` and the interface.
fn container_of<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let (id, _) = name.strip_prefix(prefix)?.rsplit_once('-')?;
    (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// Those that specifications of containers name, which containerd keeps while they live.
fn namespaces(dir: &Path) -> Vec<PathBuf> {
    let bundles = dir.join("state").join("io.containerd.runtime.v2.task").join("k8s.io");
    let specs = fs::read_dir(bundles).into_iter().flatten().flatten().map(|entry| entry.path().join("config.json"));
    specs.filter_map(|spec| network_of(&fs::read(spec).ok()?)).collect()
}

fn network_of(spec: &[u8]) -> Option<PathBuf> {
    let spec: Value = serde_json::from_slice(spec).ok()?;
    let all = spec["linux"]["namespaces"].as_array()?;
    made_for_a_sandbox(all.iter().find(|one| one["type"] == "network")?["path"].as_str()?)
}

/// The one the pod's end of the link is in: of a sandbox that had a network, and nothing else yet.
fn network_of_result(result: &[u8]) -> Option<PathBuf> {
    let result: Value = serde_json::from_slice(result).ok()?;
    let interfaces = result["result"]["interfaces"].as_array()?;
    made_for_a_sandbox(interfaces.iter().find_map(|one| one["sandbox"].as_str())?)
}

/// Never the machine's own.
fn made_for_a_sandbox(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let made = path.parent().is_some_and(|dir| dir == Path::new("/run/netns") || dir == Path::new("/var/run/netns"));
    let named = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("cni-"));
    (made && named).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_namespaces_of_sandboxes_only() {
        let spec = |path: &str| {
            let namespaces = serde_json::json!([{"type": "pid"}, {"type": "network", "path": path}]);
            network_of(serde_json::json!({"linux": {"namespaces": namespaces}}).to_string().as_bytes())
        };
        assert_eq!(spec("/var/run/netns/cni-1234"), Some("/var/run/netns/cni-1234".into()));
        assert_eq!(spec("/run/netns/cni-1234"), Some("/run/netns/cni-1234".into()));
        for other in ["/proc/1/ns/net", "/var/run/netns/mine", "/var/run/netns/../cni-1", ""] {
            assert_eq!(spec(other), None, "{other}");
        }
        assert_eq!(network_of(b"{}"), None, "of the host network");
        let result = br#"{"result": {"interfaces": [{"name": "b"}, {"sandbox": "/var/run/netns/cni-1"}]}}"#;
        assert_eq!(network_of_result(result), Some("/var/run/netns/cni-1".into()));
        assert_eq!(network_of_result(br#"{"result": {}}"#), None);
    }

    #[test]
    fn knows_results_of_its_own_network() {
        let id = "0123456789abcdef".repeat(4);
        let name = format!("kontiki-6443-{id}-eth0");
        assert_eq!(container_of(&name, "kontiki-6443-"), Some(id.as_str()));
        assert_eq!(container_of(&name, "kontiki-64-"), None);
        assert_eq!(container_of(&name, "kontiki-"), None, "the rest is no id");
    }
}
