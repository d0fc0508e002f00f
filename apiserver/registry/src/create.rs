//! POST: a new object.

use std::sync::Arc;

use api_admission::{Operation, View};
use api_machinery::{ApiError, ObjectKey, Value, object};
use store_api::StoreError;

use crate::commit::{Change, Current, Outcome, unchanged};
use crate::namespace_guard::Guard;
use crate::ownership::{self, Heavy};
use crate::parts::Part;
use crate::scope::Scope;
use crate::{Body, Registry, Written, aside, body, claims, convert, ids, metadata, namespace_guard, quota, requester};

/// Names are generated anew at most so often, as upstream.
const NAME_TRIES: usize = 8;
/// Allocations that lost a race for an address or port are made anew at most so often.
const CLAIM_TRIES: usize = 64;

/// What one try came to.
enum Try {
    Done(Box<Written>),
    NameTaken {
        /// Whoever has it goes.
        deleting: bool,
    },
    /// An allocated (not asked for) address or port was taken meanwhile.
    ClaimTaken,
    /// The namespace is another version now, and still one to create in.
    NamespaceChanged(Guard),
    /// A quota of the namespace was written meanwhile.
    QuotaChanged,
}

impl Registry {
    pub(crate) async fn create_from_body(&self, scope: &Scope<'_>, body: Body) -> Result<Written, ApiError> {
        let resource = scope.resource;
        let mut value = body::object(self.schema, scope, body, resource.type_id, &resource.gvk())?;
        metadata::settle_namespace(&mut value, scope.namespace)?;
        body::default(self.schema, resource, &mut value);
        scope.warn(metadata::dedup_owners(&mut value, false));
        let value = convert::to_storage(self.schema, resource, value);
        self.create_object(scope, value).await
    }

    /// Creates a decoded, defaulted object.
    pub(crate) async fn create_object(&self, scope: &Scope<'_>, mut value: Value) -> Result<Written, ApiError> {
        metadata::wipe_system_fields(&mut value, scope.info.dry_run)?;
        self.own(scope, None, &mut value);
        self.create_owned(scope, value, Heavy::Lightened).await
    }

    /// Creates an object that says who manages its fields.
    pub(crate) async fn create_owned(
        &self,
        scope: &Scope<'_>,
        mut value: Value,
        heavy: Heavy,
    ) -> Result<Written, ApiError> {
        metadata::settle_namespace(&mut value, scope.namespace)?;
        if !scope.name.is_empty() {
            metadata::check_name(&value, scope.name)?;
        }
        let name = object::name(&value).to_owned();
        let seen = self.seen_namespace(scope);
        self.admission.admit(&scope.attributes(Operation::Create, &name, None), Some(&mut value), self).await?;
        scope.warn(metadata::dedup_owners(&mut value, true));
        self.check_escalation(scope, &value, None).await?;
        let mut guard = self.sought_namespace(scope, &value, seen).await?;
        let generated = name.is_empty() && !object::generate_name(&value).is_empty();
        let (mut names, mut claims, mut namespaces, mut quotas) = (0, 0, 0, 0);
        loop {
            let step = match self.try_create(scope, value.clone(), generated, guard.as_ref()).await {
                Err(error) if heavy.lightens(&error) && ownership::take_managers(&mut value).is_some() => continue,
                step => step?,
            };
            match step {
                Try::Done(written) => return Ok(*written),
                Try::NameTaken { .. } if generated && names < NAME_TRIES => names += 1,
                Try::NameTaken { deleting } => return Err(name_taken(scope, &value, generated, deleting)),
                Try::ClaimTaken if claims < CLAIM_TRIES => claims += 1,
                Try::ClaimTaken => return Err(ApiError::internal("no free service address or port was won")),
                Try::NamespaceChanged(newer) if namespaces < namespace_guard::TRIES => {
                    (guard, namespaces) = (Some(newer), namespaces + 1);
                    // What plugins read of it must be what the transaction compares.
                    self.refresh().await?;
                }
                Try::QuotaChanged if quotas < quota::TRIES => quotas += 1,
                Try::NamespaceChanged(_) | Try::QuotaChanged => {
                    return Err(ApiError::stale(&scope.resource.group_resource(), &name));
                }
            }
        }
    }

    async fn check_new(&self, scope: &Scope<'_>, name: &str, value: &Value) -> Result<(), ApiError> {
        let mut errors = self.check_admin_access(scope, Part::Whole, value, None).await?;
        aside::on_value(value, || {
            api_kinds::meta::validate(scope.kind, value, scope.resource.namespaced, &mut errors);
            scope.rules().validate(value, &mut errors);
            self.check_privileged(scope, value, &mut errors);
        });
        if errors.is_empty() {
            self.check_params(scope, value, None, &mut errors).await;
        }
        scope.invalid(name, errors)
    }

