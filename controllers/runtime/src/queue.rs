//! Work queues: every key at most once in the queue and never twice at work, with delays and back-off.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics;

/// Back-off of a failing key: doubles from the first to the last.
const FIRST_RETRY: Duration = Duration::from_millis(5);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Keys looked at lately are forgotten in bulk, when there are so many.
const RECENT: usize = 256;

/// A queue of keys. Keys are few: at most one entry per object.
pub(crate) struct Queue<K> {
    name: &'static str,
    state: Mutex<State<K>>,
    wake: Notify,
}

struct State<K> {
    ready: VecDeque<K>,
    /// In `ready`, or due again once done; with the time they were added.
    dirty: HashMap<K, Instant>,
    working: HashSet<K>,
    later: BTreeMap<(Instant, u64), K>,
    /// The soonest entry of each key in `later`.
    due: HashMap<K, (Instant, u64)>,
    failures: HashMap<K, u32>,
    sequence: u64,
    /// From the begin of one look at a key to the next, at least.
    pace: Duration,
    /// When keys were looked at last, where that matters still.
    recent: HashMap<K, Instant>,
    /// Size at which `recent` is tidied.
    tidy_at: usize,
}

impl<K: Clone + Eq + Hash> Queue<K> {
    /// `pace`: the least time from one look at a key to the next.
    pub(crate) fn new(name: &'static str, pace: Duration) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashMap::new(),
            working: HashSet::new(),
            later: BTreeMap::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
            sequence: 0,
            pace,
            recent: HashMap::new(),
            tidy_at: RECENT,
        };
        Self { name, state: Mutex::new(state), wake: Notify::new() }
    }

    pub(crate) fn add(&self, key: K) {
        let mut state = self.state.lock();
        if state.add(key, Instant::now()) {
            metrics::added(self.name, state.ready.len());
            self.wake.notify_one();
        }
    }

    /// Adds the key after a while; a sooner wish for the same key wins.
    pub(crate) fn add_after(&self, key: K, after: Duration) {
        if after.is_zero() {
            return self.add(key);
        }
        self.state.lock().delay(key, Instant::now() + after);
        self.wake.notify_one();
    }

    /// Adds the key after its back-off, which grows with every failure until [`Self::forget`].
    pub(crate) fn retry(&self, key: K) {
        metrics::retried(self.name);
        let failures = {
            let mut state = self.state.lock();
            let count = state.failures.entry(key.clone()).or_insert(0);
            *count += 1;
            *count
        };
        self.add_after(key, back_off(failures));
    }

    pub(crate) fn forget(&self, key: &K) {
        self.state.lock().failures.remove(key);
    }

    /// The next key; it is being worked on until [`Self::done`]. Cancel-safe.
    pub(crate) async fn next(&self) -> K {
        loop {
            let wait = {
                let mut state = self.state.lock();
                state.promote(Instant::now());
                if let Some((key, added)) = state.take() {
                    metrics::taken(self.name, state.ready.len(), added.elapsed());
                    if !state.ready.is_empty() {
                        self.wake.notify_one();
                    }
                    return key;
                }
                state.later.first_key_value().map(|((at, _), _)| *at)
            };
            match wait {
                Some(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = self.wake.notified() => {}
                    }
                }
                None => self.wake.notified().await,
            }
        }
    }

    /// Ends the work on a key. When it was added meanwhile it is queued again.
    pub(crate) fn done(&self, key: &K, began: Instant) {
        let mut state = self.state.lock();
        metrics::worked(self.name, began.elapsed());
        if state.finish(key, began) {
            metrics::depth(self.name, state.ready.len());
            self.wake.notify_one();
        }
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    /// Whether a queue or a delay got longer.
    fn add(&mut self, key: K, now: Instant) -> bool {
        if self.dirty.contains_key(&key) {
            return false;
        }
        if self.working.contains(&key) {
            self.dirty.insert(key, now);
        } else {
            self.enqueue(key, now, now);
        }
        true
    }
    /// Now, or when the key has rested. `added`: since when it waits.
    fn enqueue(&mut self, key: K, added: Instant, now: Instant) {
        match self.recent.get(&key).map(|began| *began + self.pace).filter(|until| *until > now) {
            Some(until) => self.delay(key, until),
            None => {
                self.dirty.insert(key.clone(), added);
                self.ready.push_back(key);
            }
        }
    }
    /// Ends the work on a key; whether it is due again.
    fn finish(&mut self, key: &K, began: Instant) -> bool {
        self.working.remove(key);
        if !self.pace.is_zero() {
            self.recent.insert(key.clone(), began);
            self.tidy();
        }
        let again = self.dirty.remove(key);
        if let Some(added) = again {
            self.enqueue(key.clone(), added, Instant::now());
        }
        again.is_some()
    }
    fn tidy(&mut self) {
        if self.recent.len() < self.tidy_at {
            return;
        }
        let pace = self.pace;
        self.recent.retain(|_, began| began.elapsed() < pace);
        self.tidy_at = RECENT.max(self.recent.len() * 2);
    }
    fn take(&mut self) -> Option<(K, Instant)> {
        let key = self.ready.pop_front()?;
        let added = self.dirty.remove(&key).unwrap_or_else(Instant::now);
        self.working.insert(key.clone());
        Some((key, added))
    }
    fn delay(&mut self, key: K, at: Instant) {
        if let Some(own) = self.due.get(&key).copied() {
            if own.0 <= at {
                return;
            }
            self.later.remove(&own);
        }
        self.sequence += 1;
        self.due.insert(key.clone(), (at, self.sequence));
        self.later.insert((at, self.sequence), key);
    }
    fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.later.first_entry().filter(|entry| entry.key().0 <= now) {
            let key = entry.remove();
            self.due.remove(&key);
            self.add(key, now);
        }
    }
}

