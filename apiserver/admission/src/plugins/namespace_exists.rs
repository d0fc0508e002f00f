//! NamespaceExists: nothing is written where there is no namespace.

use api_machinery::{ApiError, Value};
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
        let connects = attributes.operation == Operation::Connect;
        if attributes.namespace.is_empty() || connects || attributes.is_any_of("", "namespaces") {
            return Ok(());
        }
        lookup::namespace(attributes, view).await.map(drop)
    }
}
