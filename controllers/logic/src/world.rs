//! What the cache shows, typed and indexed: the view every reconcile reads.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::Metadata;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, PersistentVolumeClaim, Pod, ReplicationController, ResourceQuota, Secret,
    Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;

use crate::graph::Graph;
use crate::meta::Meta;
use crate::observed::Observed;
use crate::placed::Placed;
use crate::{trim, visits};

/// Namespace (empty when cluster-scoped) and name: a key of a table and of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl Key {
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
    pub fn of<T: Metadata<Ty = ObjectMeta>>(object: &T) -> Self {
        Self::new(object.namespace(), object.name())
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// The objects of one kind, by key, with an index by controlling owner.
#[derive(Clone, Debug)]
pub struct Table<T> {
    objects: BTreeMap<Key, Arc<T>>,
    /// By uid of the controlling owner; objects without one are in `orphans` by namespace.
    owned: HashMap<Arc<str>, BTreeSet<Key>>,
    orphans: HashMap<Arc<str>, BTreeSet<Key>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), owned: HashMap::new(), orphans: HashMap::new() }
    }
}

impl<T: Metadata<Ty = ObjectMeta>> Table<T> {
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<T>> {
        self.objects.get(&Key::new(namespace, name))
    }
    pub fn at(&self, key: &Key) -> Option<&Arc<T>> {
        self.objects.get(key)
    }
    pub fn len(&self) -> usize {
        self.objects.len()
    }
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.objects.values().inspect(visits::one)
    }
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.objects.keys().inspect(visits::one)
    }
    /// The objects of a namespace, by name.
    pub fn of_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<T>> {
        let from = Key::new(namespace, "");
        let range = self.objects.range(from..).inspect(visits::one);
        range.take_while(move |(key, _)| &*key.namespace == namespace).map(|(_, object)| object)
    }
    /// The objects a controller of this uid owns, by key.
    pub fn controlled_by(&self, uid: &str) -> impl Iterator<Item = &Arc<T>> {
        self.owned.get(uid).into_iter().flatten().inspect(visits::one).filter_map(|key| self.objects.get(key))
    }
    /// The objects of a namespace that no controller owns, by key.
    pub fn orphans_of(&self, namespace: &str) -> impl Iterator<Item = &Arc<T>> {
        self.orphans.get(namespace).into_iter().flatten().inspect(visits::one).filter_map(|key| self.objects.get(key))
    }

    /// Puts an object, or with `None` removes it; returns what was there.
    pub fn set(&mut self, key: Key, object: Option<Arc<T>>) -> Option<Arc<T>> {
        let old = match object {
            Some(object) => {
                self.index(&key, &object);
                self.objects.insert(key.clone(), object)
            }
            None => self.objects.remove(&key),
        };
        if let Some(old) = &old {
            let controller = self.objects.get(&key).map(|new| new.controller().map(|owner| owner.uid.clone()));
            if controller != Some(old.controller().map(|owner| owner.uid.clone())) {
                self.unindex(&key, old);
            }
        }
        old
    }
    fn index(&mut self, key: &Key, object: &T) {
        let set = match object.controller() {
            Some(owner) => self.owned.entry(owner.uid.as_str().into()).or_default(),
            None => self.orphans.entry(key.namespace.clone()).or_default(),
        };
        set.insert(key.clone());
    }
    fn unindex(&mut self, key: &Key, old: &T) {
        let (index, entry) = match old.controller() {
            Some(owner) => (&mut self.owned, owner.uid.as_str()),
            None => (&mut self.orphans, &*key.namespace),
        };
        let emptied = index.get_mut(entry).is_some_and(|set| {
            set.remove(key);
            set.is_empty()
        });
        if emptied {
            index.remove(entry);
        }
    }
}

/// One object that came, changed or went, for the mapping to keys.
#[derive(Clone, Copy)]
pub struct Change<'a> {
    pub kind: Kind,
    old: Option<&'a (dyn Any + Send + Sync)>,
    new: Option<&'a (dyn Any + Send + Sync)>,
}

impl<'a> Change<'a> {
    pub fn old<T: 'static>(&self) -> Option<&'a T> {
        self.old?.downcast_ref()
    }
    pub fn current<T: 'static>(&self) -> Option<&'a T> {
        self.new?.downcast_ref()
    }
    /// The state after, or for a deletion the last one.
    pub fn any<T: 'static>(&self) -> Option<&'a T> {
        self.current().or_else(|| self.old())
    }
    /// The states before and after.
    pub fn both<T: 'static>(&self) -> impl Iterator<Item = &'a T> {
        self.old().into_iter().chain(self.current())
    }
    pub fn is_deletion(&self) -> bool {
        self.new.is_none()
    }
}

/// One change that owns its objects.
#[derive(Clone)]
pub struct Changed {
    pub kind: Kind,
    pub key: Key,
    old: Option<Arc<dyn Any + Send + Sync>>,
    new: Option<Arc<dyn Any + Send + Sync>>,
}

