//! CRI v1 over a unix socket.

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use kontiki_proto::cri;
use kontiki_proto::cri::image_service_client::ImageServiceClient;
use kontiki_proto::cri::runtime_service_client::RuntimeServiceClient;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};

use crate::{ContainerRuntime, CriError, labels};

/// Time for calls that only look.
const QUERY_TIMEOUT: Duration = Duration::from_secs(15);
/// Time for calls that change something, besides the graces they carry (upstream: 2 minutes, twice for sandboxes).
const ACTION_TIMEOUT: Duration = Duration::from_secs(240);
/// Time for one image.
const PULL_TIMEOUT: Duration = Duration::from_secs(1800);
/// The runtime caps output at 16 MiB each way; lists are far smaller.
const MAX_MESSAGE: usize = 40 * 1024 * 1024;

/// A runtime such as containerd behind its socket. The connection is made on first use and again when lost.
#[derive(Clone)]
pub struct RemoteRuntime {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

impl RemoteRuntime {
    /// Does not connect yet: the first call does. Must run inside a tokio runtime.
    pub fn new(socket: &Path) -> Self {
        let path: PathBuf = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The address is never resolved: the connector goes to the socket.
        let channel = Endpoint::from_static("http://runtime.invalid").connect_with_connector_lazy(connector);
        Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE),
        }
    }
}

/// Waits for an answer no longer than `limit`.
async fn call<T>(
    limit: Duration,
    answer: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, CriError> {
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(error(status)),
        Err(_) => Err(CriError::Timeout(format!("no answer from the container runtime within {}s", limit.as_secs()))),
    }
}

fn error(status: Status) -> CriError {
    let message = status.message().to_owned();
    match status.code() {
        Code::NotFound => CriError::NotFound(message),
        Code::DeadlineExceeded => CriError::Timeout(message),
        Code::Unavailable => CriError::Unavailable(message),
        // containerd 1.6 reports an exec timeout as Unknown with these words.
        _ if message.contains("deadline exceeded") || message.contains("timeout") && message.contains("exceeded") => {
            CriError::Timeout(message)
        }
        code => CriError::Runtime(format!("rpc error: code = {code:?} desc = {message}")),
    }
}

/// Stopping or removing what is gone already is success.
fn gone_is_done(result: Result<(), CriError>) -> Result<(), CriError> {
    match result {
        Err(CriError::NotFound(_)) => Ok(()),
        other => other,
    }
}

fn missing(what: &str) -> CriError {
    CriError::Runtime(format!("the container runtime sent no {what}"))
}

fn selector(pod_uid: &str) -> HashMap<String, String> {
    HashMap::from([(labels::POD_UID.to_owned(), pod_uid.to_owned())])
}

fn spec(image: &str) -> cri::ImageSpec {
    cri::ImageSpec { image: image.to_owned(), ..Default::default() }
}

#[async_trait]
impl ContainerRuntime for RemoteRuntime {
    async fn version(&self) -> Result<cri::VersionResponse, CriError> {
        let request = cri::VersionRequest { version: "v1".into() };
        call(QUERY_TIMEOUT, self.runtime.clone().version(request)).await
    }

    async fn status(&self) -> Result<cri::RuntimeStatus, CriError> {
        let answer = call(QUERY_TIMEOUT, self.runtime.clone().status(cri::StatusRequest { verbose: false })).await?;
        answer.status.ok_or_else(|| missing("status"))
    }

    async fn features(&self) -> Result<cri::RuntimeFeatures, CriError> {
        let answer = call(QUERY_TIMEOUT, self.runtime.clone().status(cri::StatusRequest { verbose: false })).await?;
        Ok(answer.features.unwrap_or_default())
    }

