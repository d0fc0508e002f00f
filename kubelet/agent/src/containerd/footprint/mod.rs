//! What a node leaves on a machine besides its files, and taking it away: processes, mounts, network
//! namespaces, the bridge, firewall chains and cgroups.
//!
//! Everything here carries a name of the node (its directory, its bridge, its cgroup), so that other nodes of
//! the machine and other users of its runtime keep theirs. What is not there is no failure: it may all be
//! done twice, and is, by an agent that ends in order and by whoever started it.

mod firewall;
mod link;
mod netns;
mod processes;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ContainerdConfig;
use crate::{cgroups, mounts};

/// How long processes may take to be gone after SIGKILL.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// Of one node.
#[derive(Clone, Debug)]
pub struct Footprint {
    /// The agent's data directory: no mount stays below it.
    pub data_dir: PathBuf,
    /// Of the node's own containerd.
    pub containerd: PathBuf,
    /// The bridge, and name of the pod network.
    pub bridge: String,
    pub cgroup_root: String,
}

impl Footprint {
    /// Ends what runs and takes away what is left; says what could not be. Blocks for some seconds at most.
    pub fn remove(&self) -> Vec<String> {
        let mut failures = Vec::new();
        let mut note = |what: &str, result: Result<(), String>| {
            if let Err(error) = result {
                failures.push(format!("{what}: {error}"));
            }
        };
        let containerd = ContainerdConfig { dir: self.containerd.clone(), pod_cidr: None, bridge: self.bridge.clone() };
        note("processes", processes::end(&containerd, &self.cgroup_root, KILL_TIMEOUT));
        note("network namespaces", netns::remove(&containerd));
        note("mounts", unmount(&self.data_dir));
        note("bridge", link::remove(&self.bridge));
        note("firewall", firewall::remove(&self.bridge, containerd.network().pod_cidr().as_deref()));
        note("cgroups", cgroups::remove_root(&self.cgroup_root));
        failures
    }
}

fn unmount(dir: &Path) -> Result<(), String> {
    for point in mounts::below(dir).map_err(|e| e.to_string())? {
        let plain = nix::mount::umount2(&point, nix::mount::MntFlags::UMOUNT_NOFOLLOW);
        // Busy: it goes when its last user does.
        let flags = nix::mount::MntFlags::UMOUNT_NOFOLLOW | nix::mount::MntFlags::MNT_DETACH;
        plain.or_else(|_| nix::mount::umount2(&point, flags)).map_err(|e| format!("{}: {e}", point.display()))?;
    }
    Ok(())
}