impl Changed {
    pub fn view(&self) -> Change<'_> {
        Change { kind: self.kind, old: self.old.as_deref(), new: self.new.as_deref() }
    }
    /// The state after.
    pub fn new_arc<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.new.clone()?.downcast().ok()
    }
}

/// The one list of kinds the world holds.
macro_rules! world {
    ($($table:ident: $kind:ident),* $(,)?) => {
        /// Every typed object the controllers and the scheduler read, as the cache shows it.
        #[derive(Default)]
        pub struct World {
            $(pub $table: Table<$kind>,)*
            placed: Placed,
            /// Owners and dependents over all resources, metadata only.
            pub graph: Graph,
            /// When signs of life and the like were seen.
            pub observed: Observed,
        }

        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $($kind,)*
        }

        impl Kind {
            pub const ALL: &[Kind] = &[$(Kind::$kind),*];

            /// Group, version and plural.
            pub fn gvr(self) -> crate::plan::Gvr {
                match self {
                    $(Kind::$kind => crate::plan::Gvr::of::<$kind>(),)*
                }
            }
        }

        impl World {
            /// Puts the object (`None`: it is gone) and says what changed. An object of another type counts as gone.
            pub fn apply(&mut self, kind: Kind, key: Key, object: Option<Decoded>) -> Changed {
                let change = match kind {
                    $(Kind::$kind => {
                        let new = object.and_then(|object| object.downcast::<$kind>().ok());
                        let old = self.$table.set(key.clone(), new.clone());
                        Changed { kind, key, old: old.map(|old| old as _), new: new.map(|new| new as _) }
                    })*
                };
                self.placed.note(&change.key, &change.view());
                change
            }
            /// Keys of one table.
            pub fn keys_of(&self, kind: Kind) -> Vec<Key> {
                match kind {
                    $(Kind::$kind => self.$table.keys().cloned().collect(),)*
                }
            }
            /// The object is not there, is another one, or is being deleted.
            pub fn shows_gone(&self, kind: Kind, key: &Key, uid: &str) -> bool {
                match kind {
                    $(Kind::$kind => {
                        self.$table.at(key).is_none_or(|found| found.is_deleting() || found.uid() != uid)
                    })*
                }
            }
            /// The object as if it had just come, for the first mapping to keys.
            pub fn present(&self, kind: Kind, key: &Key) -> Option<Changed> {
                match kind {
                    $(Kind::$kind => {
                        let new = self.$table.at(key)?.clone();
                        Some(Changed { kind, key: key.clone(), old: None, new: Some(new as _) })
                    })*
                }
            }
        }

        /// Decodes an object into the type of its kind, [trimmed](crate::trim). `None` when it does not fit.
        pub fn decode(kind: Kind, source: &impl Source) -> Option<Decoded> {
            match kind {
                $(Kind::$kind => {
                    let mut object = source.typed::<$kind>()?;
                    trim::trim(&mut object);
                    Some(Arc::new(object))
                })*
            }
        }

        $(impl Kinded for $kind {
            const TABLE: Kind = Kind::$kind;
        })*
    };
}

/// A typed object whose type its [`Kind`] tells.
pub type Decoded = Arc<dyn Any + Send + Sync>;

/// What an object is decoded from.
pub trait Source {
    fn typed<T: DeserializeOwned>(&self) -> Option<T>;
}

/// A type that has a table.
pub trait Kinded: Metadata<Ty = ObjectMeta> + Send + Sync + 'static {
    const TABLE: Kind;
}

impl World {
    /// Puts a typed object, for tests and simulations.
    pub fn put<T: Kinded>(&mut self, object: T) -> Changed {
        let key = Key::of(&object);
        self.apply(T::TABLE, key, Some(Arc::new(object)))
    }
    pub fn remove<T: Kinded>(&mut self, key: Key) -> Changed {
        self.apply(T::TABLE, key, None)
    }
    /// The pods that are on a node, by key.
    pub fn pods_on(&self, node: &str) -> impl Iterator<Item = &Arc<Pod>> {
        self.placed.on(node).inspect(visits::one).filter_map(|key| self.pods.at(key))
    }
}

world! {
    namespaces: Namespace,
    nodes: Node,
    pods: Pod,
    pod_disruption_budgets: PodDisruptionBudget,
    services: Service,
    service_accounts: ServiceAccount,
    config_maps: ConfigMap,
    endpoints: Endpoints,
    endpoint_slices: EndpointSlice,
    persistent_volume_claims: PersistentVolumeClaim,
    replication_controllers: ReplicationController,
    resource_quotas: ResourceQuota,
    deployments: Deployment,
    replica_sets: ReplicaSet,
    stateful_sets: StatefulSet,
    daemon_sets: DaemonSet,
    controller_revisions: ControllerRevision,
    jobs: Job,
    cron_jobs: CronJob,
    leases: Lease,
    certificate_signing_requests: CertificateSigningRequest,
    secrets: Secret,
    cluster_roles: ClusterRole,
}
