//! A new object and its namespace. Admission has looked at the namespace where this replica shows it, which may be
//! long ago; so the transaction that makes the object demands that the namespace is still as it was looked at.
//! Nothing is ever made in a namespace whose content was counted before its end.

use api_admission::Operation;
use api_machinery::{ApiError, GroupResource, ObjectKey, Value};
use store_api::{Compare, KeyValue, Revision};

use crate::Registry;
use crate::commit::{Current, unchanged};
use crate::scope::Scope;

/// Namespaces change seldom: what changes oftener during one create is no namespace to create in.
pub(crate) const TRIES: usize = 64;

#[derive(Clone, Debug)]
pub(crate) struct Guard {
    key: ObjectKey,
    revision: Revision,
}

fn namespaces() -> GroupResource {
    GroupResource::new("", "namespaces")
}

impl Registry {
    /// The namespace as this replica shows it; to be asked for before admission looks. `None`: it shows none, or
    /// there is none to guard.
    pub(crate) fn seen_namespace(&self, scope: &Scope<'_>) -> Option<Guard> {
        let key = self.guarded(scope)?;
        let revision = self.cache.get(&key)?.revision;
        Some(Guard { key, revision })
    }

    /// The same after admission has found a namespace that the cache did not show at first.
    pub(crate) async fn sought_namespace(
        &self,
        scope: &Scope<'_>,
        object: &Value,
        seen: Option<Guard>,
    ) -> Result<Option<Guard>, ApiError> {
        let Some(key) = self.guarded(scope).filter(|_| seen.is_none()) else { return Ok(seen) };
        let current = self.fresh(&key).await?;
        check(scope, object, Guard { key, revision: 0 }, &current).map(Some)
    }

    fn guarded(&self, scope: &Scope<'_>) -> Option<ObjectKey> {
        let wanted = !scope.namespace.is_empty() && self.admission.guards_namespaces();
        wanted.then(|| ObjectKey::new(namespaces(), "", scope.namespace))
    }
}

impl Guard {
    pub(crate) fn compare(&self) -> Compare {
        unchanged(&self.key, self.revision)
    }

    /// After a lost transaction: the guard to try again with, when the namespace was changed; `None` when it was
    /// not.
    pub(crate) fn renewed(
        &self,
        scope: &Scope<'_>,
        object: &Value,
        found: Option<KeyValue>,
    ) -> Result<Option<Guard>, ApiError> {
        let current = Current::from_kv(found)?;
        if current.revision == self.revision {
            return Ok(None);
        }
        check(scope, object, self.clone(), &current).map(Some)
    }
}

/// As admission would, of the namespace as it is now.
fn check(scope: &Scope<'_>, object: &Value, guard: Guard, current: &Current) -> Result<Guard, ApiError> {
    let Some(namespace) = &current.object else {
        return Err(ApiError::not_found(&namespaces(), &guard.key.name));
    };
    let attributes = scope.attributes(Operation::Create, scope.name, None);
    api_admission::check_not_terminating(&attributes, Some(object), namespace)?;
    Ok(Guard { revision: current.revision, ..guard })
}
