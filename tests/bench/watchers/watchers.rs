//! Clients that watch, each on a connection of its own, and what arrived at them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use crate::Failure;
use crate::cluster::Cluster;
use crate::marks::{Scanner, Seen};
use crate::pods::PODS;

/// Longer than any run: a server that is not asked ends a watch after half an hour or more.
const WATCH_SECONDS: u32 = 86_400;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// All watchers. They end when it is dropped.
pub(crate) struct Watched {
    pods: usize,
    clock: Instant,
    events: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    watchers: Vec<(Arc<Mutex<Watcher>>, AbortHandle)>,
}

struct Watcher {
    seen: Seen,
    /// Microseconds from sent to here.
    took: Vec<u32>,
}

/// What came of it.
pub(crate) struct Arrived {
    /// Microseconds, sorted, of every event at every watcher.
    pub(crate) took: Vec<u32>,
    pub(crate) lost: usize,
    pub(crate) disordered: usize,
    /// Watches that the server ended.
    pub(crate) ended: usize,
}

impl Arrived {
    pub(crate) fn is_whole(&self) -> bool {
        self.lost == 0 && self.disordered == 0 && self.ended == 0
    }
}

impl Watched {
    /// Returns once all of them are connected.
    pub(crate) async fn begin(
        cluster: &Cluster,
        pods: usize,
        count: usize,
        revision: &str,
        protobuf: bool,
    ) -> Result<Self, Failure> {
        let mut watched =
            Self { pods, clock: Instant::now(), events: Arc::default(), ended: Arc::default(), watchers: Vec::new() };
        let accept = if protobuf { "application/vnd.kubernetes.protobuf;stream=watch" } else { "application/json" };
        let target = format!("{PODS}?watch=true&resourceVersion={revision}&timeoutSeconds={WATCH_SECONDS}");
        for number in 0..count {
            let client = cluster.replica(number);
            let request = client.request("GET", &target, &[("accept", accept)], "");
            let answer = tokio::time::timeout(CONNECT_TIMEOUT, client.open(false, request)).await??;
            if answer.status() != 200 {
                return Err(format!("watcher {number}: {}", answer.status()).into());
            }
            watched.follow(answer.into_body());
        }
        Ok(watched)
    }

    fn follow(&mut self, mut body: Incoming) {
        let watcher = Arc::new(Mutex::new(Watcher { seen: Seen::of(self.pods), took: Vec::new() }));
        let (own, clock) = (watcher.clone(), self.clock);
        let (events, ended) = (self.events.clone(), self.ended.clone());
        let task = tokio::spawn(async move {
            let mut scanner = Scanner::default();
            while let Some(Ok(frame)) = body.frame().await {
                let Some(piece) = frame.data_ref() else { continue };
                let now = clock.elapsed().as_micros();
                let mut watcher = own.lock();
                scanner.feed(piece, |mark| {
                    watcher.seen.see(mark.number);
                    let took = now.saturating_sub(u128::from(mark.sent));
                    watcher.took.push(u32::try_from(took).unwrap_or(u32::MAX));
                    events.fetch_add(1, Ordering::Relaxed);
                });
            }
            ended.fetch_add(1, Ordering::Relaxed);
        });
        self.watchers.push((watcher, task.abort_handle()));
    }

    /// On which marks are sent.
    pub(crate) fn clock(&self) -> Instant {
        self.clock
    }

    /// So far.
    pub(crate) fn events(&self) -> usize {
        self.events.load(Ordering::Relaxed)
    }

    /// What arrived of these changes.
    pub(crate) fn end(self, written: &[usize]) -> Arrived {
        let mut arrived =
            Arrived { took: Vec::new(), lost: 0, disordered: 0, ended: self.ended.load(Ordering::Relaxed) };
        for (watcher, _) in &self.watchers {
            let watcher = watcher.lock();
            arrived.lost += written.iter().filter(|number| watcher.seen.lacks(**number)).count();
            arrived.disordered += watcher.seen.disordered;
            arrived.took.extend_from_slice(&watcher.took);
        }
        arrived.took.sort_unstable();
        arrived
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watchers.iter().for_each(|(_, task)| task.abort());
    }
}
