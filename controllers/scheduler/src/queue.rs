//! Pending pods: by priority and age, with back-off after a failure and a place to wait for better times.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::filters::FilterSet;
use crate::pod::PodInfo;

const FIRST_BACKOFF: SignedDuration = SignedDuration::from_secs(1);
const LAST_BACKOFF: SignedDuration = SignedDuration::from_secs(10);
/// What waits for an event is tried again after so long without one.
const UNSCHEDULABLE_AT_MOST: SignedDuration = SignedDuration::from_mins(5);

/// A pod on its way to a node.
#[derive(Clone, Debug)]
pub struct Pending {
    pub pod: Arc<PodInfo>,
    pub attempts: u32,
    /// When it came into the queue.
    pub since: Timestamp,
    last_attempt: Timestamp,
    rejected_by: FilterSet,
}

impl Pending {
    fn ready_at(&self) -> Timestamp {
        let doubled = FIRST_BACKOFF.saturating_mul(1 << self.attempts.saturating_sub(1).min(10));
        self.last_attempt + doubled.min(LAST_BACKOFF)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueSizes {
    pub active: usize,
    pub backoff: usize,
    pub unschedulable: usize,
    pub gated: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Active,
    Backoff,
    Unschedulable,
    /// Has scheduling gates: nobody looks at it.
    Gated,
}

type Uid = Arc<str>;

#[derive(Default)]
pub struct Queue {
    pods: HashMap<Uid, (Pending, Place)>,
    /// Highest priority first, then oldest.
    active: BTreeSet<(Reverse<i32>, Timestamp, Uid)>,
    backoff: BTreeSet<(Timestamp, Uid)>,
    gated: usize,
    /// Those that wait for an event: most events concern few pods, and must not look at all.
    unschedulable: HashSet<Uid>,
}

fn is_gated(pod: &PodInfo) -> bool {
    let gates = pod.pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref());
    gates.is_some_and(|gates| !gates.is_empty())
}

impl Queue {
    pub fn sizes(&self) -> QueueSizes {
        let (active, backoff) = (self.active.len(), self.backoff.len());
        QueueSizes { active, backoff, unschedulable: self.unschedulable.len(), gated: self.gated }
    }

    /// A new pod, or a change of one that waits: that may make it schedulable.
    pub fn put(&mut self, pod: Arc<PodInfo>, now: Timestamp) {
        let gated = is_gated(&pod);
        let fresh =
            Pending { pod: pod.clone(), attempts: 0, since: now, last_attempt: now, rejected_by: FilterSet::default() };
        let before = self.take(&pod.uid);
        let (pending, place) =
            before.map_or((fresh, Place::Active), |(before, place)| (Pending { pod, ..before }, place));
        match place {
            _ if gated => self.insert(pending, Place::Gated),
            Place::Active | Place::Gated => self.insert(pending, Place::Active),
            Place::Backoff | Place::Unschedulable => self.wake(pending, now),
        }
    }

    pub fn remove(&mut self, uid: &str) -> Option<Pending> {
        self.take(uid).map(|(pending, _)| pending)
    }
    pub fn get(&self, uid: &str) -> Option<&Pending> {
        self.pods.get(uid).map(|(pending, _)| pending)
    }

    /// The next pod to try.
    pub fn pop(&mut self, now: Timestamp) -> Option<Pending> {
        self.promote(now);
        let (_, _, uid) = self.active.first()?.clone();
        let (mut pending, _) = self.take(&uid)?;
        pending.attempts = pending.attempts.saturating_add(1);
        pending.last_attempt = now;
        Some(pending)
    }

    /// When the next pod becomes ready by itself.
    pub fn next_ready(&self) -> Option<Timestamp> {
        self.backoff.first().map(|(at, _)| *at)
    }

    /// No node fits: the pod waits for something that concerns these filters.
    pub fn unschedulable(&mut self, pending: Pending, rejected_by: FilterSet) {
        self.insert(Pending { rejected_by, ..pending }, Place::Unschedulable);
    }
    /// Something went wrong: try again after the back-off.
    pub fn failed(&mut self, pending: Pending) {
        self.insert(pending, Place::Backoff);
    }

    /// Something happened that concerns these filters.
    pub fn happened(&mut self, concerns: FilterSet, now: Timestamp) {
        let wakes = |pending: &Pending| pending.rejected_by.intersects(concerns) || pending.rejected_by.is_empty();
        self.wake_all(now, wakes);
    }

    /// Wakes what has waited too long for an event.
    pub fn flush(&mut self, now: Timestamp) {
        self.wake_all(now, |pending| now.duration_since(pending.last_attempt) > UNSCHEDULABLE_AT_MOST);
    }

    fn wake_all(&mut self, now: Timestamp, which: impl Fn(&Pending) -> bool) {
        let woken = |uid: &&Uid| self.pods.get(*uid).is_some_and(|(pending, _)| which(pending));
        let uids: Vec<_> = self.unschedulable.iter().filter(woken).cloned().collect();
        for uid in uids {
            if let Some((pending, _)) = self.take(&uid) {
                self.wake(pending, now);
            }
        }
    }

    fn wake(&mut self, pending: Pending, now: Timestamp) {
        let place = if pending.ready_at() <= now { Place::Active } else { Place::Backoff };
        self.insert(pending, place);
    }

    fn promote(&mut self, now: Timestamp) {
        while let Some((_, uid)) = self.backoff.first().filter(|(at, _)| *at <= now).cloned() {
            if let Some((pending, _)) = self.take(&uid) {
                self.insert(pending, Place::Active);
            }
        }
    }

    fn insert(&mut self, pending: Pending, place: Place) {
        let uid = pending.pod.uid.clone();
        match place {
            Place::Active => {
                self.active.insert((Reverse(pending.pod.priority), pending.since, uid.clone()));
            }
            Place::Backoff => {
                self.backoff.insert((pending.ready_at(), uid.clone()));
            }
            Place::Unschedulable => {
                self.unschedulable.insert(uid.clone());
            }
            Place::Gated => self.gated += 1,
        }
        self.pods.insert(uid, (pending, place));
    }

    fn take(&mut self, uid: &str) -> Option<(Pending, Place)> {
        let (uid, (pending, place)) = self.pods.remove_entry(uid)?;
        match place {
            Place::Active => {
                self.active.remove(&(Reverse(pending.pod.priority), pending.since, uid));
            }
            Place::Backoff => {
                self.backoff.remove(&(pending.ready_at(), uid));
            }
            Place::Unschedulable => {
                self.unschedulable.remove(&uid);
            }
            Place::Gated => self.gated -= 1,
        }
        Some((pending, place))
    }
}
