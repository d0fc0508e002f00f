//! Priority and fairness in the chain: what a request is, whether it may go on, waits or is refused. What decides is
//! `api_flow`; here is the clock, the waiting and the counting.

mod follow;
mod meter;
mod shape;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use api_flow::dropped::Dropped;
use api_flow::queue_set::Origin;
use api_flow::watches::{self, Watched, Watches};
use api_flow::{Class, Digest, Flow, RejectReason, Started, Ticket, Work, dump, estimate};
use api_machinery::{ApiError, UserInfo};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::oneshot;

pub(crate) use follow::run;

use crate::query::Query;
use crate::request_info::RequestInfo;
use crate::state::State;

/// Nobody waits longer for a seat, however long the request may take.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Of the time a request may take, so much is spent waiting at most.
const WAIT_PART: u32 = 4;

/// How many requests are worked on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowConfig {
    /// `false`: the two bounds are bounds on reads and on writes, and nothing waits.
    pub enabled: bool,
    /// Together the seats of all priority levels.
    pub max_reads: usize,
    pub max_writes: usize,
    /// A body that is on its way for longer than this gives its seat to others until it is there. (Upstream's waits in
    /// its seat, so that slow clients can take all of a level.)
    pub body_patience: Duration,
}

impl Default for FlowConfig {
    /// Upstream's numbers.
    fn default() -> Self {
        Self { enabled: true, max_reads: 400, max_writes: 200, body_patience: Duration::from_millis(250) }
    }
}

struct Inner {
    flow: Flow,
    waiting: HashMap<Ticket, oneshot::Sender<()>>,
}

pub(crate) struct FlowControl {
    inner: Mutex<Inner>,
    watches: Mutex<Watches>,
    dropped: Mutex<Dropped>,
    next: AtomicU64,
    began: Instant,
    began_at: Timestamp,
}

/// What the client is told of how its request was classified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Classified {
    pub schema_uid: String,
    pub level_uid: String,
}

impl Classified {
    pub(crate) fn headers(&self) -> [(&'static str, &str); 2] {
        [("x-kubernetes-pf-flowschema-uid", &self.schema_uid), ("x-kubernetes-pf-prioritylevel-uid", &self.level_uid)]
    }
}

/// A request that is about to be worked on.
pub(crate) struct Asked<'a> {
    pub info: &'a RequestInfo,
    pub user: &'a UserInfo,
    pub query: &'a Query,
    /// How long it may take.
    pub deadline: Duration,
}

/// A place in a queue or a seat. Given back when it is dropped, whatever it has become by then.
pub(crate) struct Seat {
    control: Arc<FlowControl>,
    ticket: Ticket,
    meter: meter::Execution,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.control.leave(self.ticket);
    }
}

impl FlowControl {
    pub(crate) fn new(config: &FlowConfig, now: Timestamp) -> Arc<Self> {
        let flow = Flow::new((config.max_reads + config.max_writes) as u64, Duration::ZERO);
        Arc::new(Self {
            inner: Mutex::new(Inner { flow, waiting: HashMap::new() }),
            watches: Mutex::default(),
            dropped: Mutex::default(),
            next: AtomicU64::new(0),
            began: Instant::now(),
            began_at: now,
        })
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits for a seat. `None`: streams and tunnels are not counted, as upstream. 429 where there is none; the second
    /// is for the answer, whatever it is.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        state: &State,
        asked: &Asked<'_>,
    ) -> (Result<Option<Seat>, ApiError>, Option<Classified>) {
        if asked.info.is_long_running() && asked.info.verb != "watch" {
            return (Ok(None), None);
        }
        let (class, work, entered) = self.begin(state, asked);
        let told = Classified { schema_uid: class.schema.uid.clone(), level_uid: class.level_uid.clone() };
        let labels = meter::Labels::new(&class, asked.info);
        labels.estimated(&work);
        let seat = match entered {
            Ok(entered) => self.wait(entered, labels.clone(), wait_limit(asked)).await,
            Err(reason) => Err(reason),
        };
        let seat = seat.map(Some).map_err(|reason| {
            labels.rejected(reason);
            let seconds = self.dropped.lock().record(&class.level, self.now().as_secs());
            let seconds = u32::try_from(seconds).unwrap_or(1);
            ApiError::too_many_requests("Too many requests, please try again later.", seconds)
        });
        (seat, Some(told))
    }

    fn begin(self: &Arc<Self>, state: &State, asked: &Asked<'_>) -> (Class, Work, Result<Entered, RejectReason>) {
        let stored = shape::stored(state, asked.info);
        let interested = self.interested(asked.info);
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        let now = self.now();
        let mut inner = self.inner.lock();
        let class = inner.flow.classify(&digest(asked));
        let work = match shape::of(asked, stored) {
            shape::Shape::List(list) => estimate::list(list, class.max_seats),
            shape::Shape::Write => estimate::write(interested, class.max_seats),
            shape::Shape::Other => Work::seats(1),
        };
        let origin = Arc::new(origin(asked, &class));
        let (started, served) = inner.flow.start(ticket, &class, origin, work, now);
        inner.wake(served);
        let entered = match started {
            Started::Rejected(reason) => Err(reason),
            Started::Executing => Ok(Entered { ticket, served: None, length: None, queued: !class.exempt }),
            Started::Waiting => {
                let (wake, served) = oneshot::channel();
                inner.waiting.insert(ticket, wake);
                let length = inner.flow.queue_length(ticket);
                Ok(Entered { ticket, served: Some(served), length, queued: true })
            }
        };
        (class, work, entered)
    }

