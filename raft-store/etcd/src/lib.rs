//! etcd's v3 gRPC API as a face of the store: what etcd's clients know, they find here.
//!
//! Requests are checked as etcd checks them, turned into what [`store_api`] offers, and answered in etcd's words and
//! gRPC codes. Deciding is pure ([`kv`]'s translation, [`watch`]'s splitting); the services around it act. Whoever
//! has a certificate of the client CA may do everything: users and roles are not kept ([`auth`]).
//!
//! What etcd has and this has not: users and roles, locks and elections on the server's side, downgrades, alarms that
//! are raised by hand.

mod auth;
mod cluster;
mod connection;
mod errors;
mod face;
mod kv;
mod lease;
mod limits;
mod maintenance;
mod server;
mod snapshot;
mod tls;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use connection::Connection;
pub use limits::{MAX_REQUEST_BYTES, MAX_TXN_OPS};
pub use server::{EtcdServer, Visitor};

/// The version of etcd whose behaviour is followed; clients choose by it what they ask for.
pub const ETCD_VERSION: &str = "3.5.30";

/// How the face of one replica is served.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    pub listen: SocketAddr,
    /// PEM files: the CA of clients, and this replica's certificate and key. Read again when they change.
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// How often watches that ask for it are told how far they are.
    pub progress_interval: Duration,
    /// The shortest time to live of a lease; what is asked for below it becomes this.
    pub min_lease_ttl: Duration,
}

impl EtcdConfig {
    /// etcd's default.
    pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(600);
    /// One and a half election timeouts, rounded up to seconds, as etcd computes it.
    pub const MIN_LEASE_TTL: Duration = Duration::from_secs(2);
}

/// Why the face cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    #[error("etcd's port: {0}")]
    Tls(String),
    #[error("cannot listen on {addr} for etcd's clients")]
    Listen {
        addr: SocketAddr,
        #[source]
        source: std::io::Error,
    },
}
