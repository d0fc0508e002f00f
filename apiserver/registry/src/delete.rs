//! DELETE: grace, finalizers, preconditions. What happens is decided by a pure function.

use std::collections::HashSet;
use std::sync::Arc;

use api_admission::Operation;
use api_kinds::Kind;
use api_machinery::object::{self, meta_mut};
use api_machinery::{ApiError, ErrorList, GroupKind, GroupResource, ObjectKey, Path, Value, meta, time};
use api_schema::Resource;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use store_api::Revision;

use crate::commit::{Change, Current, Outcome};
use crate::contest::Contest;
use crate::scope::{Scope, is};
use crate::update::Try;
use crate::{DeleteOptions, Registry, Written, claims, convert, metadata};

const TRIES: usize = 512;

/// What a delete does to an object.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Gone now; this is how it is last seen.
    Remove(Value),
    /// Marked: somebody (a kubelet, a controller) ends it later.
    Mark(Value),
    /// Already marked, and this delete changes nothing.
    Pending,
}

impl Registry {
    pub(crate) async fn delete_object(
        &self,
        scope: &Scope<'_>,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Written, ApiError> {
        check_options(options)?;
        warn_of_orphans(scope, options);
        let key = scope.key(name);
        let mut contest = Contest::enter(self, scope.info, &key).await?;
        let mut current = self.current(&key).await?;
        for _ in 0..TRIES {
            match self.try_delete(scope, name, options, &key, &current).await {
                Ok(Try::Done(written)) => return Ok(*written),
                Ok(Try::Lost(newer)) => current = contest.lost(newer).await?,
                Ok(Try::Stale) => current = self.fresh(&key).await?,
                Err(error) if current.fresh => return Err(error),
                Err(_) => current = self.fresh(&key).await?,
            }
        }
        Err(ApiError::stale(&scope.resource.group_resource(), name))
    }

    async fn try_delete(
        &self,
        scope: &Scope<'_>,
        name: &str,
        options: &DeleteOptions,
        key: &ObjectKey,
        current: &Current,
    ) -> Result<Try, ApiError> {
        let old = current.object.as_deref().ok_or_else(|| scope.not_found(name))?;
        let attributes = scope.attributes(Operation::Delete, name, Some(old));
        self.admission.admit(&attributes, None, self).await?;
        check_preconditions(options, old, &precondition_resource(scope.resource), name)?;
        self.admission.validate(&attributes, None, self).await?;
        let storage = &scope.resource.storage;
        let verdict = judge(storage, scope.kind, old, options, scope.now);
        let (put, result) = match verdict {
            Verdict::Pending if !current.fresh => return Ok(Try::Stale),
            Verdict::Pending => return Ok(done(scope, name, old.clone(), current.revision, Told::Pending)),
            Verdict::Mark(new) if new == *old => {
                return Ok(if current.fresh {
                    done(scope, name, new, current.revision, Told::Marked)
                } else {
                    Try::Stale
                });
            }
            Verdict::Mark(new) => (Some(new.clone()), new),
            // Upstream marks it first, and a dry run does not see that.
            Verdict::Remove(_) if scope.info.dry_run => (None, old.clone()),
            Verdict::Remove(last) => (None, last),
        };
        let removed = put.is_none();
        let told = if removed { Told::Removed } else { Told::Marked };
        if scope.info.dry_run {
            return Ok(if current.fresh { done(scope, name, result, current.revision, told) } else { Try::Stale });
        }
        let held = claims::held(storage, old);
        let change = match removed {
            true => claims::change(key, old, &held, &claims::Held::new(), &scope.births())?,
            false => Change::default(),
        };
        match self.swap(scope, key, current.revision, put.as_ref(), change).await? {
            Outcome::Done(revision) => Ok(done(scope, name, result, revision, told)),
            Outcome::Lost(found) => Ok(Try::Lost(Current::from_kv(found.into_iter().next().flatten())?)),
        }
    }
}

/// What a client is told of a delete.
#[derive(Clone, Copy, PartialEq)]
enum Told {
    Removed,
    Marked,
    /// It was marked before.
    Pending,
}

/// The answer: the object where it is marked now or its kind answers so, a `Status` otherwise.
fn done(scope: &Scope<'_>, name: &str, mut value: Value, revision: Revision, told: Told) -> Try {
    metadata::set_resource_version(&mut value, revision);
    let object = if told != Told::Marked && !answers_object(&scope.resource.storage) {
        let details = json!({
            "name": name, "group": &*scope.resource.gv.group, "kind": scope.resource.plural, "uid": object::uid(&value),
        });
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
        });
        if scope.resource.gv.group.is_empty() {
            status["details"].as_object_mut().map(|details| details.remove("group"));
        }
        status
    } else {
        convert::from_storage(scope.resource, value)
    };
    let pending = told != Told::Removed;
    Try::Done(Box::new(Written { object: Arc::new(object), created: false, pending, revision, warnings: Vec::new() }))
}

