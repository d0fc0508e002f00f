//! NamespaceLifecycle: nothing is made in a namespace that is missing or going away.

use api_machinery::invalid::{Cause, CauseType};
use api_machinery::{ApiError, GroupResource, Value, object};
use async_trait::async_trait;

use crate::{Attributes, Operation, Plugin, View, lookup};

pub(crate) struct NamespaceLifecycle;

/// Never deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

#[async_trait]
impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }
    async fn admit(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&mut Value>,
        view: &dyn View,
    ) -> Result<(), ApiError> {
        if attributes.is_any_of("", "namespaces") {
            return check_immortal(attributes);
        }
        let review = attributes.is_any_of("authorization.k8s.io", "localsubjectaccessreviews");
        if attributes.namespace.is_empty() || attributes.operation == Operation::Delete || review {
            return Ok(());
        }
        let Some(namespace) = lookup::get(view, "", "namespaces", "", attributes.namespace).await? else {
            return Err(ApiError::not_found(&GroupResource::new("", "namespaces"), attributes.namespace));
        };
        let terminating = object::str_at(&namespace, "status.phase") == "Terminating"
            || object::deletion_timestamp(&namespace).is_some();
        if attributes.operation == Operation::Create && terminating {
            return Err(terminating_error(attributes, object.as_deref()));
        }
        Ok(())
    }
}

fn check_immortal(attributes: &Attributes<'_>) -> Result<(), ApiError> {
    if attributes.operation == Operation::Delete && IMMORTAL.contains(&attributes.name) {
        return Err(attributes.forbidden(None, "this namespace may not be deleted"));
    }
    Ok(())
}

fn terminating_error(attributes: &Attributes<'_>, object: Option<&Value>) -> ApiError {
    let namespace = attributes.namespace;
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut error = attributes.forbidden(object, &why);
    error.details.get_or_insert_default().causes.push(Cause {
        reason: CauseType::NamespaceTerminating,
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".to_owned(),
    });
    error
}
