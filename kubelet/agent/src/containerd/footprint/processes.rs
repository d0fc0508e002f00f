//! Processes of a node: its containerd, the shims, and what runs in containers.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::{ContainerdConfig, process};
use crate::cgroups;

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Kills them, and again what they started meanwhile, until none is left.
pub(super) fn end(containerd: &ContainerdConfig, cgroup_root: &str, patience: Duration) -> Result<(), String> {
    let deadline = Instant::now() + patience;
    loop {
        let alive = alive(containerd, cgroup_root);
        if alive.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{alive:?} do not end"));
        }
        for pid in alive {
            // Gone meanwhile, or not: the next look says.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn alive(containerd: &ContainerdConfig, cgroup_root: &str) -> BTreeSet<i32> {
    let mut found = cgroups::processes(cgroup_root);
    found.extend(process::pid(containerd).map(u32::cast_signed));
    found.extend(shims(&containerd.socket()));
    found
}

/// Shims are told the socket of their containerd.
fn shims(socket: &Path) -> Vec<i32> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let command = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    pids.filter(|pid| is_shim_of(&command(pid), socket)).collect()
}

fn is_shim_of(command: &str, socket: &Path) -> bool {
    let words: Vec<&str> = command.split('\0').collect();
    let shim = words.first().is_some_and(|program| program.contains("containerd-shim"));
    shim && words.windows(2).any(|pair| pair[0] == "-address" && Path::new(pair[1]) == socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_own_shims() {
        let socket = Path::new("/d/node-1/containerd/containerd.sock");
        let shim = |socket: &str| {
            format!("/usr/bin/containerd-shim-runc-v2\0-namespace\0k8s.io\0-id\0a\0-address\0{socket}\0")
        };
        assert!(is_shim_of(&shim("/d/node-1/containerd/containerd.sock"), socket));
        assert!(!is_shim_of(&shim("/d/node-10/containerd/containerd.sock"), socket), "of another node");
        assert!(!is_shim_of("ctr\0-address\0/d/node-1/containerd/containerd.sock\0", socket), "not a shim");
        assert!(!is_shim_of("", socket), "a kernel thread");
    }
}
