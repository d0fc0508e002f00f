//! Quotas are spent in the transaction of the write that spends: it puts the object and the quotas with their raised
//! use, and demands that the quotas are as they were read. However many write at once, a quota is never exceeded.
//!
//! Who loses reads what won and tries again. So that not all writes of a replica lose to each other, those that spend
//! in one namespace take turns.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_admission::{Operation, View};
use api_machinery::{ApiError, GroupResource, ObjectKey, Value, object};
use store_api::{KeyValue, Revision};

use crate::Registry;
use crate::commit::{Change, Current, unchanged};
use crate::metadata::set_resource_version;
use crate::scope::Scope;

/// Races for the quotas of a namespace that one request loses to other replicas, at most.
pub(crate) const TRIES: usize = 64;

/// Quotas by name, where this replica knows a newer version than its cache may show.
type Newest = BTreeMap<String, (Revision, Arc<Value>)>;

/// Whose turn it is to spend, by namespace.
pub(crate) type Turns = crate::turns::Turns<String, Newest>;

/// Held from the look at the quotas until the transaction is through.
type Turn<'a> = crate::turns::Turn<'a, String, Newest>;

fn learn(turn: &mut Turn<'_>, name: &str, newer: Option<(Revision, Arc<Value>)>) {
    let Some(newest) = turn.told_mut() else { return };
    match newer {
        Some(newer) => newest.insert(name.to_owned(), newer),
        None => newest.remove(name),
    };
}

/// A quota as it was read.
struct Quota {
    name: String,
    revision: Revision,
    value: Arc<Value>,
}

/// What a write spends of quotas, and the turn in which it does.
pub(crate) struct Spending<'a> {
    turn: Turn<'a>,
    raised: Vec<(ObjectKey, Revision, Value)>,
}

fn quotas() -> GroupResource {
    GroupResource::new("", "resourcequotas")
}

impl Registry {
    /// What a write that is ready spends. `None`: nothing. 403 where there is no room for it.
    pub(crate) async fn spend(
        &self,
        scope: &Scope<'_>,
        operation: Operation,
        name: &str,
        old: Option<&Value>,
        value: &Value,
    ) -> Result<Option<Spending<'_>>, ApiError> {
        let attributes = scope.attributes(operation, name, old);
        let namespace = scope.namespace;
        if !self.admission.counts(&attributes, value) || self.cache.list(&quotas(), Some(namespace)).objects.is_empty()
        {
            return Ok(None);
        }
        let mut turn = self.turns.take(namespace.to_owned()).await;
        let charge = |quotas: &[Quota]| {
            let values: Vec<&Value> = quotas.iter().map(|quota| &*quota.value).collect();
            self.admission.charge(&attributes, value, &values)
        };
        let mut seen = self.seen_quotas(namespace, &turn);
        let raised = match charge(&seen) {
            Ok(raised) => raised,
            // What is full may only have been full when this replica last heard of it.
            Err(_) => {
                seen = self.fresh_quotas(seen, namespace, &mut turn).await?;
                charge(&seen)?
            }
        };
        let raised = raised.into_iter().filter_map(|quota| {
            let seen = seen.iter().find(|seen| seen.name == object::name(&quota))?;
            Some((ObjectKey::new(quotas(), namespace, &seen.name), seen.revision, quota))
        });
        let raised: Vec<_> = raised.collect();
        Ok((!raised.is_empty()).then_some(Spending { turn, raised }))
    }

    fn seen_quotas(&self, namespace: &str, turn: &Turn<'_>) -> Vec<Quota> {
        let cached = self.cache.list(&quotas(), Some(namespace)).objects;
        let newest = |cached: &api_cache::Object| {
            let newer = turn.told()?.get(&*cached.key.name)?;
            (newer.0 > cached.revision).then(|| newer.clone())
        };
        let seen = cached.iter().map(|cached| {
            let (revision, value) = newest(cached).unwrap_or_else(|| (cached.revision, cached.value()));
            Quota { name: cached.key.name.to_string(), revision, value }
        });
        seen.collect()
    }

    async fn fresh_quotas(
        &self,
        seen: Vec<Quota>,
        namespace: &str,
        turn: &mut Turn<'_>,
    ) -> Result<Vec<Quota>, ApiError> {
        let mut fresh = Vec::with_capacity(seen.len());
        for Quota { name, .. } in seen {
            let current = self.fresh(&ObjectKey::new(quotas(), namespace, &name)).await?;
            let newer = current.object.map(|value| (current.revision, value));
            learn(turn, &name, newer.clone());
            fresh.extend(newer.map(|(revision, value)| Quota { name, revision, value }));
        }
        Ok(fresh)
    }

    /// After a lost transaction, of which `found` are the quotas: whether one of them was written meanwhile.
    pub(crate) async fn learn_quotas(
        &self,
        spending: &mut Spending<'_>,
        found: Vec<Option<KeyValue>>,
    ) -> Result<bool, ApiError> {
        let mut changed = false;
        for ((key, revision, _), kv) in spending.raised.iter().zip(found) {
            let current = Current::from_kv(kv)?;
            changed |= current.revision != *revision;
            learn(&mut spending.turn, &key.name, current.object.map(|value| (current.revision, value)));
        }
        if changed {
            // The cache may still show it as it was, and a turn that nobody else waits for forgets what it learned.
            self.refresh().await?;
        }
        Ok(changed)
    }
}

impl Spending<'_> {
    /// Adds to a transaction what is spent, behind everything else that it compares.
    pub(crate) fn add_to(&self, change: &mut Change) -> Result<(), ApiError> {
        for (key, revision, quota) in &self.raised {
            change.compare.push(unchanged(key, *revision));
            change.ops.push(Change::put(key, quota, 0)?);
        }
        Ok(())
    }

    /// Cuts what was found of the quotas off what was found of all that was compared.
    pub(crate) fn split(&self, found: &mut Vec<Option<KeyValue>>) -> Vec<Option<KeyValue>> {
        found.split_off(found.len().saturating_sub(self.raised.len()))
    }

    /// The transaction is through: who comes next starts from what it wrote.
    pub(crate) fn done(mut self, revision: Revision) {
        for (key, _, mut quota) in std::mem::take(&mut self.raised) {
            set_resource_version(&mut quota, revision);
            learn(&mut self.turn, &key.name, Some((revision, Arc::new(quota))));
        }
    }
}
