//! Join tokens: their signatures under what anybody may know of the cluster, and their end.

mod cleaner;
mod signer;

pub use cleaner::TokenCleaner;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
pub use signer::BootstrapSigner;

use crate::meta::Meta;

pub(crate) const TOKEN_TYPE: &str = "bootstrap.kubernetes.io/token";
const TOKENS: &str = "kube-system";
const TOKEN_PREFIX: &str = "bootstrap-token-";
const PUBLIC: &str = "kube-public";
const CLUSTER_INFO: &str = "cluster-info";

/// What who joins reads first.
pub(crate) fn is_cluster_info(map: &ConfigMap) -> bool {
    map.namespace() == PUBLIC && map.name() == CLUSTER_INFO
}

fn is_token(secret: &Secret) -> bool {
    secret.namespace() == TOKENS && secret.type_.as_deref() == Some(TOKEN_TYPE)
}

/// A field as text; `None` when it is not there or not text.
fn field<'a>(secret: &'a Secret, name: &str) -> Option<&'a str> {
    std::str::from_utf8(&secret.data.as_ref()?.get(name)?.0).ok()
}

/// When the token ends. `Err`: it says so in a way nobody can read, and counts as over, as upstream.
fn expiration(secret: &Secret) -> Option<Result<Timestamp, ()>> {
    let text = field(secret, "expiration").filter(|text| !text.is_empty())?;
    Some(text.parse().map_err(|_| ()))
}

fn has_expired(secret: &Secret, now: Timestamp) -> bool {
    expiration(secret).is_some_and(|end| end.is_ok_and(|end| end <= now) || end.is_err())
}
