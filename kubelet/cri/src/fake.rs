//! Containers that only exist in memory. They start at once, run until stopped or until their scripted
//! end, and write a line or two of log. Small enough that hundreds of nodes fit in one process.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use kontiki_proto::cri;
use parking_lot::Mutex;

use crate::{ContainerRuntime, CriError};

/// Sandboxes kept at most: far above what a node may run.
const MAX_SANDBOXES: usize = 1000;
/// Containers kept in one sandbox, dead ones included.
const MAX_CONTAINERS_PER_SANDBOX: usize = 64;

/// How containers of one image behave.
#[derive(Clone, Debug, Default)]
pub struct FakeScript {
    /// Exits with this code after this time; `None`: runs until stopped.
    pub exit: Option<(Duration, i32)>,
    /// Pulling fails with this message.
    pub pull_error: Option<String>,
    /// `ExecSync` answers this exit code.
    pub exec_exit_code: i32,
    /// Takes this long to stop.
    pub stop_delay: Duration,
}

/// A runtime without processes.
pub struct FakeRuntime {
    state: Mutex<State>,
    network: (Ipv4Addr, u8),
    clock: fn() -> i64,
}

#[derive(Default)]
struct State {
    next_id: u64,
    sandboxes: HashMap<String, Sandbox>,
    containers: HashMap<String, Container>,
    scripts: HashMap<String, FakeScript>,
    /// Images that were pulled. Fresh nodes have none.
    images: HashMap<String, ()>,
    next_address: u32,
}

struct Sandbox {
    listed: cri::PodSandbox,
    ip: String,
}

struct Container {
    listed: cri::Container,
    log_path: String,
    started_at: i64,
    finished_at: i64,
    exit_code: i32,
    /// When it ends by itself, and how.
    ends: Option<(i64, i32)>,
}

#[expect(clippy::disallowed_methods, reason = "a runtime stamps what it runs with the time of its machine")]
fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

impl FakeRuntime {
    /// Addresses of pods come from `pod_cidr` (IPv4).
    pub fn new(pod_cidr: &str) -> Result<Self, String> {
        Ok(Self { state: Mutex::default(), network: parse_cidr(pod_cidr)?, clock: wall_clock })
    }

    /// The same with a clock of nanoseconds since 1970.
    pub fn with_clock(mut self, clock: fn() -> i64) -> Self {
        self.clock = clock;
        self
    }

    /// From now on containers of `image` behave so.
    pub fn script(&self, image: &str, script: FakeScript) {
        self.state.lock().scripts.insert(image.to_owned(), script);
    }

    /// Ends a running container by the name in its metadata, as if its process had.
    pub fn exit(&self, container_name: &str, code: i32) {
        let now = (self.clock)();
        for container in self.state.lock().containers.values_mut() {
            let named = container.listed.metadata.as_ref().is_some_and(|m| m.name == container_name);
            if named && container.running() {
                container.finish(now, code);
            }
        }
    }
}

fn parse_cidr(text: &str) -> Result<(Ipv4Addr, u8), String> {
    let bad = || format!("pod CIDR {text:?} is not an IPv4 network");
    let (address, bits) = text.split_once('/').ok_or_else(bad)?;
    let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
    let bits: u8 = bits.parse().map_err(|_| bad())?;
    if bits > 30 { Err(bad()) } else { Ok((address, bits)) }
}

impl Container {
    fn running(&self) -> bool {
        self.listed.state == cri::ContainerState::ContainerRunning as i32
    }

    fn finish(&mut self, now: i64, code: i32) {
        self.listed.state = cri::ContainerState::ContainerExited as i32;
        self.finished_at = now;
        self.exit_code = code;
        self.ends = None;
    }

    /// Lets the scripted end happen when its time has come.
    fn catch_up(&mut self, now: i64) {
        if let Some((at, code)) = self.ends
            && self.running()
            && now >= at
        {
            self.finish(at, code);
        }
    }

    fn status(&self) -> cri::ContainerStatus {
        let listed = &self.listed;
        let reason = match (self.finished_at != 0, self.exit_code) {
            (false, _) => "",
            (true, 0) => "Completed",
            (true, _) => "Error",
        };
        cri::ContainerStatus {
            id: listed.id.clone(),
            metadata: listed.metadata.clone(),
            state: listed.state,
            created_at: listed.created_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            exit_code: self.exit_code,
            image: listed.image.clone(),
            image_ref: listed.image_ref.clone(),
            reason: reason.to_owned(),
            labels: listed.labels.clone(),
            annotations: listed.annotations.clone(),
            log_path: self.log_path.clone(),
            ..Default::default()
        }
    }
}

