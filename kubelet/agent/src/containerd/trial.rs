//! Whether a pod can run here: by running one.

use std::time::Duration;

use kubelet_cri::{ContainerRuntime as _, RemoteRuntime, cri};

use super::ContainerdConfig;

/// A sandbox takes a third of a second; a slow machine may take longer, a broken one for ever.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Name of the trial sandbox, and of its cgroup.
const NAME: &str = "kontiki-trial";

/// Makes a sandbox with a network of its own, and removes it.
pub(super) async fn sandbox(config: &ContainerdConfig, cgroup_root: &str) -> Result<(), String> {
    match tokio::time::timeout(TIMEOUT, run(config, cgroup_root)).await {
        Ok(result) => result.map_err(|error| format!("no pod can run here: {error}")),
        Err(_) => Err(format!("no pod can run here: a sandbox took longer than {} s", TIMEOUT.as_secs())),
    }
}

async fn run(config: &ContainerdConfig, cgroup_root: &str) -> Result<(), kubelet_cri::CriError> {
    let runtime = RemoteRuntime::new(&config.socket());
    remove(&runtime, &earlier(&runtime).await?).await?;
    let made = runtime.run_pod_sandbox(request(config, cgroup_root), "").await;
    // A failed sandbox may be there all the same.
    let removed = remove(&runtime, &earlier(&runtime).await?).await;
    made.and(removed)
}

fn request(config: &ContainerdConfig, cgroup_root: &str) -> cri::PodSandboxConfig {
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: NAME.to_owned(),
            uid: NAME.to_owned(),
            namespace: NAME.to_owned(),
            attempt: 0,
        }),
        hostname: NAME.to_owned(),
        log_directory: config.dir.join("trial").display().to_string(),
        linux: Some(cri::LinuxPodSandboxConfig {
            cgroup_parent: format!("/{}/{NAME}", cgroup_root.trim_matches('/')),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Trial sandboxes that are there, of this run or of one that was killed.
async fn earlier(runtime: &RemoteRuntime) -> Result<Vec<String>, kubelet_cri::CriError> {
    let all = runtime.list_pod_sandboxes(None).await?;
    let ours = all.into_iter().filter(|one| one.metadata.as_ref().is_some_and(|metadata| metadata.uid == NAME));
    Ok(ours.map(|one| one.id).collect())
}

async fn remove(runtime: &RemoteRuntime, ids: &[String]) -> Result<(), kubelet_cri::CriError> {
    for id in ids {
        runtime.stop_pod_sandbox(id).await?;
        runtime.remove_pod_sandbox(id).await?;
    }
    Ok(())
}
