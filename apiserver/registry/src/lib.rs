//! Create, update, patch, delete, get, list and watch over any kind.
//!
//! [`Registry`] is what HTTP handlers and the in-process client of the controllers call. One write
//! reads top to bottom: decode, default, mutate, hooks and validation, validate, transaction.

use std::sync::Arc;
use std::time::Duration;

use api_admission::Chain;
use api_cache::{Cache, Object};
use api_codec::decode::{FieldValidation, Format};
use api_codec::patch::PatchKind;
use api_machinery::error::Result;
use api_machinery::fields::FieldSelector;
use api_machinery::labels::Selector;
use api_machinery::{ObjectKey, UserInfo, Value};
use api_schema::{Resource, Schema};
use bytes::Bytes;
use jiff::Timestamp;
use store_api::{DynStore, Fence, Revision};

/// Who asks, and how.
#[derive(Clone, Debug)]
pub struct RequestInfo {
    pub user: UserInfo,
    /// Controllers: refuse the write when this leadership is over.
    pub fence: Option<Fence>,
    pub dry_run: bool,
    pub field_manager: String,
    pub field_validation: FieldValidation,
    pub deadline: Duration,
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
    pub revision: Revision,
    /// `Warning` headers.
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
}

#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    pub label_selector: Selector,
    pub field_selector: FieldSelector,
    /// `None`: current state as synthetic ADDED events, then changes. `Some(0)`: same from any state. `Some(n)`: changes after n.
    pub resource_version: Option<Revision>,
    pub bookmarks: bool,
    pub send_initial_events: bool,
    pub timeout: Option<Duration>,
}

pub enum WatchItem {
    Added(Arc<Object>),
    Modified(Arc<Object>),
    Deleted(Arc<Object>),
    /// Nothing that matches was written up to here; `initial_end` marks the end of the initial events.
    Bookmark {
        revision: Revision,
        initial_end: bool,
    },
}

/// An open watch, selectors applied.
pub struct WatchHandle {
    _private: (),
}

impl WatchHandle {
    /// The next items in order, at least one. `Ok(vec![])`: the timeout is over, end cleanly. `Err`: send it as an ERROR event and end.
    pub async fn next(&mut self) -> Result<Vec<WatchItem>> {
        todo!()
    }
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
}

impl Registry {
    pub fn new(
        _schema: &'static Schema,
        _store: DynStore,
        _cache: Arc<Cache>,
        _admission: Chain,
        _config: RegistryConfig,
    ) -> Arc<Self> {
        todo!()
    }
    /// POST. Handles subresources that are created (`binding`, `eviction`, `token`, reviews are HTTP's).
    pub async fn create(&self, _info: &RequestInfo, _target: &Target<'_>, _body: Body) -> Result<Written> {
        todo!()
    }
    /// PUT of a resource, `status`, `scale`, `finalize`, `approval`, ...
    pub async fn update(&self, _info: &RequestInfo, _target: &Target<'_>, _body: Body) -> Result<Written> {
        todo!()
    }
    pub async fn patch(
        &self,
        _info: &RequestInfo,
        _target: &Target<'_>,
        _kind: PatchKind,
        _body: Body,
    ) -> Result<Written> {
        todo!()
    }
    pub async fn delete(&self, _info: &RequestInfo, _target: &Target<'_>, _options: DeleteOptions) -> Result<Written> {
        todo!()
    }
    /// Deletes what a list with these options shows; answers the list of what was there.
    pub async fn delete_collection(
        &self,
        _info: &RequestInfo,
        _target: &Target<'_>,
        _list: ListOptions,
        _options: DeleteOptions,
    ) -> Result<List> {
        todo!()
    }
    /// `resource_version`: `None` linearizable, `Some(0)` any, `Some(n)` not older than n.
    pub async fn get(&self, _target: &Target<'_>, _resource_version: Option<Revision>) -> Result<Arc<Object>> {
        todo!()
    }
    pub async fn list(&self, _target: &Target<'_>, _options: ListOptions) -> Result<List> {
        todo!()
    }
    pub async fn watch(self: &Arc<Self>, _target: &Target<'_>, _options: WatchOptions) -> Result<WatchHandle> {
        todo!()
    }
    /// Creates the objects every cluster has (namespaces, RBAC, priority classes, flow control, kubernetes Service), idempotently.
    pub async fn bootstrap(&self) -> Result<()> {
        todo!()
    }
    /// From the cache of this replica, without waiting.
    pub fn peek(&self, key: &ObjectKey) -> Option<Arc<Object>> {
        self.cache.get(key)
    }
}
