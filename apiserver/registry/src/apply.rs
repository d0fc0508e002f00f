//! Server-side apply: a configuration as it came, and the verb.

use api_codec::decode::{self, FieldValidation};
use api_machinery::{ApiError, Reason, Value, object};

use crate::ownership::Heavy;
use crate::parts::Part;
use crate::scope::Scope;
use crate::update::Try;
use crate::{Body, Registry, aside, metadata};

/// What a manager wants of an object: all fields that it has an opinion on.
pub(crate) struct Application {
    pub(crate) config: Value,
    pub(crate) force: bool,
    /// What strict reading found in the document.
    findings: Vec<String>,
}

impl Application {
    pub(crate) fn read(body: Body, force: bool) -> Result<Self, ApiError> {
        let (config, findings) = match body {
            Body::Value(config) => (config, Vec::new()),
            Body::Bytes { bytes, .. } => {
                let parsed = aside::on_bytes(bytes.len(), || decode::configuration(&bytes))?;
                (parsed.value, parsed.duplicates)
            }
        };
        Ok(Self { config, force, findings })
    }

    /// 400 where the request wants the document to be read strictly, warnings where it wants to be told.
    pub(crate) fn check_strictness(&self, scope: &Scope<'_>) -> Result<(), ApiError> {
        match scope.info.field_validation {
            FieldValidation::Strict if !self.findings.is_empty() => {
                Err(ApiError::bad_request(format!("error strict decoding YAML: {}", self.findings.join(", "))))
            }
            FieldValidation::Warn => {
                scope.warn(self.findings.iter().cloned());
                Ok(())
            }
            FieldValidation::Strict | FieldValidation::Ignore => Ok(()),
        }
    }
}

impl Registry {
    /// Makes what does not exist yet.
    pub(crate) async fn create_applied(
        &self,
        scope: &Scope<'_>,
        part: Part,
        application: &Application,
    ) -> Result<Try, ApiError> {
        // Subresources never create.
        if part != Part::Whole || !scope.subresource.is_empty() {
            return Err(scope.not_found(scope.name));
        }
        let mut value = self.applied(scope, None, application)?;
        let uid = object::uid(&value);
        if !uid.is_empty() {
            let why =
                format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
            return Err(ApiError::conflict(&scope.resource.group_resource(), scope.name, &why));
        }
        metadata::settle_namespace(&mut value, scope.namespace)?;
        metadata::check_name(&value, scope.name)?;
        // The store gives the version, whatever the configuration says.
        object::meta_mut(&mut value).remove("resourceVersion");
        metadata::wipe_system_fields(&mut value, scope.info.dry_run)?;
        scope.check_may("create").await?;
        match self.create_owned(scope, value, Heavy::Refused).await {
            Ok(written) => Ok(Try::Done(Box::new(written))),
            // Somebody was quicker: then it is to be merged with what they made.
            Err(error) if error.reason == Reason::AlreadyExists => Ok(Try::Stale),
            Err(error) => Err(error),
        }
    }

    /// The stored object with the configuration applied.
    pub(crate) fn propose_applied(
        &self,
        scope: &Scope<'_>,
        application: &Application,
        old: &Value,
    ) -> Result<Value, ApiError> {
        let mut value = self.applied(scope, Some(old), application)?;
        metadata::settle_namespace(&mut value, scope.namespace)?;
        metadata::check_name(&value, scope.name)?;
        Ok(value)
    }
}
