//! NamespaceAutoProvision: makes the namespace that a new object names.

use api_machinery::{ApiError, GroupResource, Value};
use async_trait::async_trait;

use crate::{Attributes, Operation, Plugin, View};

pub(crate) struct NamespaceAutoProvision;

#[async_trait]
impl Plugin for NamespaceAutoProvision {
    fn name(&self) -> &'static str {
        "NamespaceAutoProvision"
    }
    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let namespace = attributes.namespace;
        let concerned = attributes.operation == Operation::Create && !attributes.dry_run && !namespace.is_empty();
        let is_there = || view.get(&GroupResource::new("", "namespaces"), "", namespace).is_some();
        if !concerned || attributes.is_any_of("", "namespaces") || is_there() {
            return Ok(());
        }
        let made = view.make_namespace(namespace).await;
        made.map_err(|error| attributes.forbidden(object.as_deref(), &error.message))
    }
}