    async fn run_pod_sandbox(&self, config: cri::PodSandboxConfig, handler: &str) -> Result<String, CriError> {
        let request = cri::RunPodSandboxRequest { config: Some(config), runtime_handler: handler.to_owned() };
        Ok(call(ACTION_TIMEOUT, self.runtime.clone().run_pod_sandbox(request)).await?.pod_sandbox_id)
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<(), CriError> {
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        gone_is_done(call(ACTION_TIMEOUT, self.runtime.clone().stop_pod_sandbox(request)).await.map(drop))
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<(), CriError> {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        gone_is_done(call(ACTION_TIMEOUT, self.runtime.clone().remove_pod_sandbox(request)).await.map(drop))
    }

    async fn pod_sandbox_status(&self, id: &str) -> Result<cri::PodSandboxStatus, CriError> {
        let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        let answer = call(QUERY_TIMEOUT, self.runtime.clone().pod_sandbox_status(request)).await?;
        answer.status.ok_or_else(|| missing("sandbox status"))
    }

    async fn list_pod_sandboxes(&self, pod_uid: Option<&str>) -> Result<Vec<cri::PodSandbox>, CriError> {
        let filter = pod_uid.map(|uid| cri::PodSandboxFilter { label_selector: selector(uid), ..Default::default() });
        let request = cri::ListPodSandboxRequest { filter };
        Ok(call(QUERY_TIMEOUT, self.runtime.clone().list_pod_sandbox(request)).await?.items)
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: cri::ContainerConfig,
        sandbox_config: cri::PodSandboxConfig,
    ) -> Result<String, CriError> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        Ok(call(ACTION_TIMEOUT, self.runtime.clone().create_container(request)).await?.container_id)
    }

    async fn start_container(&self, id: &str) -> Result<(), CriError> {
        let request = cri::StartContainerRequest { container_id: id.to_owned() };
        call(ACTION_TIMEOUT, self.runtime.clone().start_container(request)).await.map(drop)
    }

    async fn stop_container(&self, id: &str, timeout: Duration) -> Result<(), CriError> {
        // Whole seconds, rounded up: 0 would kill at once.
        let seconds = timeout.as_millis().div_ceil(1000).min(i64::MAX as u128) as i64;
        let request = cri::StopContainerRequest { container_id: id.to_owned(), timeout: seconds };
        let limit = ACTION_TIMEOUT + timeout;
        gone_is_done(call(limit, self.runtime.clone().stop_container(request)).await.map(drop))
    }

    async fn remove_container(&self, id: &str) -> Result<(), CriError> {
        let request = cri::RemoveContainerRequest { container_id: id.to_owned() };
        gone_is_done(call(ACTION_TIMEOUT, self.runtime.clone().remove_container(request)).await.map(drop))
    }

    async fn list_containers(&self, pod_uid: Option<&str>) -> Result<Vec<cri::Container>, CriError> {
        let filter = pod_uid.map(|uid| cri::ContainerFilter { label_selector: selector(uid), ..Default::default() });
        let request = cri::ListContainersRequest { filter };
        Ok(call(QUERY_TIMEOUT, self.runtime.clone().list_containers(request)).await?.containers)
    }

    async fn container_status(&self, id: &str) -> Result<cri::ContainerStatus, CriError> {
        let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let answer = call(QUERY_TIMEOUT, self.runtime.clone().container_status(request)).await?;
        answer.status.ok_or_else(|| missing("container status"))
    }

    async fn reopen_container_log(&self, id: &str) -> Result<(), CriError> {
        let request = cri::ReopenContainerLogRequest { container_id: id.to_owned() };
        call(QUERY_TIMEOUT, self.runtime.clone().reopen_container_log(request)).await.map(drop)
    }

    async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<cri::ExecSyncResponse, CriError> {
        let seconds = timeout.as_millis().div_ceil(1000).min(i64::MAX as u128) as i64;
        let request = cri::ExecSyncRequest { container_id: id.to_owned(), cmd: command, timeout: seconds };
        call(QUERY_TIMEOUT + timeout, self.runtime.clone().exec_sync(request)).await
    }

    async fn exec(&self, request: cri::ExecRequest) -> Result<String, CriError> {
        Ok(call(QUERY_TIMEOUT, self.runtime.clone().exec(request)).await?.url)
    }

    async fn attach(&self, request: cri::AttachRequest) -> Result<String, CriError> {
        Ok(call(QUERY_TIMEOUT, self.runtime.clone().attach(request)).await?.url)
    }

    async fn port_forward(&self, sandbox: &str, ports: Vec<i32>) -> Result<String, CriError> {
        let request = cri::PortForwardRequest { pod_sandbox_id: sandbox.to_owned(), port: ports };
        Ok(call(QUERY_TIMEOUT, self.runtime.clone().port_forward(request)).await?.url)
    }

    async fn container_stats(&self) -> Result<Vec<cri::ContainerStats>, CriError> {
        let request = cri::ListContainerStatsRequest { filter: None };
        Ok(call(QUERY_TIMEOUT, self.runtime.clone().list_container_stats(request)).await?.stats)
    }

    async fn image_status(&self, image: &str) -> Result<Option<cri::Image>, CriError> {
        let request = cri::ImageStatusRequest { image: Some(spec(image)), verbose: false };
        Ok(call(QUERY_TIMEOUT, self.images.clone().image_status(request)).await?.image)
    }

    async fn pull_image(
        &self,
        image: &str,
        auth: Option<cri::AuthConfig>,
        sandbox: Option<cri::PodSandboxConfig>,
    ) -> Result<String, CriError> {
        let request = cri::PullImageRequest { image: Some(spec(image)), auth, sandbox_config: sandbox };
        Ok(call(PULL_TIMEOUT, self.images.clone().pull_image(request)).await?.image_ref)
    }

    async fn image_filesystem(&self) -> Result<Option<String>, CriError> {
        let answer = call(QUERY_TIMEOUT, self.images.clone().image_fs_info(cri::ImageFsInfoRequest {})).await?;
        Ok(answer.image_filesystems.into_iter().find_map(|one| one.fs_id).map(|id| id.mountpoint))
    }

    async fn list_images(&self) -> Result<Vec<cri::Image>, CriError> {
        let request = cri::ListImagesRequest { filter: None };
        Ok(call(QUERY_TIMEOUT, self.images.clone().list_images(request)).await?.images)
    }

    async fn remove_image(&self, image: &str) -> Result<(), CriError> {
        let request = cri::RemoveImageRequest { image: Some(spec(image)) };
        gone_is_done(call(ACTION_TIMEOUT, self.images.clone().remove_image(request)).await.map(drop))
    }
}
