//! What is done to a cluster while faults happen.

pub mod availability;
pub mod set;
pub mod watch;

/// Objects of these workloads: small ConfigMaps with this label.
pub const LABEL: &str = "chaos.kontiki.io/run";
