//! All priority levels of a server: their limits, what is lent, and the way of a request through them. Matches
//! `k8s.io/apiserver/pkg/util/flowcontrol/apf_controller.go`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::allocate::{Wish, allocate};
use crate::bootstrap::{self, CATCH_ALL, EXEMPT};
use crate::classify::{self, Class, Digest};
use crate::config::{FlowSchema, PriorityLevel};
use crate::demand::Demand;
use crate::queue_set::{Origin, QueueSet, Queuing};
use crate::work::{SeatSeconds, Work};
use crate::{Ticket, shuffle};

/// A request is at most this part of its level's nominal seats wide.
const MAX_SEATS_PART: f64 = 0.15;

/// Why a request is refused, in the words of upstream's metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    ConcurrencyLimit,
    QueueFull,
    TimeOut,
}

impl RejectReason {
    pub fn as_str(self) -> &'static str {
        match self {
            RejectReason::ConcurrencyLimit => "concurrency-limit",
            RejectReason::QueueFull => "queue-full",
            RejectReason::TimeOut => "time-out",
        }
    }
}

/// Seats of a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub nominal: u64,
    /// What it has left when it lends all it may.
    pub min: u64,
    /// What it has when it borrows all it may.
    pub max: u64,
    /// What it has now.
    pub current: u64,
}

struct Level {
    config: PriorityLevel,
    /// Nobody wants it any more; it goes when it is empty.
    quiescing: bool,
    limits: Limits,
    max_seats: Option<u64>,
    demand: Demand,
    target: f64,
    queues: QueueSet,
}

/// A level as metrics and debug pages show it.
pub struct LevelView<'a> {
    pub name: &'a str,
    pub quiescing: bool,
    pub limits: Limits,
    pub demand: Demand,
    pub target: f64,
    pub queues: &'a QueueSet,
    pub current_r: SeatSeconds,
}

/// What became of a request that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    Executing,
    Waiting,
    Rejected(RejectReason),
}

pub struct Flow {
    /// Seats of all levels together.
    server_limit: u64,
    schemas: Vec<Arc<FlowSchema>>,
    levels: BTreeMap<Arc<str>, Level>,
    /// Upstream's `seat_fair_frac`.
    fair: f64,
}

impl Flow {
    /// With the two levels that are always there.
    pub fn new(server_limit: u64, now: Duration) -> Self {
        let mut flow = Self { server_limit, schemas: Vec::new(), levels: BTreeMap::new(), fair: 0.0 };
        let served = flow.configure(Vec::new(), Vec::new(), now);
        debug_assert!(served.is_empty(), "nobody is there yet");
        flow
    }

    /// Takes over what the API objects say. Schemas whose level is not there are not used, and those that are always
    /// there are added where they are missing. Answers who is served now.
    pub fn configure(&mut self, levels: Vec<PriorityLevel>, schemas: Vec<FlowSchema>, now: Duration) -> Vec<Ticket> {
        let mut wanted: BTreeMap<Arc<str>, PriorityLevel> =
            levels.into_iter().map(|level| (level.name.as_str().into(), level)).collect();
        let mut usable: Vec<Arc<FlowSchema>> =
            schemas.into_iter().filter(|schema| wanted.contains_key(schema.level.as_str())).map(Arc::new).collect();
        for name in [EXEMPT, CATCH_ALL] {
            wanted.entry(name.into()).or_insert_with(|| bootstrap::level(name));
            if !usable.iter().any(|schema| schema.name == name) {
                usable.push(Arc::new(bootstrap::schema(name)));
            }
        }
        classify::sort(&mut usable);
        self.schemas = usable;
        self.replace_levels(wanted, now);
        self.divide(now)
    }

    /// Levels nobody wants any more stay until they are empty.
    fn replace_levels(&mut self, mut wanted: BTreeMap<Arc<str>, PriorityLevel>, now: Duration) {
        self.levels.retain(|name, level| {
            level.quiescing = !wanted.contains_key(name);
            if let Some(config) = wanted.remove(name) {
                level.config = config;
            }
            !(level.quiescing && level.queues.is_idle())
        });
        for (name, config) in wanted {
            let queues = QueueSet::new(config.queuing, 0, now);
            let (limits, demand) = (Limits::default(), Demand::default());
            let level = Level { config, quiescing: false, limits, max_seats: None, demand, target: 0.0, queues };
            self.levels.insert(name, level);
        }
    }

