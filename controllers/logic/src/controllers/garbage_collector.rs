//! The garbage collector: objects whose owners are gone, and the order of cascading deletion.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::controller::{Context, Controller};
use crate::graph::{FOREGROUND, Graph, Item, ORPHAN, Owner};
use crate::plan::{Action, DeleteOptions, EventNote, PatchType, Plan, Propagation, Regarding, Step, Target};
use crate::world::{Change, Key, World};

/// Its queue holds uids (in the name of the key); the runtime feeds it from [`Graph::set`].
pub struct GarbageCollector;

/// Dependents orphaned by one plan, at most.
const BATCH: usize = 500;

impl Controller for GarbageCollector {
    fn name(&self) -> &'static str {
        "garbage_collector_attempt_to_delete"
    }
    fn account(&self) -> &'static str {
        "generic-garbage-collector"
    }
    fn workers(&self) -> usize {
        20
    }
    fn keys(&self, _world: &World, _change: &Change<'_>) -> Vec<Key> {
        Vec::new()
    }
    fn all_keys(&self, world: &World) -> Vec<Key> {
        world.graph.uids().map(|uid| Key { namespace: "".into(), name: uid.clone() }).collect()
    }
    fn reconcile(&self, world: &World, key: &Key, context: &Context<'_>) -> Plan {
        match world.graph.item(&key.name) {
            Some(item) if item.is_deleting() => deleting(&world.graph, item, context),
            Some(item) if !item.meta.owner_references.is_empty() => owned(&world.graph, item, context),
            _ => Plan::nothing(),
        }
    }
}

/// An object that waits for its own dependents: orphans them, or deletes those that block and then lets go.
fn deleting(graph: &Graph, item: &Item, context: &Context<'_>) -> Plan {
    let waits = item.has_finalizer(ORPHAN) || item.has_finalizer(FOREGROUND);
    if waits && !context.level {
        // A dependent made just before would be forgotten, and then deleted for want of an owner.
        Plan::level()
    } else if item.has_finalizer(ORPHAN) {
        orphan_dependents(graph, item)
    } else if item.has_finalizer(FOREGROUND) {
        delete_dependents(graph, item)
    } else {
        Plan::nothing()
    }
}

fn orphan_dependents(graph: &Graph, item: &Item) -> Plan {
    let mut plan = Plan::nothing();
    let dependents: Vec<_> = graph.dependents(&item.meta.uid).collect();
    let release = |dependent: &Arc<Item>| remove_owners(dependent, std::slice::from_ref(&item.meta.uid));
    let actions: Vec<_> = dependents.iter().take(BATCH).map(|dependent| release(dependent)).collect();
    if !actions.is_empty() {
        plan.steps.push(Step::Together(actions));
    }
    if dependents.len() <= BATCH {
        plan.push(remove_finalizer(item, ORPHAN));
    }
    plan
}

fn delete_dependents(graph: &Graph, item: &Item) -> Plan {
    let mut plan = Plan::nothing();
    let blocking: Vec<_> =
        graph.dependents(&item.meta.uid).filter(|dependent| blocks(graph, dependent, item)).collect();
    let to_delete = blocking.iter().filter(|dependent| !dependent.is_deleting()).take(BATCH);
    // The dependents decide for themselves, by the state of their owner: only wake those not on their way.
    let actions: Vec<_> = to_delete.filter_map(|dependent| cascade(graph, dependent)).collect();
    if !actions.is_empty() {
        plan.steps.push(Step::Together(actions));
    }
    if blocking.is_empty() {
        plan.push(remove_finalizer(item, FOREGROUND));
    }
    plan
}

/// A reference from where this owner cannot be referred to does not count.
fn blocks(graph: &Graph, dependent: &Item, owner: &Item) -> bool {
    let reference = dependent.meta.owner_references.iter().find(|own| own.uid == owner.meta.uid);
    reference
        .filter(|reference| reference.block_owner_deletion == Some(true))
        .is_some_and(|reference| graph.owner_target(dependent, reference).is_some_and(|target| is_at(owner, &target)))
}

