//! When a pod must end, and how long it may take.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;

use crate::{Now, pods};

/// The decision that a pod must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Termination {
    /// Seconds between the stop signal and the kill, preStop hooks included.
    pub grace: i64,
    /// Of the pod's status, when the node ends the pod of its own accord (the phase becomes Failed).
    pub reason: Option<Cause>,
}

/// Why the node ends a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub reason: String,
    pub message: String,
    /// Told as the condition `DisruptionTarget` too, for this reason: the pod is not to blame.
    pub disruption: Option<&'static str>,
    /// The node never took it.
    pub refused: bool,
}

/// Whether the pod must end now. `started`: when the node first took it up.
pub fn decide(pod: &Pod, started: Option<Now>, now: Now) -> Option<Termination> {
    if pod.metadata.deletion_timestamp.is_some() {
        return Some(Termination { grace: pods::grace_seconds(pod), reason: None });
    }
    if deadline(pod, started).is_some_and(|deadline| now >= deadline) && !pods::is_terminal(pod) {
        let message = "Pod was active on the node longer than the specified deadline".to_owned();
        return Some(Termination {
            grace: pods::grace_seconds(pod),
            reason: Some(Cause { reason: "DeadlineExceeded".to_owned(), message, disruption: None, refused: false }),
        });
    }
    None
}

/// When `activeDeadlineSeconds` runs out.
pub fn deadline(pod: &Pod, started: Option<Now>) -> Option<Now> {
    let seconds = pods::spec(pod)?.active_deadline_seconds?;
    started?.checked_add(SignedDuration::from_secs(seconds)).ok()
}
