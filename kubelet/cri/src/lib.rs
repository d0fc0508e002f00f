//! The container runtime behind a trait: CRI v1 over a unix socket, and a fake.
//!
//! The trait speaks the CRI's own messages: they are the contract with every runtime, and a second
//! vocabulary would only have to be kept in step.

mod fake;
mod remote;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
pub use fake::{FakeRuntime, FakeScript};
pub use kontiki_proto::cri;
pub use remote::RemoteRuntime;

/// A container runtime. Every call is bounded in time by its implementation.
#[async_trait]
pub trait ContainerRuntime: Send + Sync {
    /// Name, version and CRI version.
    async fn version(&self) -> Result<cri::VersionResponse, CriError>;
    /// `RuntimeReady` and `NetworkReady`.
    async fn status(&self) -> Result<cri::RuntimeStatus, CriError>;
    /// What the runtime says it can do; runtimes from before that question can nothing of it.
    async fn features(&self) -> Result<cri::RuntimeFeatures, CriError>;

    /// Creates and starts a sandbox; the answer is its id.
    async fn run_pod_sandbox(&self, config: cri::PodSandboxConfig, handler: &str) -> Result<String, CriError>;
    /// Stops the sandbox and everything in it. Idempotent.
    async fn stop_pod_sandbox(&self, id: &str) -> Result<(), CriError>;
    /// Removes the sandbox with its containers. Idempotent.
    async fn remove_pod_sandbox(&self, id: &str) -> Result<(), CriError>;
    async fn pod_sandbox_status(&self, id: &str) -> Result<cri::PodSandboxStatus, CriError>;
    /// All sandboxes, or those of one pod (by its label).
    async fn list_pod_sandboxes(&self, pod_uid: Option<&str>) -> Result<Vec<cri::PodSandbox>, CriError>;

    async fn create_container(
        &self,
        sandbox: &str,
        config: cri::ContainerConfig,
        sandbox_config: cri::PodSandboxConfig,
    ) -> Result<String, CriError>;
    async fn start_container(&self, id: &str) -> Result<(), CriError>;
    /// Stop signal, then a kill after `timeout`. Idempotent; returns when the container has exited.
    async fn stop_container(&self, id: &str, timeout: Duration) -> Result<(), CriError>;
    async fn remove_container(&self, id: &str) -> Result<(), CriError>;
    /// All containers, or those of one pod (by its label).
    async fn list_containers(&self, pod_uid: Option<&str>) -> Result<Vec<cri::Container>, CriError>;
    async fn container_status(&self, id: &str) -> Result<cri::ContainerStatus, CriError>;
    async fn reopen_container_log(&self, id: &str) -> Result<(), CriError>;

    /// Runs a command to its end. `CriError::Timeout` when it takes longer than `timeout`.
    async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<cri::ExecSyncResponse, CriError>;
    /// A URL of the runtime's streaming server.
    async fn exec(&self, request: cri::ExecRequest) -> Result<String, CriError>;
    async fn attach(&self, request: cri::AttachRequest) -> Result<String, CriError>;
    async fn port_forward(&self, sandbox: &str, ports: Vec<i32>) -> Result<String, CriError>;
    async fn container_stats(&self) -> Result<Vec<cri::ContainerStats>, CriError>;

    /// `None`: not present.
    async fn image_status(&self, image: &str) -> Result<Option<cri::Image>, CriError>;
    /// Pulls an image; the answer is its reference.
    async fn pull_image(
        &self,
        image: &str,
        auth: Option<cri::AuthConfig>,
        sandbox: Option<cri::PodSandboxConfig>,
    ) -> Result<String, CriError>;
    /// A directory of the file system that images are on; `None`: the runtime does not say.
    async fn image_filesystem(&self) -> Result<Option<String>, CriError>;
    async fn list_images(&self) -> Result<Vec<cri::Image>, CriError>;
    async fn remove_image(&self, image: &str) -> Result<(), CriError>;
}

pub type SharedRuntime = Arc<dyn ContainerRuntime>;

#[derive(Debug, thiserror::Error)]
pub enum CriError {
    #[error("{0}")]
    NotFound(String),
    /// The runtime did not answer in time, or the command in the container took too long.
    #[error("{0}")]
    Timeout(String),
    #[error("container runtime is down: {0}")]
    Unavailable(String),
    /// The fake runtime has no processes to do this with.
    #[error("{0} is not supported by this runtime")]
    Unsupported(&'static str),
    /// Whatever else the runtime says, in its own words.
    #[error("{0}")]
    Runtime(String),
}

/// Labels the kubelet puts on sandboxes and containers, by upstream's names: other tools read them.
pub mod labels {
    pub const POD_NAME: &str = "io.kubernetes.pod.name";
    pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    pub const POD_UID: &str = "io.kubernetes.pod.uid";
    pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
}