/// Deletes a dependent of an owner that deletes in the foreground, unless another owner keeps it.
fn cascade(graph: &Graph, dependent: &Item) -> Option<Action> {
    let kept = dependent
        .meta
        .owner_references
        .iter()
        .any(|owner| graph.item(&owner.uid).is_some_and(|owner| !owner.deletes_dependents_first()));
    (!kept).then(|| delete(dependent, own_policy_or(dependent, Propagation::Foreground)))
}

/// What is known of one owner.
#[derive(PartialEq)]
enum State {
    /// It exists and is not waiting for its dependents.
    Solid,
    /// It exists and waits for its dependents to go.
    Waiting,
    /// It does not exist where the reference says.
    Dangling,
    /// Only the store itself can tell.
    Unknown(Target),
    /// It cannot be looked up: its kind is not served, or a cluster-scoped object names a namespaced owner.
    Unresolvable,
}

fn owned(graph: &Graph, item: &Item, context: &Context<'_>) -> Plan {
    let mut plan = Plan::nothing();
    let owners = &item.meta.owner_references;
    let states: Vec<_> = owners.iter().map(|owner| state(graph, item, owner, context)).collect();
    plan.read = states.iter().filter_map(unknown).cloned().collect();
    // A fresh look must still find this very object before anything is done to it: the uid precondition does that.
    if !plan.read.is_empty() {
        return plan;
    }
    for owner in owners.iter().filter(|owner| is_elsewhere(graph, item, owner)) {
        plan.push(Action::Event(misplaced(graph, item, owner)));
    }
    // With an owner that cannot be looked up nothing at all is done to the object, as upstream.
    if states.contains(&State::Unresolvable) {
        return plan;
    }
    let uids = |wanted: State| -> Vec<Arc<str>> {
        owners.iter().zip(&states).filter(|(_, state)| **state == wanted).map(|(owner, _)| owner.uid.clone()).collect()
    };
    let (dangling, waiting) = (uids(State::Dangling), uids(State::Waiting));
    let solid = states.len() - dangling.len() - waiting.len();
    if solid > 0 {
        if !dangling.is_empty() || !waiting.is_empty() {
            plan.push(remove_owners(item, &[dangling, waiting].concat()));
        }
    } else if !waiting.is_empty() && graph.dependents(&item.meta.uid).next().is_some() {
        unblock_cycle(graph, item, &mut plan);
        plan.push(delete(item, Propagation::Foreground));
    } else {
        plan.push(delete(item, own_policy_or(item, Propagation::Background)));
    }
    plan
}

/// A dependent that itself waits for this object would wait for ever: its reference no longer blocks.
fn unblock_cycle(graph: &Graph, item: &Item, plan: &mut Plan) {
    let blocks = item.meta.owner_references.iter().any(|owner| owner.block_owner_deletion == Some(true));
    if blocks && graph.dependents(&item.meta.uid).any(|dependent| dependent.deletes_dependents_first()) {
        let unblocked = item.meta.owner_references.iter().cloned();
        let unblocked = unblocked.map(|owner| Owner { block_owner_deletion: Some(false), ..owner });
        plan.push(put_owners(item, unblocked.collect()));
    }
}

/// Keeps the policy the object itself was marked with.
fn own_policy_or(item: &Item, otherwise: Propagation) -> Propagation {
    if item.has_finalizer(ORPHAN) {
        Propagation::Orphan
    } else if item.has_finalizer(FOREGROUND) {
        Propagation::Foreground
    } else {
        otherwise
    }
}

