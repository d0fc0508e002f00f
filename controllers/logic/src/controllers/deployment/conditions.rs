//! Conditions of a Deployment, with upstream's reasons and messages.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};

use super::{Sync, is_paused, replicas, spec};
use crate::meta::time;

pub(super) const AVAILABLE: &str = "Available";
pub(super) const PROGRESSING: &str = "Progressing";
pub(super) const REPLICA_FAILURE: &str = "ReplicaFailure";

pub(super) const TIMED_OUT: &str = "ProgressDeadlineExceeded";
pub(super) const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";

pub(super) fn condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(time(now)),
        last_transition_time: Some(time(now)),
    }
}

pub(super) fn find<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

pub(super) fn reason(condition: &DeploymentCondition) -> &str {
    condition.reason.as_deref().unwrap_or_default()
}

/// Sets a condition. Nothing changes when status and reason stay; the transition time changes with the status only.
pub(super) fn set(status: &mut DeploymentStatus, mut new: DeploymentCondition) {
    if let Some(old) = find(status, &new.type_) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time = old.last_transition_time.clone();
        }
    }
    remove(status, &new.type_);
    status.conditions.get_or_insert_default().push(new);
}

pub(super) fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(list) = &mut status.conditions {
        list.retain(|condition| condition.type_ != kind);
    }
    if status.conditions.as_ref().is_some_and(Vec::is_empty) {
        status.conditions = None;
    }
}

/// Seconds a rollout may go without progress; `None`: for ever.
pub(super) fn deadline(deployment: &Deployment) -> Option<i32> {
    spec(deployment).progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)
}

pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = replicas(deployment);
    status.updated_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
        && status.available_replicas.unwrap_or(0) == wanted
        && status.observed_generation >= deployment.metadata.generation
}

/// Anything moved forward between two states.
pub(super) fn is_progressing(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let outdated = |status: &DeploymentStatus| status.replicas.unwrap_or(0) - status.updated_replicas.unwrap_or(0);
    new.updated_replicas.unwrap_or(0) > old.updated_replicas.unwrap_or(0)
        || outdated(new) < outdated(old)
        || new.ready_replicas.unwrap_or(0) > old.ready_replicas.unwrap_or(0)
        || new.available_replicas.unwrap_or(0) > old.available_replicas.unwrap_or(0)
}

/// The deadline has passed since the last progress (or passed already before).
pub(super) fn is_timed_out(deployment: &Deployment, current: Option<&DeploymentCondition>, now: Timestamp) -> bool {
    let (Some(current), Some(deadline)) = (current, deadline(deployment)) else { return false };
    match reason(current) {
        NEW_SET_AVAILABLE => false,
        TIMED_OUT => true,
        _ => last_update(current) + SignedDuration::from_secs(deadline.into()) < now,
    }
}

fn last_update(condition: &DeploymentCondition) -> Timestamp {
    condition.last_update_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

impl Sync<'_> {
    /// While a Deployment is paused the progress deadline does not run.
    pub(super) fn check_paused_conditions(&mut self) {
        let current = find(&self.status, PROGRESSING);
        if deadline(self.deployment).is_none() || current.is_some_and(|current| reason(current) == TIMED_OUT) {
            return;
        }
        let was_paused = current.is_some_and(|current| reason(current) == "DeploymentPaused");
        let (reason, message) = match (is_paused(self.deployment), was_paused) {
            (true, false) => ("DeploymentPaused", "Deployment is paused"),
            (false, true) => ("DeploymentResumed", "Deployment is resumed"),
            _ => return,
        };
        set(&mut self.status, condition(PROGRESSING, "Unknown", reason, message.to_owned(), self.context.now));
    }

    /// Looks again when the progress deadline could have passed.
    pub(super) fn requeue_stuck(&mut self) {
        let Some(deadline) = deadline(self.deployment) else { return };
        let Some(current) = find(&self.status, PROGRESSING) else { return };
        if is_complete(self.deployment, &self.status) || matches!(reason(current), TIMED_OUT | NEW_SET_AVAILABLE) {
            return;
        }
        let at = last_update(current) + SignedDuration::from_secs(i64::from(deadline) + 1);
        let wait = Duration::try_from(at.duration_since(self.context.now)).unwrap_or(Duration::ZERO);
        self.plan.requeue(wait.max(Duration::from_secs(1)));
    }
}