    /// Nominal limits of all levels from their shares, then what is lent.
    fn divide(&mut self, now: Duration) -> Vec<Ticket> {
        let shares: u64 = self.levels.values().map(|level| level.config.shares).sum();
        let server_limit = self.server_limit;
        for level in self.levels.values_mut() {
            // Rounded up, so that a level with any shares has a seat.
            let nominal = (server_limit * level.config.shares).div_ceil(shares.max(1));
            let percent = |percent: u64| (nominal * percent + 50) / 100;
            let lendable = percent(level.config.lendable_percent).min(nominal);
            let borrowed = level.config.borrowing_percent.map_or(server_limit, percent);
            let known = level.limits.max > 0;
            let current = if known { level.limits.current } else { nominal - lendable / 2 };
            level.limits = Limits { nominal, min: nominal - lendable, max: nominal + borrowed, current };
            level.max_seats = max_seats(level.config.queuing, nominal);
        }
        self.lend(now)
    }

    /// Once in a period: seats go from levels that do not use them to those that want more. Answers who is served
    /// now.
    pub fn adjust(&mut self, now: Duration) -> Vec<Ticket> {
        let before = self.levels.len();
        self.levels.retain(|_, level| !(level.quiescing && level.queues.is_idle()));
        if self.levels.len() != before {
            return self.divide(now);
        }
        self.lend(now)
    }

    fn lend(&mut self, now: Duration) -> Vec<Ticket> {
        for level in self.levels.values_mut() {
            let observed = level.queues.demand.take(now);
            level.demand.update(&observed);
        }
        let lent = self.lent();
        let mut served = Vec::new();
        for (level, current) in self.levels.values_mut().zip(lent) {
            level.limits.current = current;
            served.extend(level.queues.configure(level.config.queuing, current, now));
        }
        served
    }