fn state(graph: &Graph, item: &Item, owner: &Owner, context: &Context<'_>) -> State {
    let Some(target) = graph.owner_target(item, owner) else { return State::Unresolvable };
    if let Some(found) = graph.item(&owner.uid).filter(|found| is_at(found, &target)) {
        return if found.deletes_dependents_first() { State::Waiting } else { State::Solid };
    }
    match context.reads.get(&target) {
        None => State::Unknown(target),
        Some(Some(found)) if api_machinery::object::uid(found) == &*owner.uid => read_state(found),
        Some(_) => State::Dangling,
    }
}

fn unknown(state: &State) -> Option<&Target> {
    match state {
        State::Unknown(target) => Some(target),
        _ => None,
    }
}

/// Where the reference says, in whatever version.
fn is_at(found: &Item, target: &Target) -> bool {
    let own = &found.target;
    (&own.gvr.group, &own.gvr.resource, &own.namespace, &own.name)
        == (&target.gvr.group, &target.gvr.resource, &target.namespace, &target.name)
}

fn read_state(found: &Value) -> State {
    let foreground = api_machinery::object::finalizers(found).contains(&FOREGROUND);
    let deleting = api_machinery::object::deletion_timestamp(found).is_some();
    if deleting && foreground { State::Waiting } else { State::Solid }
}

/// The owner is known to be in a namespace that is not the object's: no reference reaches there.
fn is_elsewhere(graph: &Graph, item: &Item, owner: &Owner) -> bool {
    let found = graph.item(&owner.uid).map(|found| &found.target.namespace);
    found.is_some_and(|namespace| !namespace.is_empty() && *namespace != item.target.namespace)
}

fn misplaced(graph: &Graph, item: &Item, owner: &Owner) -> EventNote {
    let message = format!(
        "ownerRef [{}/{}, namespace: {}, name: {}, uid: {}] does not exist in namespace \"{}\"",
        owner.api_version, owner.kind, item.target.namespace, owner.name, owner.uid, item.target.namespace
    );
    let gvr = &item.target.gvr;
    let api_version =
        if gvr.group.is_empty() { gvr.version.to_string() } else { format!("{}/{}", gvr.group, gvr.version) };
    let regarding = Regarding {
        api_version,
        kind: graph.kind_of(gvr).unwrap_or_default().to_owned().into(),
        namespace: item.target.namespace.to_string(),
        name: item.target.name.to_string(),
        uid: item.meta.uid.to_string(),
        resource_version: item.meta.resource_version.clone(),
    };
    EventNote { regarding, warning: true, reason: "OwnerRefInvalidNamespace", message }
}

fn delete(item: &Item, propagation: Propagation) -> Action {
    let options = DeleteOptions {
        uid: item.meta.uid.to_string(),
        // Owners may have changed since: the decision holds for this version only.
        resource_version: item.meta.resource_version.clone(),
        propagation: Some(propagation),
        grace_period_seconds: None,
    };
    Action::Delete { target: item.target.clone(), options, report: None }
}

/// Puts the list without these owners: custom resources know no strategic merge. The version guards the list.
fn remove_owners(item: &Item, uids: &[Arc<str>]) -> Action {
    let left = item.meta.owner_references.iter().filter(|owner| !uids.contains(&owner.uid)).cloned();
    put_owners(item, left.collect())
}

fn put_owners(item: &Item, owners: Vec<Owner>) -> Action {
    let owners = if owners.is_empty() { Value::Null } else { crate::plan::to_value(&owners) };
    merge(item, json!({ "ownerReferences": owners, "resourceVersion": item.meta.resource_version }))
}

fn remove_finalizer(item: &Item, name: &str) -> Action {
    let left: Vec<_> = item.meta.finalizers.iter().filter(|own| *own != name).collect();
    merge(item, json!({ "finalizers": left, "resourceVersion": item.meta.resource_version }))
}

fn merge(item: &Item, mut metadata: Value) -> Action {
    metadata["uid"] = json!(&*item.meta.uid);
    let body = json!({ "metadata": metadata });
    Action::Patch { target: item.target.clone(), subresource: "", patch: PatchType::Merge, body }
}
