//! A bound on requests in flight, upstream's `--max-requests-inflight` and `--max-mutating-requests-inflight`:
//! the first measure of fairness. What keeps the cluster alive is not counted: administrators, leases, node
//! heartbeats and health checks; nor are watches and streams, which would fill the bound by waiting.

use std::sync::Arc;

use api_machinery::error::Result;
use api_machinery::{ApiError, UserInfo};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::request_info::RequestInfo;

/// Reads in flight, at most.
pub(crate) const MAX_READS: usize = 400;
/// Writes in flight, at most.
pub(crate) const MAX_WRITES: usize = 200;

pub(crate) struct InFlight {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

/// Held while a request is worked on.
pub(crate) struct Seat {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Default for InFlight {
    fn default() -> Self {
        Self { reads: Arc::new(Semaphore::new(MAX_READS)), writes: Arc::new(Semaphore::new(MAX_WRITES)) }
    }
}

fn is_exempt(info: &RequestInfo, user: &UserInfo) -> bool {
    let heartbeat = info.group == "coordination.k8s.io" && info.resource == "leases"
        || info.group.is_empty() && info.resource == "nodes" && user.is_in("system:nodes");
    let health = ["/healthz", "/livez", "/readyz", "/metrics"].iter().any(|path| info.path.starts_with(path));
    user.is_in(UserInfo::MASTERS) || info.is_long_running() || heartbeat || (!info.is_resource && health)
}

impl InFlight {
    /// 429 with `Retry-After: 1` when the bound is reached; nothing waits.
    pub(crate) fn seat(&self, info: &RequestInfo, user: &UserInfo) -> Result<Seat> {
        if is_exempt(info, user) {
            return Ok(Seat { _permit: None });
        }
        let (kind, semaphore, max) = match info.is_mutating() {
            true => ("mutating", &self.writes, MAX_WRITES),
            false => ("readOnly", &self.reads, MAX_READS),
        };
        let permit = semaphore.clone().try_acquire_owned();
        let used = max - semaphore.available_permits();
        metrics::gauge!("apiserver_current_inflight_requests", "request_kind" => kind).set(used as f64);
        let refused = |_| ApiError::too_many_requests("Too many requests, please try again later.", 1);
        permit.map(|permit| Seat { _permit: Some(permit) }).map_err(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_refuses_but_not_everyone() {
        let inflight = InFlight::default();
        let info = |verb: &str, group: &str, resource: &str| RequestInfo {
            is_resource: true,
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            ..RequestInfo::default()
        };
        let user = |group: &str| UserInfo { groups: vec![group.to_owned()], ..UserInfo::default() };
        let create = info("create", "", "pods");
        let seats: Vec<Seat> = (0..MAX_WRITES).map(|_| inflight.seat(&create, &user("devs")).expect("free")).collect();
        let refused = inflight.seat(&create, &user("devs")).err().expect("full");
        assert_eq!((refused.code, refused.details.map(|details| details.retry_after_seconds)), (429, Some(1)));
        assert!(inflight.seat(&create, &user("system:masters")).is_ok());
        assert!(inflight.seat(&info("update", "coordination.k8s.io", "leases"), &user("devs")).is_ok());
        assert!(inflight.seat(&info("patch", "", "nodes"), &user("system:nodes")).is_ok());
        assert!(inflight.seat(&info("patch", "", "nodes"), &user("devs")).is_err());
        assert!(inflight.seat(&info("list", "", "pods"), &user("devs")).is_ok());
        drop(seats);
        assert!(inflight.seat(&create, &user("devs")).is_ok());
    }
}
