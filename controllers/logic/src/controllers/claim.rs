//! Which pods a controller owns: adoption of matching orphans, release of what no longer matches.

use std::sync::Arc;

use api_machinery::labels::Selector;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::meta::Meta;
use crate::plan::{Action, to_value};
use crate::pods;
use crate::world::{Change, Key, World};

pub(crate) struct Claim {
    /// Pods that are the owner's and match.
    pub(crate) owned: Vec<Arc<Pod>>,
    /// Patches that adopt and release.
    pub(crate) actions: Vec<Action>,
}

/// Sorts the pods of the owner's namespace. A pod being adopted counts as owned at once, one being
/// released no more; an owner that is being deleted neither adopts nor releases.
pub(crate) fn claim<T: Meta>(world: &World, owner: &T, selector: &Selector) -> Claim {
    let mut claim = Claim { owned: Vec::new(), actions: Vec::new() };
    for pod in world.pods.controlled_by(owner.uid()) {
        if selector.matches_map(pod.labels()) {
            claim.owned.push(pod.clone());
        } else if !owner.is_deleting() {
            claim.actions.push(release(owner, &**pod));
        }
    }
    if owner.is_deleting() {
        return claim;
    }
    for pod in world.pods.orphans_of(owner.namespace()) {
        if pods::is_active(pod) && selector.matches_map(pod.labels()) {
            claim.actions.push(adopt(owner, &**pod));
            claim.owned.push(pod.clone());
        }
    }
    claim
}

pub(crate) fn adopt<T: Meta, O: Meta>(owner: &T, object: &O) -> Action {
    Action::patch_metadata(object, json!({ "ownerReferences": [to_value(&owner.controller_reference())] }))
}

pub(crate) fn release<T: Meta, O: Meta>(owner: &T, object: &O) -> Action {
    Action::patch_metadata(object, json!({ "ownerReferences": [{ "$patch": "delete", "uid": owner.uid() }] }))
}

/// The controllers of `kind` a change of a pod concerns: its owner before and after, or for an orphan
/// those that may adopt it.
pub(crate) fn keys_of_pod(change: &Change<'_>, kind: &str, adopters: impl Fn(&Pod) -> Vec<Key>) -> Vec<Key> {
    let owners = change.both::<Pod>().filter_map(|pod| {
        let owner = pod.controller().filter(|owner| owner.kind == kind)?;
        Some(Key::new(pod.namespace(), &owner.name))
    });
    let mut keys: Vec<_> = owners.collect();
    if let Some(orphan) = change.current::<Pod>().filter(|pod| pod.controller().is_none() && !pod.is_deleting()) {
        keys.extend(adopters(orphan));
    }
    keys.dedup();
    keys
}
