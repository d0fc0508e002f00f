//! Replicas in containers, one each: its own processes, files and network, the data directory from outside.
//!
//! A second container next to each keeps the network namespace, so that links and rules outlive the replica.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use testcontainers::bollard::Docker;
use testcontainers::bollard::models::HostConfig;
use testcontainers::bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptions,
};
use testcontainers::core::client::docker_client_instance;
use testcontainers::core::{Mount, logs::LogFrame};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};
use tokio::sync::Mutex;

use super::backend::{Backend, Program, Running};
use super::image;
use super::run_id::{LABEL, MARK, RunId};
use crate::Failure;

const IMAGE: &str = "kontiki-chaos";

/// Every run makes one of its own.
pub(super) fn image_of(run: &RunId) -> String {
    format!("{IMAGE}:{run}")
}

pub(crate) struct Containers {
    docker: Docker,
    /// The run: tag of its image, label of its containers, mark of their processes.
    run: String,
    logs: PathBuf,
    holders: Mutex<Vec<ContainerAsync<GenericImage>>>,
}

impl Containers {
    /// Finds the engine and makes the image.
    pub(crate) async fn new(kontiki: &Path, dir: &Path, run: &RunId) -> Result<Self, Failure> {
        let docker = docker_client_instance().await.map_err(|error| format!("no Docker engine: {error}"))?;
        docker.ping().await.map_err(|error| format!("the Docker engine does not answer: {error}"))?;
        sweep(&docker).await?;
        let run = run.to_string();
        image::make(&docker, kontiki, &dir.join("disks"), IMAGE, &run).await?;
        let containers = Self { docker, run, logs: dir.join("logs"), holders: Mutex::default() };
        // Whether the engine runs on this machine and sees its files: it need not.
        containers.hold(0).await?;
        containers.holders.lock().await.clear();
        Ok(containers)
    }

    /// `holder`: the container whose network it shares, and whose processes: the first process of a container is
    /// spared by signals of its own, so that a replica under strace could not abort. Not by `with_network`, which
    /// would make a network of that name, with a bridge and rules on this machine.
    fn request(&self, holder: Option<&str>, command: Vec<String>) -> ContainerRequest<GenericImage> {
        let shared = holder.map(|holder| format!("container:{holder}"));
        let join = move |config: &mut HostConfig| {
            config.network_mode = shared.clone().or_else(|| Some("none".to_owned()));
            config.pid_mode.clone_from(&shared);
            (config.publish_all_ports, config.port_bindings) = (None, None);
        };
        GenericImage::new(IMAGE, &self.run)
            .with_cmd(command)
            .with_host_config_modifier(join)
            .with_label(LABEL, &self.run)
            .with_env_var(MARK, &self.run)
    }

    async fn pid(&self, id: &str) -> Result<i32, Failure> {
        let state = self.docker.inspect_container(id, None).await?.state;
        let pid = state.and_then(|state| state.pid).filter(|pid| *pid > 0).ok_or("a container ended at once")?;
        Ok(i32::try_from(pid)?)
    }
}

#[async_trait]
impl Backend for Containers {
    fn name(&self) -> &'static str {
        "containers"
    }

    async fn hold(&self, _number: usize) -> Result<i32, Failure> {
        let logs = self.logs.display().to_string();
        let command = vec![image::SLEEP.to_owned(), "infinity".to_owned()];
        let request = self.request(None, command).with_mount(Mount::bind_mount(&logs, &logs));
        let container = request.start().await?;
        let pid = self.pid(container.id()).await?;
        self.holders.lock().await.push(container);
        match Path::new(&format!("/proc/{pid}/root{logs}")).is_dir() {
            true => Ok(pid),
            false => Err("the Docker engine is not on this machine".into()),
        }
    }

    async fn start(&self, program: &Program) -> Result<Box<dyn Running>, Failure> {
        let holders = self.holders.lock().await;
        let holder = holders.get(program.number - 1).ok_or("no network namespace")?.id().to_owned();
        drop(holders);
        let disk = program.disk.display().to_string();
        let mut command = vec![image::PROGRAM.to_owned()];
        command.extend(program.arguments.iter().cloned());
        let log = OpenOptions::new().create(true).append(true).open(&program.log)?;
        let mut request = self
            .request(Some(&holder), command)
            .with_mount(Mount::bind_mount(&disk, &disk))
            .with_log_consumer(move |frame: &LogFrame| {
                // A log that cannot be written must not stop a replica.
                let _ = (&log).write_all(frame.bytes());
            });
        for (name, value) in &program.environment {
            request = request.with_env_var(name, value);
        }
        let container = request.start().await?;
        let pid = self.pid(container.id()).await;
        // It may have ended already; then `ended` says how.
        Ok(Box::new(InContainer { pid: pid.unwrap_or(0), container, docker: self.docker.clone() }))
    }

    async fn end(&self) {
        self.holders.lock().await.clear();
        // Another run may use the same image.
        let _ = self.docker.remove_image(&format!("{IMAGE}:{}", self.run), NO_OPTIONS, None).await;
    }
}

const NO_OPTIONS: Option<RemoveImageOptions> = None;

/// Removes containers and images of runs whose process is gone. A killed run's janitor does so too, where it has
/// a `docker` command; a container that was being made at that moment is left to this.
async fn sweep(docker: &Docker) -> Result<(), Failure> {
    let is_over = |run: &str| RunId::parse(run).is_some_and(|run| !run.lives());
    let labelled = HashMap::from([("label".to_owned(), vec![LABEL.to_owned()])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&labelled).build();
    for container in docker.list_containers(Some(options)).await? {
        let run = container.labels.unwrap_or_default().remove(LABEL).unwrap_or_default();
        if let (true, Some(id)) = (is_over(&run), container.id) {
            let options = RemoveContainerOptionsBuilder::new().force(true).build();
            // That run's janitor may be at it.
            let _ = docker.remove_container(&id, Some(options)).await;
        }
    }
    let ours = HashMap::from([("reference".to_owned(), vec![IMAGE.to_owned()])]);
    let options = ListImagesOptionsBuilder::new().filters(&ours).build();
    for tag in docker.list_images(Some(options)).await?.into_iter().flat_map(|image| image.repo_tags) {
        if tag.rsplit_once(':').is_some_and(|(_, run)| is_over(run)) {
            let _ = docker.remove_image(&tag, NO_OPTIONS, None).await;
        }
    }
    Ok(())
}

struct InContainer {
    pid: i32,
    container: ContainerAsync<GenericImage>,
    docker: Docker,
}

#[async_trait]
impl Running for InContainer {
    fn pid(&self) -> i32 {
        self.pid
    }

    async fn ended(&mut self) -> Result<Option<String>, Failure> {
        if Path::new(&format!("/proc/{}", self.pid)).exists() {
            return Ok(None);
        }
        let state = self.docker.inspect_container(self.container.id(), None).await?.state.unwrap_or_default();
        let ended = state.running == Some(false);
        Ok(ended.then(|| format!("exit code {}", state.exit_code.unwrap_or(-1))))
    }

    async fn clear(self: Box<Self>) {
        // What cannot be removed now is removed at the end of the run.
        let _ = self.container.rm().await;
    }
}
