//! GET and list, with upstream's table of `resourceVersion`, `resourceVersionMatch`, `limit` and `continue`.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use api_cache::{Listing, Object};
use api_machinery::{ApiError, ErrorList, GroupKind, ObjectKey, Path};
use api_schema::Resource;
use store_api::{RangeRequest, ReadAt, Revision, StoreError, prefix_end};

use crate::continue_token::Token;
use crate::errors::{from_cache, from_store};
use crate::select::Selection;
use crate::{List, ListOptions, Registry, Target, VersionMatch, convert};

/// A read that is not older than a revision waits for it at most so long, as upstream.
pub(crate) const FRESHNESS_TIMEOUT: Duration = Duration::from_secs(3);
/// Keys per read from the store, at most.
const STORE_PAGE: usize = 2_000;

/// Where and at which revision a list is read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The newest acknowledged state.
    Linearizable,
    /// Whatever this replica has.
    Any,
    /// This replica's state once it has reached a revision.
    NotOlderThan(Revision),
    /// The state as of a revision.
    Exact(Revision),
    /// Pages after the first.
    Continue(Token),
}

/// Upstream's table. Pure.
pub(crate) fn source(options: &ListOptions) -> Result<Source, ApiError> {
    let mut errors = ErrorList::new();
    let at = Path::new("resourceVersionMatch");
    let matched = options.version_match != VersionMatch::Unset;
    if matched && options.resource_version.is_none() {
        errors.forbidden(&at, "resourceVersionMatch is forbidden unless resourceVersion is provided");
    }
    if matched && !options.continue_token.is_empty() {
        errors.forbidden(&at, "resourceVersionMatch is forbidden when continue is provided");
    }
    if options.version_match == VersionMatch::Exact && options.resource_version == Some(0) {
        errors.forbidden(&at, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
    }
    if !errors.is_empty() {
        let kind = GroupKind { group: "meta.k8s.io".into(), kind: "ListOptions".into() };
        return Err(ApiError::invalid(&kind, "", errors));
    }
    if !options.continue_token.is_empty() {
        if options.resource_version.is_some_and(|version| version != 0) {
            return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
        }
        return Token::decode(&options.continue_token).map(Source::Continue).map_err(ApiError::bad_request);
    }
    Ok(match (options.resource_version, options.version_match) {
        (None, _) => Source::Linearizable,
        (Some(0), _) => Source::Any,
        (Some(version), VersionMatch::Exact) => Source::Exact(version),
        (Some(version), VersionMatch::Unset) if options.limit > 0 => Source::Exact(version),
        (Some(version), _) => Source::NotOlderThan(version),
    })
}

impl Registry {
    /// Waits until this replica's cache shows everything acknowledged before.
    pub(crate) async fn barrier(&self) -> Result<(), ApiError> {
        let revision = self.store.read_barrier().await.map_err(from_store)?;
        self.cache.wait_for(revision, FRESHNESS_TIMEOUT).await.map_err(from_cache)
    }

    /// The same for reads that the store can answer: `Some(revision)` when the cache lags behind it.
    async fn barrier_or_lag(&self, resource: &Resource) -> Result<Option<Revision>, ApiError> {
        let revision = self.store.read_barrier().await.map_err(from_store)?;
        let lag = self.cache.wait_for(revision, FRESHNESS_TIMEOUT).await.is_err().then_some(revision);
        let labels = [
            ("group", resource.gv.group.to_string()),
            ("resource", resource.plural.clone()),
            ("success", lag.is_none().to_string()),
            ("fallback", lag.is_some().to_string()),
        ];
        metrics::counter!("apiserver_watch_cache_consistent_read_total", &labels).increment(1);
        Ok(lag)
    }

    pub(crate) async fn get_object(
        &self,
        resource: &Resource,
        key: &ObjectKey,
        version: Option<Revision>,
    ) -> Result<Arc<Object>, ApiError> {
        let object = match version {
            None => match self.barrier_or_lag(resource).await? {
                None => self.cache.get(key),
                Some(_) => self.get_stored(key).await?,
            },
            Some(version) => {
                self.cache.wait_for(version, FRESHNESS_TIMEOUT).await.map_err(from_cache)?;
                self.cache.get(key)
            }
        };
        // What cannot be read is not in the cache, but is not gone.
        let object = match object {
            None if self.store.seals(key.store_key().as_bytes()) => self.get_stored(key).await?,
            other => other,
        };
        object.ok_or_else(|| ApiError::not_found(&resource.group_resource(), &key.name))
    }

    async fn get_stored(&self, key: &ObjectKey) -> Result<Option<Arc<Object>>, ApiError> {
        let reply = self.store.get(key.store_key().as_bytes(), ReadAt::Linearizable).await.map_err(from_store)?;
        Ok(reply.kv.and_then(|kv| Object::from_stored(key.clone(), kv.mod_revision, &kv.value)).map(Arc::new))
    }

    /// Whether nothing is stored in a namespace: also nothing that cannot be read, which no list shows.
    pub(crate) async fn has_none_stored(&self, target: &Target<'_>) -> Result<bool, ApiError> {
        let prefix = format!("{}{}/", ObjectKey::resource_prefix(&target.resource.storage), target.namespace);
        let all = RangeRequest::prefix(prefix.as_bytes(), ReadAt::Linearizable);
        let first = RangeRequest { limit: 1, keys_only: true, count: false, ..all };
        Ok(self.store.range(first).await.map_err(from_store)?.kvs.is_empty())
    }

    pub(crate) async fn list_objects(&self, target: &Target<'_>, options: ListOptions) -> Result<List, ApiError> {
        let source = source(&options)?;
        let kind = api_kinds::of(&target.resource.storage);
        let limit = if source == Source::Any { 0 } else { options.limit };
        let selection = Selection::new(kind, options.label_selector, options.field_selector)?;
        let listing = match source {
            Source::Linearizable => match self.barrier_or_lag(target.resource).await? {
                None => self.candidates(target, &selection),
                Some(revision) => {
                    return self.list_stored(target, &selection, limit, ReadAt::Revision(revision), None).await;
                }
            },
            Source::Any => self.candidates(target, &selection),
            Source::NotOlderThan(version) => {
                self.cache.wait_for(version, FRESHNESS_TIMEOUT).await.map_err(from_cache)?;
                self.candidates(target, &selection)
            }
            Source::Exact(version) => return self.list_exact(target, &selection, limit, version).await,
            Source::Continue(token) => return self.list_continued(target, &selection, limit, token).await,
        };
        Ok(page(listing, &selection, limit, target.resource))
    }

    /// What the cache has that may match, using what is indexed.
    pub(crate) fn candidates(&self, target: &Target<'_>, selection: &Selection) -> Listing {
        let storage = &target.resource.storage;
        let namespace = (!target.namespace.is_empty()).then_some(target.namespace);
        let one = selection.fields.required("metadata.name");
        if let Some(name) = one.filter(|_| namespace.is_some() || !target.resource.namespaced) {
            return self.cache.find(&ObjectKey::new(storage.clone(), target.namespace, name));
        }
        let node = selection.fields.required("spec.nodeName").filter(|node| !node.is_empty());
        match node.filter(|_| crate::scope::is(storage, "", "pods")) {
            None => self.cache.list(storage, namespace),
            Some(node) => {
                let mut listing = self.cache.pods_on_node(node);
                listing.objects.retain(|pod| namespace.is_none_or(|namespace| &*pod.key.namespace == namespace));
                listing
            }
        }
    }

    async fn list_exact(
        &self,
        target: &Target<'_>,
        selection: &Selection,
        limit: usize,
        version: Revision,
    ) -> Result<List, ApiError> {
        self.store
            .wait_applied(version, FRESHNESS_TIMEOUT)
            .await
            .map_err(|_| crate::errors::too_large(version, self.store.applied_revision()))?;
        self.list_stored(target, selection, limit, ReadAt::Revision(version), None).await
    }

    async fn list_continued(
        &self,
        target: &Target<'_>,
        selection: &Selection,
        limit: usize,
        token: Token,
    ) -> Result<List, ApiError> {
        let inside = target.namespace.is_empty() || token.after.starts_with(&format!("{}/", target.namespace));
        if !inside || !token.after.contains('/') {
            return Err(ApiError::bad_request(
                "invalid continue token: continue key is not valid: it belongs to another list",
            ));
        }
        let at = token.revision.map_or(ReadAt::Linearizable, ReadAt::Revision);
        self.list_stored(target, selection, limit, at, Some(token.after)).await
    }

    /// Reads from the store, page by page, until enough matches.
    async fn list_stored(
        &self,
        target: &Target<'_>,
        selection: &Selection,
        limit: usize,
        at: ReadAt,
        after: Option<String>,
    ) -> Result<List, ApiError> {
        let root = ObjectKey::resource_prefix(&target.resource.storage);
        let prefix = if target.namespace.is_empty() { root.clone() } else { format!("{root}{}/", target.namespace) };
        let mut request = RangeRequest::prefix(prefix.as_bytes(), at);
        request.end = prefix_end(prefix.as_bytes());
        if let Some(after) = &after {
            request.start = following(&format!("{root}{after}"));
        }
        let mut taken = Taken { objects: Vec::new(), limit, more: false };
        // Who selects may have to look at many to find one: small pages would be many reads.
        let everything = selection.is_everything();
        request.count = everything && limit > 0;
        request.limit = if limit > 0 && everything { STORE_PAGE.min(limit.saturating_add(1)) } else { STORE_PAGE };
        let mut total = None;
        loop {
            let reply = match self.store.range(request.clone()).await {
                Err(StoreError::Compacted { .. }) => return Err(compacted(after.or_else(|| taken.last()))),
                other => other.map_err(from_store)?,
            };
            request.at = ReadAt::Revision(reply.revision);
            let total = *total.get_or_insert(reply.count);
            request.count = false;
            let last = reply.kvs.last().map(|kv| kv.key.clone());
            for kv in &reply.kvs {
                let key = std::str::from_utf8(&kv.key).ok().and_then(ObjectKey::from_store_key);
                let Some(object) = key.and_then(|key| Object::from_stored(key, kv.mod_revision, &kv.value)) else {
                    continue;
                };
                if taken.take(Arc::new(object), selection).is_break() {
                    break;
                }
            }
            match last {
                Some(last) if reply.more && !taken.more => request.start = [&last[..], &[0]].concat().into(),
                _ => {
                    // Only without selectors is known how many would match.
                    let remaining = everything.then(|| total.saturating_sub(taken.objects.len()) as u64);
                    return Ok(taken.finish(reply.revision, remaining, target.resource));
                }
            }
        }
    }
}

/// The first key after a key.
fn following(key: &str) -> bytes::Bytes {
    [key.as_bytes(), &[0]].concat().into()
}

/// Objects of a page as they are found.
struct Taken {
    objects: Vec<Arc<Object>>,
    /// 0: none.
    limit: usize,
    /// One more matched than fits.
    more: bool,
}

impl Taken {
    fn take(&mut self, object: Arc<Object>, selection: &Selection) -> ControlFlow<()> {
        if !selection.matches(&object) {
            return ControlFlow::Continue(());
        }
        if self.limit > 0 && self.objects.len() == self.limit {
            self.more = true;
            return ControlFlow::Break(());
        }
        self.objects.push(object);
        ControlFlow::Continue(())
    }

    fn last(&self) -> Option<String> {
        self.objects.last().map(|object| format!("{}/{}", object.key.namespace, object.key.name))
    }

    fn finish(self, revision: Revision, remaining: Option<u64>, resource: &Resource) -> List {
        let last = self.last().filter(|_| self.more);
        let continue_token = last.map(|last| Token::new(Some(revision), last).encode()).unwrap_or_default();
        let objects = self.objects.into_iter().map(|object| convert::object(resource, object)).collect();
        let remaining = remaining.filter(|_| !continue_token.is_empty());
        List { objects, revision, remaining, continue_token, deleted: None }
    }
}

/// The first page of what the cache shows.
pub(crate) fn page(listing: Listing, selection: &Selection, limit: usize, resource: &Resource) -> List {
    let total = listing.objects.len() as u64;
    let mut taken = Taken { objects: Vec::new(), limit, more: false };
    for object in listing.objects {
        if taken.take(object, selection).is_break() {
            break;
        }
    }
    // Only without selectors is known how many would match.
    let remaining = selection.is_everything().then(|| total - taken.objects.len() as u64);
    taken.finish(listing.revision, remaining, resource)
}

/// 410, with a token to go on inconsistently where the client has read so far.
fn compacted(after: Option<String>) -> ApiError {
    let Some(after) = after else {
        return ApiError::expired("The resourceVersion for the provided list is too old.");
    };
    let mut error = ApiError::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    error.continue_token = Token::new(None, after).encode();
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(version: Option<Revision>, version_match: VersionMatch, limit: usize) -> ListOptions {
        ListOptions { resource_version: version, version_match, limit, ..ListOptions::default() }
    }

    #[test]
    fn table_of_resource_versions() {
        use VersionMatch::{Exact, NotOlderThan, Unset};
        for (version, version_match, limit, expect) in [
            (None, Unset, 0, Source::Linearizable),
            (None, Unset, 5, Source::Linearizable),
            (Some(0), Unset, 5, Source::Any),
            (Some(0), NotOlderThan, 0, Source::Any),
            (Some(7), Unset, 0, Source::NotOlderThan(7)),
            (Some(7), Unset, 5, Source::Exact(7)),
            (Some(7), NotOlderThan, 5, Source::NotOlderThan(7)),
            (Some(7), Exact, 0, Source::Exact(7)),
        ] {
            assert_eq!(
                source(&options(version, version_match, limit)),
                Ok(expect),
                "{version:?} {version_match:?} {limit}"
            );
        }
        for (version, version_match, token, code) in [
            (None, Exact, "", 422),
            (Some(0), Exact, "", 422),
            (Some(7), Unset, "x", 400),
            (None, Unset, "x", 400),
            (Some(7), NotOlderThan, "x", 422),
        ] {
            let options = ListOptions { continue_token: token.to_owned(), ..options(version, version_match, 0) };
            assert_eq!(source(&options).expect_err("refused").code, code, "{version:?} {version_match:?} {token}");
        }
    }
}
