//! Pods lived through as scripts: a small world carries out what `sync_pod` decides, a script lets time
//! pass and things happen, and what is decided and told is compared with what is written here.

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kubelet_core::status::NodeFacts;
use kubelet_core::termination::{self, Cause, Termination};
use kubelet_core::{
    Action, Container, ContainerState, Desired, Now, Observed, Sandbox, images, pod_status, pods, sync_pod,
};
use serde_json::{Value, json};

struct World {
    pod: Pod,
    observed: Observed,
    termination: Option<Termination>,
    now: Now,
    began: Now,
    ids: u32,
    /// Images that cannot be pulled.
    broken: Vec<String>,
    /// Containers that do not stop.
    stuck: Vec<String>,
    /// Containers whose postStart hook takes its time.
    hooked: Vec<String>,
    /// Sandboxes cannot be made.
    no_sandbox: bool,
    log: String,
}

impl World {
    fn new(spec: Value) -> Self {
        let mut world = Self::before(spec);
        world.settle();
        world
    }

    /// Nothing has been decided yet.
    fn before(spec: Value) -> Self {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 1},
            "spec": spec,
        });
        let began = "2026-01-01T00:00:00Z".parse().expect("a time");
        Self {
            pod: serde_json::from_value(pod).expect("a pod"),
            observed: Observed { volumes_ready: true, ..Observed::default() },
            termination: None,
            now: began,
            began,
            ids: 0,
            broken: Vec::new(),
            stuck: Vec::new(),
            hooked: Vec::new(),
            no_sandbox: false,
            log: String::new(),
        }
    }

    fn id(&mut self) -> String {
        self.ids += 1;
        format!("id{}", self.ids)
    }

    fn say(&mut self, line: &str) {
        let at = self.now.duration_since(self.began).as_secs();
        writeln!(self.log, "{at}s {line}").expect("writing to a string");
    }

    /// Decides and acts until there is nothing to do.
    fn settle(&mut self) {
        for _ in 0..50 {
            if let Some(decided) = termination::decide(&self.pod, Some(self.began), self.now) {
                self.termination.get_or_insert(decided);
            }
            let desired = Desired { pod: &self.pod, terminating: self.termination.as_ref() };
            let actions = sync_pod(&desired, &self.observed, self.now);
            self.observed.waiting.clear();
            let mut acted = false;
            let mut started = false;
            for action in actions {
                // One start at a time, as the agent does.
                if matches!(action, Action::StartContainer { .. }) && std::mem::replace(&mut started, true) {
                    continue;
                }
                acted |= self.act(action);
            }
            self.tell();
            if !acted {
                return;
            }
        }
        panic!("the pod does not settle:\n{}", self.log);
    }

    fn act(&mut self, action: Action) -> bool {
        let now = self.now;
        match action {
            Action::CreateSandbox { attempt } => {
                if self.no_sandbox {
                    self.say("create sandbox: not possible");
                    self.observed.sandbox_failed(now);
                    return true;
                }
                self.observed.sandbox_made();
                self.say(&format!("create sandbox {attempt}"));
                let id = self.id();
                let ips = vec![format!("10.0.0.{}", attempt + 2)];
                self.observed.sandboxes.insert(0, Sandbox { id, attempt, ready: true, created: now, ips });
            }
            Action::StartContainer { name, attempt, crashed, .. } => {
                let image = pods::find_container(&self.pod, &name).and_then(|(_, c)| c.image).unwrap_or_default();
                if self.broken.contains(&image) {
                    self.say(&format!("start {name}: no image"));
                    let failure = images::pull_failed(&mut self.observed.backoffs, &image, "not found", now);
                    self.observed.start_failures.insert(name, failure);
                    return true;
                }
                self.say(&format!("start {name} {attempt}"));
                if let Some(ended) = crashed {
                    self.observed.backoffs.next(&name, ended, now);
                }
                self.observed.start_failures.remove(&name);
                let id = self.id();
                if self.hooked.contains(&name) {
                    self.observed.in_flight.insert(name.clone());
                } else {
                    self.observed.post_started.insert(id.clone());
                }
                let sandbox_id = self.observed.sandboxes[0].id.clone();
                let state = ContainerState::Running { started: now };
                let (hash, image_id) = (String::new(), "sha256:1".to_owned());
                self.observed
                    .containers
                    .insert(0, Container { id, name, attempt, sandbox_id, image, image_id, created: now, hash, state });
            }
            Action::StopContainer { id, name, grace, reason } => {
                self.say(&format!("stop {name} within {grace}s: {}", reason.message(&name, true)));
                if self.stuck.contains(&name) {
                    self.observed.stop_failed(&id, now);
                } else {
                    self.observed.stopped(&id);
                    self.end(&name, 137);
                }
            }
            Action::StopSandbox { id } => {
                self.say("stop sandbox");
                self.end_sandbox(&id);
            }
            Action::RemoveSandbox { id } => {
                self.say("remove sandbox");
                self.observed.sandboxes.retain(|s| s.id != id);
            }
            Action::RemoveContainer { id } => {
                self.say("remove container");
                self.observed.containers.retain(|c| c.id != id);
            }
            Action::KillPod { grace } => {
                self.say(&format!("kill pod within {grace}s"));
                let ids: Vec<_> = self.observed.sandboxes.iter().map(|s| s.id.clone()).collect();
                ids.iter().for_each(|id| self.end_sandbox(id));
                self.observed.killed = true;
            }
            Action::Wait { name, waiting, until } => {
                let until = until.duration_since(self.began).as_secs();
                self.say(&format!("{name} waits until {until}s: {}", waiting.reason));
                self.observed.waiting.insert(name, waiting);
                return false;
            }
            Action::Pause { until } => {
                self.say(&format!("nothing until {}s", until.duration_since(self.began).as_secs()));
                return false;
            }
        }
        true
    }

    fn end_sandbox(&mut self, id: &str) {
        let names: Vec<_> = self
            .observed
            .containers
            .iter()
            .filter(|c| c.sandbox_id == id && c.running())
            .map(|c| c.name.clone())
            .collect();
        names.iter().for_each(|name| self.end(name, 0));
        self.observed.sandboxes.iter_mut().filter(|s| s.id == id).for_each(|s| s.ready = false);
    }

    fn end(&mut self, name: &str, exit_code: i32) {
        let finished = self.now;
        let container = self.observed.containers.iter_mut().find(|c| c.name == name && c.running()).expect("it runs");
        let ContainerState::Running { started } = container.state else { unreachable!("it runs") };
        let reason = if exit_code == 0 { "Completed" } else { "Error" }.to_owned();
        container.state =
            ContainerState::Exited { started: Some(started), finished, exit_code, reason, message: String::new() };
    }

    /// Tells the status, and keeps it as the API server would.
    fn tell(&mut self) {
        let desired = Desired { pod: &self.pod, terminating: self.termination.as_ref() };
        let facts = NodeFacts { host_ip: "10.9.9.9", runtime_name: "fake", start_time: self.began };
        self.pod.status = Some(pod_status(&desired, &self.observed, &facts, self.now));
    }

    // What scripts say.

    fn exits(&mut self, name: &str, code: i32) {
        self.say(&format!("-- {name} exits {code}"));
        self.end(name, code);
        self.settle();
    }

    fn pass(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).expect("in range");
        self.settle();
    }

    fn probe(&mut self, name: &str, set: impl FnOnce(&mut kubelet_core::ProbeResults)) {
        let id = self.observed.latest(name).expect("it is there").id.clone();
        set(self.observed.probes.entry(id).or_default());
        self.settle();
    }

    fn hook_ends(&mut self, name: &str) {
        self.say(&format!("-- the hook of {name} ends"));
        let id = self.observed.latest(name).expect("it is there").id.clone();
        self.hooked.retain(|hooked| hooked != name);
        self.observed.in_flight.remove(name);
        self.observed.post_started.insert(id);
        self.settle();
    }

    /// The agent starts anew: what it only remembered is gone.
    fn agent_restarts(&mut self) {
        self.say("-- the agent restarts");
        let (sandboxes, containers) = (self.observed.sandboxes.clone(), self.observed.containers.clone());
        self.observed = Observed { volumes_ready: true, sandboxes, containers, ..Observed::default() };
        self.settle();
    }

    fn delete(&mut self) {
        self.say("-- deleted");
        self.pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.now));
        self.pod.metadata.deletion_grace_period_seconds = Some(30);
        self.settle();
    }

    /// One line for the pod and one for each container.
    fn show(&mut self) {
        let status = self.pod.status.clone().expect("told");
        let true_conditions: Vec<_> =
            status.conditions.iter().flatten().filter(|c| c.status == "True").map(|c| c.type_.clone()).collect();
        let phase = status.phase.as_deref().unwrap_or("");
        let reason = status.reason.as_deref().map_or(String::new(), |r| format!(" ({r})"));
        let ip = status.pod_ip.as_deref().unwrap_or("-");
        self.say(&format!("= {phase}{reason} {ip} [{}]", true_conditions.join(" ")));
        for list in [status.init_container_statuses, status.container_statuses].into_iter().flatten() {
            for container in list {
                let line = line(&container);
                self.say(&line);
            }
        }
    }

    fn check(self, expected: Expect) {
        expected.assert_eq(&self.log);
    }
}

