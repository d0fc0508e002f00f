//! The row of a pod: `kubectl get pods -o wide`.

use api_machinery::{Value, object, time};
use jiff::Timestamp;

use crate::at::child;
use crate::cells;

pub(crate) fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let seen = look(object);
    let text_or_none = |path: &str| cells::text_or(object, path, "<none>");
    let ip = first_ip(object);
    vec![
        cells::name(object),
        format!("{}/{}", seen.ready, seen.total).into(),
        seen.reason.clone().into(),
        seen.restarts.show(now).into(),
        cells::age(object, now),
        if ip.is_empty() { "<none>".into() } else { ip.into() },
        text_or_none("spec.nodeName"),
        text_or_none("status.nominatedNodeName"),
        readiness_gates(object).into(),
    ]
}

/// The first of `status.podIPs`, else `status.podIP`.
pub(crate) fn first_ip(object: &Value) -> &str {
    match cells::list(object, "status.podIPs").first() {
        Some(first) => object::str_at(first, "ip"),
        None => object::str_at(object, "status.podIP"),
    }
}

/// How often containers were restarted, and when last.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += cells::int(status, "restartCount");
        let finished = time::parse(object::str_at(status, "lastState.terminated.finishedAt"));
        self.last = self.last.max(finished);
    }
    /// `3 (5m ago)`
    fn show(self, now: Timestamp) -> String {
        match self.last {
            Some(last) if self.count != 0 => {
                format!("{} ({} ago)", self.count, time::human_duration(now.as_second() - last.as_second()))
            }
            _ => self.count.to_string(),
        }
    }
}

struct Seen {
    ready: usize,
    total: usize,
    reason: String,
    restarts: Restarts,
}

/// The columns Ready, Status and Restarts, which depend on each other.
fn look(object: &Value) -> Seen {
    let sidecars = sidecars(object);
    let mut seen = Seen {
        ready: 0,
        total: cells::list(object, "spec.containers").len() + sidecars.len(),
        reason: first_reason(object),
        restarts: Restarts::default(),
    };
    let (initializing, of_sidecars) = look_at_init(object, &sidecars, &mut seen);
    if !initializing || cells::condition_true(object, "Initialized") {
        seen.restarts = of_sidecars;
        look_at_containers(object, &mut seen);
    }
    if object::deletion_timestamp(object).is_some() {
        if object::str_at(object, "status.reason") == "NodeLost" {
            seen.reason = "Unknown".to_owned();
        } else if !matches!(object::str_at(object, "status.phase"), "Failed" | "Succeeded") {
            seen.reason = "Terminating".to_owned();
        }
    }
    seen
}

/// Names of init containers that keep running.
fn sidecars(object: &Value) -> Vec<&str> {
    cells::list(object, "spec.initContainers")
        .iter()
        .filter(|container| object::str_at(container, "restartPolicy") == "Always")
        .map(|container| object::str_at(container, "name"))
        .collect()
}

fn first_reason(object: &Value) -> String {
    let gated = cells::condition(object, "PodScheduled")
        .is_some_and(|condition| object::str_at(condition, "reason") == "SchedulingGated");
    if gated {
        return "SchedulingGated".to_owned();
    }
    match object::str_at(object, "status.reason") {
        "" => object::str_at(object, "status.phase").to_owned(),
        reason => reason.to_owned(),
    }
}

/// Answers whether an init container is not done yet, and the restarts of sidecars.
fn look_at_init(object: &Value, sidecars: &[&str], seen: &mut Seen) -> (bool, Restarts) {
    let mut of_sidecars = Restarts::default();
    for (index, status) in cells::list(object, "status.initContainerStatuses").iter().enumerate() {
        let sidecar = sidecars.contains(&object::str_at(status, "name"));
        seen.restarts.add(status);
        if sidecar {
            of_sidecars.add(status);
        }
        let terminated = child(status, "state.terminated");
        if terminated.is_object() && cells::int(terminated, "exitCode") == 0 {
            continue;
        }
        if sidecar && child(status, "started") == &Value::Bool(true) {
            seen.ready += usize::from(child(status, "ready") == &Value::Bool(true));
            continue;
        }
        let waiting = object::str_at(status, "state.waiting.reason");
        seen.reason = if terminated.is_object() {
            format!("Init:{}", exit_reason(terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{}", cells::list(object, "spec.initContainers").len())
        };
        return (true, of_sidecars);
    }
    (false, of_sidecars)
}

fn look_at_containers(object: &Value, seen: &mut Seen) {
    let mut running = false;
    for status in cells::list(object, "status.containerStatuses").iter().rev() {
        seen.restarts.add(status);
        let terminated = child(status, "state.terminated");
        let waiting = object::str_at(status, "state.waiting.reason");
        if !waiting.is_empty() {
            seen.reason = waiting.to_owned();
        } else if terminated.is_object() {
            seen.reason = exit_reason(terminated);
        } else if child(status, "ready") == &Value::Bool(true) && child(status, "state.running").is_object() {
            running = true;
            seen.ready += 1;
        }
    }
    if seen.reason == "Completed" && running {
        let ready = cells::condition_true(object, "Ready");
        seen.reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

/// `Completed`, `OOMKilled`, `Signal:9`, `ExitCode:1`
fn exit_reason(terminated: &Value) -> String {
    match (object::str_at(terminated, "reason"), cells::int(terminated, "signal")) {
        ("", 0) => format!("ExitCode:{}", cells::int(terminated, "exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn readiness_gates(object: &Value) -> String {
    let gates = cells::list(object, "spec.readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let met = gates.iter().filter(|gate| cells::condition_true(object, object::str_at(gate, "conditionType"))).count();
    format!("{met}/{}", gates.len())
}
