//! Doing what was decided, and taking in how it went.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kubelet_core::probe::ProbeKind;
use kubelet_core::{Action, Kind, StopReason, Waiting, images, pods};
use kubelet_cri::CriError;

use super::{Done, Worker};
use crate::start::{StartError, Started};
use crate::{clock, kill, start};

/// How long one looks often after containers that are meant to end.
const LOOK_OFTEN_FOR: Duration = Duration::from_secs(3);

impl Worker {
    pub(super) async fn act(&mut self, action: Action, now: Timestamp) {
        match action {
            Action::KillPod { grace } => {
                if let Some((_, task)) = self.start_task.take() {
                    task.abort();
                }
                self.start_kill(grace);
            }
            Action::CreateSandbox { attempt } => {
                self.observed.pod_in_flight = true;
                let (node, pod) = (self.node.clone(), self.pod.clone());
                self.tasks.spawn(async move { Done::Sandbox(start::sandbox(&node, &pod, attempt).await) });
            }
            Action::StopSandbox { id } => {
                self.observed.pod_in_flight = true;
                let (node, pod) = (self.node.clone(), self.pod.clone());
                self.node.events.pod(
                    &pod,
                    None,
                    true,
                    "SandboxChanged",
                    "Pod sandbox changed, it will be killed and re-created.".into(),
                );
                self.tasks.spawn(async move {
                    if let Err(error) = node.runtime.stop_pod_sandbox(&id).await {
                        tracing::warn!(%error, sandbox = id, "stopping a sandbox");
                    }
                    Done::SandboxStopped
                });
            }
            Action::RemoveSandbox { id } => {
                if let Err(error) = self.node.runtime.remove_pod_sandbox(&id).await {
                    tracing::debug!(%error, sandbox = id, "removing a sandbox");
                }
                self.refresh().await;
            }
            Action::RemoveContainer { id } => {
                if let Err(error) = self.node.runtime.remove_container(&id).await {
                    tracing::debug!(%error, container = id, "removing a container");
                }
                self.observed.containers.retain(|c| c.id != id);
            }
            Action::StartContainer { kind, name, attempt, crashed } => self.start(kind, name, attempt, crashed, now),
            Action::StopContainer { id, name, grace, reason } => self.stop(id, name, grace, reason),
            Action::Wait { name, waiting, until } => self.wait(name, waiting, until),
            Action::Pause { until } => self.wake_at(until),
        }
    }

