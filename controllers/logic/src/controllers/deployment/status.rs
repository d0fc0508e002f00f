//! The status of a Deployment.

use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus, ReplicaSet};

use super::conditions::{
    AVAILABLE, NEW_SET_AVAILABLE, PROGRESSING, REPLICA_FAILURE, TIMED_OUT, condition, deadline, find, is_complete,
    is_progressing, is_timed_out, reason, remove, set,
};
use super::replica_sets::max_unavailable;
use super::{Sync, replicas};
use crate::controllers::replicaset::some;
use crate::meta::Meta;

fn made(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

impl Sync<'_> {
    /// Counts and the Available condition.
    pub(super) fn set_status(&mut self) {
        let total: i32 = self.sets.all().map(made).sum();
        let able = self.sets.available();
        let ready = self.sets.all().filter_map(|set| set.status.as_ref()?.ready_replicas).sum();
        let terminating: Option<i32> =
            self.sets.all().map(|set| set.status.as_ref().and_then(|status| status.terminating_replicas)).sum();
        let mut status = DeploymentStatus {
            observed_generation: self.deployment.metadata.generation,
            replicas: some(total),
            updated_replicas: some(self.sets.new.as_ref().map_or(0, made)),
            ready_replicas: some(ready),
            available_replicas: some(able),
            // Of all that are asked for, made or not.
            unavailable_replicas: some((self.sets.pods() - able).max(0)),
            terminating_replicas: terminating,
            collision_count: self.status.collision_count,
            conditions: self.status.conditions.take(),
        };
        set(&mut status, self.availability(able));
        self.status = status;
    }

    fn availability(&self, able: i32) -> DeploymentCondition {
        let enough = able >= replicas(self.deployment) - max_unavailable(self.deployment);
        let (status, reason, verb) = match enough {
            true => ("True", "MinimumReplicasAvailable", "has"),
            false => ("False", "MinimumReplicasUnavailable", "does not have"),
        };
        condition(AVAILABLE, status, reason, format!("Deployment {verb} minimum availability."), self.context.now)
    }

    /// The same, and whether the rollout moves.
    pub(super) fn set_rollout_status(&mut self) {
        let before = self.deployment.status.clone().unwrap_or_default();
        self.set_status();
        if deadline(self.deployment).is_none() {
            remove(&mut self.status, PROGRESSING);
        } else if !self.was_complete() {
            self.set_progress(&before);
        }
        self.set_failures();
        self.requeue_stuck();
    }

    /// A rollout that has completed stays so: scaling later is no rollout.
    fn was_complete(&self) -> bool {
        let current = find(&self.status, PROGRESSING);
        self.status.replicas == self.status.updated_replicas
            && current.is_some_and(|current| reason(current) == NEW_SET_AVAILABLE)
    }

    fn set_progress(&mut self, before: &DeploymentStatus) {
        let now = self.context.now;
        let subject = match &self.sets.new {
            Some(set) => format!("ReplicaSet \"{}\"", set.name()),
            None => format!("Deployment \"{}\"", self.deployment.name()),
        };
        let current = find(&self.status, PROGRESSING).cloned();
        if is_complete(self.deployment, &self.status) {
            let message = format!("{subject} has successfully progressed.");
            set(&mut self.status, condition(PROGRESSING, "True", NEW_SET_AVAILABLE, message, now));
        } else if is_progressing(before, &self.status) {
            let mut new =
                condition(PROGRESSING, "True", "ReplicaSetUpdated", format!("{subject} is progressing."), now);
            if let Some(current) = current.filter(|current| current.status == "True") {
                new.last_transition_time = current.last_transition_time;
            }
            // Removed first: the update time is to move with every progress.
            remove(&mut self.status, PROGRESSING);
            set(&mut self.status, new);
        } else if is_timed_out(self.deployment, current.as_ref(), now) {
            let message = format!("{subject} has timed out progressing.");
            set(&mut self.status, condition(PROGRESSING, "False", TIMED_OUT, message, now));
        }
    }

    /// The failure of the new set, or else of any, is the Deployment's.
    fn set_failures(&mut self) {
        let failure = self.sets.new.iter().chain(&self.sets.old).find_map(|set| {
            let conditions = set.status.as_ref()?.conditions.as_ref()?;
            conditions.iter().find(|condition| condition.type_ == REPLICA_FAILURE && condition.status == "True")
        });
        match failure.cloned() {
            Some(failure) => {
                let copy = DeploymentCondition {
                    type_: REPLICA_FAILURE.to_owned(),
                    status: failure.status,
                    reason: failure.reason,
                    message: failure.message,
                    last_transition_time: failure.last_transition_time.clone(),
                    last_update_time: failure.last_transition_time,
                };
                set(&mut self.status, copy);
            }
            None => remove(&mut self.status, REPLICA_FAILURE),
        }
    }
}
