//! The seats and queues of one priority level: fair queuing for requests, whose length is known only when they end.
//!
//! Each queue is served as if all that have something were served at the same rate, and next comes the head that would
//! then be done first. A dispatched request is taken to last [`ESTIMATED`]; when it ends, its queue is charged for
//! what it really took. Matches `k8s.io/apiserver/pkg/util/flowcontrol/fairqueuing/queueset`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::demand::Integrator;
use crate::shuffle;
use crate::work::{SeatSeconds, Work};
use crate::{RejectReason, Ticket};

/// What a request is taken to last until it ends, as upstream.
const ESTIMATED: Duration = Duration::from_millis(3);

/// What happens to requests that find no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queuing {
    /// There is always a seat.
    Exempt,
    /// They are refused.
    Reject,
    Queue {
        queues: usize,
        hand: usize,
        length: usize,
    },
}

/// Whose a request is, for debug pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub schema: Arc<str>,
    pub distinguisher: String,
    pub user: String,
    pub verb: String,
    pub path: String,
    pub namespace: String,
    pub name: String,
    /// `GROUP/VERSION`.
    pub api_version: String,
    pub resource: String,
    pub subresource: String,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub origin: Arc<Origin>,
    pub work: Work,
    total: SeatSeconds,
    /// `None`: it went through no queue.
    pub queue: Option<usize>,
    pub arrived: Duration,
    arrived_r: SeatSeconds,
    /// `None`: it waits.
    pub started: Option<Duration>,
}

#[derive(Clone, Debug, Default)]
pub struct Queue {
    pub waiting: VecDeque<Ticket>,
    pub executing: BTreeSet<Ticket>,
    /// Of the executing ones and of those that linger.
    pub seats_in_use: u64,
    /// Of the waiting ones.
    pub waiting_work: SeatSeconds,
    pub next_dispatch_r: SeatSeconds,
}

/// Seats that stay taken after a request has ended.
#[derive(Clone, Debug)]
struct Lingering {
    seats: u64,
    queue: Option<usize>,
}

#[derive(Clone, Debug)]
pub struct QueueSet {
    queuing: Queuing,
    limit: u64,
    pub queues: Vec<Queue>,
    pub requests: BTreeMap<Ticket, Request>,
    lingering: BTreeMap<(Duration, Ticket), Lingering>,
    /// Progress of virtual time: what a queue that always had something would have been given.
    current_r: SeatSeconds,
    at: Duration,
    robin: usize,
    enqueues: usize,
    pub waiting: usize,
    pub executing: usize,
    pub seats_in_use: u64,
    pub seats_waiting: u64,
    pub counts: Counts,
    pub demand: Integrator,
}

/// Since the level is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub dispatched: u64,
    pub rejected: u64,
    pub cancelled: u64,
}

