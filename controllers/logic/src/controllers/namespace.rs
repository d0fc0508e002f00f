//! Namespaces that are being deleted: their content goes first, pods before all else.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, NamespaceStatus};

use crate::controller::{Context, Controller};
use crate::graph::Item;
use crate::meta::{Meta, time};
use crate::plan::{Action, Gvr, Plan, Step};
use crate::world::{Change, Key, Kind, World};

pub struct NamespaceController;

/// How long to wait before looking again for content that takes its time to go.
const AGAIN: Duration = Duration::from_millis(500);

impl Controller for NamespaceController {
    fn name(&self) -> &'static str {
        "namespace"
    }
    fn account(&self) -> &'static str {
        "namespace-controller"
    }
    fn workers(&self) -> usize {
        10
    }
    fn keys(&self, _world: &World, change: &Change<'_>) -> Vec<Key> {
        let namespace = match change.kind {
            Kind::Namespace => change.current::<Namespace>().filter(|namespace| namespace.is_deleting()),
            _ => None,
        };
        namespace.map(Key::of).into_iter().collect()
    }
    fn reconcile(&self, world: &World, key: &Key, context: &Context<'_>) -> Plan {
        let terminating = world.namespaces.at(key).filter(|namespace| namespace.is_deleting());
        terminating.map_or_else(Plan::nothing, |namespace| empty(world, namespace, context))
    }
}

fn empty(world: &World, namespace: &Namespace, context: &Context<'_>) -> Plan {
    let mut plan = Plan::nothing();
    let has_finalizer = |name: &str| {
        let list = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
        list.is_some_and(|list| list.iter().any(|own| own == name))
    };
    if !has_finalizer("kubernetes") {
        return plan;
    }
    let left: Vec<_> = world.graph.of_namespace(namespace.name()).map(|item| &**item).collect();
    let mut new = namespace.clone();
    new.status = Some(status(namespace, &left, context));
    plan.change(namespace, &new, "status");
    let is_pod = |item: &&&Item| &*item.target.gvr.resource == "pods" && item.target.gvr.group.is_empty();
    let pods: Vec<_> = left.iter().filter(is_pod).copied().collect();
    let next = if pods.is_empty() { &left } else { &pods };
    delete_collections(&mut plan, namespace.name(), next);
    if left.is_empty() {
        plan.push(Action::DeleteCollection { gvr: Gvr::new("", "v1", "events"), namespace: namespace.name().into() });
        plan.push(Action::RequireEmpty { namespace: namespace.name().into() });
        plan.push(Action::FinalizeNamespace { name: namespace.name().into(), uid: namespace.uid().to_owned() });
    }
    plan.requeue(AGAIN);
    plan
}

fn delete_collections(plan: &mut Plan, namespace: &str, items: &[&Item]) {
    let mut resources: Vec<_> =
        items.iter().filter(|item| !item.is_deleting()).map(|item| item.target.gvr.clone()).collect();
    resources.sort();
    resources.dedup();
    let all = resources.into_iter().map(|gvr| Action::DeleteCollection { gvr, namespace: namespace.into() });
    let all: Vec<_> = all.collect();
    if !all.is_empty() {
        plan.steps.push(Step::Together(all));
    }
}

/// Upstream's five conditions of a terminating namespace.
fn status(namespace: &Namespace, left: &[&Item], context: &Context<'_>) -> NamespaceStatus {
    let failure = context.failure.map(|failure| failure.message.clone());
    let remaining = remaining_content(left);
    let finalizers = remaining_finalizers(left);
    let set = |kind: &str, bad: Option<String>, bad_reason: &str, good_reason: &str, good: &str| {
        let is_bad = bad.is_some();
        NamespaceCondition {
            type_: kind.to_owned(),
            status: if is_bad { "True" } else { "False" }.to_owned(),
            reason: Some(if is_bad { bad_reason } else { good_reason }.to_owned()),
            message: Some(bad.unwrap_or_else(|| good.to_owned())),
            last_transition_time: Some(time(context.now)),
        }
    };
    let discovered = "All resources successfully discovered";
    let parsed = "All legacy kube types successfully parsed";
    let deleted = "All content successfully deleted, may be waiting on finalization";
    let mut conditions = vec![
        set("NamespaceDeletionDiscoveryFailure", None, "", "ResourcesDiscovered", discovered),
        set("NamespaceDeletionGroupVersionParsingFailure", None, "", "ParsedGroupVersions", parsed),
        set("NamespaceDeletionContentFailure", failure, "ContentDeletionFailed", "ContentDeleted", deleted),
        set(
            "NamespaceContentRemaining",
            remaining,
            "SomeResourcesRemain",
            "ContentRemoved",
            "All content successfully removed",
        ),
        set(
            "NamespaceFinalizersRemaining",
            finalizers,
            "SomeFinalizersRemain",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ];
    keep_transition_times(namespace, &mut conditions);
    NamespaceStatus { phase: Some("Terminating".to_owned()), conditions: Some(conditions) }
}

fn keep_transition_times(namespace: &Namespace, conditions: &mut [NamespaceCondition]) {
    let old = namespace.status.as_ref().and_then(|status| status.conditions.as_ref());
    for condition in conditions {
        let before = old.and_then(|old| old.iter().find(|before| before.type_ == condition.type_));
        if let Some(before) = before.filter(|before| before.status == condition.status) {
            condition.last_transition_time = before.last_transition_time.clone();
        }
    }
}

fn remaining_content(left: &[&Item]) -> Option<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for item in left {
        *counts.entry(resource_name(item)).or_default() += 1;
    }
    let parts: Vec<_> = counts.iter().map(|(name, count)| format!("{name} has {count} resource instances")).collect();
    (!parts.is_empty()).then(|| format!("Some resources are remaining: {}", parts.join(", ")))
}

fn remaining_finalizers(left: &[&Item]) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in left.iter().flat_map(|item| &item.meta.finalizers) {
        *counts.entry(name).or_default() += 1;
    }
    let parts: Vec<_> = counts.iter().map(|(name, count)| format!("{name} in {count} resource instances")).collect();
    (!parts.is_empty()).then(|| format!("Some content in the namespace has finalizers remaining: {}", parts.join(", ")))
}

/// `pods.`, `deployments.apps`: upstream prints an empty group with the dot.
fn resource_name(item: &Item) -> String {
    format!("{}.{}", item.target.gvr.resource, item.target.gvr.group)
}
