//! Deployments: declarative rollouts over ReplicaSets.

mod conditions;
mod replica_sets;
mod rollout;
mod scale;
mod status;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;

use self::replica_sets::Sets;
use crate::controller::{Context, Controller};
use crate::controllers::claim::{adopt, release};
use crate::meta::{Meta, selector};
use crate::plan::{Plan, Step};
use crate::world::{Change, Key, Kind, World};

pub struct DeploymentController;

/// Which revision of a Deployment a ReplicaSet is.
pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
/// Revisions a ReplicaSet was before, comma-separated.
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// `spec.replicas` of the Deployment when the set was last scaled.
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// The same plus the surge.
const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";
pub(crate) const TEMPLATE_HASH: &str = "pod-template-hash";

impl Controller for DeploymentController {
    fn name(&self) -> &'static str {
        "deployment"
    }
    fn account(&self) -> &'static str {
        "deployment-controller"
    }
    fn keys(&self, world: &World, change: &Change<'_>) -> Vec<Key> {
        match change.kind {
            Kind::Deployment => change.any::<Deployment>().map(Key::of).into_iter().collect(),
            Kind::ReplicaSet => keys_of_set(world, change),
            Kind::Pod if change.is_deletion() => key_of_pod(world, change),
            _ => Vec::new(),
        }
    }
    fn reconcile(&self, world: &World, key: &Key, context: &Context<'_>) -> Plan {
        match world.deployments.at(key) {
            Some(deployment) => Sync::new(world, deployment, context).run(),
            None => Plan::nothing(),
        }
    }
}

fn keys_of_set(world: &World, change: &Change<'_>) -> Vec<Key> {
    let owners = change.both::<ReplicaSet>().filter_map(|set| {
        let owner = set.controller().filter(|owner| owner.kind == "Deployment")?;
        Some(Key::new(set.namespace(), &owner.name))
    });
    let mut keys: Vec<_> = owners.collect();
    if let Some(orphan) = change.current::<ReplicaSet>().filter(|set| set.controller().is_none() && !set.is_deleting())
    {
        let all = world.deployments.of_namespace(orphan.namespace());
        let matching = all.filter(|deployment| selector(Some(&spec(deployment).selector)).matches_map(orphan.labels()));
        keys.extend(matching.map(|deployment| Key::of(&**deployment)));
    }
    keys.dedup();
    keys
}

/// A Recreate rollout waits for the last pod of the old sets.
fn key_of_pod(world: &World, change: &Change<'_>) -> Vec<Key> {
    let key = change.old::<Pod>().and_then(|pod| {
        let owner = pod.controller().filter(|owner| owner.kind == "ReplicaSet")?;
        let set = world.replica_sets.get(pod.namespace(), &owner.name)?;
        let deployment = set.controller().filter(|owner| owner.kind == "Deployment")?;
        Some(Key::new(pod.namespace(), &deployment.name))
    });
    let recreates = |key: &Key| world.deployments.at(key).is_some_and(|deployment| is_recreate(deployment));
    key.filter(recreates).into_iter().collect()
}

fn spec(deployment: &Deployment) -> &DeploymentSpec {
    static NONE: std::sync::LazyLock<DeploymentSpec> = std::sync::LazyLock::new(Default::default);
    deployment.spec.as_ref().unwrap_or(&NONE)
}

fn is_recreate(deployment: &Deployment) -> bool {
    spec(deployment).strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

fn is_paused(deployment: &Deployment) -> bool {
    spec(deployment).paused == Some(true)
}

fn replicas(deployment: &Deployment) -> i32 {
    spec(deployment).replicas.unwrap_or(1)
}

/// One round over one Deployment. `sets` follow the plan as it grows: what the plan will have written counts.
struct Sync<'a> {
    world: &'a World,
    deployment: &'a Arc<Deployment>,
    context: &'a Context<'a>,
    sets: Sets,
    /// The status as it will be: conditions are set on it along the way.
    status: k8s_openapi::api::apps::v1::DeploymentStatus,
    /// The revision annotation as it will be.
    revision: Option<String>,
    plan: Plan,
}

impl<'a> Sync<'a> {
    fn new(world: &'a World, deployment: &'a Arc<Deployment>, context: &'a Context<'a>) -> Self {
        let status = deployment.status.clone().unwrap_or_default();
        let revision = deployment.annotation(REVISION).map(str::to_owned);
        let mut sync =
            Self { world, deployment, context, sets: Sets::default(), status, revision, plan: Plan::nothing() };
        let owned = sync.claim_sets();
        sync.sets = Sets::sort(deployment, owned);
        sync
    }

    /// Adopts matching orphans and releases sets that no longer match.
    fn claim_sets(&mut self) -> Vec<ReplicaSet> {
        let matching = selector(Some(&spec(self.deployment).selector));
        let (mut owned, mut actions) = (Vec::new(), Vec::new());
        for set in self.world.replica_sets.controlled_by(self.deployment.uid()) {
            if matching.matches_map(set.labels()) {
                owned.push(ReplicaSet::clone(set));
            } else if !self.deployment.is_deleting() {
                actions.push(release(&**self.deployment, &**set));
            }
        }
        if !self.deployment.is_deleting() {
            for set in self.world.replica_sets.orphans_of(self.deployment.namespace()) {
                if !set.is_deleting() && matching.matches_map(set.labels()) {
                    actions.push(adopt(&**self.deployment, &**set));
                    owned.push(ReplicaSet::clone(set));
                }
            }
        }
        if !actions.is_empty() {
            self.plan.steps.push(Step::Together(actions));
        }
        owned
    }

    fn run(mut self) -> Plan {
        if selects_everything(self.deployment) {
            let message = "This deployment is selecting all pods. A non-empty selector is required.".to_owned();
            self.plan.warn(&**self.deployment, "SelectingAll", message);
            self.status.observed_generation = self.deployment.metadata.generation;
            return self.finish();
        }
        if self.deployment.is_deleting() {
            self.set_status();
            return self.finish();
        }
        self.check_paused_conditions();
        if is_paused(self.deployment) || self.is_scaling() {
            self.sync_scale();
        } else if is_recreate(self.deployment) {
            self.recreate();
        } else {
            self.rolling();
        }
        self.finish()
    }

    fn finish(mut self) -> Plan {
        self.write_status();
        self.plan
    }

    /// Writes status and revision when they differ from what is stored. The revision travels with the status:
    /// written through the resource itself it would make a new generation.
    fn write_status(&mut self) {
        let mut new = Deployment::clone(self.deployment);
        new.status = Some(self.status.clone());
        if let Some(revision) = self.revision.clone() {
            new.annotate(REVISION, revision);
        }
        self.plan.change_status_and_annotations(&**self.deployment, &new);
    }
}

fn selects_everything(deployment: &Deployment) -> bool {
    selector(Some(&spec(deployment).selector)).is_everything()
}
