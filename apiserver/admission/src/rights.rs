//! What the asker may do besides the request itself, for plugins whose answer depends on it.

use async_trait::async_trait;

/// An act on resources that is not the request's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Act<'a> {
    pub verb: &'a str,
    pub group: &'a str,
    /// `*` where the version does not matter.
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    /// Empty at the cluster scope.
    pub namespace: &'a str,
    pub name: &'a str,
}

/// Whoever decides about the asker of one request.
#[async_trait]
pub trait Rights: Send + Sync {
    /// Whether the asker may also do this.
    async fn may(&self, act: &Act<'_>) -> bool;
}
