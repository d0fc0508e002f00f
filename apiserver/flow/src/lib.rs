//! API priority and fairness (KEP-1040): who is served when there is not room for all.
//!
//! A FlowSchema puts a request into a priority level and a flow. A level has seats, and queues for those who find
//! none; the hash of a flow picks a few queues ([`shuffle`]), the shortest of them takes the request, and the queue
//! that has had least is served next ([`queue_set`]). Levels lend seats they do not use ([`allocate`]).
//!
//! Everything here is a function of its arguments, the time included (since whatever the caller counts from). Waiting,
//! waking and the clock are the caller's.

pub mod allocate;
mod bootstrap;
pub mod classify;
pub mod config;
pub mod demand;
pub mod dropped;
pub mod dump;
pub mod estimate;
mod levels;
pub mod queue_set;
pub mod shuffle;
#[cfg(test)]
mod tests;
pub mod watches;
pub mod work;

pub use bootstrap::{CATCH_ALL, EXEMPT, revise, unwanted};
pub use classify::{Class, Digest};
pub use levels::{Flow, LevelView, Limits, RejectReason, Started};
pub use work::Work;

/// Names one request; the caller's, and never used again.
pub type Ticket = u64;
