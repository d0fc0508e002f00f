//! Making sandboxes and starting containers.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use kubelet_core::env::{self, Runtime};
use kubelet_core::images::{self, Decision};
use kubelet_core::observed::Sandbox;
use kubelet_core::{Kind, pods};
use kubelet_cri::cri;

use crate::agent::Node;
use crate::cri_config::{self, ImageUser, Prepared};
use crate::volumes::PodVolumes;
use crate::{cgroups, hooks, kill, paths, pull_secrets};

pub(crate) struct Request {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) attempt: u32,
    pub(crate) sandbox: Sandbox,
}

pub(crate) struct Started {
    pub(crate) id: String,
}

pub(crate) enum StartError {
    Pull(String),
    /// The container started, its postStart hook failed, and it was told to stop.
    Hook {
        id: String,
        message: String,
    },
    Other {
        reason: &'static str,
        message: String,
    },
}

fn other(reason: &'static str) -> impl FnOnce(String) -> StartError {
    move |message| StartError::Other { reason, message }
}

/// Makes the sandbox of a pod.
pub(crate) async fn sandbox(node: &Node, pod: &Pod, attempt: u32) -> Result<(), String> {
    let config = cri_config::sandbox(node, pod, attempt)?;
    if !node.hollow {
        std::fs::create_dir_all(paths::log_dir(node, pod)).map_err(|e| e.to_string())?;
        cgroups::prepare(&node.config.cgroup_root, pod);
    }
    let handler = runtime_handler(node, pod).await?;
    node.runtime.run_pod_sandbox(config, &handler).await.map(drop).map_err(|e| e.to_string())
}

/// The runtime's name of the pod's RuntimeClass; empty: the default.
async fn runtime_handler(node: &Node, pod: &Pod) -> Result<String, String> {
    let Some(class) = pods::spec(pod).and_then(|s| s.runtime_class_name.as_deref()).filter(|c| !c.is_empty()) else {
        return Ok(String::new());
    };
    let path = format!("/apis/node.k8s.io/v1/runtimeclasses/{class}");
    let found: serde_json::Value = node.client.get(&path).await.map_err(|e| e.to_string())?;
    found["handler"].as_str().map(str::to_owned).ok_or_else(|| format!("RuntimeClass {class:?} has no handler"))
}

/// Pulls the image if need be, creates the container, starts it and runs its postStart hook.
pub(crate) async fn container(
    node: &Arc<Node>,
    pod: &Arc<Pod>,
    volumes: &tokio::sync::Mutex<PodVolumes>,
    request: Request,
) -> Result<Started, StartError> {
    let Some((_, spec)) = pods::find_container(pod, &request.name) else {
        return Err(other("CreateContainerConfigError")(format!("container {:?} is not in the pod", request.name)));
    };
    let about = Some((request.kind, spec.name.as_str()));
    let sandbox_config =
        cri_config::sandbox(node, pod, request.sandbox.attempt).map_err(other("CreateContainerConfigError"))?;
    let image = ensure_image(node, pod, &request, &spec, &sandbox_config).await?;
    let fail = |reason: &'static str| {
        move |message: String| {
            node.events.pod(pod, about, false, "Failed", format!("Error: {message}"));
            StartError::Other { reason, message }
        }
    };
    let config =
        configure(node, pod, volumes, &request, &spec, image).await.map_err(fail("CreateContainerConfigError"))?;
    let id = node
        .runtime
        .create_container(&request.sandbox.id, config, sandbox_config)
        .await
        .map_err(|e| fail("CreateContainerError")(e.to_string()))?;
    node.events.pod(pod, about, true, "Created", "Container created".to_owned());
    node.runtime.start_container(&id).await.map_err(|e| fail("RunContainerError")(e.to_string()))?;
    node.events.pod(pod, about, true, "Started", "Container started".to_owned());
    if let Some(hook) = spec.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) {
        let ips = &request.sandbox.ips;
        if let Err(message) = hooks::run(node, &spec, &id, hook, ips, hooks::POST_START_TIMEOUT).await {
            // Not what it said: that may be a secret, and events are read by many.
            node.events.pod(pod, about, false, "FailedPostStartHook", "PostStartHook failed".to_owned());
            node.events.pod(pod, about, true, "Killing", "FailedPostStartHook".to_owned());
            let grace = Duration::from_secs(u64::try_from(pods::grace_seconds(pod)).unwrap_or(30));
            let stop = kill::Stop { spec: &spec, id: &id, grace, hook: true, ips };
            if let Err(error) = kill::container(node, pod, stop).await {
                tracing::warn!(%error, container = id, "stopping a container whose hook failed");
            }
            return Err(StartError::Hook { id, message });
        }
    }
    Ok(Started { id })
}

