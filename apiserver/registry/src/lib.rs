//! Create, update, patch, delete, get, list and watch over any kind.
//!
//! [`Registry`] is what HTTP handlers and the in-process client of the controllers call. One write
//! reads top to bottom: decode, default, mutate, hooks and validation, validate, transaction.
#![allow(clippy::result_large_err, reason = "a refusal carries its details, and is not the common case")]

mod admin_access;
mod allocate;
mod apply;
pub mod aside;
mod autoscalers;
mod binding;
mod body;
mod bootstrap;
mod budget;
mod claims;
mod collection;
mod commit;
mod components;
mod contest;
mod continue_token;
mod convert;
mod create;
mod delete;
mod devices;
mod errors;
mod escalation;
mod event_leases;
mod eviction;
mod ids;
mod metadata;
mod namespace_guard;
mod ownership;
mod params;
mod parts;
mod patch;
mod policy_rule;
mod privileged;
mod quota;
mod read;
mod requester;
mod rights;
mod scale;
mod scope;
mod select;
mod token;
mod turns;
mod update;
mod view;
mod watch;
mod witness;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use api_admission::Notes;
use api_admission::{Chain, Operation};
use api_cache::{Cache, Object};
use api_codec::decode::{FieldValidation, Format};
use api_codec::patch::PatchKind;
use api_machinery::error::Result;
use api_machinery::fields::FieldSelector;
use api_machinery::labels::Selector;
use api_machinery::{ApiError, ObjectKey, UserInfo, Value};
use api_schema::{Resource, Schema};
use bytes::Bytes;
use jiff::Timestamp;
use parts::Part;
pub use rights::{Authority, Question};
use scope::Scope;
use store_api::{DynStore, Fence, Revision};
use tokio_util::sync::CancellationToken;
use update::Desired;
pub use watch::{WatchHandle, WatchItem};
pub use witness::{Witness, Witnessed};

/// Who asks, and how.
#[derive(Clone, Debug)]
pub struct RequestInfo {
    pub user: UserInfo,
    /// Asked where a write implies another that needs a right of its own. `None`: a component of this process.
    pub authority: Option<Authority>,
    /// Controllers: refuse the write when this leadership is over.
    pub fence: Option<Fence>,
    pub dry_run: bool,
    pub field_manager: String,
    pub field_validation: FieldValidation,
    /// From now on; zero: the server's request timeout.
    pub deadline: Duration,
    /// Where the warnings and audit annotations of this one request go, whatever comes of it: what is found before a
    /// refusal is told all the same. `None`: only those of what succeeds are, in [`Written::warnings`].
    pub notes: Option<Arc<Notes>>,
    /// Cancelled when nobody waits for the answer any more: what is under way is finished, and nothing is tried again.
    pub gone: Option<CancellationToken>,
}

impl Default for RequestInfo {
    fn default() -> Self {
        Self {
            user: UserInfo::default(),
            authority: None,
            fence: None,
            dry_run: false,
            field_manager: String::new(),
            field_validation: FieldValidation::Ignore,
            deadline: Duration::ZERO,
            notes: None,
            gone: None,
        }
    }
}

impl RequestInfo {
    /// A component of this process.
    pub fn internal(name: &str) -> Self {
        Self { user: UserInfo::internal(name), field_manager: name.to_owned(), ..Self::default() }
    }