    /// The current limit of each level, in their order.
    fn lent(&mut self) -> Vec<u64> {
        let total: u64 = self.levels.values().map(|level| level.limits.nominal).sum();
        let exempt = |level: &&Level| level.config.is_exempt();
        let reserved: u64 = self.levels.values().filter(exempt).map(Level::floor).sum();
        let left = total.saturating_sub(reserved);
        let limited = || self.levels.values().filter(|level| !level.config.is_exempt());
        let (least, floors) =
            limited().fold((0, 0), |(least, floors), level| (least + level.limits.min, floors + level.floor()));
        let wishes: Vec<Wish> = limited().map(Level::wish).collect();
        self.fair = 0.0;
        let shares = if left > floors { self.shares(total, &wishes) } else { None };
        let mut next = shares.map(Vec::into_iter);
        let (spare, asked) = (left.saturating_sub(least), floors - least);
        let fallback = |level: &Level| match left > floors {
            // The bounds contradict each other: nothing changes.
            true => level.limits.current,
            // What is left is divided as it is needed.
            false if left > least => level.limits.min + scaled(level.floor() - level.limits.min, spare, asked),
            false => level.limits.min,
        };
        let mut all = Vec::with_capacity(self.levels.len());
        for level in self.levels.values_mut() {
            level.target = level.wish().target;
            let share = if level.config.is_exempt() { None } else { next.as_mut().and_then(Iterator::next) };
            all.push(match share {
                _ if level.config.is_exempt() => level.floor(),
                Some(share) => share,
                None => fallback(level),
            });
        }
        all
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seats")]
    fn shares(&mut self, total: u64, wishes: &[Wish]) -> Option<Vec<u64>> {
        let (shares, fair) = allocate(total as f64, wishes)?;
        self.fair = fair;
        Some(shares.into_iter().map(|share| share.round() as u64).collect())
    }

    /// What a request is. There is always a schema: the last takes everything.
    pub fn classify(&self, digest: &Digest<'_>) -> Class {
        let found = self.schemas.iter().find(|schema| classify::matches(schema, digest));
        let last = || self.schemas.iter().find(|schema| schema.name == CATCH_ALL).cloned();
        let schema = found.cloned().or_else(last).unwrap_or_else(|| Arc::new(bootstrap::schema(CATCH_ALL)));
        let level = self.levels.get_key_value(schema.level.as_str());
        let queues = match level.map(|(_, level)| level.config.queuing) {
            Some(Queuing::Queue { queues, .. }) => queues,
            _ => 0,
        };
        let distinguisher = if queues > 1 { classify::distinguisher(&schema, digest) } else { String::new() };
        Class {
            hash: if queues > 1 { shuffle::hash(&schema.name, &distinguisher) } else { 0 },
            level: level.map_or_else(|| CATCH_ALL.into(), |(name, _)| name.clone()),
            level_uid: level.map_or_else(String::new, |(_, level)| level.config.uid.clone()),
            exempt: level.is_some_and(|(_, level)| level.config.is_exempt()),
            max_seats: level.and_then(|(_, level)| level.max_seats),
            distinguisher,
            schema,
        }
    }

    /// A request arrives at its level. The second are all who are served now; perhaps it is one of them.
    pub fn start(
        &mut self,
        ticket: Ticket,
        class: &Class,
        origin: Arc<Origin>,
        work: Work,
        now: Duration,
    ) -> (Started, Vec<Ticket>) {
        // A level may have gone since the request was classified.
        let name = if self.levels.contains_key(&class.level) { &*class.level } else { CATCH_ALL };
        let Some(level) = self.levels.get_mut(name) else {
            return (Started::Rejected(RejectReason::ConcurrencyLimit), Vec::new());
        };
        match level.queues.start(ticket, origin, work, class.hash, now) {
            Err(reason) => (Started::Rejected(reason), Vec::new()),
            Ok(served) if served.contains(&ticket) => (Started::Executing, served),
            Ok(served) => (Started::Waiting, served),
        }
    }

    fn level_of(&mut self, ticket: Ticket) -> Option<&mut Level> {
        self.levels.values_mut().find(|level| level.queues.requests.contains_key(&ticket))
    }

    /// Of the queue that a request waits in.
    pub fn queue_length(&self, ticket: Ticket) -> Option<usize> {
        let queues = self.levels.values().map(|level| &level.queues);
        queues
            .filter_map(|queues| Some((queues, queues.requests.get(&ticket)?.queue?)))
            .map(|(queues, at)| queues.queues[at].waiting.len())
            .next()
    }

    /// See [`QueueSet::give_up`].
    pub fn give_up(&mut self, ticket: Ticket, now: Duration) -> bool {
        self.level_of(ticket).is_some_and(|level| level.queues.give_up(ticket, now))
    }

    /// See [`QueueSet::finish`].
    pub fn finish(&mut self, ticket: Ticket, now: Duration) -> (Vec<Ticket>, Option<Duration>) {
        self.level_of(ticket).map_or_else(Default::default, |level| level.queues.finish(ticket, now))
    }

    /// Seats whose time has come become free. Answers who is served now.
    pub fn tick(&mut self, now: Duration) -> Vec<Ticket> {
        self.levels.values_mut().flat_map(|level| level.queues.tick(now)).collect()
    }

    pub fn fair_fraction(&self) -> f64 {
        self.fair
    }

    pub fn schemas(&self) -> impl Iterator<Item = &FlowSchema> {
        self.schemas.iter().map(Arc::as_ref)
    }

    /// By name.
    pub fn levels(&self) -> impl Iterator<Item = LevelView<'_>> {
        self.levels.iter().map(|(name, level)| LevelView {
            name,
            quiescing: level.quiescing,
            limits: level.limits,
            demand: level.demand,
            target: level.target,
            queues: &level.queues,
            current_r: level.queues.current_r(),
        })
    }
}

impl Level {
    /// What it keeps in the next period: what it used in the last, as far as that is its own; exempt ones all of it.
    fn floor(&self) -> u64 {
        let used = self.demand.high_watermark;
        let own = if self.config.is_exempt() { used } else { used.min(self.limits.nominal) };
        own.max(self.limits.min)
    }

    #[expect(clippy::cast_precision_loss, reason = "seats are few")]
    fn wish(&self) -> Wish {
        let lower = self.floor() as f64;
        Wish { lower, upper: self.limits.max as f64, target: self.demand.smoothed.max(lower) }
    }
}

/// `part` of `of`, rounded.
fn scaled(amount: u64, part: u64, of: u64) -> u64 {
    (amount * part + of / 2).checked_div(of).unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seats")]
fn max_seats(queuing: Queuing, nominal: u64) -> Option<u64> {
    let Queuing::Queue { hand, .. } = queuing else { return None };
    let part = (nominal as f64 * MAX_SEATS_PART).ceil() as u64;
    Some(part.min(nominal / hand.max(1) as u64).max(1))
}
