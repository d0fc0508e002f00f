//! One property, one file. A checker that has not caught a planted violation in its tests counts as absent.

pub mod append;
pub mod availability;
pub mod compaction;
pub mod convergence;
pub mod growth;
pub mod lease;
pub mod linearizable;
pub mod log;
pub mod merge;
pub mod serializable;
pub mod set;
#[cfg(test)]
pub(crate) mod support;
pub mod transactions;
pub mod ttl;
pub mod watch;

/// What is wrong, for people.
pub type Violations = Vec<String>;
