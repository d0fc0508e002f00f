//! Wire contracts: raft RPC, log entries, CRI. No behaviour.

pub mod cri;
