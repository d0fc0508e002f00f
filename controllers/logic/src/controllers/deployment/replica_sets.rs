//! The ReplicaSets of a Deployment: which is the new one, its revision and its annotations.

use std::cmp::Reverse;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStrategy, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::conditions::{self, PROGRESSING, condition, deadline};
use super::{DESIRED, MAXIMUM, REVISION, REVISION_HISTORY, Sync, TEMPLATE_HASH, is_recreate, replicas, spec};
use crate::hash::content_hash;
use crate::meta::{Meta, scaled};
use crate::patch::same_meaning;
use crate::plan::{Action, Regarding, Report, to_value};

/// Why a set could not be made: reason of the event and of the condition.
const CREATE_ERROR: &str = "ReplicaSetCreateError";
/// Characters the revision history may have.
const HISTORY_LIMIT: usize = 2000;
/// Annotations that are the Deployment's own and not copied to its sets.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAXIMUM,
    "deprecated.deployment.rollback.to",
];

/// The sets of one Deployment, oldest first. Their specs follow the plan.
#[derive(Default)]
pub(super) struct Sets {
    pub(super) new: Option<ReplicaSet>,
    pub(super) old: Vec<ReplicaSet>,
}

impl Sets {
    pub(super) fn sort(deployment: &Deployment, mut all: Vec<ReplicaSet>) -> Self {
        all.sort_by(|left, right| (left.created(), left.name()).cmp(&(right.created(), right.name())));
        let wanted = template_value(spec(deployment).template.clone());
        let new = all.iter().position(|set| same_meaning(&template_value(template_of(set)), &wanted));
        let new = new.map(|index| all.remove(index));
        Self { new, old: all }
    }
    pub(super) fn all(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.old.iter().chain(&self.new)
    }
    pub(super) fn pods(&self) -> i32 {
        self.all().map(size).sum()
    }
    /// Pods there are or will be: a set that was just made smaller still has its pods. Upstream counts sizes
    /// only, and may exceed the surge for a moment.
    fn standing(&self) -> i32 {
        self.all().map(|set| size(set).max(set.status.as_ref().map_or(0, |status| status.replicas))).sum()
    }
    pub(super) fn available(&self) -> i32 {
        self.all().map(available).sum()
    }
    /// Available pods that stay: a set that was just made smaller still counts those it is about to delete. Upstream
    /// counts them too, and may take one pod too many for a moment.
    pub(super) fn staying(&self) -> i32 {
        self.all().map(|set| available(set).min(size(set))).sum()
    }
    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut ReplicaSet> {
        self.old.iter_mut().chain(&mut self.new).find(|set| set.name() == name)
    }
}

fn template_of(set: &ReplicaSet) -> PodTemplateSpec {
    set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default()
}

/// The template without the label the controller adds.
fn template_value(mut template: PodTemplateSpec) -> serde_json::Value {
    if let Some(labels) = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
        labels.remove(TEMPLATE_HASH);
    }
    let mut value = to_value(&template);
    if let Some(meta) = value.get_mut("metadata").and_then(|meta| meta.as_object_mut()) {
        meta.retain(|_, part| !part.as_object().is_some_and(serde_json::Map::is_empty));
        meta.remove("creationTimestamp");
    }
    value
}

