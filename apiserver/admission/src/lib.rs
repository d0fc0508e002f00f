//! Admission: may this object be written, and how must it be changed before?
//!
//! One plugin, one file in `plugins/`; their order is meaning, so it is one list: `order.rs`.

mod csr;
mod lookup;
mod metrics;
mod node_restriction;
mod notes;
mod order;
mod pod_security;
mod rights;
mod secrets;
mod settings;
mod signers;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api_machinery::{ApiError, GroupResource, UserInfo, Value};
use api_schema::{FeatureGates, Resource};
use async_trait::async_trait;
use jiff::Timestamp;
use metrics::{Histograms, Meter, Step};
pub use notes::Notes;
pub use rights::{Act, Rights};
pub use settings::Settings;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// What is about to happen.
pub struct Attributes<'a> {
    pub operation: Operation,
    pub resource: &'a Resource,
    /// Empty for the resource itself.
    pub subresource: &'a str,
    pub namespace: &'a str,
    /// Empty while `generateName` is not resolved.
    pub name: &'a str,
    pub user: &'a UserInfo,
    /// What was stored before an update or delete.
    pub old: Option<&'a Value>,
    pub dry_run: bool,
    pub now: Timestamp,
    /// Asked where a plugin's answer depends on what else the asker may do. `None`: a component of this process,
    /// which may do what it does.
    pub rights: Option<&'a dyn Rights>,
    /// Where plugins leave warnings and audit annotations.
    pub notes: &'a Notes,
}

/// What plugins may look up: the cache of this replica.
#[async_trait]
pub trait View: Send + Sync {
    fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Arc<Value>>;
    fn list(&self, resource: &GroupResource, namespace: Option<&str>) -> Vec<Arc<Value>>;
    /// Waits until the view shows everything acknowledged anywhere before the call. For a plugin that
    /// is about to refuse because something is missing.
    async fn refresh(&self) -> Result<(), ApiError>;
    /// Where objects of this `apiVersion` and `kind` are. `None`: they are not served.
    fn place_of(&self, api_version: &str, kind: &str) -> Option<Place>;
    /// Makes a namespace, as this server; 409 when it is there already is not an error.
    async fn make_namespace(&self, name: &str) -> Result<(), ApiError>;
}

/// Where objects of a kind are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub resource: GroupResource,
    pub version: String,
    pub namespaced: bool,
}

#[async_trait]
pub trait Plugin: Send + Sync {
    /// Upstream's name.
    fn name(&self) -> &'static str;
    /// May change the object (`None` on delete and connect).
    async fn admit(
        &self,
        _attributes: &Attributes<'_>,
        _object: Option<&mut Value>,
        _view: &dyn View,
    ) -> Result<(), ApiError> {
        Ok(())
    }
    /// Sees the final object; may only refuse.
    async fn validate(
        &self,
        _attributes: &Attributes<'_>,
        _object: Option<&Value>,
        _view: &dyn View,
    ) -> Result<(), ApiError> {
        Ok(())
    }
    /// Whether a write may use what the quotas of its namespace limit: then [`Self::charge`] is asked, last.
    fn counts(&self, _attributes: &Attributes<'_>, _object: &Value) -> bool {
        false
    }
    /// Of the quotas of the namespace those that the write spends from, with their use raised: to be written in the
    /// write's own transaction, over the versions that were given here. 403 where there is no room.
    fn charge(
        &self,
        _attributes: &Attributes<'_>,
        _object: &Value,
        _quotas: &[&Value],
    ) -> Result<Vec<Value>, ApiError> {
        Ok(Vec::new())
    }
}

/// The plugins of a server in order.
pub struct Chain {
    plugins: Vec<(Box<dyn Plugin>, Histograms)>,
    steps: Histograms,
}

