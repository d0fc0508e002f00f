//! A containerd of our own below a data directory: configuration, pod network, start, import, stop.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use kubelet_cri::{ContainerRuntime as _, RemoteRuntime};
use serde_json::json;
use tokio::process::{Child, Command};

use crate::images;

/// Where Debian puts the CNI plugins.
const CNI_BIN: &str = "/usr/lib/cni";
/// How long containerd may take to answer after its start.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// A unix socket's path cannot be longer.
const MAX_SOCKET_PATH: usize = 107;

/// What a containerd is made for.
#[derive(Clone, Debug)]
pub struct ContainerdConfig {
    /// Everything of it is below this directory.
    pub dir: PathBuf,
    /// Addresses of pods.
    pub pod_cidr: String,
    /// The bridge pods hang on.
    pub bridge: String,
}

impl ContainerdConfig {
    pub fn new(dir: PathBuf, pod_cidr: String) -> Self {
        Self { dir, pod_cidr, bridge: "kontiki0".to_owned() }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    fn pid_file(&self) -> PathBuf {
        self.dir.join("containerd.pid")
    }

    fn config_file(&self) -> PathBuf {
        self.dir.join("config.toml")
    }

    /// Writes the containerd configuration and the pod network's.
    pub fn write(&self) -> Result<(), String> {
        let cni = self.dir.join("cni");
        create(&cni)?;
        create(&self.dir.join("certs.d"))?;
        let snapshotter = if overlay_works(&self.dir) { "overlayfs" } else { "native" };
        write(&self.config_file(), &self.toml(snapshotter))?;
        write(&cni.join("10-kontiki.conflist"), &self.conflist())
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

    /// A bridge with addresses of the node's range, host ports, and masquerading for what leaves.
    fn conflist(&self) -> String {
        let ipam = json!({
            "type": "host-local",
            "ranges": [[{"subnet": self.pod_cidr}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": self.dir.join("cni-ipam"),
        });
        let bridge = json!({
            "type": "bridge", "bridge": self.bridge, "isGateway": true, "ipMasq": true, "hairpinMode": true,
            "forceAddress": true, "ipam": ipam,
        });
        let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}});
        let list = json!({"cniVersion": "1.0.0", "name": "kontiki", "plugins": [bridge, portmap]});
        format!("{list:#}\n")
    }
}

fn create(dir: &Path) -> Result<(), String> {
    fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
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
    for plugin in ["bridge", "host-local", "portmap", "loopback"] {
        if !Path::new(CNI_BIN).join(plugin).exists() {
            return Err(format!(
                "the CNI plugin {plugin} is not in {CNI_BIN} (Debian package containernetworking-plugins)"
            ));
        }
    }
    if !Path::new("/bin/busybox").exists() {
        return Err("/bin/busybox is not installed (Debian package busybox-static)".to_owned());
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

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let dirs = path.split(':').chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"]);
    dirs.filter(|d| !d.is_empty()).map(|d| Path::new(d).join(name)).find(|p| p.is_file())
}

/// A running containerd.
pub struct Containerd {
    config: ContainerdConfig,
    /// `None`: it was running already.
    child: Option<Child>,
}

impl Containerd {
    /// Writes the configuration, starts containerd (or takes over one that runs on the same socket),
    /// waits until it answers, and imports our own images.
    pub async fn start(config: ContainerdConfig) -> Result<Self, String> {
        create(&config.dir)?;
        if config.socket().as_os_str().len() > MAX_SOCKET_PATH {
            return Err(format!("the path {} is too long for a socket", config.socket().display()));
        }
        config.write()?;
        let mut containerd = Self { config, child: None };
        if !containerd.answers().await {
            containerd.spawn()?;
            containerd.wait().await?;
        }
        let tars =
            images::write_all(&containerd.config.dir.join("images")).map_err(|e| format!("making images: {e}"))?;
        for tar in tars {
            containerd.import(&tar).await?;
        }
        Ok(containerd)
    }

    pub fn socket(&self) -> PathBuf {
        self.config.socket()
    }

    /// The process id: of our child, or of the one that an earlier agent started on this directory.
    pub fn pid(&self) -> Option<u32> {
        if let Some(child) = &self.child {
            return child.id();
        }
        let pid = fs::read_to_string(self.config.pid_file()).ok()?.trim().parse().ok()?;
        // The number may have gone to somebody else since.
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        command.split('\0').any(|word| Path::new(word) == self.config.config_file()).then_some(pid)
    }

    fn spawn(&mut self) -> Result<(), String> {
        let program = find_program("containerd").ok_or("containerd is not installed")?;
        let log_path = self.config.dir.join("containerd.log");
        let log = fs::File::create(&log_path).map_err(|e| format!("{}: {e}", log_path.display()))?;
        let errors = log.try_clone().map_err(|e| e.to_string())?;
        let mut command = std::process::Command::new(program);
        // Its own process group: a Ctrl-C at our terminal is ours to handle.
        command.arg("--config").arg(self.config.config_file()).process_group(0);
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = Command::from(command).spawn().map_err(|e| format!("starting containerd: {e}"))?;
        // For an agent that takes over what an earlier one started, and is to end it too.
        write(&self.config.pid_file(), &format!("{}\n", child.id().unwrap_or(0)))?;
        self.child = Some(child);
        Ok(())
    }

    async fn answers(&self) -> bool {
        let socket = self.socket();
        if !socket.exists() {
            return false;
        }
        let runtime = RemoteRuntime::new(&socket);
        matches!(tokio::time::timeout(Duration::from_secs(1), runtime.version()).await, Ok(Ok(_)))
    }

    async fn wait(&mut self) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + START_TIMEOUT;
        while !self.answers().await {
            if let Some(status) = self.child.as_mut().and_then(|c| c.try_wait().ok().flatten()) {
                return Err(format!("containerd ended ({status}): {}", self.last_words()));
            }
            if tokio::time::Instant::now() > deadline {
                return Err(format!("containerd does not answer: {}", self.last_words()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.config.dir.join("containerd.log")).unwrap_or_default();
        let words = log.lines().rev().find(|l| l.contains("level=fatal") || l.contains("level=error"));
        words.or(log.lines().last()).unwrap_or("it said nothing").to_owned()
    }

    /// Imports an image from a tar, for pods (namespace `k8s.io`).
    pub async fn import(&self, tar: &Path) -> Result<(), String> {
        let program = find_program("ctr").ok_or("ctr is not installed")?;
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

    /// Ends every pod of this runtime: for a machine that is to be left as it was found.
    pub async fn remove_all_pods(&self) -> Result<(), String> {
        let runtime = RemoteRuntime::new(&self.socket());
        let sandboxes = runtime.list_pod_sandboxes(None).await.map_err(|e| e.to_string())?;
        let removals = sandboxes.iter().map(|sandbox| async {
            runtime.stop_pod_sandbox(&sandbox.id).await?;
            runtime.remove_pod_sandbox(&sandbox.id).await
        });
        let results = futures::future::join_all(removals).await;
        results.into_iter().collect::<Result<(), _>>().map_err(|e| e.to_string())
    }

    /// Ends containerd itself, be it a child of ours or of an earlier agent's. Pods go on without it.
    pub async fn stop(mut self) {
        let Some(pid) = self.pid().and_then(|pid| i32::try_from(pid).ok()) else { return };
        let signal = |signal| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).is_ok();
        signal(nix::sys::signal::Signal::SIGTERM);
        let gone = async {
            match &mut self.child {
                Some(child) => drop(child.wait().await),
                None => {
                    while self.pid().is_some() {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        };
        if tokio::time::timeout(STOP_TIMEOUT, gone).await.is_err() {
            signal(nix::sys::signal::Signal::SIGKILL);
        }
    }
}
