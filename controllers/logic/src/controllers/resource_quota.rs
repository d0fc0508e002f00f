//! ResourceQuotas: what the objects of a namespace use.
//!
//! Who writes an object that uses more raises `status.used` in the same transaction. This controller finds out what
//! was given back, and what a new quota starts with. It writes over exactly the version it read, from objects at least
//! as new: an object that was counted meanwhile has raised the quota meanwhile, and then this write is refused.

use std::time::Duration;

use api_machinery::quota::{Amounts, counted, matching, number_of, recalculated, sum};
use api_machinery::{GroupResource, Value};
use k8s_openapi::Metadata;
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolumeClaim, Pod, ReplicationController, ResourceQuota, Service, ServiceAccount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;

use crate::controller::{Context, Controller};
use crate::meta::Meta;
use crate::plan::{Action, Plan, Target, to_value};
use crate::world::{Change, Key, Kind, Table, World};

pub struct ResourceQuotaController;

/// Between looks at a quota that counts what the world only knows by name.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Before another look at a quota that is written all the time.
const BUSY: Duration = Duration::from_secs(1);

impl Controller for ResourceQuotaController {
    fn name(&self) -> &'static str {
        "resourcequota"
    }
    fn account(&self) -> &'static str {
        "resourcequota-controller"
    }
    fn pace(&self) -> Duration {
        Duration::from_millis(200)
    }
    fn keys(&self, world: &World, change: &Change<'_>) -> Vec<Key> {
        if change.kind == Kind::ResourceQuota {
            return relimited(change).into_iter().collect();
        }
        let Some((resource, namespace)) = gave_back(change) else { return Vec::new() };
        let counts = |quota: &ResourceQuota| !matching(&resource, limited(quota)).is_empty();
        let quotas = world.resource_quotas.of_namespace(namespace);
        quotas.filter(|quota| counts(quota)).map(|quota| Key::of(&**quota)).collect()
    }
    fn all_keys(&self, world: &World) -> Vec<Key> {
        world.resource_quotas.keys().cloned().collect()
    }
    fn resync_seconds(&self) -> u64 {
        300
    }
    fn reconcile(&self, world: &World, key: &Key, context: &Context<'_>) -> Plan {
        let Some(quota) = world.resource_quotas.at(key) else { return Plan::nothing() };
        match quota.metadata.resource_version.as_deref().unwrap_or("").parse::<u64>() {
            Ok(revision) if context.level && revision <= context.shown => reconcile(world, quota, context),
            // The objects may be shown as they were before the quota was raised for one of them.
            _ if !context.level => Plan::level(),
            _ => again(BUSY),
        }
    }
}

fn again(after: Duration) -> Plan {
    let mut plan = Plan::nothing();
    plan.requeue(after);
    plan
}

fn limited(quota: &ResourceQuota) -> impl Iterator<Item = &str> {
    quota.spec.as_ref().and_then(|spec| spec.hard.as_ref()).into_iter().flatten().map(|(name, _)| name.as_str())
}

/// A quota that is new, or says something else than before. What only its status says was written by those who count.
fn relimited(change: &Change<'_>) -> Option<Key> {
    let new = change.current::<ResourceQuota>()?;
    let same = change.old::<ResourceQuota>().is_some_and(|old| old.spec == new.spec);
    (!same).then(|| Key::of(new))
}

/// The resource and namespace of an object that now uses less, or may.
fn gave_back<'a>(change: &Change<'a>) -> Option<(GroupResource, &'a str)> {
    let gvr = change.kind.gvr();
    let namespace = match change.kind {
        Kind::Pod => went_or::<Pod>(change, pod_gave_back),
        Kind::Service => went_or::<Service>(change, |old, new| old.spec != new.spec),
        Kind::PersistentVolumeClaim => {
            went_or::<PersistentVolumeClaim>(change, |old, new| old.spec != new.spec || old.status != new.status)
        }
        Kind::ConfigMap => went::<ConfigMap>(change),
        Kind::ServiceAccount => went::<ServiceAccount>(change),
        Kind::ReplicationController => went::<ReplicationController>(change),
        _ => None,
    };
    Some((GroupResource { group: gvr.group, resource: gvr.resource }, namespace?))
}