impl QueueSet {
    pub fn new(queuing: Queuing, limit: u64, now: Duration) -> Self {
        let mut set = Self {
            queuing,
            limit,
            queues: Vec::new(),
            requests: BTreeMap::new(),
            lingering: BTreeMap::new(),
            current_r: SeatSeconds::default(),
            at: now,
            robin: 0,
            enqueues: 0,
            waiting: 0,
            executing: 0,
            seats_in_use: 0,
            seats_waiting: 0,
            counts: Counts::default(),
            demand: Integrator::new(now),
        };
        set.grow();
        set
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    pub fn is_idle(&self) -> bool {
        self.waiting == 0 && self.executing == 0
    }

    /// Other rules or another limit from now on. Queues that are too many are served until they are empty. Answers
    /// who is served now.
    pub fn configure(&mut self, queuing: Queuing, limit: u64, now: Duration) -> Vec<Ticket> {
        self.sync(now);
        (self.queuing, self.limit) = (queuing, limit);
        self.grow();
        self.shrink();
        self.dispatch(now)
    }

    fn wanted_queues(&self) -> usize {
        match self.queuing {
            Queuing::Queue { queues, .. } => queues,
            Queuing::Exempt | Queuing::Reject => 0,
        }
    }

    fn grow(&mut self) {
        let wanted = self.wanted_queues().max(self.queues.len());
        self.queues.resize_with(wanted, Queue::default);
    }

    fn shrink(&mut self) {
        let idle = |queue: &Queue| queue.waiting.is_empty() && queue.executing.is_empty() && queue.seats_in_use == 0;
        while self.queues.len() > self.wanted_queues() && self.queues.last().is_some_and(idle) {
            self.queues.pop();
        }
        self.robin = if self.queues.is_empty() { 0 } else { self.robin % self.queues.len() };
    }

    /// Virtual time goes on as it did since the last change.
    fn sync(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        let active =
            self.queues.iter().filter(|queue| !queue.waiting.is_empty() || !queue.executing.is_empty()).count();
        let in_queues: u64 = self.queues.iter().map(|queue| queue.seats_in_use).sum();
        let wanted = (in_queues + self.seats_waiting).min(self.limit);
        self.current_r += SeatSeconds::shared(wanted, active as u64, passed);
    }

    fn note_demand(&mut self, now: Duration) {
        #[expect(clippy::cast_precision_loss, reason = "seats are few")]
        self.demand.set((self.seats_in_use + self.seats_waiting) as f64, now);
    }

    /// A request arrives: it is served, waits, or is refused. Answers who is served now; perhaps it is.
    pub fn start(
        &mut self,
        ticket: Ticket,
        origin: Arc<Origin>,
        work: Work,
        hash: u64,
        now: Duration,
    ) -> Result<Vec<Ticket>, RejectReason> {
        self.sync(now);
        let total = SeatSeconds::of(work.initial_seats, ESTIMATED) + SeatSeconds::of(work.final_seats, work.additional);
        let (arrived_r, queue) = (self.current_r, None);
        let request = Request { origin, work, total, queue, arrived: now, arrived_r, started: None };
        let served = match self.queuing {
            Queuing::Queue { queues, hand, length } => {
                let queue = self.choose(hash, queues, hand);
                if self.seats_in_use >= self.limit && self.queues[queue].waiting.len() >= length {
                    self.counts.rejected += 1;
                    return Err(RejectReason::QueueFull);
                }
                self.enqueue(ticket, Request { queue: Some(queue), ..request });
                self.dispatch(now)
            }
            Queuing::Reject if !self.accommodates(work.max_seats()) => {
                self.counts.rejected += 1;
                return Err(RejectReason::ConcurrencyLimit);
            }
            Queuing::Reject | Queuing::Exempt => {
                self.execute(ticket, request, now);
                vec![ticket]
            }
        };
        self.note_demand(now);
        Ok(served)
    }

    /// The queue of the hand with the least work; hands are looked through from another place each time, so that
    /// the first cards of overlapping hands are not preferred.
    fn choose(&mut self, hash: u64, queues: usize, hand: usize) -> usize {
        let hand = shuffle::deal(hash, queues, hand);
        let offset = self.enqueues % hand.len().max(1);
        self.enqueues = self.enqueues.wrapping_add(1);
        let order = (0..hand.len()).map(|at| hand[(offset + at) % hand.len()]);
        order.min_by_key(|queue| self.queues[*queue].waiting_work).unwrap_or(0)
    }

    fn enqueue(&mut self, ticket: Ticket, request: Request) {
        let Some(at) = request.queue else { return };
        let queue = &mut self.queues[at];
        if queue.waiting.is_empty() && queue.executing.is_empty() {
            queue.next_dispatch_r = self.current_r;
        }
        queue.waiting.push_back(ticket);
        queue.waiting_work += request.total;
        self.waiting += 1;
        self.seats_waiting += request.work.max_seats();
        self.requests.insert(ticket, request);
        self.bound(at);
    }

    /// A queue that did not use its share has not saved it up: nobody is served before they came.
    fn bound(&mut self, at: usize) {
        let queue = &mut self.queues[at];
        let head = queue.waiting.front().and_then(|ticket| self.requests.get(ticket));
        if let Some(head) = head {
            queue.next_dispatch_r = queue.next_dispatch_r.max(head.arrived_r);
        }
    }

    fn accommodates(&self, seats: u64) -> bool {
        match self.queuing {
            Queuing::Exempt => true,
            // Wider than there are seats: alone.
            _ if seats > self.limit => self.executing == 0,
            _ => self.seats_in_use + seats <= self.limit,
        }
    }

    /// Serves whom it can.
    fn dispatch(&mut self, now: Duration) -> Vec<Ticket> {
        let mut served = Vec::new();
        while self.waiting > 0 && self.seats_in_use < self.limit {
            let Some(ticket) = self.dispatch_one(now) else { break };
            served.push(ticket);
        }
        served
    }

    /// The queue whose head would be done first; of equal ones the next in turn.
    fn next_queue(&self) -> Option<usize> {
        let count = self.queues.len();
        let finish = |at: &usize| {
            let queue = &self.queues[*at];
            let head = self.requests.get(queue.waiting.front()?)?;
            Some((*at, queue.next_dispatch_r + head.total))
        };
        let order = (1..=count).map(|step| (self.robin + step) % count);
        order.filter_map(|at| finish(&at)).min_by_key(|(_, finish)| *finish).map(|(at, _)| at)
    }

    /// `None` where the next one needs more seats than are free: it is not overtaken.
    fn dispatch_one(&mut self, now: Duration) -> Option<Ticket> {
        let at = self.next_queue()?;
        let ticket = *self.queues[at].waiting.front()?;
        let mut request = self.requests.get(&ticket)?.clone();
        if !self.accommodates(request.work.max_seats()) {
            return None;
        }
        self.dequeue(ticket, &request);
        if request.work.final_seats > self.limit {
            let work = SeatSeconds::of(request.work.final_seats, request.work.additional);
            request.work.final_seats = self.limit;
            request.work.additional = work.per_seat(self.limit);
        }
        self.robin = at;
        let total = request.total;
        self.execute(ticket, request, now);
        self.queues[at].next_dispatch_r += total;
        self.bound(at);
        Some(ticket)
    }

    fn dequeue(&mut self, ticket: Ticket, request: &Request) {
        let Some(at) = request.queue else { return };
        let queue = &mut self.queues[at];
        queue.waiting.retain(|waiting| *waiting != ticket);
        queue.waiting_work -= request.total;
        self.waiting -= 1;
        self.seats_waiting -= request.work.max_seats();
    }

    fn execute(&mut self, ticket: Ticket, mut request: Request, now: Duration) {
        let seats = request.work.max_seats();
        request.started = Some(now);
        if let Some(at) = request.queue {
            self.queues[at].executing.insert(ticket);
            self.queues[at].seats_in_use += seats;
        }
        self.executing += 1;
        self.seats_in_use += seats;
        self.counts.dispatched += 1;
        self.requests.insert(ticket, request);
    }

    /// A request that waited too long, or whose client left. `false`: it is executing, or not there.
    pub fn give_up(&mut self, ticket: Ticket, now: Duration) -> bool {
        self.sync(now);
        if self.requests.get(&ticket).is_none_or(|request| request.started.is_some()) {
            return false;
        }
        let Some(request) = self.requests.remove(&ticket) else { return false };
        self.dequeue(ticket, &request);
        if let Some(at) = request.queue {
            self.bound(at);
        }
        self.counts.rejected += 1;
        self.counts.cancelled += 1;
        self.note_demand(now);
        true
    }

    /// A request has been answered. Answers who is served now, and when seats that it still holds become free.
    pub fn finish(&mut self, ticket: Ticket, now: Duration) -> (Vec<Ticket>, Option<Duration>) {
        self.sync(now);
        let Some(request) = self.requests.remove(&ticket) else { return (Vec::new(), None) };
        let Some(started) = request.started else {
            self.requests.insert(ticket, request);
            return (Vec::new(), None);
        };
        self.executing -= 1;
        if let Some(at) = request.queue {
            let work = |time: Duration| SeatSeconds::of(request.work.initial_seats, time);
            let (estimated, actual) = (work(ESTIMATED), work(now.saturating_sub(started)));
            let queue = &mut self.queues[at];
            queue.executing.remove(&ticket);
            queue.next_dispatch_r -= estimated - actual;
            self.bound(at);
        }
        let lingering = Lingering { seats: request.work.max_seats(), queue: request.queue };
        let free = now + request.work.additional;
        if free > now {
            self.lingering.insert((free, ticket), lingering);
        } else {
            self.release(&lingering);
        }
        self.note_demand(now);
        let served = self.dispatch(now);
        (served, (free > now).then_some(free))
    }

    fn release(&mut self, lingering: &Lingering) {
        self.seats_in_use -= lingering.seats;
        if let Some(at) = lingering.queue {
            self.queues[at].seats_in_use -= lingering.seats;
        }
        self.shrink();
    }

    /// Seats whose time has come become free. Answers who is served now.
    pub fn tick(&mut self, now: Duration) -> Vec<Ticket> {
        self.sync(now);
        while let Some(entry) = self.lingering.first_entry().filter(|entry| entry.key().0 <= now) {
            let lingering = entry.remove();
            self.release(&lingering);
        }
        self.note_demand(now);
        self.dispatch(now)
    }

    pub(crate) fn current_r(&self) -> SeatSeconds {
        self.current_r
    }
}
