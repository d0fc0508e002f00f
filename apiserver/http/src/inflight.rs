//! A bound on requests in flight, where priority and fairness is off (`--enable-priority-and-fairness=false`):
//! upstream's `--max-requests-inflight` and `--max-mutating-requests-inflight`. What keeps the cluster alive is not
//! counted: administrators, leases, node heartbeats and health checks; nor are watches and streams, which would fill
//! the bound by waiting.

use std::sync::Arc;

use api_machinery::error::Result;
use api_machinery::{ApiError, UserInfo};
use metrics::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::flow::FlowConfig;
use crate::request_info::RequestInfo;

pub(crate) struct InFlight {
    reads: Bound,
    writes: Bound,
}

/// Seats of one kind, and how many are taken.
struct Bound {
    seats: Arc<Semaphore>,
    taken: Gauge,
}

impl Bound {
    fn new(kind: &'static str, max: usize) -> Self {
        let taken = metrics::gauge!("apiserver_current_inflight_requests", "request_kind" => kind);
        Self { seats: Arc::new(Semaphore::new(max)), taken }
    }
}

/// Held while a request is worked on.
pub(crate) struct Seat {
    _taken: Option<Taken>,
}

struct Taken {
    _permit: OwnedSemaphorePermit,
    taken: Gauge,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.taken.decrement(1.0);
    }
}

impl InFlight {
    pub(crate) fn new(config: &FlowConfig) -> Self {
        Self { reads: Bound::new("readOnly", config.max_reads), writes: Bound::new("mutating", config.max_writes) }
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
            return Ok(Seat { _taken: None });
        }
        let bound = if info.is_mutating() { &self.writes } else { &self.reads };
        let refused = |_| ApiError::too_many_requests("Too many requests, please try again later.", 1);
        let permit = bound.seats.clone().try_acquire_owned().map_err(refused)?;
        bound.taken.increment(1.0);
        Ok(Seat { _taken: Some(Taken { _permit: permit, taken: bound.taken.clone() }) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[derive(Default)]
    struct Shown(AtomicI64);

    impl metrics::GaugeFn for Shown {
        fn increment(&self, value: f64) {
            self.0.fetch_add(value as i64, Ordering::Relaxed);
        }
        fn decrement(&self, value: f64) {
            self.0.fetch_sub(value as i64, Ordering::Relaxed);
        }
        fn set(&self, value: f64) {
            self.0.store(value as i64, Ordering::Relaxed);
        }
    }

    #[test]
    fn a54_the_bound_refuses_but_not_everyone() {
        let shown = Arc::new(Shown::default());
        let max = 5;
        let mut inflight =
            InFlight::new(&FlowConfig { enabled: false, max_reads: 1, max_writes: max, ..Default::default() });
        inflight.writes.taken = Gauge::from_arc(shown.clone());
        let info = |verb: &str, group: &str, resource: &str| RequestInfo {
            is_resource: true,
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            ..RequestInfo::default()
        };
        let user = |group: &str| UserInfo { groups: vec![group.to_owned()], ..UserInfo::default() };
        let create = info("create", "", "pods");
        let seats: Vec<Seat> = (0..max).map(|_| inflight.seat(&create, &user("devs")).expect("free")).collect();
        let refused = inflight.seat(&create, &user("devs")).err().expect("full");
        assert_eq!((refused.code, refused.details.map(|details| details.retry_after_seconds)), (429, Some(1)));
        assert_eq!(shown.0.load(Ordering::Relaxed), max as i64, "a refusal takes no seat");
        assert!(inflight.seat(&create, &user("system:masters")).is_ok());
        assert!(inflight.seat(&info("update", "coordination.k8s.io", "leases"), &user("devs")).is_ok());
        assert!(inflight.seat(&info("patch", "", "nodes"), &user("system:nodes")).is_ok());
        assert!(inflight.seat(&info("patch", "", "nodes"), &user("devs")).is_err());
        assert!(inflight.seat(&info("list", "", "pods"), &user("devs")).is_ok());
        drop(seats);
        assert_eq!(shown.0.load(Ordering::Relaxed), 0, "the gauge goes down again");
        assert!(inflight.seat(&create, &user("devs")).is_ok());
    }
}
