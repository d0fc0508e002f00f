//! What is done to a cluster while faults happen. Workloads act and record; they judge nothing.

pub mod append;
pub mod availability;
pub mod churn;
pub mod compaction;
pub mod fleet;
pub mod growth;
pub mod leases;
pub mod mix;
pub mod probe;
pub mod register;
pub mod replay;
pub mod session;
pub mod set;
pub mod stage;
mod store;
pub mod transactions;
pub mod ttl;
pub mod watch;

/// Objects of these workloads: small ConfigMaps, with the round as this label's value.
pub const ROUND: &str = "chaos.kontiki.io/round";
pub const WORKLOAD: &str = "chaos.kontiki.io/workload";
/// Changes with the object's value.
pub const COLOUR: &str = "chaos.kontiki.io/colour";
/// Where they are.
pub const NAMESPACE: &str = "default";
