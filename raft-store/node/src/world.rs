//! What a replica takes from outside of itself besides its directory and the time: the wire to the others, names
//! nobody else has, the room on the disk, and what the disk does with the log. A simulation has its own.

mod real;

use std::fmt::Display;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use store_api::{NodeId, StoreError};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::util::BoxCloneSyncService;

pub use crate::peer::PeerServer;
pub(crate) use real::RealWorld;
#[cfg(test)]
pub(crate) use real::free_bytes;

/// What goes wrong with a call below the peer protocol.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CallError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl CallError {
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

/// One way to call another replica.
pub type PeerChannel = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, CallError>;

/// The outside of one replica.
#[async_trait]
pub trait World: Send + Sync + 'static {
    /// Two ways to call replica `to`, whose peer port is at `addr`: for small calls that must not wait, and for bulk
    /// data. Nothing is done before the first call.
    fn channels(&self, to: NodeId, addr: &str) -> [PeerChannel; 2];

    /// Before the replica is made, which is refused where others could not call it.
    async fn bind(&self) -> Result<(), StoreError>;

    /// Lets others call, until `stop`.
    fn serve(&self, server: PeerServer, stop: CancellationToken);

    /// A name for this start of the replica, and one for a data directory that is new.
    fn names(&self) -> (u128, String);

    /// Bytes free on the disk that `dir` is on.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;

    /// `None`: the log is written by a thread of its own, and the disk takes the time it takes.
    fn log_disk(&self) -> Option<Arc<dyn LogDisk>> {
        None
    }

    /// What it has to do all the time, for as long as the replica runs.
    fn tend(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}

/// The disk under the raft log, where it is simulated.
#[async_trait]
pub trait LogDisk: Send + Sync + 'static {
    /// Until what was written is durable. An error is final.
    async fn sync(&self) -> Result<(), StoreError>;

    /// Something happened, before anybody relies on it.
    fn happened(&self, event: LogEvent<'_>);
}

/// What was done to the raft log. Entries, votes and log ids are encoded as in `proto/log.proto`.
#[derive(Clone, Copy, Debug)]
pub enum LogEvent<'a> {
    /// Not durable yet.
    Appended(&'a [(u64, Bytes)]),
    /// Everything appended before is durable.
    Synced,
    Voted(&'a Bytes),
    /// Nothing is left from here on.
    Truncated(u64),
    /// Nothing is left up to here.
    Purged(u64),
}

/// The connection could not be made, so whatever was to be sent was not sent.
pub fn cannot_connect(to: NodeId, addr: &str, why: impl Display) -> CallError {
    CallError::new(crate::peer::ConnectFailed::new(to, addr, io::Error::other(why.to_string())))
}

/// From here on, on this thread, openraft's randomness comes from `random`, and a store that must end calls `end`
/// instead of ending the process.
pub fn simulate(random: impl FnMut() -> u64 + 'static, end: impl Fn(&str) -> std::convert::Infallible + 'static) {
    crate::runtime::take_random(random);
    crate::errors::take_end(end);
}