/// The image is on this node afterwards; the answer is what the runtime is to run.
async fn ensure_image(
    node: &Node,
    pod: &Pod,
    request: &Request,
    spec: &Container,
    sandbox: &cri::PodSandboxConfig,
) -> Result<(String, Option<cri::Image>), StartError> {
    let image = spec.image.clone().unwrap_or_default();
    let about = Some((request.kind, spec.name.as_str()));
    let tagged = images::with_default_tag(&image);
    let present = node.runtime.image_status(&tagged).await.map_err(|e| other("ImageInspectError")(e.to_string()))?;
    match images::decide(spec.image_pull_policy.as_deref(), &image, present.is_some()) {
        Decision::Use => {
            let message =
                format!("Container image {image:?} already present on machine and can be accessed by the pod");
            node.events.pod(pod, about, true, "Pulled", message);
            Ok((present.as_ref().map_or_else(|| tagged.clone(), |i| i.id.clone()), present))
        }
        Decision::Never(message) => {
            node.events.pod(pod, about, false, "ErrImageNeverPull", message.clone());
            Err(StartError::Other { reason: "ErrImageNeverPull", message })
        }
        Decision::Pull => {
            node.events.pod(pod, about, true, "Pulling", format!("Pulling image {image:?}"));
            let began = tokio::time::Instant::now();
            match pull(node, pod, &tagged, sandbox).await {
                Ok(reference) => {
                    let status = node.runtime.image_status(&reference).await.ok().flatten();
                    let size = status.as_ref().map_or(0, |i| i.size);
                    let took = went(began.elapsed());
                    let message = format!(
                        "Successfully pulled image {image:?} in {took} ({took} including waiting). Image size: {size} bytes."
                    );
                    node.events.pod(pod, about, true, "Pulled", message);
                    Ok((reference, status))
                }
                Err(error) => {
                    let message = format!("failed to pull image {image:?}: {error}");
                    let words = format!("Failed to pull image {image:?}: {error}");
                    node.events.pod(pod, about, false, "Failed", words);
                    node.events.pod(pod, about, false, "Failed", "Error: ErrImagePull".to_owned());
                    Err(StartError::Pull(message))
                }
            }
        }
    }
}

/// With each of the pod's credentials for the registry until one opens it.
async fn pull(node: &Node, pod: &Pod, image: &str, sandbox: &cri::PodSandboxConfig) -> Result<String, String> {
    let found = pull_secrets::find(node, pod, image).await;
    let tries: Vec<_> = if found.is_empty() { vec![None] } else { found.into_iter().map(Some).collect() };
    let mut errors: Vec<String> = Vec::new();
    for auth in tries {
        match node.runtime.pull_image(image, auth, Some(sandbox.clone())).await.map_err(|e| e.to_string()) {
            Ok(reference) => return Ok(reference),
            Err(error) if errors.contains(&error) => {}
            Err(error) => errors.push(error),
        }
    }
    Err(if errors.len() == 1 { errors.remove(0) } else { format!("[{}]", errors.join(", ")) })
}

/// As Go prints a duration rounded to milliseconds.
fn went(time: Duration) -> String {
    let millis = time.as_millis();
    if millis < 1000 { format!("{millis}ms") } else { format!("{}.{:03}s", millis / 1000, millis % 1000) }
}

async fn configure(
    node: &Node,
    pod: &Pod,
    volumes: &tokio::sync::Mutex<PodVolumes>,
    request: &Request,
    spec: &Container,
    (image, status): (String, Option<cri::Image>),
) -> Result<cri::ContainerConfig, String> {
    cri_config::check_non_root(pod, spec, status.as_ref())?;
    let sources = node.objects.for_environment(pod, spec).await.map_err(|e| e.to_string())?;
    let services = {
        let services = node.services.read();
        let all: Vec<_> = services.values().collect();
        env::service_variables(pod, &all)
    };
    let host_ip = node.config.node_ip.to_string();
    let pod_ips = if pods::host_network(pod) { vec![host_ip.clone()] } else { request.sandbox.ips.clone() };
    let runtime = Runtime { host_ip, pod_ips, allocatable: node.machine.allocatable() };
    let environment = env::environment(pod, spec, &sources, &services, &runtime)?;
    let expand = |words: &Option<Vec<String>>| -> Vec<String> {
        words.iter().flatten().map(|w| env::expand(w, |name| environment.get(name).map(String::as_str))).collect()
    };
    let mounts = if node.hollow {
        Vec::new()
    } else {
        volumes.lock().await.mounts(node, pod, spec, request.attempt, &request.sandbox.ips, &environment)?
    };
    let prepared = Prepared {
        image,
        command: expand(&spec.command),
        args: expand(&spec.args),
        mounts,
        target: target(node, pod, &request.name),
        user: status.as_ref().map(ImageUser::of),
        env: environment.into_iter().collect(),
    };
    cri_config::container(node, pod, spec, request.attempt, prepared)
}

/// The id of the container that an ephemeral container was aimed at.
fn target(node: &Node, pod: &Pod, name: &str) -> Option<String> {
    let ephemeral = pods::spec(pod)?.ephemeral_containers.as_deref()?.iter().find(|c| c.name == name)?;
    let aimed_at = ephemeral.target_container_name.as_deref()?;
    let (namespace, pod_name, _) = pods::identity(pod);
    let view = node.pod(namespace, pod_name)?;
    view.containers.iter().find(|(n, _, _, running)| n == aimed_at && *running).map(|(_, id, ..)| id.clone())
}