fn went<'a, T: Metadata<Ty = ObjectMeta> + 'static>(change: &Change<'a>) -> Option<&'a str> {
    went_or::<T>(change, |_, _| false)
}

fn went_or<'a, T: Metadata<Ty = ObjectMeta> + 'static>(
    change: &Change<'a>,
    gave_back: impl Fn(&T, &T) -> bool,
) -> Option<&'a str> {
    let old = change.old::<T>()?;
    let less = change.current::<T>().is_none_or(|new| gave_back(old, new));
    less.then(|| old.namespace())
}

/// It ended, is resized, or is to end by itself now.
fn pod_gave_back(old: &Pod, new: &Pod) -> bool {
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
    let deadline = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds).is_some();
    let running = |pod: &Pod| {
        let statuses =
            pod.status.iter().flat_map(|status| [&status.container_statuses, &status.init_container_statuses]);
        let resources =
            statuses.flatten().flatten().map(|one| (one.resources.clone(), one.allocated_resources.clone()));
        resources.collect::<Vec<_>>()
    };
    let asked = |pod: &Pod| {
        let spec = pod.spec.as_ref();
        let containers = spec.into_iter().flat_map(|spec| &spec.containers).map(|one| one.resources.clone());
        (spec.and_then(|spec| spec.resources.clone()), containers.collect::<Vec<_>>())
    };
    let ended = matches!(phase(new).as_deref(), Some("Succeeded" | "Failed")) && phase(new) != phase(old);
    ended || deadline(old) != deadline(new) || running(old) != running(new) || asked(old) != asked(new)
}

fn reconcile(world: &World, quota: &ResourceQuota, context: &Context<'_>) -> Plan {
    let mut value = to_value(quota);
    let status = recalculated(&value, &|resource| used(world, resource, &value, context));
    let mut plan = Plan::nothing();
    if let Some(status) = status {
        value["status"] = status;
        plan.push(Action::Update { target: Target::of(quota), subresource: "status", object: value });
    }
    if limited(quota).filter_map(counted).any(|resource| !is_told(&resource)) {
        plan.requeue(LOOK_AGAIN);
    }
    plan
}

/// Whether [`Controller::keys`] hears of what goes.
fn is_told(resource: &GroupResource) -> bool {
    let core =
        ["pods", "services", "persistentvolumeclaims", "configmaps", "serviceaccounts", "replicationcontrollers"];
    resource.group.is_empty() && core.contains(&&*resource.resource)
}

/// What the objects of a resource use of a quota. `None`: no such resource is served.
fn used(world: &World, resource: &GroupResource, quota: &Value, context: &Context<'_>) -> Option<Amounts> {
    let namespace = api_machinery::object::namespace(quota);
    if resource.group.is_empty() {
        match &*resource.resource {
            "pods" => return Some(total(&world.pods, namespace, resource, quota, context)),
            "services" => return Some(total(&world.services, namespace, resource, quota, context)),
            "persistentvolumeclaims" => {
                return Some(total(&world.persistent_volume_claims, namespace, resource, quota, context));
            }
            _ => {}
        }
    }
    let is = |gvr: &crate::Gvr| gvr.group == resource.group && gvr.resource == resource.resource;
    if !world.graph.kinds.values().any(|kind| kind.namespaced && is(&kind.gvr)) {
        return None;
    }
    let count = world.graph.of_namespace(namespace).filter(|item| is(&item.target.gvr)).count();
    Some(number_of(resource, count, quota))
}

fn total<T: Metadata<Ty = ObjectMeta> + Serialize>(
    table: &Table<T>,
    namespace: &str,
    resource: &GroupResource,
    quota: &Value,
    context: &Context<'_>,
) -> Amounts {
    let objects = table.of_namespace(namespace).map(|object| to_value(&**object));
    sum(resource, objects, quota, context.now)
}
