//! Events end after an hour: they hang on leases of the store, one per minute, so that leases stay few.

use std::time::Duration;

use api_machinery::{ApiError, GroupResource};
use jiff::Timestamp;
use parking_lot::Mutex;
use store_api::LeaseId;

use crate::Registry;
use crate::errors::from_store;
use crate::scope::is;

/// Upstream's `--event-ttl`.
const TTL: Duration = Duration::from_secs(3600);
/// All events of so many seconds share a lease.
const BUCKET_SECONDS: i64 = 60;

/// The lease of the current minute.
#[derive(Default)]
pub(crate) struct EventLeases {
    current: Mutex<Option<(i64, LeaseId)>>,
}

impl Registry {
    /// The lease new versions of an object hang on; 0 for everything but events.
    pub(crate) async fn lease_for(&self, resource: &GroupResource, now: Timestamp) -> Result<LeaseId, ApiError> {
        if !is(resource, "", "events") {
            return Ok(0);
        }
        let bucket = now.as_second() / BUCKET_SECONDS;
        let current = *self.event_leases.current.lock();
        if let Some((minute, lease)) = current
            && minute == bucket
        {
            return Ok(lease);
        }
        // Two at once may make two leases: harmless, and seldom.
        let ttl = TTL + Duration::from_secs(BUCKET_SECONDS.unsigned_abs());
        let lease = self.store.lease_grant(ttl).await.map_err(from_store)?;
        *self.event_leases.current.lock() = Some((bucket, lease));
        Ok(lease)
    }

    /// The store does not know this lease any more.
    pub(crate) fn forget_lease(&self, gone: LeaseId) {
        let mut current = self.event_leases.current.lock();
        if current.is_some_and(|(_, lease)| lease == gone) {
            *current = None;
        }
    }
}