    fn has_left(&self) -> bool {
        self.gone.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    /// Until whoever asks has left.
    async fn left(&self) {
        match &self.gone {
            Some(gone) => gone.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Those of the request, or some that nobody reads afterwards.
    fn notes(&self) -> Arc<Notes> {
        self.notes.clone().unwrap_or_default()
    }
}

/// A body as it came.
#[derive(Clone, Debug)]
pub enum Body {
    Bytes {
        format: Format,
        bytes: Bytes,
    },
    /// From inside the process; conformed like any other.
    Value(Value),
}

impl Body {
    /// Bytes as they came; 0 where it did not come as bytes.
    fn size(&self) -> usize {
        match self {
            Body::Bytes { bytes, .. } => bytes.len(),
            Body::Value(_) => 0,
        }
    }

    fn json(&self) -> Option<Bytes> {
        match self {
            Body::Bytes { format: Format::Json, bytes } => Some(bytes.clone()),
            Body::Bytes { .. } | Body::Value(_) => None,
        }
    }
}

/// What a request addresses.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    pub resource: &'a Resource,
    /// Empty for cluster-scoped resources.
    pub namespace: &'a str,
    /// Empty on create with the name in the body.
    pub name: &'a str,
    /// `""`, `status`, `scale`, ...
    pub subresource: &'a str,
}

/// The answer to a write.
#[derive(Debug)]
pub struct Written {
    /// The object as it is now stored (or would be), with resourceVersion. For some deletes a `Status`.
    pub object: Arc<Value>,
    /// The bytes of it where the cache has them.
    pub created: bool,
    /// Of a delete: the object stays until somebody has done what is left to do.
    pub pending: bool,
    pub revision: Revision,
    /// Texts of `Warning` headers: all that was noted of the request.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub precondition_uid: Option<String>,
    pub precondition_resource_version: Option<String>,
    /// `Orphan`, `Background`, `Foreground`.
    pub propagation_policy: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VersionMatch {
    #[default]
    Unset,
    NotOlderThan,
    Exact,
}

/// `metav1.ListOptions` after parsing.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    pub label_selector: Selector,
    pub field_selector: FieldSelector,
    /// `None`: linearizable. `Some(0)`: any.
    pub resource_version: Option<Revision>,
    pub version_match: VersionMatch,
    /// 0: no limit.
    pub limit: usize,
    pub continue_token: String,
}

/// A list answer; bodies are ready-to-send bytes.
pub struct List {
    pub objects: Vec<Arc<Object>>,
    pub revision: Revision,
    /// Empty: complete.
    pub continue_token: String,
    pub remaining: Option<u64>,
    /// Of a delete of the collection: where the last of its deletes took effect.
    pub deleted: Option<Revision>,
}

#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    pub label_selector: Selector,
    pub field_selector: FieldSelector,
    /// `None`: current state as synthetic ADDED events, then changes. `Some(0)`: same from any state. `Some(n)`:
    /// changes after n.
    pub resource_version: Option<Revision>,
    pub bookmarks: bool,
    /// `None`: whatever `resource_version` says about the current state.
    pub send_initial_events: Option<bool>,
    pub timeout: Option<Duration>,
}

/// Times come from here, so that tests can set them.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// What the server is configured with.
pub struct RegistryConfig {
    /// `10.96.0.0/16`
    pub service_cidr: String,
    /// `30000-32767`
    pub node_ports: std::ops::RangeInclusive<u16>,
    /// Whether containers may be privileged.
    pub allow_privileged: bool,
    pub clock: Arc<dyn Clock>,
    /// Issues and checks ServiceAccount tokens.
    pub tokens: Arc<pki::tokens::TokenIssuer>,
}

pub struct Registry {
    pub schema: &'static Schema,
    pub store: DynStore,
    pub cache: Arc<Cache>,
    pub admission: Chain,
    pub config: RegistryConfig,
    requests: ids::Requests,
    event_leases: event_leases::EventLeases,
    witness: OnceLock<Arc<dyn Witness>>,
    turns: quota::Turns,
    contests: contest::Contests,
}

/// A request without a deadline of its own ends after this, as upstream's `--request-timeout`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Ends a request at its deadline. A write may still take effect then, as upstream.
async fn within<T>(info: &RequestInfo, work: impl Future<Output = Result<T>>) -> Result<T> {
    let deadline = if info.deadline.is_zero() { REQUEST_TIMEOUT } else { info.deadline };
    tokio::time::timeout(deadline, work).await.unwrap_or_else(|_| {
        Err(ApiError::timeout(
            "Timeout: request did not complete within requested timeout - context deadline exceeded",
            0,
        ))
    })
}

/// With what there was to say on the way.
fn noting(written: Result<Written>, notes: &Notes) -> Result<Written> {
    let mut written = written?;
    written.warnings = notes.warnings();
    Ok(written)
}

impl Registry {
    pub fn new(
        schema: &'static Schema,
        store: DynStore,
        cache: Arc<Cache>,
        admission: Chain,
        config: RegistryConfig,
    ) -> Arc<Self> {
        let (requests, event_leases) = (ids::Requests::new(), event_leases::EventLeases::default());
        let (turns, contests) = (quota::Turns::default(), contest::Contests::default());
        let witness = OnceLock::new();
        Arc::new(Self { schema, store, cache, admission, config, requests, event_leases, witness, turns, contests })
    }

    /// Who is told of the writes of this process's own components, from now on. The first one stays.
    pub fn be_witnessed(&self, witness: Arc<dyn Witness>) {
        if self.witness.set(witness).is_err() {
            tracing::warn!("the registry has a witness already");
        }
    }