fn line(status: &ContainerStatus) -> String {
    let state = |s: &Option<k8s_openapi::api::core::v1::ContainerState>| match s.as_ref() {
        Some(s) => match (&s.waiting, &s.running, &s.terminated) {
            (Some(w), ..) => format!("waiting {}", w.reason.as_deref().unwrap_or("")),
            (_, Some(_), _) => "running".to_owned(),
            (_, _, Some(t)) => format!("ended {} {}", t.exit_code, t.reason.as_deref().unwrap_or("")),
            _ => "nothing".to_owned(),
        },
        None => "-".to_owned(),
    };
    let ready = if status.ready { " ready" } else { "" };
    format!(
        "  {}: {}, before {}, restarts {}{ready}",
        status.name,
        state(&status.state),
        state(&status.last_state),
        status.restart_count
    )
}

#[test]
fn init_containers_in_order_then_the_others() {
    let mut world = World::new(json!({
        "initContainers": [
            {"name": "i1", "image": "i"},
            {"name": "side", "image": "i", "restartPolicy": "Always", "startupProbe": {"exec": {"command": ["x"]}}},
            {"name": "i2", "image": "i"},
        ],
        "containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i", "readinessProbe": {"exec": {"command": ["x"]}}}],
    }));
    world.show();
    world.exits("i1", 0);
    world.probe("side", |p| p.startup = Some(true));
    world.exits("i2", 0);
    world.show();
    world.probe("b", |p| p.readiness = Some(true));
    world.show();
    world.exits("side", 1);
    world.show();
    world.delete();
    world.show();
    world.check(expect![[r#"
           0s create sandbox 0
           0s start i1 0
           0s = Pending 10.0.0.2 [PodReadyToStartContainers PodScheduled]
           0s   i1: running, before -, restarts 0
           0s   side: waiting PodInitializing, before -, restarts 0
           0s   i2: waiting PodInitializing, before -, restarts 0
           0s   a: waiting PodInitializing, before -, restarts 0
           0s   b: waiting PodInitializing, before -, restarts 0
           0s -- i1 exits 0
           0s start side 0
           0s start i2 0
           0s -- i2 exits 0
           0s start a 0
           0s start b 0
           0s = Running 10.0.0.2 [PodReadyToStartContainers Initialized PodScheduled]
           0s   i1: ended 0 Completed, before -, restarts 0 ready
           0s   side: running, before -, restarts 0 ready
           0s   i2: ended 0 Completed, before -, restarts 0 ready
           0s   a: running, before -, restarts 0 ready
           0s   b: running, before -, restarts 0
           0s = Running 10.0.0.2 [PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled]
           0s   i1: ended 0 Completed, before -, restarts 0 ready
           0s   side: running, before -, restarts 0 ready
           0s   i2: ended 0 Completed, before -, restarts 0 ready
           0s   a: running, before -, restarts 0 ready
           0s   b: running, before -, restarts 0 ready
           0s -- side exits 1
           0s start side 1
           0s = Running 10.0.0.2 [PodReadyToStartContainers Initialized PodScheduled]
           0s   i1: ended 0 Completed, before -, restarts 0 ready
           0s   side: running, before ended 1 Error, restarts 1
           0s   i2: ended 0 Completed, before -, restarts 0 ready
           0s   a: running, before -, restarts 0 ready
           0s   b: running, before -, restarts 0 ready
           0s -- deleted
           0s kill pod within 30s
           0s = Succeeded 10.0.0.2 [Initialized PodScheduled]
           0s   i1: ended 0 Completed, before -, restarts 0 ready
           0s   side: ended 0 Completed, before ended 1 Error, restarts 1
           0s   i2: ended 0 Completed, before -, restarts 0 ready
           0s   a: ended 0 Completed, before -, restarts 0
           0s   b: ended 0 Completed, before -, restarts 0
    "#]]);
}

#[test]
fn crash_loops_wait_longer_each_time() {
    let mut world = World::new(json!({"containers": [{"name": "a", "image": "i"}]}));
    for _ in 0..3 {
        world.pass(1);
        world.exits("a", 1);
        world.show();
        world.pass(19);
    }
    world.pass(60);
    world.pass(700);
    world.exits("a", 2);
    world.show();
    world.check(expect![[r#"
        0s create sandbox 0
        0s start a 0
        1s -- a exits 1
        1s start a 1
        1s = Running 10.0.0.2 [PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled]
        1s   a: running, before ended 1 Error, restarts 1 ready
        21s -- a exits 1
        21s a waits until 31s: CrashLoopBackOff
        21s = Running 10.0.0.2 [PodReadyToStartContainers Initialized PodScheduled]
        21s   a: waiting CrashLoopBackOff, before ended 1 Error, restarts 1
        40s start a 2
        40s remove container
        41s -- a exits 1
        41s a waits until 61s: CrashLoopBackOff
        41s = Running 10.0.0.2 [PodReadyToStartContainers Initialized PodScheduled]
        41s   a: waiting CrashLoopBackOff, before ended 1 Error, restarts 2
        60s a waits until 61s: CrashLoopBackOff
        120s start a 3
        120s remove container
        820s -- a exits 2
        820s start a 4
        820s remove container
        820s = Running 10.0.0.2 [PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled]
        820s   a: running, before ended 2 Error, restarts 4 ready
    "#]]);
}

#[test]
fn images_that_cannot_be_pulled() {
    let mut world = World::new(json!({"containers": [{"name": "a", "image": "i"}]}));
    world.broken = vec!["bad".to_owned()];
    world.pod.spec.as_mut().expect("a spec").containers[0].image = Some("bad".into());
    world.exits("a", 1);
    world.show();
    world.pass(5);
    world.show();
    world.pass(5);
    world.broken.clear();
    world.pass(20);
    world.show();
    world.check(expect![[r#"
        0s create sandbox 0
        0s start a 0
        0s -- a exits 1
        0s start a: no image
        0s a waits until 5s: ErrImagePull
        0s = Running 10.0.0.2 [PodReadyToStartContainers Initialized PodScheduled]
        0s   a: waiting ErrImagePull, before ended 1 Error, restarts 0
        5s a waits until 10s: ImagePullBackOff
        5s = Running 10.0.0.2 [PodReadyToStartContainers Initialized PodScheduled]
        5s   a: waiting ImagePullBackOff, before ended 1 Error, restarts 0
        10s start a: no image
        10s a waits until 15s: ErrImagePull
        30s start a 1
        30s = Running 10.0.0.2 [PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled]
        30s   a: running, before ended 1 Error, restarts 1 ready
    "#]]);
}

#[test]
fn jobs_end() {
    let mut world = World::new(json!({
        "restartPolicy": "OnFailure",
        "initContainers": [{"name": "side", "image": "i", "restartPolicy": "Always"}],
        "containers": [{"name": "a", "image": "i"}],
    }));
    world.exits("a", 1);
    world.show();
    world.exits("a", 0);
    world.show();
    world.check(expect![[r#"
           0s create sandbox 0
           0s start side 0
           0s start a 0
           0s -- a exits 1
           0s start a 1
           0s = Running 10.0.0.2 [PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled]
           0s   side: running, before -, restarts 0 ready
           0s   a: running, before ended 1 Error, restarts 1 ready
           0s -- a exits 0
           0s kill pod within 30s
           0s = Succeeded 10.0.0.2 [Initialized PodScheduled]
           0s   side: ended 0 Completed, before -, restarts 0
           0s   a: ended 0 Completed, before ended 1 Error, restarts 1
    "#]]);
}

#[test]
fn a_failed_init_container_fails_a_pod_that_never_restarts() {
    let mut world = World::new(json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "i", "image": "i"}],
        "containers": [{"name": "a", "image": "i"}],
    }));
    world.exits("i", 3);
    world.show();
    world.check(expect![[r#"
           0s create sandbox 0
           0s start i 0
           0s -- i exits 3
           0s kill pod within 30s
           0s = Failed 10.0.0.2 [PodScheduled]
           0s   i: ended 3 Error, before -, restarts 0
           0s   a: waiting PodInitializing, before -, restarts 0
    "#]]);
}

#[test]
fn failing_probes_restart() {
    let mut world = World::new(json!({
        "terminationGracePeriodSeconds": 7,
        "containers": [{
            "name": "a", "image": "i",
            "livenessProbe": {"exec": {"command": ["x"]}, "terminationGracePeriodSeconds": 3},
            "startupProbe": {"exec": {"command": ["x"]}},
        }],
    }));
    world.show();
    world.probe("a", |p| p.startup = Some(true));
    world.show();
    world.probe("a", |p| p.liveness = Some(false));
    world.probe("a", |p| p.startup = Some(false));
    world.show();
    world.check(expect![[r#"
           0s create sandbox 0
           0s start a 0
           0s = Running 10.0.0.2 [PodReadyToStartContainers Initialized PodScheduled]
           0s   a: running, before -, restarts 0
           0s = Running 10.0.0.2 [PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled]
           0s   a: running, before -, restarts 0 ready
           0s stop a within 3s: Container a failed liveness probe, will be restarted
           0s start a 1
           0s stop a within 7s: Container a failed startup probe, will be restarted
           0s a waits until 10s: CrashLoopBackOff
           0s = Running 10.0.0.2 [PodReadyToStartContainers Initialized PodScheduled]
           0s   a: waiting CrashLoopBackOff, before ended 137 Error, restarts 1
    "#]]);
}

#[test]
fn a_lost_sandbox_is_made_again() {
    let mut world = World::new(json!({
        "initContainers": [{"name": "i", "image": "i"}],
        "containers": [{"name": "a", "image": "i"}],
    }));
    world.exits("i", 0);
    world.say("-- sandbox dies");
    world.observed.sandboxes[0].ready = false;
    world.settle();
    world.show();
    world.exits("i", 0);
    world.show();
    world.check(expect![[r#"
           0s create sandbox 0
           0s start i 0
           0s -- i exits 0
           0s start a 0
           0s -- sandbox dies
           0s stop sandbox
           0s create sandbox 1
           0s start i 1
           0s = Running 10.0.0.3 [PodReadyToStartContainers PodScheduled]
           0s   i: running, before ended 0 Completed, restarts 1
           0s   a: ended 0 Completed, before -, restarts 0
           0s -- i exits 0
           0s start a 1
           0s = Running 10.0.0.3 [PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled]
           0s   i: ended 0 Completed, before ended 0 Completed, restarts 1 ready
           0s   a: running, before ended 0 Completed, restarts 1 ready
    "#]]);
}

#[test]
fn deadlines_end_pods() {
    let mut world = World::new(json!({"activeDeadlineSeconds": 60, "containers": [{"name": "a", "image": "i"}]}));
    world.pass(59);
    world.show();
    world.pass(1);
    world.show();
    world.check(expect![[r#"
        0s create sandbox 0
        0s start a 0
        59s = Running 10.0.0.2 [PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled]
        59s   a: running, before -, restarts 0 ready
        60s kill pod within 30s
        60s = Failed (DeadlineExceeded) 10.0.0.2 [Initialized PodScheduled]
        60s   a: ended 0 Completed, before -, restarts 0
    "#]]);
}

#[test]
fn a_rebooted_node_starts_its_pods_again() {
    let mut world = World::new(json!({"containers": [{"name": "a", "image": "i"}]}));
    world.say("-- reboot");
    world.observed = Observed { volumes_ready: true, ..Observed::default() };
    world.settle();
    world.show();
    world.check(expect![[r#"
        0s create sandbox 0
        0s start a 0
        0s -- reboot
        0s create sandbox 0
        0s start a 1
        0s = Running 10.0.0.2 [PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled]
        0s   a: running, before -, restarts 1 ready
    "#]]);
}

#[test]
fn a_finished_pod_is_at_rest_after_the_agent_restarts() {
    let mut world = World::new(
        json!({"restartPolicy": "Never", "activeDeadlineSeconds": 60, "containers": [{"name": "a", "image": "i"}]}),
    );
    world.exits("a", 0);
    world.agent_restarts();
    world.show();
    world.pass(120);
    world.show();
    world.check(expect![[r#"
        0s create sandbox 0
        0s start a 0
        0s -- a exits 0
        0s kill pod within 30s
        0s -- the agent restarts
        0s kill pod within 30s
        0s = Succeeded 10.0.0.2 [Initialized PodScheduled]
        0s   a: ended 0 Completed, before -, restarts 0
        120s = Succeeded 10.0.0.2 [Initialized PodScheduled]
        120s   a: ended 0 Completed, before -, restarts 0
    "#]]);
}

#[test]
fn a_container_runs_once_its_post_start_hook_is_over() {
    let hook = json!({"postStart": {"exec": {"command": ["x"]}}});
    let mut world = World::new(json!({
        "initContainers": [{"name": "i", "image": "i"}],
        "containers": [{"name": "a", "image": "i", "lifecycle": hook}],
    }));
    world.hooked = vec!["a".to_owned()];
    world.exits("i", 0);
    world.show();
    world.hook_ends("a");
    world.show();
    world.hooked = vec!["a".to_owned()];
    world.exits("a", 1);
    world.show();
    world.hook_ends("a");
    world.show();
    world.check(expect![[r#"
        0s create sandbox 0
        0s start i 0
        0s -- i exits 0
        0s start a 0
        0s = Pending 10.0.0.2 [PodReadyToStartContainers Initialized PodScheduled]
        0s   i: ended 0 Completed, before -, restarts 0 ready
        0s   a: waiting PodInitializing, before -, restarts 0
        0s -- the hook of a ends
        0s = Running 10.0.0.2 [PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled]
        0s   i: ended 0 Completed, before -, restarts 0 ready
        0s   a: running, before -, restarts 0 ready
        0s -- a exits 1
        0s start a 1
        0s = Running 10.0.0.2 [PodReadyToStartContainers Initialized PodScheduled]
        0s   i: ended 0 Completed, before -, restarts 0 ready
        0s   a: ended 1 Error, before -, restarts 0
        0s -- the hook of a ends
        0s = Running 10.0.0.2 [PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled]
        0s   i: ended 0 Completed, before -, restarts 0 ready
        0s   a: running, before ended 1 Error, restarts 1 ready
    "#]]);
}

#[test]
fn what_does_not_stop_is_told_again_later() {
    let mut world = World::new(json!({"containers": [{"name": "a", "image": "i"}]}));
    world.stuck = vec!["a".to_owned()];
    world.probe("a", |p| p.liveness = Some(false));
    world.pass(5);
    world.pass(5);
    world.pass(15);
    world.stuck.clear();
    world.pass(5);
    world.show();
    world.check(expect![[r#"
        0s create sandbox 0
        0s start a 0
        0s stop a within 30s: Container a failed liveness probe, will be restarted
        0s nothing until 10s
        5s nothing until 10s
        10s stop a within 30s: Container a failed liveness probe, will be restarted
        10s nothing until 30s
        25s nothing until 30s
        30s stop a within 30s: Container a failed liveness probe, will be restarted
        30s start a 1
        30s = Running 10.0.0.2 [PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled]
        30s   a: running, before ended 137 Error, restarts 1 ready
    "#]]);
}

#[test]
fn what_the_runtime_forgot_waits_as_what_never_started() {
    let mut world = World::new(json!({
        "initContainers": [{"name": "i", "image": "i"}],
        "containers": [{"name": "a", "image": "i"}],
    }));
    world.exits("i", 0);
    world.observed = Observed::default();
    world.settle();
    world.show();
    world.check(expect![[r#"
        0s create sandbox 0
        0s start i 0
        0s -- i exits 0
        0s start a 0
        0s = Running 10.0.0.2 [Initialized PodScheduled]
        0s   i: ended 0 Completed, before -, restarts 0 ready
        0s   a: waiting PodInitializing, before ended 137 ContainerStatusUnknown, restarts 0
    "#]]);
}

#[test]
fn sandboxes_are_tried_less_and_less_often() {
    let mut world = World::before(json!({"containers": [{"name": "a", "image": "i"}]}));
    world.no_sandbox = true;
    world.settle();
    world.pass(2);
    world.pass(3);
    world.pass(1);
    world.no_sandbox = false;
    world.pass(8);
    world.check(expect![[r#"
        0s create sandbox: not possible
        0s nothing until 2s
        2s create sandbox: not possible
        2s nothing until 6s
        5s nothing until 6s
        6s create sandbox: not possible
        6s nothing until 14s
        14s create sandbox 0
        14s start a 0
    "#]]);
}

#[test]
fn of_a_refused_pod_there_are_no_containers_to_tell() {
    let mut world = World::before(json!({"containers": [{"name": "a", "image": "i"}]}));
    let (reason, message) = ("NodePorts".to_owned(), "Pod was rejected".to_owned());
    let cause = Cause { reason, message, disruption: None, refused: true };
    world.termination = Some(Termination { grace: 0, reason: Some(cause) });
    world.observed.killed = true;
    world.settle();
    world.show();
    world.termination = None;
    world.agent_restarts();
    world.show();
    world.check(expect![[r#"
        0s = Failed (NodePorts) - []
        0s -- the agent restarts
        0s kill pod within 30s
        0s = Failed (NodePorts) - []
    "#]]);
}