impl State {
    fn id(&mut self) -> String {
        self.next_id += 1;
        format!("{:064x}", self.next_id)
    }

    /// The next free address of the network, going round.
    fn address(&mut self, (network, bits): (Ipv4Addr, u8)) -> Result<String, CriError> {
        let size = 1u32 << (32 - u32::from(bits));
        let base = u32::from(network) & !(size - 1);
        for _ in 0..size {
            // Neither the network's own address, nor the bridge's, nor the broadcast one.
            self.next_address = if self.next_address + 2 >= size { 2 } else { (self.next_address + 1).max(2) };
            let candidate = IpAddr::V4(Ipv4Addr::from(base + self.next_address)).to_string();
            if self.sandboxes.values().all(|s| s.ip != candidate) {
                return Ok(candidate);
            }
        }
        Err(CriError::Runtime("failed to allocate for range 0: no IP addresses available in range set".into()))
    }

    fn container(&mut self, id: &str, now: i64) -> Result<&mut Container, CriError> {
        let container = self.containers.get_mut(id).ok_or_else(|| {
            CriError::NotFound(format!("an error occurred when try to find container {id:?}: not found"))
        })?;
        container.catch_up(now);
        Ok(container)
    }

    fn stop_sandbox(&mut self, id: &str, now: i64) {
        if let Some(sandbox) = self.sandboxes.get_mut(id) {
            sandbox.listed.state = cri::PodSandboxState::SandboxNotready as i32;
            sandbox.ip.clear();
        }
        for container in self.containers.values_mut().filter(|c| c.listed.pod_sandbox_id == id) {
            container.catch_up(now);
            if container.running() {
                container.finish(now, 137);
            }
        }
    }
}

#[async_trait]
impl ContainerRuntime for FakeRuntime {
    async fn version(&self) -> Result<cri::VersionResponse, CriError> {
        Ok(cri::VersionResponse {
            version: "0.1.0".into(),
            runtime_name: "fake".into(),
            runtime_version: "0.1.0".into(),
            runtime_api_version: "v1".into(),
        })
    }