/// Kinds whose delete answers the object itself (upstream's `ReturnDeletedObject`).
fn answers_object(resource: &GroupResource) -> bool {
    const CORE: [&str; 7] = [
        "persistentvolumeclaims",
        "persistentvolumes",
        "pods",
        "podtemplates",
        "resourcequotas",
        "serviceaccounts",
        "services",
    ];
    resource.group.is_empty() && CORE.contains(&&*resource.resource)
        || is(resource, "storage.k8s.io", "storageclasses")
        || is(resource, "storage.k8s.io", "volumeattachments")
        || is(resource, "storage.k8s.io", "csinodes")
        || is(resource, "storage.k8s.io", "csidrivers")
        || is(resource, "policy", "podsecuritypolicies")
}

fn check_options(options: &DeleteOptions) -> Result<(), ApiError> {
    let policy = options.propagation_policy.as_deref();
    if policy.is_none_or(|policy| ["Orphan", "Background", "Foreground"].contains(&policy)) {
        return Ok(());
    }
    let mut errors = ErrorList::new();
    let bad = policy.unwrap_or_default().into();
    errors.not_supported_listed(&Path::new("propagationPolicy"), &bad, &["Foreground", "Background", "Orphan", "nil"]);
    let kind = GroupKind { group: "meta.k8s.io".into(), kind: "DeleteOptions".into() };
    Err(ApiError::invalid(&kind, "", errors))
}

/// As what upstream refuses a delete: its store names the kind, but two kinds are deleted their own way.
fn precondition_resource(resource: &Resource) -> GroupResource {
    let storage = &resource.storage;
    if is(storage, "", "namespaces") || is(storage, "apiextensions.k8s.io", "customresourcedefinitions") {
        return resource.group_resource();
    }
    GroupResource { group: storage.group.clone(), resource: resource.kind.as_str().into() }
}

pub(crate) fn check_preconditions(
    options: &DeleteOptions,
    old: &Value,
    resource: &GroupResource,
    name: &str,
) -> Result<(), ApiError> {
    let (uid, version) = (object::uid(old), object::resource_version(old));
    // Upstream deletes these two its own way.
    let own = is(resource, "", "namespaces") || is(resource, "apiextensions.k8s.io", "customresourcedefinitions");
    if let Some(wanted) = options.precondition_uid.as_deref().filter(|wanted| *wanted != uid) {
        let why = match own {
            true => format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}"),
            false => format!(
                "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). \
                 The object might have been deleted and then recreated"
            ),
        };
        return Err(ApiError::conflict(resource, name, &why));
    }
    if let Some(wanted) = options.precondition_resource_version.as_deref().filter(|wanted| *wanted != version) {
        let why = match own {
            true => format!(
                "Precondition failed: ResourceVersion in precondition: {wanted}, ResourceVersion in object meta: \
                 {version}"
            ),
            false => format!(
                "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record \
                 ({version}). The object might have been modified"
            ),
        };
        return Err(ApiError::conflict(resource, name, &why));
    }
    Ok(())
}

/// What upstream's `BeforeDelete` and the store's handling of grace and finalizers come to.
pub(crate) fn judge(
    resource: &GroupResource,
    kind: &dyn Kind,
    old: &Value,
    options: &DeleteOptions,
    now: Timestamp,
) -> Verdict {
    if is(resource, "", "namespaces") && holds_namespace(old) {
        return if object::deletion_timestamp(old).is_none() {
            Verdict::Mark(terminating(old, options, now))
        } else {
            Verdict::Mark(old.clone())
        };
    }
    let mut new = old.clone();
    let grace = match grace(kind, old, options) {
        Grace::Pending => return Verdict::Pending,
        Grace::None => None,
        Grace::Shortened(seconds) => {
            shorten(&mut new, old, seconds, now);
            Some(seconds)
        }
        Grace::Started(seconds) => {
            mark(&mut new, seconds, now);
            Some(seconds)
        }
    };
    set_finalizers(resource, &mut new, options);
    let held = !object::finalizers(&new).is_empty();
    match grace {
        None if held => {
            mark_now(&mut new, now);
            Verdict::Mark(new)
        }
        Some(seconds) if held || seconds > 0 => Verdict::Mark(new),
        None => Verdict::Remove(old.clone()),
        Some(_) => Verdict::Remove(new),
    }
}

enum Grace {
    /// The kind knows none.
    None,
    Started(i64),
    Shortened(i64),
    Pending,
}

fn grace_of(object: &Value) -> Option<i64> {
    object::meta(object)?.get("deletionGracePeriodSeconds")?.as_i64()
}

fn grace(kind: &dyn Kind, old: &Value, options: &DeleteOptions) -> Grace {
    // Before the look at what is deleting already: what knows no grace may get other finalizers at any time.
    let Some(default) = kind.default_grace_period(old) else { return Grace::None };
    // Negative values mean one second.
    let wanted = options.grace_period_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
    if object::deletion_timestamp(old).is_some() {
        return match (grace_of(old), wanted) {
            (None, _) => Grace::None,
            (Some(left), Some(wanted)) if wanted < left => Grace::Shortened(wanted),
            (Some(_), _) => Grace::Pending,
        };
    }
    // A kind's default of 0 (unscheduled, finished pods) is not put off by the client's wish.
    let seconds = if ends_at_once(old) { 0 } else { wanted.unwrap_or(default) };
    Grace::Started(if seconds < 0 { 1 } else { seconds })
}

