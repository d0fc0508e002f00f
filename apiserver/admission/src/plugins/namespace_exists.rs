//! NamespaceExists: nothing is written where there is no namespace.

use api_machinery::{ApiError, GroupResource, Value};
use async_trait::async_trait;

use crate::{Attributes, Operation, Plugin, View, lookup};

pub(crate) struct NamespaceExists;

#[async_trait]
impl Plugin for NamespaceExists {
    fn name(&self) -> &'static str {
        "NamespaceExists"
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        _object: Option<&Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        let namespace = attributes.namespace;
        let connects = attributes.operation == Operation::Connect;
        if namespace.is_empty() || connects || attributes.is_any_of("", "namespaces") {
            return Ok(());
        }
        match lookup::get(view, "", "namespaces", "", namespace).await? {
            Some(_) => Ok(()),
            None => Err(ApiError::not_found(&GroupResource::new("", "namespaces"), namespace)),
        }
    }
}
