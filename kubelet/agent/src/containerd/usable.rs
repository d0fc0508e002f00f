//! Whether this machine can run containers at all.

use std::fs;
use std::path::{Path, PathBuf};

use super::CNI_BIN;

/// Whether containerd can run pods here; `Err` says in plain words why not.
pub fn containerd_usable() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("containers need root".to_owned());
    }
    for (program, package) in
        [("containerd", "containerd"), ("ctr", "containerd"), ("runc", "runc"), ("iptables", "iptables")]
    {
        if find_program(program).is_none() {
            return Err(format!("{program} is not installed (Debian package {package})"));
        }
    }
    for plugin in ["bridge", "host-local", "portmap", "firewall", "loopback"] {
        if !Path::new(CNI_BIN).join(plugin).exists() {
            return Err(format!(
                "the CNI plugin {plugin} is not in {CNI_BIN} (Debian package containernetworking-plugins)"
            ));
        }
    }
    if !Path::new(super::BUSYBOX).exists() {
        return Err(format!("{} is not installed (Debian package busybox-static)", super::BUSYBOX));
    }
    capabilities()?;
    let cgroups = fs::read_to_string("/proc/self/mounts").map_err(|e| format!("/proc/self/mounts: {e}"))?;
    if !cgroups.lines().any(|l| matches!(l.split(' ').nth(2), Some("cgroup" | "cgroup2"))) {
        return Err("no cgroups are mounted".to_owned());
    }
    Ok(())
}

/// `CAP_SYS_ADMIN` to mount, `CAP_NET_ADMIN` to make pod networks.
fn capabilities() -> Result<(), String> {
    let status = fs::read_to_string("/proc/self/status").map_err(|e| format!("/proc/self/status: {e}"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:")).unwrap_or("0").trim().to_owned();
    let effective = u64::from_str_radix(&line, 16).map_err(|e| format!("CapEff {line:?}: {e}"))?;
    for (bit, name) in [(21, "CAP_SYS_ADMIN"), (12, "CAP_NET_ADMIN")] {
        if effective & (1 << bit) == 0 {
            return Err(format!("the capability {name} is missing"));
        }
    }
    Ok(())
}

pub(super) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let dirs = path.split(':').chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"]);
    dirs.filter(|d| !d.is_empty()).map(|d| Path::new(d).join(name)).find(|p| p.is_file())
}
