//! What goes on beside the decisions: volumes kept up to date, probes of what runs.

use std::time::Duration;

use kubelet_core::probe::ProbeKind;
use kubelet_core::{Kind, pods};

use super::{Done, Worker};
use crate::probing;

/// How often volumes of ConfigMaps, secrets and tokens are brought up to date.
const VOLUMES_EVERY: Duration = Duration::from_secs(30);
const VOLUMES_RETRY: Duration = Duration::from_secs(2);

impl Worker {
    /// When volumes are to be brought up to date; `None`: not of their own accord.
    pub(super) fn volumes_wait(&self) -> Option<Duration> {
        let idle = self.ending() || self.volumes_busy || self.node.hollow;
        let now = tokio::time::Instant::now();
        (!idle).then(|| self.volumes_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now)))
    }

    pub(super) fn keep_volumes(&mut self) {
        if self.node.hollow {
            self.observed.volumes_ready = true;
            return;
        }
        if self.ending() {
            return;
        }
        if self.volumes_busy || self.volumes_at.is_some_and(|at| tokio::time::Instant::now() < at) {
            return;
        }
        self.volumes_busy = true;
        let (node, pod, volumes) = (self.node.clone(), self.pod.clone(), self.volumes.clone());
        let ips = self.observed.ready_sandbox().map(|s| s.ips.clone()).unwrap_or_default();
        let first = !self.observed.volumes_ready;
        self.tasks.spawn(async move { Done::Volumes(volumes.lock().await.set_up(&node, &pod, &ips, first).await) });
    }

    pub(super) fn volumes_done(&mut self, result: Result<(), String>) {
        self.volumes_busy = false;
        let next = match result {
            Ok(()) => {
                self.observed.volumes_ready = true;
                VOLUMES_EVERY
            }
            Err(message) => {
                self.node.events.pod(&self.pod, None, false, "FailedMount", message);
                if self.observed.volumes_ready { VOLUMES_EVERY } else { VOLUMES_RETRY }
            }
        };
        self.volumes_at = Some(tokio::time::Instant::now() + next);
    }

    /// One task per probe of each running container.
    pub(super) fn keep_probes(&mut self) {
        if self.observed.killed {
            return;
        }
        let terminating = self.termination.is_some();
        let mut wanted = Vec::new();
        for (kind, spec) in pods::all_containers(&self.pod) {
            if kind == Kind::Ephemeral || kind == Kind::Init && !pods::is_sidecar(&spec) {
                continue;
            }
            let Some(container) = self.observed.latest(&spec.name).filter(|c| c.running()) else { continue };
            if self.observed.starting(&spec, container) {
                continue;
            }
            let kubelet_core::ContainerState::Running { started } = container.state else { continue };
            let results = self.observed.probes_of(container);
            let is_started = spec.startup_probe.is_none() || results.startup == Some(true);
            for probe in ProbeKind::ALL {
                let timely =
                    if probe == ProbeKind::Startup { !is_started && results.startup.is_none() } else { is_started };
                let ended = terminating && probe != ProbeKind::Readiness;
                let failed = probe == ProbeKind::Liveness && results.liveness == Some(false);
                if probe.of(&spec).is_some() && timely && !ended && !failed {
                    wanted.push(((container.id.clone(), probe), spec.clone(), started));
                }
            }
        }
        self.probes.retain(|key, task| {
            let keep = wanted.iter().any(|(k, _, _)| k == key);
            if !keep {
                task.abort();
            }
            keep
        });
        let ips = self.observed.ready_sandbox().map(|s| s.ips.clone()).unwrap_or_default();
        for (key, spec, started) in wanted {
            if self.probes.contains_key(&key) {
                continue;
            }
            let job = probing::Job {
                node: self.node.clone(),
                pod: self.pod.clone(),
                container: spec,
                container_id: key.0.clone(),
                kind: key.1,
                pod_ip: ips.first().cloned().unwrap_or_else(|| self.node.config.node_ip.to_string()),
                inbox: self.inbox.clone(),
            };
            let task = tokio::spawn(probing::run(job, started)).abort_handle();
            self.probes.insert(key, task);
        }
    }
}
