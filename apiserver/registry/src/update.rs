//! PUT and PATCH: one guarded loop. Each try reads, proposes, mutates, validates and compares-and-swaps;
//! a lost race reads again and runs everything again, as upstream's `GuaranteedUpdate`.

use std::sync::Arc;

use api_admission::Operation;
use api_codec::default::{drop_told_empty, fill_zero_values};
use api_machinery::{ApiError, GroupResource, ObjectKey, Path, Value, meta, names, object};
use api_schema::Resource;
use store_api::{Op, Revision, StoreError};

use crate::apply::Application;
use crate::commit::{Change, Current, Outcome, unchanged};
use crate::contest::Contest;
use crate::metadata::{self, Base};
use crate::ownership::{self, Heavy};
use crate::parts::Part;
use crate::patch::Patch;
use crate::scope::Scope;
use crate::{Body, Registry, Written, aside, body, claims, convert};

/// Lost races of one request, at most. Every one of them means that another write won.
const TRIES: usize = 512;

/// Makes the new object out of the stored one.
pub(crate) type Edit<'a> = dyn Fn(&Value) -> Result<Value, ApiError> + Send + Sync + 'a;

/// What a client wants.
pub(crate) enum Desired<'a> {
    /// Decoded, defaulted, in the stored version.
    Replace(Value),
    Patch(&'a Patch),
    Apply(&'a Application),
    Edit(&'a Edit<'a>),
    /// An edit that says who manages the fields of what it makes.
    Owned(&'a Edit<'a>),
}

/// What one try came to.
pub(crate) enum Try {
    Done(Box<Written>),
    /// Somebody else wrote; this is what they wrote.
    Lost(Current),
    /// It rests on what the cache shows, which may be old: read from the store and try again.
    Stale,
}

impl Registry {
    pub(crate) async fn update_from_body(
        &self,
        scope: &Scope<'_>,
        part: Part,
        body: Body,
    ) -> Result<Written, ApiError> {
        let resource = scope.resource;
        let mut value = body::object(self.schema, scope, body, resource.type_id, &resource.gvk())?;
        metadata::settle_namespace(&mut value, scope.namespace)?;
        metadata::check_name(&value, scope.name)?;
        body::default(self.schema, resource, &mut value);
        scope.warn(metadata::dedup_owners(&mut value, false));
        let desired = Desired::Replace(convert::to_storage(self.schema, resource, value));
        self.guarded_update(scope, part, &desired).await
    }

    pub(crate) async fn guarded_update(
        &self,
        scope: &Scope<'_>,
        part: Part,
        desired: &Desired<'_>,
    ) -> Result<Written, ApiError> {
        let key = scope.key(scope.name);
        // Who names the version to write on top of has lost when that is gone, whoever's turn it is.
        let names_version = matches!(desired, Desired::Replace(value) if !object::resource_version(value).is_empty());
        let mut contest = match names_version || scope.info.dry_run {
            true => None,
            false => Some(Contest::enter(self, scope.info, &key).await?),
        };
        let mut current = self.current(&key).await?;
        let mut heavy = if matches!(desired, Desired::Apply(_)) { Heavy::Refused } else { Heavy::Lightened };
        let mut managed = true;
        for _ in 0..TRIES {
            let step = self.try_update(scope, part, desired, &key, &current, managed).await;
            match step {
                Err(error) if heavy.lightens(&error) => (heavy, managed) = (Heavy::Refused, false),
                Ok(Try::Done(written)) => return Ok(*written),
                Ok(Try::Lost(newer)) => {
                    current = match &mut contest {
                        Some(contest) => contest.lost(newer).await?,
                        None => newer,
                    }
                }
                Ok(Try::Stale) => current = self.fresh(&key).await?,
                Err(error) if current.fresh => return Err(error),
                Err(_) => current = self.fresh(&key).await?,
            }
        }
        Err(ApiError::stale(&scope.resource.group_resource(), scope.name))
    }

    async fn try_update(
        &self,
        scope: &Scope<'_>,
        part: Part,
        desired: &Desired<'_>,
        key: &ObjectKey,
        current: &Current,
        managed: bool,
    ) -> Result<Try, ApiError> {
        let Some(old) = current.object.as_deref() else { return self.update_missing(scope, part, desired).await };
        let mut proposed = self.propose(scope, desired, old)?;
        let value = &mut proposed;
        if !matches!(desired, Desired::Apply(_) | Desired::Owned(_)) {
            self.own(scope, Some(old), value);
        }
        if !managed {
            ownership::take_managers(value);
        }
        self.admission.admit(&scope.attributes(Operation::Update, scope.name, Some(old)), Some(value), self).await?;
        scope.warn(metadata::dedup_owners(value, true));
        check_base(scope, desired, value, old, current.revision)?;
        self.prepare_changed(scope, part, value, old);
        self.check_escalation(scope, value, Some(old)).await?;
        let storage = &scope.resource.storage;
        let before = claims::held(storage, old);
        let asked = claims::held(storage, value);
        if part == Part::Whole {
            self.allocate(scope, value, Some(old)).await?;
        }
        self.check_changed(scope, part, value, old).await?;
        if part == Part::Whole {
            scope.warn(scope.kind.update_warnings(value, old));
        }
        self.admission.validate(&scope.attributes(Operation::Update, scope.name, Some(old)), Some(value), self).await?;
        self.settle(scope, value);
        let ends = metadata::ends_deletion(value, old, storage);
        ownership::keep_times(value, old);
        if !ends && value == old && !self.is_kept_otherwise(scope, key, current).await? {
            return Ok(if current.fresh {
                Try::Done(Box::new(written(scope, proposed, current.revision)))
            } else {
                Try::Stale
            });
        }
        let spending = self.spend(scope, Operation::Update, scope.name, Some(old), &proposed).await?;
        if scope.info.dry_run {
            return Ok(if current.fresh {
                Try::Done(Box::new(written(scope, proposed, current.revision)))
            } else {
                Try::Stale
            });
        }
        let value = &proposed;
        let after = if ends { claims::Held::new() } else { claims::held(storage, value) };
        let mut change = claims::change(key, value, &before, &after, &scope.births())?;
        spending.as_ref().map_or(Ok(()), |spending| spending.add_to(&mut change))?;
        let taken = |found: &[_]| claims::refuse_asked(scope, scope.name, &proposed, &asked, found);
        let put = if ends { None } else { Some(&proposed) };
        match self.swap(scope, key, current.revision, put, change).await? {
            Outcome::Done(revision) => {
                if let Some(spending) = spending {
                    spending.done(revision);
                }
                Ok(Try::Done(Box::new(written(scope, proposed, revision))))
            }
            Outcome::Lost(mut found) => {
                if let Some(mut spending) = spending {
                    let quotas = spending.split(&mut found);
                    self.learn_quotas(&mut spending, quotas).await?;
                }
                lost(found, current, taken)
            }
        }
    }

    /// An update that changes nothing writes anyway where the value would be kept otherwise today: that is how clients
    /// have everything encrypted with a new key, or stored in a new version.
    async fn is_kept_otherwise(&self, scope: &Scope<'_>, key: &ObjectKey, current: &Current) -> Result<bool, ApiError> {
        if !current.fresh || scope.info.dry_run {
            return Ok(false);
        }
        if current.outdated {
            return Ok(true);
        }
        self.store.is_stale(key.store_key().as_bytes()).await.map_err(crate::errors::from_store)
    }

    /// Replaces (or deletes) the object if nobody wrote it since.
    pub(crate) async fn swap(
        &self,
        scope: &Scope<'_>,
        key: &ObjectKey,
        revision: Revision,
        put: Option<&Value>,
        mut change: Change,
    ) -> Result<Outcome, ApiError> {
        change.compare.insert(0, unchanged(key, revision));
        let Some(value) = put else {
            change.ops.insert(0, Op::Delete { key: key.store_key().into() });
            return self.commit(scope.info, change).await;
        };
        let (compare, ops) = (change.compare.clone(), change.ops.clone());
        let lease = self.lease_for(&scope.resource.storage, scope.now).await?;
        change.ops.insert(0, Change::put(key, value, lease)?);
        match self.try_commit(scope.info, change).await {
            Err(StoreError::LeaseNotFound(_)) if lease != 0 => {
                self.forget_lease(lease);
                let lease = self.lease_for(&scope.resource.storage, scope.now).await?;
                let mut again = Change { compare, ops };
                again.ops.insert(0, Change::put(key, value, lease)?);
                self.commit(scope.info, again).await
            }
            other => other.map_err(crate::errors::from_store),
        }
    }

    /// PUT of what does not exist makes it, for the kinds that allow that.
    async fn update_missing(&self, scope: &Scope<'_>, part: Part, desired: &Desired<'_>) -> Result<Try, ApiError> {
        match desired {
            Desired::Apply(application) => self.create_applied(scope, part, application).await,
            Desired::Replace(value) if part == Part::Whole && scope.kind.allows_create_on_update() => {
                let uid = object::uid(value);
                if !uid.is_empty() {
                    let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: ");
                    return Err(ApiError::conflict(&scope.resource.group_resource(), scope.name, &why));
                }
                scope.check_may("create").await?;
                Ok(Try::Done(Box::new(self.create_object(scope, value.clone()).await?)))
            }
            _ => Err(scope.not_found(scope.name)),
        }
    }

    /// Everything the server decides in an update.
    fn prepare_changed(&self, scope: &Scope<'_>, part: Part, value: &mut Value, old: &Value) {
        let managers = ownership::take_managers(value);
        self.schema.drop_disabled(scope.resource, value, old);
        part.restrict(scope.kind, value, old, scope.has_status(), scope.now);
        metadata::keep_system_fields(value, old);
        ownership::put_managers(value, managers);
        self.complete(scope.resource, value);
        if matches!(part, Part::Whole | Part::EphemeralContainers | Part::Resize)
            && scope.kind.has_generation()
            && scope.kind.generation_grows(value, old)
        {
            metadata::grow_generation(value);
        }
        if part == Part::Whole {
            scope.kind.drop_counted(value, old);
        }
    }

    /// Writes what upstream's types never leave out, `status: {}` for one, where a hook dropped it.
    pub(crate) fn complete(&self, resource: &Resource, value: &mut Value) {
        if let Some(type_id) = convert::stored_type(resource) {
            fill_zero_values(self.schema, type_id, value);
        }
    }

    /// What was validated as upstream reads it back from its store: without what only validation was to see, and with
    /// the defaults of the stored version.
    pub(crate) fn settle(&self, scope: &Scope<'_>, value: &mut Value) {
        if let Some(type_id) = convert::stored_type(scope.resource) {
            drop_told_empty(self.schema, type_id, value);
        }
        if convert::is_defaulted_late(scope.resource) {
            scope.kind.default(value);
        }
    }

    async fn check_changed(&self, scope: &Scope<'_>, part: Part, value: &Value, old: &Value) -> Result<(), ApiError> {
        let mut errors = self.check_admin_access(scope, part, value, Some(old)).await?;
        aside::on_value(value, || {
            let path = Path::new("metadata");
            // Of whatever kind, a name need only be one in a path.
            meta::validate_object_meta(value, scope.resource.namespaced, &names::path_segment, &path, &mut errors);
            meta::validate_object_meta_update(value, old, &path, &mut errors);
            // Most kinds look at metadata once more than every object's update does, so what is wrong is said twice.
            let resource = scope.resource.group_resource();
            if !sees_metadata_once(&resource, part) {
                if !errors.is_empty() {
                    meta::validate_object_meta_update(value, old, &path, &mut errors);
                }
                api_kinds::meta::validate_finalizers(&resource, value, &mut errors);
            }
            part.validate(scope.rules(), value, old, &mut errors);
            if part != Part::Status {
                self.check_privileged(scope, value, &mut errors);
            }
        });
        if part == Part::Whole && errors.is_empty() {
            self.check_params(scope, value, Some(old), &mut errors).await;
        }
        scope.invalid(scope.name, errors)
    }

    fn propose(&self, scope: &Scope<'_>, desired: &Desired<'_>, old: &Value) -> Result<Value, ApiError> {
        match desired {
            Desired::Replace(value) => Ok(value.clone()),
            Desired::Apply(application) => aside::on_value(old, || self.propose_applied(scope, application, old)),
            Desired::Edit(edit) | Desired::Owned(edit) => edit(old),
            Desired::Patch(patch) => self.propose_patch(scope, patch, old),
        }
    }

    fn propose_patch(&self, scope: &Scope<'_>, patch: &Patch, old: &Value) -> Result<Value, ApiError> {
        let resource = scope.resource;
        let type_id =
            resource.type_id.ok_or_else(|| ApiError::method_not_allowed(&resource.group_resource(), "patch"))?;
        let served = convert::from_storage(resource, old.clone());
        let mut value = patch.apply(self.schema, scope, type_id, &resource.gvk(), &served)?;
        body::default(self.schema, resource, &mut value);
        Ok(convert::to_storage(self.schema, resource, value))
    }
}

/// The version and uid that a client based its update on.
fn check_base(
    scope: &Scope<'_>,
    desired: &Desired<'_>,
    value: &mut Value,
    old: &Value,
    revision: Revision,
) -> Result<(), ApiError> {
    let resource = scope.resource.group_resource();
    if matches!(desired, Desired::Replace(_)) {
        metadata::check_uid(scope, value, old)?;
    }
    match metadata::base(value)? {
        Base::Given(given) if given != revision => Err(ApiError::stale(&resource, scope.name)),
        Base::Given(_) => Ok(()),
        Base::Current => {
            if scope.kind.allows_unconditional_update() || !matches!(desired, Desired::Replace(_)) {
                metadata::set_resource_version(value, revision);
            }
            Ok(())
        }
    }
}

/// The kinds whose own update rules leave metadata alone.
fn sees_metadata_once(resource: &GroupResource, part: Part) -> bool {
    const GROUPS: [&str; 4] =
        ["discovery.k8s.io", "flowcontrol.apiserver.k8s.io", "policy", "admissionregistration.k8s.io"];
    const KINDS: [(&str, &str); 4] =
        [("", "events"), ("", "limitranges"), ("storage.k8s.io", "volumeattachments"), ("storage.k8s.io", "csinodes")];
    let named = (&*resource.group, &*resource.resource);
    GROUPS.contains(&named.0)
        || KINDS.contains(&named)
        || named == ("", "persistentvolumes") && part == Part::Whole
        || named == ("batch", "cronjobs") && part == Part::Status
}

fn written(scope: &Scope<'_>, mut value: Value, revision: Revision) -> Written {
    metadata::set_resource_version(&mut value, revision);
    let value = convert::from_storage(scope.resource, value);
    Written { object: Arc::new(value), created: false, pending: false, revision, warnings: Vec::new() }
}

/// Reads out of a lost transaction what there is to go on with.
fn lost(
    found: Vec<Option<store_api::KeyValue>>,
    current: &Current,
    taken: impl Fn(&[Option<store_api::KeyValue>]) -> Result<(), ApiError>,
) -> Result<Try, ApiError> {
    let mut found = found.into_iter();
    let newer = Current::from_kv(found.next().flatten())?;
    if newer.revision == current.revision {
        taken(&found.collect::<Vec<_>>())?;
    }
    Ok(Try::Lost(newer))
}

impl Registry {
    /// Changes an object past its kind's hooks and validation, as upstream's binding does. The guard is the same.
    pub(crate) async fn raw_update(
        &self,
        scope: &Scope<'_>,
        key: &ObjectKey,
        edit: &Edit<'_>,
    ) -> Result<(Value, Revision), ApiError> {
        let mut contest = Contest::enter(self, scope.info, key).await?;
        let mut current = self.current(key).await?;
        for _ in 0..TRIES {
            let not_found = || ApiError::not_found(&key.resource, &key.name);
            let old = current.object.clone().ok_or_else(not_found);
            let mut new = match old.and_then(|old| edit(&old)) {
                Ok(new) => new,
                Err(error) if current.fresh => return Err(error),
                Err(_) => {
                    current = self.fresh(key).await?;
                    continue;
                }
            };
            if let Some(resource) = self.schema.hub(&key.resource) {
                self.complete(resource, &mut new);
            }
            if scope.info.dry_run {
                return Ok((new, current.revision));
            }
            match self.swap(scope, key, current.revision, Some(&new), Change::default()).await? {
                Outcome::Done(revision) => return Ok((new, revision)),
                Outcome::Lost(found) => {
                    current = contest.lost(Current::from_kv(found.into_iter().next().flatten())?).await?;
                }
            }
        }
        Err(ApiError::stale(&key.resource, &key.name))
    }
}
