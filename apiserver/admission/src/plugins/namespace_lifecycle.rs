//! NamespaceLifecycle: nothing is made in a namespace that is missing or going away.

use api_machinery::invalid::{Cause, CauseType};
use api_machinery::{ApiError, Value, object};
use async_trait::async_trait;

use crate::{Attributes, Operation, Plugin, View, lookup};

pub(crate) struct NamespaceLifecycle;

/// Upstream's.
pub(crate) const NAME: &str = "NamespaceLifecycle";

/// Never deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

#[async_trait]
impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        NAME
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
        let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
        if attributes.namespace.is_empty() || !writes || review {
            return Ok(());
        }
        let namespace = lookup::namespace(attributes, view).await?;
        if attributes.operation == Operation::Create {
            return check_not_terminating(attributes, object.as_deref(), &namespace);
        }
        Ok(())
    }
}

/// 403 for what would be new in a namespace that is going away.
pub(crate) fn check_not_terminating(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    namespace: &Value,
) -> Result<(), ApiError> {
    let terminating =
        object::str_at(namespace, "status.phase") == "Terminating" || object::deletion_timestamp(namespace).is_some();
    if terminating { Err(terminating_error(attributes, object)) } else { Ok(()) }
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
