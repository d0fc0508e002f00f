//! What a node should do, decided purely: no clock, no tokio, no runtime.
//!
//! The agent observes (containers, probes, failures), asks [`sync_pod`] what to do and [`pod_status`]
//! what to tell the API server, and does it.

pub mod admit;
pub mod backoff;
pub mod conditions;
pub mod env;
pub mod eviction;
pub mod hostname;
pub mod image_gc;
pub mod images;
pub mod observed;
pub mod phase;
pub mod placement;
pub mod pods;
pub mod probe;
pub mod registries;
pub mod resources;
pub mod status;
pub mod sync;
pub mod termination;

pub use backoff::Backoffs;
pub use observed::{Container, ContainerState, Kind, Observed, ProbeResults, Sandbox, Waiting};
pub use status::pod_status;
pub use sync::{Action, StopReason, sync_pod};

/// The time of a decision.
pub type Now = jiff::Timestamp;

/// What the API server wants.
#[derive(Clone, Copy, Debug)]
pub struct Desired<'a> {
    pub pod: &'a k8s_openapi::api::core::v1::Pod,
    /// Set once it must end: deleted, past its deadline, or evicted. Never unset again.
    pub terminating: Option<&'a termination::Termination>,
}