impl Attributes<'_> {
    /// Whether this is about the resource itself, not a subresource of it.
    fn is(&self, group: &str, plural: &str) -> bool {
        self.subresource.is_empty() && self.is_any_of(group, plural)
    }
    /// The resource or any of its subresources.
    fn is_any_of(&self, group: &str, plural: &str) -> bool {
        &*self.resource.gv.group == group && self.resource.plural == plural
    }
    /// Creates or updates the resource itself.
    fn writes(&self, group: &str, plural: &str) -> bool {
        matches!(self.operation, Operation::Create | Operation::Update) && self.is(group, plural)
    }
    fn creates(&self, group: &str, plural: &str) -> bool {
        self.operation == Operation::Create && self.is(group, plural)
    }
    async fn may(&self, act: &Act<'_>) -> bool {
        match self.rights {
            Some(rights) => rights.may(act).await,
            None => true,
        }
    }
    /// 403 about the object of the request, in upstream's form.
    fn forbidden(&self, object: Option<&Value>, why: &str) -> ApiError {
        let name = match (self.name, object) {
            ("", Some(object)) => api_machinery::object::name(object),
            (name, _) => name,
        };
        ApiError::forbidden(&self.resource.group_resource(), name, why)
    }
}

/// 403 as NamespaceLifecycle answers it when the namespace of a new object is going away.
pub fn check_not_terminating(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    namespace: &Value,
) -> Result<(), ApiError> {
    order::namespace_lifecycle::check_not_terminating(attributes, object, namespace)
}

impl Chain {
    /// What is on by default, in upstream's order, and NodeRestriction, which every installer turns on.
    pub fn standard() -> Self {
        Self::of(settings::standard())
    }
    /// The plugins that are wanted and whose features are on, in upstream's order. The error says what is wrong, in
    /// upstream's words.
    pub fn new(settings: &Settings, gates: &FeatureGates) -> Result<Self, String> {
        settings.plugins(gates).map(Self::of)
    }
    /// These plugins in this order.
    pub fn of(plugins: Vec<Box<dyn Plugin>>) -> Self {
        let mut chain = Self { plugins: Vec::new(), steps: Histograms::new(None) };
        plugins.into_iter().for_each(|plugin| chain.push(plugin));
        chain
    }
    /// One more plugin, after all others.
    pub fn push(&mut self, plugin: Box<dyn Plugin>) {
        let histograms = Histograms::new(Some(plugin.name()));
        self.plugins.push((plugin, histograms));
    }
    pub fn plugins(&self) -> impl Iterator<Item = &dyn Plugin> {
        self.plugins.iter().map(|(plugin, _)| &**plugin)
    }
    /// Whether new objects need a namespace that is there to stay. A plugin sees what its replica shows, which may
    /// be old: who writes the object compares the namespace in the same transaction.
    pub fn guards_namespaces(&self) -> bool {
        self.plugins().any(|plugin| plugin.name() == order::namespace_lifecycle::NAME)
    }
    /// Whether a write may use what the quotas of its namespace limit.
    pub fn counts(&self, attributes: &Attributes<'_>, object: &Value) -> bool {
        self.plugins().any(|plugin| plugin.counts(attributes, object))
    }
    /// The quotas that a write spends from as they are after it, to be written with it; 403 where there is no room.
    /// The object is as it will be stored: plugins have admitted and validated it.
    pub fn charge(
        &self,
        attributes: &Attributes<'_>,
        object: &Value,
        quotas: &[&Value],
    ) -> Result<Vec<Value>, ApiError> {
        let step = Meter::of(attributes, Step::Validate);
        let mut raised = Vec::new();
        for (plugin, histograms) in self.plugins.iter().filter(|(plugin, _)| plugin.counts(attributes, object)) {
            let meter = step.begin();
            let charged = plugin.charge(attributes, object, quotas);
            meter.end(histograms, charged.is_err());
            raised.extend(charged?);
        }
        Ok(raised)
    }
    pub async fn admit(
        &self,
        attributes: &Attributes<'_>,
        mut object: Option<&mut Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let step = Meter::of(attributes, Step::Admit);
        for (plugin, histograms) in &self.plugins {
            let meter = step.begin();
            let admitted = plugin.admit(attributes, object.as_deref_mut(), view).await;
            meter.end(histograms, admitted.is_err());
            if admitted.is_err() {
                step.end(&self.steps, true);
                return admitted;
            }
        }
        step.end(&self.steps, false);
        Ok(())
    }
    pub async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let step = Meter::of(attributes, Step::Validate);
        for (plugin, histograms) in &self.plugins {
            let meter = step.begin();
            let valid = plugin.validate(attributes, object, view).await;
            meter.end(histograms, valid.is_err());
            if valid.is_err() {
                step.end(&self.steps, true);
                return valid;
            }
        }
        step.end(&self.steps, false);
        Ok(())
    }
}
