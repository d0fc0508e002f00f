//! What all requests of a server share.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api_schema::gate;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connect::backend::Backends;
use crate::discovery::Discovery;
use crate::flow::FlowControl;
use crate::inflight::InFlight;
use crate::openapi::OpenApi;
use crate::slis::Slis;
use crate::{Server, ServerConfig, body, metrics};

pub(crate) struct State {
    pub server: Server,
    /// Whether anything is: the feature gate APIResponseCompression.
    pub compresses: bool,
    pub discovery: Discovery,
    pub openapi: OpenApi,
    /// `None`: only the two bounds of `inflight`.
    pub flow: Option<Arc<FlowControl>>,
    pub inflight: InFlight,
    /// Bytes of bodies that may be worked on.
    pub bodies: Arc<Semaphore>,
    /// Bodies that may be on their way without a seat: as many as there are seats.
    pub slow_bodies: Semaphore,
    pub slis: Slis,
    pub backends: Backends,
    pub ids: Ids,
    pub started: Timestamp,
    /// Cancelled when the server is to stop: /readyz fails and watches end.
    pub stop: CancellationToken,
    /// Connections and upgraded streams, waited for when the server stops.
    pub tasks: TaskTracker,
    /// What is audited and not closed yet, waited for when everything else has ended.
    pub trails: TaskTracker,
    /// Cancelled when the grace period is over.
    pub abort: CancellationToken,
}

impl State {
    /// Fails when the certificates for kubelets cannot be read.
    pub(crate) fn new(server: Server, stop: CancellationToken) -> std::io::Result<Arc<Self>> {
        let schema = server.registry.schema;
        let backends = Backends::new(&server.config)?;
        metrics::build_info();
        metrics::features(schema.gates());
        Ok(Arc::new(Self {
            compresses: schema.gates().enabled(gate::API_RESPONSE_COMPRESSION),
            discovery: Discovery::new(schema, advertised(&server.config)),
            openapi: OpenApi::new(schema),
            inflight: InFlight::new(&server.flow),
            bodies: Arc::new(Semaphore::new(body::AT_WORK_BYTES)),
            slow_bodies: Semaphore::new(server.flow.max_reads + server.flow.max_writes),
            flow: server.flow.enabled.then(|| FlowControl::new(&server.flow, server.registry.config.clock.now())),
            slis: Slis::default(),
            backends,
            ids: Ids::default(),
            started: server.registry.config.clock.now(),
            stop,
            tasks: TaskTracker::new(),
            trails: TaskTracker::new(),
            abort: CancellationToken::new(),
            server,
        }))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.server.registry.config.clock.now()
    }
}

/// `host:port` of the advertised URL.
fn advertised(config: &ServerConfig) -> &str {
    let url = config.advertise_url.as_str();
    url.strip_prefix("https://").unwrap_or(url).trim_end_matches('/')
}

/// Audit ids: unique, not secret. A counter under a keyed hash, written as a version 4 UUID.
#[derive(Default)]
pub(crate) struct Ids {
    keys: (RandomState, RandomState),
    next: AtomicU64,
}

impl Ids {
    pub(crate) fn next(&self) -> String {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        let (high, low) = (self.keys.0.hash_one(count), self.keys.1.hash_one(count));
        let high = (high & !0xf000) | 0x4000;
        let low = (low & !(0b11 << 62)) | (0b10 << 62);
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }

    /// A number below `bound`, to spread things out in time.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.keys.1.hash_one(self.next.fetch_add(1, Ordering::Relaxed)) % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audit_ids_are_uuids() {
        let ids = Ids::default();
        let (one, two) = (ids.next(), ids.next());
        assert_ne!(one, two);
        let parts: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{one}");
        assert_eq!(&one[14..15], "4");
    }
}