    async fn status(&self) -> Result<cri::RuntimeStatus, CriError> {
        let ready = |kind: &str| cri::RuntimeCondition { r#type: kind.into(), status: true, ..Default::default() };
        Ok(cri::RuntimeStatus { conditions: vec![ready("RuntimeReady"), ready("NetworkReady")] })
    }

    async fn features(&self) -> Result<cri::RuntimeFeatures, CriError> {
        Ok(cri::RuntimeFeatures::default())
    }

    async fn run_pod_sandbox(&self, config: cri::PodSandboxConfig, handler: &str) -> Result<String, CriError> {
        let now = (self.clock)();
        let mut state = self.state.lock();
        if state.sandboxes.len() >= MAX_SANDBOXES {
            return Err(CriError::Runtime(format!("more than {MAX_SANDBOXES} sandboxes")));
        }
        let ip = state.address(self.network)?;
        let id = state.id();
        let listed = cri::PodSandbox {
            id: id.clone(),
            metadata: config.metadata,
            state: cri::PodSandboxState::SandboxReady as i32,
            created_at: now,
            labels: config.labels,
            annotations: config.annotations,
            runtime_handler: handler.to_owned(),
        };
        state.sandboxes.insert(id.clone(), Sandbox { listed, ip });
        Ok(id)
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<(), CriError> {
        self.state.lock().stop_sandbox(id, (self.clock)());
        Ok(())
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<(), CriError> {
        let mut state = self.state.lock();
        state.sandboxes.remove(id);
        state.containers.retain(|_, c| c.listed.pod_sandbox_id != id);
        Ok(())
    }

    async fn pod_sandbox_status(&self, id: &str) -> Result<cri::PodSandboxStatus, CriError> {
        let state = self.state.lock();
        let sandbox = state
            .sandboxes
            .get(id)
            .ok_or_else(|| CriError::NotFound(format!("an error occurred when try to find sandbox: {id:?}")))?;
        let listed = &sandbox.listed;
        Ok(cri::PodSandboxStatus {
            id: id.to_owned(),
            metadata: listed.metadata.clone(),
            state: listed.state,
            created_at: listed.created_at,
            network: Some(cri::PodSandboxNetworkStatus { ip: sandbox.ip.clone(), additional_ips: Vec::new() }),
            labels: listed.labels.clone(),
            annotations: listed.annotations.clone(),
            runtime_handler: listed.runtime_handler.clone(),
        })
    }

    async fn list_pod_sandboxes(&self, pod_uid: Option<&str>) -> Result<Vec<cri::PodSandbox>, CriError> {
        let state = self.state.lock();
        let listed = state.sandboxes.values().map(|s| &s.listed);
        Ok(listed.filter(|s| of_pod(&s.labels, pod_uid)).cloned().collect())
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: cri::ContainerConfig,
        _sandbox_config: cri::PodSandboxConfig,
    ) -> Result<String, CriError> {
        let now = (self.clock)();
        let mut state = self.state.lock();
        if !state.sandboxes.contains_key(sandbox) {
            return Err(CriError::NotFound(format!("failed to find sandbox id {sandbox:?}: not found")));
        }
        if state.containers.values().filter(|c| c.listed.pod_sandbox_id == sandbox).count()
            >= MAX_CONTAINERS_PER_SANDBOX
        {
            return Err(CriError::Runtime(format!("more than {MAX_CONTAINERS_PER_SANDBOX} containers in a sandbox")));
        }
        let id = state.id();
        let mut image = config.image.unwrap_or_default();
        if !image.user_specified_image.is_empty() {
            // By the name that scripts and people know it by, not its id.
            image.image = image.user_specified_image.clone();
        }
        let listed = cri::Container {
            id: id.clone(),
            pod_sandbox_id: sandbox.to_owned(),
            metadata: config.metadata,
            image_ref: image_id(&image.image),
            image: Some(image),
            state: cri::ContainerState::ContainerCreated as i32,
            created_at: now,
            labels: config.labels,
            annotations: config.annotations,
        };
        let log_path = config.log_path;
        let container = Container { listed, log_path, started_at: 0, finished_at: 0, exit_code: 0, ends: None };
        state.containers.insert(id.clone(), container);
        Ok(id)
    }

    async fn start_container(&self, id: &str) -> Result<(), CriError> {
        let now = (self.clock)();
        let mut state = self.state.lock();
        let image = state.container(id, now)?.listed.image.clone().unwrap_or_default().image;
        let end = state.scripts.get(&image).and_then(|script| script.exit);
        let container = state.container(id, now)?;
        container.listed.state = cri::ContainerState::ContainerRunning as i32;
        container.started_at = now;
        container.ends =
            end.map(|(after, code)| (now.saturating_add(i64::try_from(after.as_nanos()).unwrap_or(i64::MAX)), code));
        Ok(())
    }

    async fn stop_container(&self, id: &str, timeout: Duration) -> Result<(), CriError> {
        let delay = {
            let mut state = self.state.lock();
            match state.container(id, (self.clock)()) {
                Ok(container) if container.running() => {
                    let image = container.listed.image.clone().unwrap_or_default().image;
                    state.scripts.get(&image).map_or(Duration::ZERO, |script| script.stop_delay)
                }
                _ => return Ok(()),
            }
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay.min(timeout)).await;
        }
        let now = (self.clock)();
        if let Ok(container) = self.state.lock().container(id, now)
            && container.running()
        {
            container.finish(now, if delay > timeout { 137 } else { 0 });
        }
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<(), CriError> {
        self.state.lock().containers.remove(id);
        Ok(())
    }

    async fn list_containers(&self, pod_uid: Option<&str>) -> Result<Vec<cri::Container>, CriError> {
        let now = (self.clock)();
        let mut state = self.state.lock();
        let wanted = state.containers.values_mut().filter(|c| of_pod(&c.listed.labels, pod_uid));
        let listed = wanted.map(|container| {
            container.catch_up(now);
            container.listed.clone()
        });
        Ok(listed.collect())
    }

    async fn container_status(&self, id: &str) -> Result<cri::ContainerStatus, CriError> {
        Ok(self.state.lock().container(id, (self.clock)())?.status())
    }

    async fn reopen_container_log(&self, _id: &str) -> Result<(), CriError> {
        Ok(())
    }

    async fn exec_sync(
        &self,
        id: &str,
        _command: Vec<String>,
        _timeout: Duration,
    ) -> Result<cri::ExecSyncResponse, CriError> {
        let mut state = self.state.lock();
        let image = state.container(id, (self.clock)())?.listed.image.clone().unwrap_or_default().image;
        let exit_code = state.scripts.get(&image).map_or(0, |script| script.exec_exit_code);
        Ok(cri::ExecSyncResponse { exit_code, ..Default::default() })
    }

    async fn exec(&self, _request: cri::ExecRequest) -> Result<String, CriError> {
        Err(CriError::Unsupported("exec"))
    }

    async fn attach(&self, _request: cri::AttachRequest) -> Result<String, CriError> {
        Err(CriError::Unsupported("attach"))
    }

    async fn port_forward(&self, _sandbox: &str, _ports: Vec<i32>) -> Result<String, CriError> {
        Err(CriError::Unsupported("port-forward"))
    }

    async fn container_stats(&self) -> Result<Vec<cri::ContainerStats>, CriError> {
        Ok(Vec::new())
    }

    async fn image_status(&self, image: &str) -> Result<Option<cri::Image>, CriError> {
        Ok(self.state.lock().images.contains_key(image).then(|| fake_image(image)))
    }

    async fn pull_image(
        &self,
        image: &str,
        _auth: Option<cri::AuthConfig>,
        _sandbox: Option<cri::PodSandboxConfig>,
    ) -> Result<String, CriError> {
        let mut state = self.state.lock();
        if let Some(message) = state.scripts.get(image).and_then(|script| script.pull_error.clone()) {
            return Err(CriError::Runtime(message));
        }
        state.images.insert(image.to_owned(), ());
        Ok(image_id(image))
    }

    async fn image_filesystem(&self) -> Result<Option<String>, CriError> {
        Ok(None)
    }

    async fn list_images(&self) -> Result<Vec<cri::Image>, CriError> {
        Ok(self.state.lock().images.keys().map(|name| fake_image(name)).collect())
    }

    async fn remove_image(&self, image: &str) -> Result<(), CriError> {
        self.state.lock().images.remove(image);
        Ok(())
    }
}

fn of_pod(labels: &HashMap<String, String>, pod_uid: Option<&str>) -> bool {
    pod_uid.is_none_or(|uid| labels.get(crate::labels::POD_UID).is_some_and(|l| l == uid))
}

fn image_id(image: &str) -> String {
    // FNV-1a: only has to differ between names.
    let hash = image.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    format!("sha256:{hash:064x}")
}

fn fake_image(name: &str) -> cri::Image {
    cri::Image { id: image_id(name), repo_tags: vec![name.to_owned()], size: 1, ..Default::default() }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    static NOW: AtomicI64 = AtomicI64::new(1_000_000_000);

    fn clock() -> i64 {
        NOW.load(Ordering::SeqCst)
    }

    fn container(name: &str, image: &str) -> cri::ContainerConfig {
        cri::ContainerConfig {
            metadata: Some(cri::ContainerMetadata { name: name.into(), attempt: 0 }),
            image: Some(spec(image)),
            ..Default::default()
        }
    }

    fn spec(image: &str) -> cri::ImageSpec {
        cri::ImageSpec { image: image.into(), ..Default::default() }
    }

    #[tokio::test]
    async fn containers_end_as_scripted_and_addresses_come_back() {
        let runtime = FakeRuntime::new("10.1.2.0/30").expect("cidr").with_clock(clock);
        runtime.script("job", FakeScript { exit: Some((Duration::from_secs(5), 3)), ..Default::default() });
        let sandbox = runtime.run_pod_sandbox(cri::PodSandboxConfig::default(), "").await.expect("sandbox");
        let status = runtime.pod_sandbox_status(&sandbox).await.expect("status");
        assert_eq!(status.network.expect("network").ip, "10.1.2.2");
        let full = runtime.run_pod_sandbox(cri::PodSandboxConfig::default(), "").await;
        assert!(full.expect_err("one usable address").to_string().contains("no IP addresses available"));

        let id = runtime.create_container(&sandbox, container("c", "job"), Default::default()).await.expect("create");
        runtime.start_container(&id).await.expect("start");
        assert_eq!(runtime.container_status(&id).await.expect("running").finished_at, 0);
        NOW.fetch_add(6_000_000_000, Ordering::SeqCst);
        let ended = runtime.container_status(&id).await.expect("ended");
        assert_eq!((ended.exit_code, ended.finished_at, ended.reason.as_str()), (3, 6_000_000_000, "Error"));

        runtime.stop_pod_sandbox(&sandbox).await.expect("stop");
        runtime.run_pod_sandbox(cri::PodSandboxConfig::default(), "").await.expect("the address is free again");
    }
}