    fn scope<'a>(&self, info: &'a RequestInfo, target: &Target<'a>, notes: &'a Notes) -> Scope<'a> {
        Scope::new(info, target, self.config.clock.now(), notes)
    }

    /// POST. Handles subresources that are created (`binding`, `eviction`, `token`, reviews are HTTP's).
    pub async fn create(&self, info: &RequestInfo, target: &Target<'_>, body: Body) -> Result<Written> {
        let notes = info.notes();
        let scope = self.scope(info, target, &notes);
        let work = async {
            let scope = &scope;
            match (target.resource.plural.as_str(), target.subresource) {
                ("bindings", "") if scope.is("", "bindings") => self.bind(scope, body).await,
                (_, "") => self.create_from_body(scope, body).await,
                ("pods", "binding") => self.bind(scope, body).await,
                ("pods", "eviction") => self.evict(scope, body).await,
                ("serviceaccounts", "token") => self.create_token(scope, body).await,
                _ => Err(ApiError::method_not_allowed(&target.resource.group_resource(), "create")),
            }
        };
        let done = within(info, work).await;
        noting(self.told(info, "create", target, done).await, &notes)
    }

    /// PUT of a resource, `status`, `scale`, `finalize`, `approval`, ...
    pub async fn update(&self, info: &RequestInfo, target: &Target<'_>, body: Body) -> Result<Written> {
        let notes = info.notes();
        let scope = self.scope(info, target, &notes);
        let work = async {
            let scope = &scope;
            match Part::of(target.subresource) {
                Some(part) => self.update_from_body(scope, part, body).await,
                None if target.subresource == "scale" => self.update_scale(scope, body).await,
                None => Err(ApiError::method_not_allowed(&target.resource.group_resource(), "update")),
            }
        };
        let done = within(info, work).await;
        noting(self.told(info, "update", target, done).await, &notes)
    }

    pub async fn patch(&self, info: &RequestInfo, target: &Target<'_>, kind: PatchKind, body: Body) -> Result<Written> {
        let notes = info.notes();
        let scope = self.scope(info, target, &notes);
        let work = async {
            let scope = &scope;
            let patch = patch::Patch::read(kind, body, info.field_validation);
            match Part::of(target.subresource) {
                Some(part) => self.guarded_update(scope, part, &Desired::Patch(&patch)).await,
                None if target.subresource == "scale" => self.patch_scale(scope, &patch).await,
                None => Err(ApiError::method_not_allowed(&target.resource.group_resource(), "patch")),
            }
        };
        let done = within(info, work).await;
        noting(self.told(info, "patch", target, done).await, &notes)
    }

    /// PATCH with a configuration of server-side apply, which `info.field_manager` manages; `force` takes fields
    /// from others. Makes what does not exist yet.
    pub async fn apply(&self, info: &RequestInfo, target: &Target<'_>, body: Body, force: bool) -> Result<Written> {
        let notes = info.notes();
        let scope = self.scope(info, target, &notes);
        let work = async {
            let scope = &scope;
            let application = apply::Application::read(body, force)?;
            match Part::of(target.subresource) {
                Some(part) => self.guarded_update(scope, part, &Desired::Apply(&application)).await,
                None if target.subresource == "scale" => self.apply_scale(scope, &application).await,
                None => Err(ApiError::method_not_allowed(&target.resource.group_resource(), "patch")),
            }
        };
        let done = within(info, work).await;
        noting(self.told(info, "patch", target, done).await, &notes)
    }

    /// Admits what connects to somebody else: exec, attach, portforward and proxies.
    pub async fn connect(&self, info: &RequestInfo, target: &Target<'_>) -> Result<()> {
        let notes = info.notes();
        let scope = self.scope(info, target, &notes);
        let attributes = scope.attributes(Operation::Connect, target.name, None);
        self.admission.admit(&attributes, None, self).await?;
        self.admission.validate(&attributes, None, self).await
    }

    pub async fn delete(&self, info: &RequestInfo, target: &Target<'_>, options: DeleteOptions) -> Result<Written> {
        let notes = info.notes();
        let scope = self.scope(info, target, &notes);
        let done = within(info, self.delete_object(&scope, target.name, &options)).await;
        noting(self.told(info, "delete", target, done).await, &notes)
    }

    /// Deletes what a list with these options shows; answers the list of what was there.
    pub async fn delete_collection(
        &self,
        info: &RequestInfo,
        target: &Target<'_>,
        list: ListOptions,
        options: DeleteOptions,
    ) -> Result<List> {
        let notes = info.notes();
        let scope = self.scope(info, target, &notes);
        let done = within(info, self.delete_all(&scope, target, list, &options)).await;
        self.told_of_all(info, target, done).await
    }

    /// `resource_version`: `None` linearizable, `Some(0)` any, `Some(n)` not older than n. `scale` answers the Scale.
    pub async fn get(&self, target: &Target<'_>, resource_version: Option<Revision>) -> Result<Arc<Object>> {
        let (info, notes) = (RequestInfo::default(), Notes::default());
        let scope = self.scope(&info, target, &notes);
        if target.subresource == "scale" {
            return self.get_scale(&scope, resource_version).await;
        }
        if scope.is("", components::PLURAL) {
            return self.get_component(&scope).await;
        }
        let object = self.get_object(target.resource, &scope.key(target.name), resource_version).await?;
        Ok(convert::object(target.resource, object))
    }

    pub async fn list(&self, target: &Target<'_>, options: ListOptions) -> Result<List> {
        if scope::is(&target.resource.storage, "", components::PLURAL) {
            return self.list_components(target, options).await;
        }
        self.list_objects(target, options).await
    }

    /// Whether a resource has nothing in a namespace, not even what a list leaves out because it cannot be read.
    pub async fn is_empty(&self, target: &Target<'_>) -> Result<bool> {
        self.has_none_stored(target).await
    }

    pub async fn watch(self: &Arc<Self>, target: &Target<'_>, options: WatchOptions) -> Result<WatchHandle> {
        self.open_watch(target, options).await
    }

    /// From the cache of this replica, without waiting.
    pub fn peek(&self, key: &ObjectKey) -> Option<Arc<Object>> {
        self.cache.get(key)
    }
}
