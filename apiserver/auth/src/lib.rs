//! Who is asking (authentication) and may they (authorization).
//!
//! `authn/` has one file per method, `authz/` one per authorizer. Both look at cluster objects only
//! through [`Objects`], the cache of this replica.

pub mod authn;
pub mod authz;

use std::sync::Arc;

use api_machinery::{ApiError, GroupResource, Value};
use async_trait::async_trait;

/// What authentication and authorization may look up.
#[async_trait]
pub trait Objects: Send + Sync {
    fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Arc<Value>>;
    /// The pods bound to a node.
    fn pods_on_node(&self, node: &str) -> Vec<Arc<Value>>;
    /// Waits until everything acknowledged anywhere before the call is seen. For a method that is about to
    /// refuse because something is missing.
    async fn refresh(&self) -> Result<(), ApiError>;
}