/// No kubelet will ever end it: it is on no node, or it has ended.
fn ends_at_once(pod: &Value) -> bool {
    object::str_at(pod, "spec.nodeName").is_empty()
        || matches!(object::str_at(pod, "status.phase"), "Succeeded" | "Failed")
}

fn mark(value: &mut Value, seconds: i64, now: Timestamp) {
    let at = now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
    let meta = meta_mut(value);
    meta.insert("deletionTimestamp".to_owned(), time::seconds(at).into());
    meta.insert("deletionGracePeriodSeconds".to_owned(), seconds.into());
    if object::generation(value) > 0 {
        metadata::grow_generation(value);
    }
}

/// Deleting, with nothing to wait for but finalizers.
fn mark_now(value: &mut Value, now: Timestamp) {
    if object::deletion_timestamp(value).is_none() {
        mark(value, 0, now);
    }
    meta_mut(value).insert("deletionGracePeriodSeconds".to_owned(), 0.into());
}

/// It ends sooner, but not before now: who is to end it then has a second left.
fn shorten(value: &mut Value, old: &Value, mut seconds: i64, now: Timestamp) {
    let before = SignedDuration::from_secs(grace_of(old).unwrap_or(0));
    let ends = object::deletion_timestamp(old).and_then(time::parse);
    let ends = ends.and_then(|ends| ends.checked_sub(before).ok());
    let ends = ends.and_then(|began| began.checked_add(SignedDuration::from_secs(seconds)).ok());
    let meta = meta_mut(value);
    if let Some(ends) = ends {
        if ends < now {
            seconds = seconds.min(1);
        }
        meta.insert("deletionTimestamp".to_owned(), time::seconds(ends.max(now)).into());
    }
    meta.insert("deletionGracePeriodSeconds".to_owned(), seconds.into());
}

/// What owned objects are to become, as a finalizer for the garbage collector.
fn set_finalizers(resource: &GroupResource, value: &mut Value, options: &DeleteOptions) {
    // Nobody owns anything through an Event.
    if is(resource, "", "events") {
        return;
    }
    let before = object::finalizers(value);
    let set: HashSet<&str> = before.iter().copied().collect();
    let has = |name: &str| set.contains(name);
    let (orphan, foreground) = match options.propagation_policy.as_deref() {
        Some(policy) => (policy == "Orphan", policy == "Foreground"),
        None if has(meta::FINALIZER_ORPHAN) => (true, false),
        None if has(meta::FINALIZER_FOREGROUND) => (false, true),
        None => (orphans_by_default(resource), false),
    };
    let policies = [(orphan, meta::FINALIZER_ORPHAN), (foreground, meta::FINALIZER_FOREGROUND)];
    let others = before.iter().filter(|name| !policies.iter().any(|(_, policy)| policy == *name));
    let wanted = policies.iter().filter(|(wanted, _)| *wanted).map(|(_, name)| name);
    let after: Vec<&str> = others.chain(wanted).copied().collect();
    if after.len() == before.len() && after.iter().all(|name| has(name)) {
        return;
    }
    let after: Value = after.into_iter().map(Value::from).collect();
    if after.as_array().is_some_and(Vec::is_empty) {
        meta_mut(value).remove("finalizers");
    } else {
        meta_mut(value).insert("finalizers".to_owned(), after);
    }
}

/// What is said of a delete that leaves open what becomes of pods, whether it finds anything or not.
pub(crate) fn warn_of_orphans(scope: &Scope<'_>, options: &DeleteOptions) {
    const PODS_STAY: &str = "child pods are preserved by default when jobs are deleted; set \
                             propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress \
                             this warning";
    if scope.is("batch", "jobs") && options.propagation_policy.is_none() {
        scope.warn([PODS_STAY.to_owned()]);
    }
}

/// For compatibility with their first versions, upstream.
fn orphans_by_default(resource: &GroupResource) -> bool {
    is(resource, "batch", "jobs") || is(resource, "", "replicationcontrollers")
}

/// A namespace goes when its content is gone and `spec.finalizers` is empty.
fn holds_namespace(namespace: &Value) -> bool {
    object::deletion_timestamp(namespace).is_none()
        || object::at(namespace, "spec.finalizers").and_then(Value::as_array).is_some_and(|list| !list.is_empty())
}

fn terminating(old: &Value, options: &DeleteOptions, now: Timestamp) -> Value {
    let mut new = old.clone();
    meta_mut(&mut new).insert("deletionTimestamp".to_owned(), time::seconds(now).into());
    if let Some(map) = new.as_object_mut() {
        let status = map.entry("status").or_insert_with(|| json!({}));
        status["phase"] = "Terminating".into();
    }
    set_finalizers(&GroupResource::new("", "namespaces"), &mut new, options);
    new
}