    async fn try_create(
        &self,
        scope: &Scope<'_>,
        mut value: Value,
        generated: bool,
        guard: Option<&Guard>,
    ) -> Result<Try, ApiError> {
        if generated {
            let name = ids::generated_name(object::generate_name(&value), ids::random());
            object::meta_mut(&mut value).insert("name".to_owned(), name.into());
        }
        self.prepare_new(scope, &mut value);
        let asked = claims::held(&scope.resource.storage, &value);
        self.allocate(scope, &mut value, None).await?;
        let name = object::name(&value).to_owned();
        self.check_new(scope, &name, &value).await?;
        // Of what is not valid nothing is said; what is refused from here on is warned of all the same.
        scope.warn(scope.kind.warnings(&value));
        self.admission.validate(&scope.attributes(Operation::Create, &name, None), Some(&value), self).await?;
        self.settle(scope, &mut value);
        let key = scope.key(&name);
        let spending = self.spend(scope, Operation::Create, &name, None, &value).await?;
        if scope.info.dry_run {
            return self.dry_create(scope, &key, value).await;
        }
        let wanted = claims::held(&scope.resource.storage, &value);
        let mut change = claims::change(&key, &value, &claims::Held::new(), &wanted, &scope.births())?;
        change.compare.insert(0, unchanged(&key, 0));
        change.compare.extend(guard.map(Guard::compare));
        spending.as_ref().map_or(Ok(()), |spending| spending.add_to(&mut change))?;
        let outcome = self.put_new(scope, &key, &value, change).await?;
        match outcome {
            Outcome::Done(revision) => {
                if let Some(spending) = spending {
                    spending.done(revision);
                }
                Ok(Try::Done(Box::new(created(scope, value, revision))))
            }
            Outcome::Lost(mut found) => {
                let spent = match spending {
                    None => false,
                    Some(mut spending) => {
                        let quotas = spending.split(&mut found);
                        self.learn_quotas(&mut spending, quotas).await?
                    }
                };
                let namespace = if guard.is_some() { found.pop().flatten() } else { None };
                if let Some(guard) = guard
                    && let Some(newer) = guard.renewed(scope, &value, namespace)?
                {
                    return Ok(Try::NamespaceChanged(newer));
                }
                if let Some(Some(taken)) = found.first() {
                    let taken = Current::from_kv(Some(taken.clone())).ok();
                    return Ok(Try::NameTaken { deleting: taken.is_some_and(|taken| is_deleting(&taken)) });
                }
                claims::refuse_asked(scope, &name, &value, &asked, &found)?;
                Ok(if spent { Try::QuotaChanged } else { Try::ClaimTaken })
            }
        }
    }

    /// Puts a new object; events hang on a lease.
    async fn put_new(
        &self,
        scope: &Scope<'_>,
        key: &ObjectKey,
        value: &Value,
        mut change: Change,
    ) -> Result<Outcome, ApiError> {
        let lease = self.lease_for(&scope.resource.storage, scope.now).await?;
        let (compare, ops) = (change.compare.clone(), change.ops.clone());
        change.ops.insert(0, Change::put(key, value, lease)?);
        match self.try_commit(scope.info, change).await {
            Err(StoreError::LeaseNotFound(_)) if lease != 0 => {
                self.forget_lease(lease);
                let lease = self.lease_for(&scope.resource.storage, scope.now).await?;
                let mut change = Change { compare, ops };
                change.ops.insert(0, Change::put(key, value, lease)?);
                self.commit(scope.info, change).await
            }
            other => other.map_err(crate::errors::from_store),
        }
    }

    /// Everything the server sets, and what clients may not set dropped.
    fn prepare_new(&self, scope: &Scope<'_>, value: &mut Value) {
        metadata::fill_system_fields(value, scope.kind, scope.now);
        // Before the hooks: pods of a job are found by its uid.
        metadata::set_uid(value, &ids::uid());
        if !convert::is_defaulted_late(scope.resource) {
            scope.kind.default(value);
        }
        self.schema.drop_disabled(scope.resource, value, &Value::Null);
        scope.kind.prepare_create(value, scope.has_status());
        requester::record(scope, value);
        self.complete(scope.resource, value);
    }

    async fn dry_create(&self, scope: &Scope<'_>, key: &ObjectKey, value: Value) -> Result<Try, ApiError> {
        let taken = self.fresh(key).await?;
        if taken.object.is_some() {
            return Ok(Try::NameTaken { deleting: is_deleting(&taken) });
        }
        let object = Arc::new(convert::from_storage(scope.resource, value));
        let warnings = Vec::new();
        Ok(Try::Done(Box::new(Written { object, created: true, pending: false, revision: 0, warnings })))
    }
}

fn created(scope: &Scope<'_>, mut value: Value, revision: store_api::Revision) -> Written {
    metadata::set_resource_version(&mut value, revision);
    let value = convert::from_storage(scope.resource, value);
    Written { object: Arc::new(value), created: true, pending: false, revision, warnings: Vec::new() }
}

fn is_deleting(taken: &Current) -> bool {
    taken.object.as_deref().and_then(object::deletion_timestamp).is_some()
}

fn name_taken(scope: &Scope<'_>, value: &Value, generated: bool, deleting: bool) -> ApiError {
    let resource = scope.resource.group_resource();
    let base = if generated { object::generate_name(value) } else { object::name(value) };
    let mut error = ApiError::already_exists(&resource, base);
    if generated {
        error.message.push_str(", the server was not able to generate a unique name for the object");
    }
    if deleting {
        error.message.insert_str(0, "object is being deleted: ");
    }
    error
}