/// `spec.replicas`.
pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}
pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}
pub(super) fn revision(set: &ReplicaSet) -> i64 {
    set.annotation(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Pods above the wished number while rolling (rounded up).
pub(super) fn max_surge(deployment: &Deployment) -> i32 {
    fenceposts(deployment).0
}

/// Pods that may be unavailable while rolling (rounded down), at most all.
pub(super) fn max_unavailable(deployment: &Deployment) -> i32 {
    if replicas(deployment) == 0 { 0 } else { fenceposts(deployment).1.min(replicas(deployment)) }
}

fn fenceposts(deployment: &Deployment) -> (i32, i32) {
    if is_recreate(deployment) {
        return (0, 0);
    }
    let rolling =
        spec(deployment).strategy.as_ref().and_then(|strategy: &DeploymentStrategy| strategy.rolling_update.clone());
    let rolling = rolling.unwrap_or_default();
    let quarter = || IntOrString::String("25%".to_owned());
    let surge = scaled(&rolling.max_surge.unwrap_or_else(quarter), replicas(deployment), true);
    let unavailable = scaled(&rolling.max_unavailable.unwrap_or_else(quarter), replicas(deployment), false);
    // Both zero would never move.
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

impl Sync<'_> {
    /// Brings the new set's annotations and the Deployment's revision up to date; makes the set when there is none
    /// and `create` says so. Returns false when this round must end here: the set cannot be made yet.
    pub(super) fn ensure_new_set(&mut self, create: bool) -> bool {
        let last = self.sets.old.iter().map(revision).max().unwrap_or(0);
        let next = last + 1;
        match self.sets.new.clone() {
            Some(set) => self.refresh_new_set(set, next),
            None if create => return self.create_new_set(next),
            None => {}
        }
        true
    }

    fn refresh_new_set(&mut self, set: ReplicaSet, next: i64) {
        let mut wanted = set.clone();
        annotate_set(self.deployment, &mut wanted, next, true);
        if let Some(spec_of_set) = &mut wanted.spec {
            spec_of_set.min_ready_seconds = spec(self.deployment).min_ready_seconds;
        }
        self.plan.change(&set, &wanted, "");
        self.revision = wanted.annotation(REVISION).map(str::to_owned).or(self.revision.take());
        if conditions::find(&self.status, PROGRESSING).is_none() {
            let message = format!("Found new replica set \"{}\"", set.name());
            self.report_progress("True", "FoundNewReplicaSet", message);
        }
        self.sets.new = Some(wanted);
    }

    fn create_new_set(&mut self, next: i64) -> bool {
        let mut set = self.new_set();
        if self.world.replica_sets.get(set.namespace(), set.name()).is_some() {
            // The hash is taken by a set of other content (or one that is not ours): try another.
            self.status.collision_count = Some(self.status.collision_count.unwrap_or(0) + 1);
            return false;
        }
        let replicas = self.new_set_size(&set);
        set.spec.get_or_insert_default().replicas = Some(replicas);
        annotate_set(self.deployment, &mut set, next, false);
        self.tell_failure(set.name());
        let failed = format!("Failed to create new replica set \"{}\": ", set.name());
        let regarding = Regarding::of(&**self.deployment);
        let report = Report { regarding, done: None, failed: (CREATE_ERROR, failed.into()) };
        self.plan.push(Action::create(&set, Some(report)));
        self.report_progress("True", "NewReplicaSetCreated", format!("Created new replica set \"{}\"", set.name()));
        if replicas > 0 {
            let message = format!("Scaled up replica set {} from 0 to {replicas}", set.name());
            self.plan.event(&**self.deployment, "ScalingReplicaSet", message);
        }
        self.revision = Some(next.to_string());
        self.sets.new = Some(set);
        true
    }

    /// A set that could not be made shows in the status before it is tried again: what comes after a try that fails
    /// is never written.
    fn tell_failure(&mut self, name: &str) {
        let Some(failure) = self.context.failure.filter(|failure| failure.reason == CREATE_ERROR) else { return };
        let message = format!("Failed to create new replica set \"{name}\": {}", failure.message);
        self.report_progress("False", CREATE_ERROR, message);
        self.set_status();
        self.write_status();
    }

    fn report_progress(&mut self, status: &str, reason: &str, message: String) {
        if deadline(self.deployment).is_some() {
            let progress = condition(PROGRESSING, status, reason, message, self.context.now);
            conditions::set(&mut self.status, progress);
        }
    }

    fn new_set(&self) -> ReplicaSet {
        let mut template = spec(self.deployment).template.clone();
        let hash = content_hash(&template_value(template.clone()), self.status.collision_count);
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.insert(TEMPLATE_HASH.to_owned(), hash.clone());
        let labels = labels.clone();
        let mut selector = spec(self.deployment).selector.clone();
        selector.match_labels.get_or_insert_default().insert(TEMPLATE_HASH.to_owned(), hash.clone());
        ReplicaSet {
            metadata: ObjectMeta {
                name: Some(format!("{}-{hash}", self.deployment.name())),
                namespace: Some(self.deployment.namespace().to_owned()),
                labels: Some(labels),
                owner_references: Some(vec![self.deployment.controller_reference()]),
                ..ObjectMeta::default()
            },
            spec: Some(ReplicaSetSpec {
                replicas: Some(0),
                min_ready_seconds: spec(self.deployment).min_ready_seconds,
                selector,
                template: Some(template),
            }),
            status: None,
        }
    }

    /// How large the new set may be now, given what the others have.
    pub(super) fn new_set_size(&self, set: &ReplicaSet) -> i32 {
        let wanted = replicas(self.deployment);
        if is_recreate(self.deployment) {
            return wanted;
        }
        let room = wanted + max_surge(self.deployment) - self.sets.standing();
        size(set) + room.min(wanted - size(set)).max(0)
    }

    /// Sets the size of a set, with the annotations proportional scaling reads. `event`: as a user sees it.
    pub(super) fn resize(&mut self, name: &str, to: i32) -> bool {
        let deployment = self.deployment.clone();
        let Some(set) = self.sets.get_mut(name) else { return false };
        let from = size(set);
        let old = set.clone();
        set.spec.get_or_insert_default().replicas = Some(to);
        annotate_size(&deployment, set);
        let new = set.clone();
        self.plan.change(&old, &new, "");
        if from != to {
            let direction = if from < to { "up" } else { "down" };
            let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
            self.plan.event(&*deployment, "ScalingReplicaSet", message);
        }
        from != to
    }

    /// Deletes the oldest sets beyond `revisionHistoryLimit` that are empty.
    pub(super) fn clean_up(&mut self) {
        let limit = spec(self.deployment).revision_history_limit.unwrap_or(10);
        let mut alive: Vec<_> = self.sets.old.iter().filter(|set| !set.is_deleting()).collect();
        let keep = usize::try_from(limit).unwrap_or(0);
        let excess = alive.len().saturating_sub(keep);
        alive.sort_by_key(|set| (revision(set), Reverse(set.created())));
        let idle = |set: &&&ReplicaSet| {
            let status = set.status.clone().unwrap_or_default();
            status.replicas == 0 && size(set) == 0 && status.observed_generation >= set.metadata.generation
        };
        let actions: Vec<_> =
            alive[..excess].iter().filter(idle).map(|set| Action::delete(*set, Default::default())).collect();
        actions.into_iter().for_each(|action| self.plan.push(action));
    }
}

fn annotate_size(deployment: &Deployment, set: &mut ReplicaSet) {
    set.annotate(DESIRED, replicas(deployment).to_string());
    set.annotate(MAXIMUM, (replicas(deployment) + max_surge(deployment)).to_string());
}

/// Copies the Deployment's annotations and raises the revision, remembering the former one.
fn annotate_set(deployment: &Deployment, set: &mut ReplicaSet, next: i64, exists: bool) {
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !NOT_COPIED.contains(&key.as_str()) {
            set.annotate(key, value.clone());
        }
    }
    let former = set.annotation(REVISION).map(str::to_owned);
    if revision(set) < next {
        set.annotate(REVISION, next.to_string());
        if let Some(former) = former {
            let history = history(set.annotation(REVISION_HISTORY), former);
            set.annotate(REVISION_HISTORY, history);
        }
    }
    if !exists {
        annotate_size(deployment, set);
    }
}

fn history(before: Option<&str>, former: String) -> String {
    let mut list: Vec<_> = before.unwrap_or_default().split(',').filter(|part| !part.is_empty()).collect();
    list.push(&former);
    while list.len() > 1 && list.join(",").len() > HISTORY_LIMIT {
        list.remove(0);
    }
    list.join(",")
}
