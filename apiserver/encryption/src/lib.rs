//! Encryption at rest, as upstream's `EncryptionConfiguration` describes it.
//!
//! [`SealedStore`] is a store around the store: values of the configured resources are sealed on their way in and
//! opened on their way out, so nothing below it (the raft log, the state, snapshots, backups, other replicas) ever
//! sees them. The format of sealed values is upstream's, `k8s:enc:PROVIDER:v1:KEY:...`.
//!
//! `aesgcm` binds a value to its key in the store: sealed bytes moved to another key do not open. `aescbc` and
//! `secretbox` do not, as upstream's do not. `kms` (v2) does, and asks a plugin for its keys.

mod cipher;
mod config;
mod kms;
mod reload;
mod rotate;
mod store;
mod transformers;

pub use config::{ConfigError, PluginAddress};
pub use kms::{KeyPlugin, Wrapped};
pub use reload::follow;
pub use rotate::{Page, rotate};
pub use store::SealedStore;
pub use transformers::{Connect, Transformers, Unreadable};