    async fn wait(
        self: &Arc<Self>,
        entered: Entered,
        labels: meter::Labels,
        limit: Duration,
    ) -> Result<Seat, RejectReason> {
        let began = Instant::now();
        // From here on dropping it gives the place back.
        let mut seat = Seat { control: self.clone(), ticket: entered.ticket, meter: meter::Execution::new(&labels) };
        if let Some(served) = entered.served {
            let _queued = labels.queued(entered.length);
            if tokio::time::timeout(limit, served).await.is_err() && self.give_up(entered.ticket) {
                labels.waited(began.elapsed(), false);
                return Err(RejectReason::TimeOut);
            }
        }
        if entered.queued {
            labels.waited(began.elapsed(), true);
        }
        seat.meter.begin();
        Ok(seat)
    }

    /// `false`: it was served at the last moment.
    fn give_up(&self, ticket: Ticket) -> bool {
        let mut inner = self.inner.lock();
        inner.waiting.remove(&ticket);
        inner.flow.give_up(ticket, self.now())
    }

    /// The end of a request, or of its waiting.
    fn leave(self: &Arc<Self>, ticket: Ticket) {
        let now = self.now();
        let mut inner = self.inner.lock();
        inner.waiting.remove(&ticket);
        if inner.flow.give_up(ticket, now) {
            return;
        }
        let (served, free) = inner.flow.finish(ticket, now);
        inner.wake(served);
        drop(inner);
        if let (Some(free), Ok(runtime)) = (free, tokio::runtime::Handle::try_current()) {
            let control = self.clone();
            runtime.spawn(async move {
                tokio::time::sleep(free.saturating_sub(now)).await;
                control.tick();
            });
        }
    }

    fn tick(&self) {
        let now = self.now();
        let mut inner = self.inner.lock();
        let served = inner.flow.tick(now);
        inner.wake(served);
    }

    /// Once in a period: seats are lent anew.
    fn adjust(&self) {
        let now = self.now();
        let mut inner = self.inner.lock();
        let mut served = inner.flow.tick(now);
        served.extend(inner.flow.adjust(now));
        inner.wake(served);
    }

    fn interested(&self, info: &RequestInfo) -> u64 {
        // A token of a service account is no event.
        let silent = info.resource == "serviceaccounts" && info.subresource == "token";
        if silent || !info.is_resource || !info.is_mutating() {
            0
        } else {
            self.watches.lock().interested(&watched(info))
        }
    }

    /// Counts a watch until what is answered is dropped. `node`: of pods of one node only.
    pub(crate) fn watching(self: &Arc<Self>, info: &RequestInfo, node: Option<&str>) -> Option<Watching> {
        if !watches::counts(&info.resource, node) {
            return None;
        }
        let watched = watched(info);
        self.watches.lock().open(watched.clone());
        Some(Watching { control: self.clone(), watched })
    }

    /// Sets the gauges, when somebody asks for metrics.
    pub(crate) fn observe(&self) {
        meter::observe(&self.inner.lock().flow);
    }

    /// A debug page; `None` where there is no such page.
    pub(crate) fn page(&self, name: &str, query: &Query) -> Option<String> {
        let inner = self.inner.lock();
        let time = |at: Duration| self.began_at.saturating_add(at).unwrap_or(self.began_at).to_string();
        match name {
            "dump_priority_levels" => Some(dump::priority_levels(&inner.flow)),
            "dump_queues" => Some(dump::queues(&inner.flow)),
            "dump_requests" => {
                let details = !query.text("includeRequestDetails").is_empty();
                Some(dump::requests(&inner.flow, details, &time))
            }
            _ => None,
        }
    }
}

/// Where the debug pages are.
pub(crate) const PAGES: &str = "/debug/api_priority_and_fairness/";

struct Entered {
    ticket: Ticket,
    /// `None`: at once.
    served: Option<oneshot::Receiver<()>>,
    /// Of its queue, itself included.
    length: Option<usize>,
    /// Whether its level has limits at all.
    queued: bool,
}

impl Inner {
    /// Whoever is not there any more gives its seat back by itself.
    fn wake(&mut self, served: Vec<Ticket>) {
        for ticket in served {
            if let Some(wake) = self.waiting.remove(&ticket) {
                let _: Result<(), ()> = wake.send(());
            }
        }
    }
}

/// One watch that is open.
pub(crate) struct Watching {
    control: Arc<FlowControl>,
    watched: Watched,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.control.watches.lock().close(&self.watched);
    }
}

fn watched(info: &RequestInfo) -> Watched {
    Watched {
        group: info.group.clone(),
        resource: info.resource.clone(),
        namespace: info.namespace.clone(),
        name: info.name.clone(),
    }
}

/// A quarter of the time it may take.
fn wait_limit(asked: &Asked<'_>) -> Duration {
    (asked.deadline / WAIT_PART).min(MAX_WAIT)
}

fn digest<'a>(asked: &Asked<'a>) -> Digest<'a> {
    let RequestInfo { is_resource, verb, group, resource, subresource, namespace, path, .. } = asked.info;
    Digest { user: asked.user, is_resource: *is_resource, verb, group, resource, subresource, namespace, path }
}

fn origin(asked: &Asked<'_>, class: &Class) -> Origin {
    let info = asked.info;
    let api_version = match (info.group.as_str(), info.version.as_str()) {
        ("", version) => version.to_owned(),
        (group, version) => format!("{group}/{version}"),
    };
    Origin {
        schema: class.schema.name.as_str().into(),
        distinguisher: class.distinguisher.clone(),
        user: asked.user.name.clone(),
        verb: info.verb.clone(),
        path: info.path.clone(),
        namespace: info.namespace.clone(),
        name: info.name.clone(),
        api_version,
        resource: info.resource.clone(),
        subresource: info.subresource.clone(),
    }
}