    fn wake_at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |wake| wake.min(time)));
    }

    pub(super) fn wait(&mut self, name: String, waiting: Waiting, until: Timestamp) {
        self.wake_at(until);
        let backing_off = waiting.reason == "CrashLoopBackOff" || waiting.reason == "ImagePullBackOff";
        if backing_off && self.shown(&name) != Some(waiting.reason.as_str()) {
            let kind = pods::find_container(&self.pod, &name).map_or(Kind::App, |(kind, _)| kind);
            let message = if waiting.reason == "CrashLoopBackOff" {
                format!("Back-off restarting failed container {name} in pod {}", pods::long_name(&self.pod))
            } else {
                waiting.message.split(": ErrImagePull").next().unwrap_or("").to_owned()
            };
            self.node.events.pod(&self.pod, Some((kind, &name)), false, "BackOff", message);
        }
        self.observed.waiting.insert(name, waiting);
    }

    /// The waiting reason last told of a container.
    pub(super) fn shown(&self, name: &str) -> Option<&str> {
        self.observer.told_waiting.get(name).map(String::as_str)
    }

    pub(super) fn start(&mut self, kind: Kind, name: String, attempt: u32, crashed: Option<Timestamp>, now: Timestamp) {
        let Some(sandbox) = self.observed.ready_sandbox().cloned() else { return };
        if self.start_task.is_some() || !self.node.services_known.is_cancelled() {
            if self.start_task.is_none() {
                self.wake = now.checked_add(SignedDuration::from_millis(50)).ok();
            }
            return;
        }
        if let Some(ended) = crashed {
            self.observed.backoffs.next(&name, ended, now);
        }
        self.observed.in_flight.insert(name.clone());
        let (node, pod, volumes) = (self.node.clone(), self.pod.clone(), self.volumes.clone());
        let wanted = name.clone();
        let task = self.tasks.spawn(async move {
            let request = start::Request { kind, name: wanted.clone(), attempt, sandbox };
            let result = start::container(&node, &pod, &volumes, request).await;
            Done::Started { name: wanted, result }
        });
        self.start_task = Some((name, task));
    }

    pub(super) fn stop(&mut self, id: String, name: String, grace: i64, reason: StopReason) {
        let Some((kind, spec)) = pods::find_container(&self.pod, &name) else { return };
        self.observed.in_flight.insert(name.clone());
        let first = self.hooked.insert(id.clone());
        if first {
            let restarts = kind == Kind::Init || pods::should_restart(&self.pod, &spec, 137);
            self.node.events.pod(&self.pod, Some((kind, &name)), true, "Killing", reason.message(&name, restarts));
        }
        let (node, pod) = (self.node.clone(), self.pod.clone());
        let ips = self.observed.ready_sandbox().map(|s| s.ips.clone()).unwrap_or_default();
        self.tasks.spawn(async move {
            let grace = Duration::from_secs(grace.max(0) as u64);
            let stop = kill::Stop { spec: &spec, id: &id, grace, hook: first, ips: &ips };
            let result = kill::container(&node, &pod, stop).await;
            Done::Stopped { name, id, result }
        });
    }

    pub(super) fn start_kill(&mut self, grace: i64) {
        self.observed.pod_in_flight = true;
        self.kill_grace = grace;
        self.probes.retain(|(_, kind), task| {
            // Readiness goes on: a pod that ends gracefully still says whether it serves.
            let keep = *kind == ProbeKind::Readiness;
            if !keep {
                task.abort();
            }
            keep
        });
        let (node, pod, observed) = (self.node.clone(), self.pod.clone(), self.observed.clone());
        let grace = Duration::from_secs(grace.max(0) as u64);
        let hooked = self.hooked.clone();
        self.hooked.extend(observed.containers.iter().filter(|c| c.running()).map(|c| c.id.clone()));
        let task = self.tasks.spawn(async move {
            kill::pod(&node, &pod, &observed, grace, &hooked).await;
            Done::Killed
        });
        self.kill_task = Some(task);
    }

    pub(super) async fn done(&mut self, done: Option<Done>) {
        let now = clock::now();
        match done {
            // Aborted, because something else took its place.
            None => {}
            Some(Done::Volumes(result)) => self.volumes_done(result),
            Some(Done::Sandbox(result)) => {
                self.observed.pod_in_flight = false;
                match result {
                    Ok(()) => self.observed.sandbox_made(),
                    Err(error) => {
                        let message = format!("Failed to create pod sandbox: {error}");
                        self.node.events.pod(&self.pod, None, false, "FailedCreatePodSandBox", message);
                        self.observed.sandbox_failed(now);
                    }
                }
            }
            Some(Done::SandboxStopped) => self.observed.pod_in_flight = false,
            Some(Done::Started { name, result }) => self.started(name, result, now),
            Some(Done::Stopped { name, id, result }) => {
                self.observed.in_flight.remove(&name);
                self.stopped(&id, result, now);
            }
            Some(Done::Killed) => {
                self.observed.pod_in_flight = false;
                self.observed.killed = true;
                self.kill_task = None;
                self.probes.drain().for_each(|(_, task)| task.abort());
            }
        }
        self.refresh().await;
    }

    fn stopped(&mut self, id: &str, result: Result<(), CriError>, now: Timestamp) {
        match result {
            Ok(()) => self.observed.stopped(id),
            Err(error) => {
                tracing::warn!(%error, container = id, pod = pods::long_name(&self.pod), "stopping a container");
                self.observed.stop_failed(id, now);
            }
        }
    }

    pub(super) fn started(&mut self, name: String, result: Result<Started, StartError>, now: Timestamp) {
        self.observed.in_flight.remove(&name);
        self.start_task = None;
        let image = pods::find_container(&self.pod, &name).and_then(|(_, c)| c.image).unwrap_or_default();
        match result {
            Ok(started) => {
                images::pull_succeeded(&mut self.observed.backoffs, &image);
                self.observed.start_failures.remove(&name);
                self.observed.waiting.remove(&name);
                self.observed.post_started.insert(started.id);
                let kind = pods::find_container(&self.pod, &name).map(|(kind, _)| kind);
                let ends = kind == Some(Kind::Init) || pods::restart_policy(&self.pod) != "Always";
                self.look_often = (ends && !self.node.hollow).then(|| tokio::time::Instant::now() + LOOK_OFTEN_FOR);
            }
            Err(StartError::Pull(error)) => {
                let failure = images::pull_failed(&mut self.observed.backoffs, &image, &error, now);
                self.observed.start_failures.insert(name, failure);
            }
            Err(StartError::Hook { id, message }) => {
                self.observed.post_started.insert(id);
                self.observed.start_failures.insert(name, images::start_failed("PostStartHookError", &message, now));
            }
            Err(StartError::Other { reason, message }) => {
                self.observed.start_failures.insert(name, images::start_failed(reason, &message, now));
            }
        }
    }
}
