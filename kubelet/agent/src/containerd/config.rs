//! What a containerd of our own is configured with.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::network::PodNetwork;
use super::{CNI_BIN, create, write};
use crate::images;

/// A unix socket's path cannot be longer.
const MAX_SOCKET_PATH: usize = 107;
/// containerd makes a second socket beside the first, with this added to its name.
const SECOND_SOCKET: &str = ".ttrpc";

/// What a containerd is made for.
#[derive(Clone, Debug)]
pub struct ContainerdConfig {
    /// Everything of it is below this directory.
    pub dir: PathBuf,
    /// Addresses of pods; `None`: not known yet, [`PodNetwork::write`] follows.
    pub pod_cidr: Option<String>,
    /// The bridge pods hang on, and the name of their network: no other on this machine has it.
    pub bridge: String,
}

impl ContainerdConfig {
    pub fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    /// Whether the socket's path fits; `Err` says that it does not.
    pub fn check_socket(&self) -> Result<(), String> {
        let (socket, most) = (self.socket(), MAX_SOCKET_PATH - SECOND_SOCKET.len());
        if socket.as_os_str().len() <= most {
            return Ok(());
        }
        Err(format!("the path {} is too long for a socket: more than {most} bytes", socket.display()))
    }

    pub(super) fn pid_file(&self) -> PathBuf {
        self.dir.join("containerd.pid")
    }

    pub(super) fn config_file(&self) -> PathBuf {
        self.dir.join("config.toml")
    }

    pub(super) fn log_file(&self) -> PathBuf {
        self.dir.join("containerd.log")
    }

    /// Where the pod network is configured.
    pub fn network(&self) -> PodNetwork {
        PodNetwork { conf_dir: self.dir.join("cni"), ipam_dir: self.dir.join("cni-ipam"), bridge: self.bridge.clone() }
    }

    /// Writes the containerd configuration and, where the pods' addresses are known, the pod network's.
    pub(super) fn write(&self) -> Result<(), String> {
        create(&self.dir)?;
        create(&self.dir.join("cni"))?;
        create(&self.dir.join("certs.d"))?;
        let snapshotter = if overlay_works(&self.dir) { "overlayfs" } else { "native" };
        write(&self.config_file(), &self.toml(snapshotter))?;
        match &self.pod_cidr {
            Some(cidr) => self.network().write(cidr),
            None => Ok(()),
        }
    }

    fn toml(&self, snapshotter: &str) -> String {
        let path = |name: &str| json!(self.dir.join(name)).to_string();
        let cri = "plugins.\"io.containerd.grpc.v1.cri\"";
        // Strings are written as JSON, which TOML reads the same. The out-of-memory score may only
        // be raised where the capability to lower it is missing, as in many containers.
        format!(
            r#"version = 2
root = {root}
state = {state}
disabled_plugins = [
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
address = {socket}

[{cri}]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"

[{cri}.containerd]
snapshotter = "{snapshotter}"
default_runtime_name = "runc"

[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[{cri}.containerd.runtimes.runc.options]
SystemdCgroup = false

[{cri}.cni]
bin_dir = "{CNI_BIN}"
conf_dir = {cni}

[{cri}.registry]
config_path = {certs}
"#,
            root = path("root"),
            state = path("state"),
            socket = path("containerd.sock"),
            cni = path("cni"),
            certs = path("certs.d"),
            pause = images::PAUSE,
        )
    }
}

/// Whether overlay mounts work on this directory's file system: they do not on another overlay.
fn overlay_works(dir: &Path) -> bool {
    let base = dir.join("overlay-check");
    let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(|n| base.join(n));
    let made = [&lower, &upper, &work, &merged].iter().all(|d| fs::create_dir_all(d).is_ok());
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let flags = nix::mount::MsFlags::empty();
    let mounted =
        made && nix::mount::mount(Some("overlay"), &merged, Some("overlay"), flags, Some(options.as_str())).is_ok();
    if mounted {
        let _ = nix::mount::umount(&merged);
    }
    // What is left of the check hurts nobody.
    let _ = fs::remove_dir_all(&base);
    mounted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_no_room_for_both_sockets_are_refused() {
        let config = |length: usize| ContainerdConfig {
            dir: Path::new("/").join("d".repeat(length - "//containerd.sock".len())),
            pod_cidr: None,
            bridge: "kontiki0".to_owned(),
        };
        assert_eq!(config(101).socket().as_os_str().len(), 101);
        assert!(config(101).check_socket().is_ok());
        assert!(config(102).check_socket().expect_err("too long").contains("more than 101 bytes"));
    }
}
