//! Owners and dependents over every resource: the garbage collector's picture.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::plan::{Gvr, Target};

/// A reference to an owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_owner_deletion: Option<bool>,
}

/// The part of an object that ownership is decided by.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub uid: Arc<str>,
    #[serde(default)]
    pub owner_references: Vec<Owner>,
    #[serde(default)]
    pub finalizers: Vec<String>,
    #[serde(default)]
    pub deletion_timestamp: Option<String>,
    #[serde(default)]
    pub resource_version: String,
}

/// Any object, read for its metadata only.
#[derive(Clone, Debug, Deserialize)]
pub struct Partial {
    pub metadata: Metadata,
}

#[derive(Clone, Debug)]
pub struct Item {
    pub target: Target,
    pub meta: Metadata,
}

pub const ORPHAN: &str = "orphan";
pub const FOREGROUND: &str = "foregroundDeletion";

impl Item {
    pub fn is_deleting(&self) -> bool {
        self.meta.deletion_timestamp.is_some()
    }
    pub fn has_finalizer(&self, name: &str) -> bool {
        self.meta.finalizers.iter().any(|own| own == name)
    }
    /// Waits for its blocking dependents to go first.
    pub fn deletes_dependents_first(&self) -> bool {
        self.is_deleting() && self.has_finalizer(FOREGROUND)
    }
}

/// Where objects of a kind are, to look an owner up by `apiVersion` and `kind`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindInfo {
    pub gvr: Gvr,
    pub namespaced: bool,
}

/// All objects of all watched resources by uid, with the dependents of each uid.
#[derive(Default)]
pub struct Graph {
    items: HashMap<Arc<str>, Arc<Item>>,
    by_target: BTreeMap<(Arc<str>, Gvr, Arc<str>), Arc<str>>,
    dependents: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// By (`apps/v1`, `Deployment`).
    pub kinds: HashMap<(String, String), KindInfo>,
}

impl Graph {
    pub fn item(&self, uid: &str) -> Option<&Arc<Item>> {
        self.items.get(uid)
    }
    pub fn len(&self) -> usize {
        self.items.len()
    }
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
    pub fn uids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.items.keys()
    }
    pub fn dependents(&self, uid: &str) -> impl Iterator<Item = &Arc<Item>> {
        self.dependents.get(uid).into_iter().flatten().filter_map(|uid| self.items.get(uid))
    }
    /// What is in a namespace, by resource and name.
    pub fn of_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Item>> {
        let from = (Arc::from(namespace), Gvr::new("", "", ""), Arc::from(""));
        let range = self.by_target.range(from..).take_while(move |((own, ..), _)| &**own == namespace);
        range.filter_map(|(_, uid)| self.items.get(uid))
    }
    pub fn kind(&self, api_version: &str, kind: &str) -> Option<&KindInfo> {
        self.kinds.get(&(api_version.to_owned(), kind.to_owned()))
    }
    /// The kind of a resource's objects.
    pub fn kind_of(&self, gvr: &Gvr) -> Option<&str> {
        self.kinds.iter().find(|(_, info)| info.gvr == *gvr).map(|((_, kind), _)| kind.as_str())
    }
    /// Where an owner is looked for: in the namespace of the dependent when its kind is namespaced. `None`: its kind
    /// is not served, or a cluster-scoped object names a namespaced owner, which has no meaning.
    pub fn owner_target(&self, dependent: &Item, owner: &Owner) -> Option<Target> {
        let info = self.kind(&owner.api_version, &owner.kind)?;
        if info.namespaced && dependent.target.namespace.is_empty() {
            return None;
        }
        let namespace = if info.namespaced { &*dependent.target.namespace } else { "" };
        Some(Target::new(info.gvr.clone(), namespace, &owner.name))
    }

    /// Puts an object (`None`: it is gone). Answers the uids to look at: its own while it exists, its owners
    /// (one may wait for it), and when it went or began to go its dependents.
    pub fn set(&mut self, target: Target, meta: Option<Metadata>) -> Vec<Arc<str>> {
        let place = (target.namespace.clone(), target.gvr.clone(), target.name.clone());
        let mut look = Vec::new();
        let old_uid = self.by_target.remove(&place);
        let old = old_uid.and_then(|uid| self.items.remove(&uid));
        if let Some(old) = &old {
            self.unlink(old);
            look.extend(old.meta.owner_references.iter().map(|owner| owner.uid.clone()));
        }
        let gone = old.as_ref().filter(|old| meta.as_ref().is_none_or(|new| new.uid != old.meta.uid));
        if let Some(gone) = gone {
            look.extend(self.dependents.get(&gone.meta.uid).into_iter().flatten().cloned());
        }
        if let Some(meta) = meta {
            look.push(meta.uid.clone());
            look.extend(meta.owner_references.iter().map(|owner| owner.uid.clone()));
            if meta.deletion_timestamp.is_some() {
                look.extend(self.dependents.get(&meta.uid).into_iter().flatten().cloned());
            }
            self.by_target.insert(place, meta.uid.clone());
            self.link(Arc::new(Item { target, meta }));
        }
        look.sort();
        look.dedup();
        look
    }
    fn link(&mut self, item: Arc<Item>) {
        for owner in &item.meta.owner_references {
            self.dependents.entry(owner.uid.clone()).or_default().insert(item.meta.uid.clone());
        }
        self.items.insert(item.meta.uid.clone(), item);
    }
    fn unlink(&mut self, item: &Item) {
        for owner in &item.meta.owner_references {
            let emptied = self.dependents.get_mut(&owner.uid).is_some_and(|set| {
                set.remove(&item.meta.uid);
                set.is_empty()
            });
            if emptied {
                self.dependents.remove(&owner.uid);
            }
        }
    }
}
