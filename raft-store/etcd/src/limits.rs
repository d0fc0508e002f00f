//! What one request may ask for. As in etcd, unless said otherwise.

use std::time::Duration;

use kontiki_proto::too_large::TooLarge;

/// Largest request, encoded, in bytes.
pub const MAX_REQUEST_BYTES: usize = 3 << 19;
/// Largest gRPC message that is read at all: beyond it the call ends before it is decoded.
pub(crate) const MAX_MESSAGE_BYTES: usize = MAX_REQUEST_BYTES + (512 << 10);
pub(crate) const TOO_LARGE: TooLarge = TooLarge { message: Some("grpc: received message larger than max") };
/// Most comparisons, or operations of one branch, nesting included.
pub const MAX_TXN_OPS: usize = 128;
/// Longest time to live of a lease, in seconds.
pub(crate) const MAX_LEASE_TTL: i64 = 9_000_000_000;

/// Watches of one stream. etcd has no such bound.
pub(crate) const MAX_WATCHES: usize = 65_536;
/// Responses that wait for one slow reader of a watch stream; then its watches wait.
pub(crate) const WATCH_QUEUE: usize = 16;
/// Bytes of events after which a response ends, at the end of a revision.
pub(crate) const WATCH_RESPONSE_BYTES: usize = 1 << 20;
/// A stream that requires a leader ends when none was known for so long: etcd's three election timeouts.
pub(crate) const LEADERLESS: Duration = Duration::from_secs(3);

/// Bytes of one part of a snapshot.
pub(crate) const SNAPSHOT_PART_BYTES: usize = 32 << 10;
/// Parts of a snapshot that wait for a slow reader.
pub(crate) const SNAPSHOT_QUEUE: usize = 8;

/// Client connections at once.
pub(crate) const MAX_CONNECTIONS: usize = 16_384;
/// Calls and watch streams of one connection at once.
pub(crate) const MAX_STREAMS: u32 = 100_000;
/// Until a new connection has shown its certificate.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Between pings on an idle connection, and until one must be answered.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How often it is looked whether TLS files changed.
pub(crate) const TLS_TICK: Duration = Duration::from_secs(5);
