//! Who is asking (authentication) and may they (authorization).
//!
//! `authn/` has one file per method, `authz/` one per authorizer. Both look at cluster objects only
//! through [`Objects`], the cache of this replica.

pub mod authn;
pub mod authz;
pub mod config;
pub mod outbound;
mod replies;
mod reviews;

use std::sync::Arc;

use api_machinery::{ApiError, GroupResource, Value};
use async_trait::async_trait;

use crate::authz::node::References;

/// What authentication and authorization may look up.
#[async_trait]
pub trait Objects: Send + Sync {
    fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Arc<Value>>;
    /// What the pods bound to a node refer to.
    fn references_on_node(&self, node: &str) -> Vec<Arc<References>>;
    /// Waits until everything acknowledged anywhere before the call is seen. For a method that is about to
    /// refuse because something is missing.
    async fn refresh(&self) -> Result<(), ApiError>;
}
