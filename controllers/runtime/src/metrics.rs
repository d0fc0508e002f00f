//! Upstream's metric names, recorded in one place.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

pub(crate) fn depth(queue: &'static str, depth: usize) {
    gauge!("workqueue_depth", "name" => queue).set(depth as f64);
}
pub(crate) fn added(queue: &'static str, ready: usize) {
    counter!("workqueue_adds_total", "name" => queue).increment(1);
    depth(queue, ready);
}
pub(crate) fn taken(queue: &'static str, ready: usize, waited: Duration) {
    histogram!("workqueue_queue_duration_seconds", "name" => queue).record(waited.as_secs_f64());
    depth(queue, ready);
}
pub(crate) fn worked(queue: &'static str, took: Duration) {
    histogram!("workqueue_work_duration_seconds", "name" => queue).record(took.as_secs_f64());
}
pub(crate) fn retried(queue: &'static str) {
    counter!("workqueue_retries_total", "name" => queue).increment(1);
}

/// `name` is that of the visible Lease.
pub(crate) fn leading(name: &'static str, leads: bool) {
    gauge!("leader_election_master_status", "name" => name).set(if leads { 1.0 } else { 0.0 });
}

/// `scheduled`, `unschedulable` or `error`.
pub(crate) fn scheduling_attempt(result: &'static str, took: Duration) {
    let labels = [("profile", scheduler::PROFILE), ("result", result)];
    counter!("scheduler_schedule_attempts_total", &labels).increment(1);
    histogram!("scheduler_scheduling_attempt_duration_seconds", &labels).record(took.as_secs_f64());
}
/// Attempts a pod needed until it was bound.
pub(crate) fn scheduled_after(attempts: u32) {
    histogram!("scheduler_pod_scheduling_attempts").record(f64::from(attempts));
}
pub(crate) fn pending_pods(active: usize, backoff: usize, unschedulable: usize, gated: usize) {
    let queues = [("active", active), ("backoff", backoff), ("unschedulable", unschedulable), ("gated", gated)];
    for (queue, count) in queues {
        gauge!("scheduler_pending_pods", "queue" => queue).set(count as f64);
    }
}
