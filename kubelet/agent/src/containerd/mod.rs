//! A containerd of our own below a data directory: configuration, pod network, start, supervision, stop.

mod config;
mod footprint;
mod network;
mod process;
mod trial;
mod usable;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use kubelet_cri::{ContainerRuntime as _, RemoteRuntime};
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::images;
pub use config::ContainerdConfig;
pub use footprint::Footprint;
pub use network::PodNetwork;
use process::Process;
pub use usable::containerd_usable;

/// Where Debian puts the CNI plugins.
const CNI_BIN: &str = "/usr/lib/cni";
/// Debian's statically linked busybox: what our images are made of, and tools we need on the node.
const BUSYBOX: &str = "/bin/busybox";
/// How long containerd may take to answer after its start.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long ending all pods may take, together.
const PODS_TIMEOUT: Duration = Duration::from_secs(12);

fn create(dir: &Path) -> Result<(), String> {
    fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

/// A running containerd. It is started again when it ends, until [`Containerd::stop`], or until this is dropped.
pub struct Containerd {
    config: ContainerdConfig,
    stop: DropGuard,
    kept: JoinHandle<()>,
}

impl Containerd {
    /// Writes the configuration, starts containerd, waits until it answers, and imports our own images.
    /// One that an earlier agent left on this directory is ended first; its pods go on.
    pub async fn start(config: ContainerdConfig) -> Result<Self, String> {
        config.check_socket()?;
        config.write()?;
        process::end_earlier(&config).await;
        let mut process = Process::spawn(&config)?;
        wait(&config, &mut process).await?;
        let stop = CancellationToken::new();
        let kept = tokio::spawn(process::keep(config.clone(), process, stop.clone()));
        let containerd = Self { config, stop: stop.drop_guard(), kept };
        if let Err(error) = containerd.import_all().await {
            containerd.stop().await;
            return Err(error);
        }
        Ok(containerd)
    }

    pub fn socket(&self) -> PathBuf {
        self.config.socket()
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        process::pid(&self.config)
    }

    async fn import_all(&self) -> Result<(), String> {
        let tars = images::write_all(&self.config.dir.join("images")).map_err(|e| format!("making images: {e}"))?;
        for tar in tars {
            self.import(&tar).await?;
        }
        Ok(())
    }

    /// Imports an image from a tar, for pods (namespace `k8s.io`).
    pub async fn import(&self, tar: &Path) -> Result<(), String> {
        let program = usable::find_program("ctr").ok_or("ctr is not installed")?;
        let output = Command::new(program)
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", "k8s.io", "images", "import"])
            .arg(tar)
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|e| format!("ctr: {e}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("importing {}: {}", tar.display(), String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// Makes a sandbox and removes it again: whether runtime, cgroups and pod network work here. `Err`
    /// says what does not. The pods' addresses must be known.
    pub async fn try_sandbox(&self, cgroup_root: &str) -> Result<(), String> {
        trial::sandbox(&self.config, cgroup_root).await
    }

    /// Ends every pod of this runtime: for a machine that is to be left as it was found.
    pub async fn remove_all_pods(&self) -> Result<(), String> {
        let removed = tokio::time::timeout(PODS_TIMEOUT, remove_all(&self.socket())).await;
        removed.unwrap_or_else(|_| Err(format!("pods did not end within {} s", PODS_TIMEOUT.as_secs())))
    }

    /// Ends containerd itself. Pods go on without it.
    pub async fn stop(self) {
        drop(self.stop);
        if let Err(error) = self.kept.await {
            tracing::error!(%error, "the task that keeps containerd running failed");
        }
    }
}

async fn remove_all(socket: &Path) -> Result<(), String> {
    let runtime = RemoteRuntime::new(socket);
    let sandboxes = runtime.list_pod_sandboxes(None).await.map_err(|e| e.to_string())?;
    let removals = sandboxes.iter().map(|sandbox| async {
        runtime.stop_pod_sandbox(&sandbox.id).await?;
        runtime.remove_pod_sandbox(&sandbox.id).await
    });
    let results = futures::future::join_all(removals).await;
    results.into_iter().collect::<Result<(), _>>().map_err(|e| e.to_string())
}

async fn answers(socket: &Path) -> bool {
    if !socket.exists() {
        return false;
    }
    let runtime = RemoteRuntime::new(socket);
    matches!(tokio::time::timeout(Duration::from_secs(1), runtime.version()).await, Ok(Ok(_)))
}

/// Until it answers; `Err` with its last words when it ends instead, or takes too long.
async fn wait(config: &ContainerdConfig, process: &mut Process) -> Result<(), String> {
    let deadline = tokio::time::Instant::now() + START_TIMEOUT;
    while !answers(&config.socket()).await {
        if let Some(status) = process.ended() {
            return Err(format!("containerd ended ({status}): {}", process.last_words(config)));
        }
        if tokio::time::Instant::now() > deadline {
            return Err(format!("containerd does not answer: {}", process.last_words(config)));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
