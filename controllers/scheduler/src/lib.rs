//! The scheduler: which node a pod runs on.
//!
//! [`schedule`] decides purely over a [`Snapshot`]; one file is one filter or one score. The snapshot is
//! changed in place, one node at a time, as pods and nodes come and go. [`Scheduler`] adds the queue of
//! pending pods. Time and randomness are arguments.

mod counts;
mod cycle;
mod decide;
mod filters;
mod matching;
mod message;
mod node;
mod pod;
mod queue;
mod resources;
mod scheduler;
mod scores;
mod snapshot;

pub use decide::{Decision, schedule};
pub use filters::{FilterSet, Plugin};
pub use node::NodeInfo;
pub use pod::PodInfo;
pub use queue::{Pending, Queue, QueueSizes};
pub use resources::Resources;
pub use scheduler::{Attempt, Scheduler};
pub use snapshot::Snapshot;

/// The name pods ask for, and the one profile there is.
pub const PROFILE: &str = "default-scheduler";