fn back_off(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LAST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn try_next(queue: &Queue<u32>) -> Option<u32> {
        tokio::time::timeout(Duration::from_millis(1), queue.next()).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_queued_once_and_worked_on_once() {
        let queue = Queue::new("test", Duration::ZERO);
        queue.add(1);
        queue.add(1);
        queue.add(2);
        assert_eq!((try_next(&queue).await, try_next(&queue).await, try_next(&queue).await), (Some(1), Some(2), None));
        queue.add(1);
        assert_eq!(try_next(&queue).await, None, "1 is being worked on");
        queue.done(&1, Instant::now());
        assert_eq!(try_next(&queue).await, Some(1));
        queue.done(&1, Instant::now());
        assert_eq!(try_next(&queue).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_quickly_is_looked_at_together() {
        let queue = Queue::new("test", Duration::from_millis(250));
        let (began, mut looks) = (Instant::now(), Vec::new());
        for change in 0..1000 {
            queue.add(1);
            if change == 500 {
                queue.add(2);
            }
            if let Some(key) = try_next(&queue).await {
                looks.push((key, began.elapsed().as_millis() / 250));
                queue.done(&key, Instant::now());
            }
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let of = |wanted| looks.iter().filter(|(key, _)| *key == wanted).map(|(_, at)| *at).collect::<Vec<_>>();
        let quarters = u128::try_from(of(1).len()).expect("few");
        assert_eq!(of(1), (0..quarters).collect::<Vec<_>>(), "at once, then once in each quarter of a second");
        assert_eq!(of(2).len(), 1, "another key does not wait");
        // The last change is not lost, and memory of keys that rest is bounded.
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(try_next(&queue).await, Some(1));
        queue.done(&1, Instant::now());
        for key in 10..5000 {
            queue.add(key);
            let key = queue.next().await;
            queue.done(&key, Instant::now());
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        assert!(queue.state.lock().recent.len() <= RECENT);
    }

    #[tokio::test(start_paused = true)]
    async fn delays_keep_the_soonest_and_failures_back_off() {
        let queue = Queue::new("test", Duration::ZERO);
        queue.add_after(1, Duration::from_secs(10));
        queue.add_after(1, Duration::from_secs(1));
        queue.add_after(1, Duration::from_secs(5));
        let began = Instant::now();
        assert_eq!((queue.next().await, began.elapsed().as_secs()), (1, 1));
        queue.done(&1, began);
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(try_next(&queue).await, None, "the later wishes are gone");
        assert_eq!((back_off(1), back_off(3), back_off(99)), (FIRST_RETRY, FIRST_RETRY * 4, LAST_RETRY));
    }
}
