//! Wire contracts: raft RPC, log entries, CRI, etcd's API, key management plugins. No behaviour, but for one
//! code that the gRPC library chooses otherwise than the contracts.

pub mod cri;
pub mod etcd;
pub mod kms;
mod kontiki;
pub mod too_large;

/// The raft log's entry format: `log.proto`.
pub use kontiki::log::v1 as log;
/// The peer protocol: `raft.proto`.
pub use kontiki::raft::v1 as raft;
