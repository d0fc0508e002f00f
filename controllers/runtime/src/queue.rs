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
}

impl<K: Clone + Eq + Hash> Queue<K> {
    pub(crate) fn new(name: &'static str) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashMap::new(),
            working: HashSet::new(),
            later: BTreeMap::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
            sequence: 0,
        };
        Self { name, state: Mutex::new(state), wake: Notify::new() }
    }

    pub(crate) fn add(&self, key: K) {
        let mut state = self.state.lock();
        if state.add(key) {
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
        state.working.remove(key);
        metrics::worked(self.name, began.elapsed());
        if state.dirty.contains_key(key) {
            state.ready.push_back(key.clone());
            metrics::depth(self.name, state.ready.len());
            self.wake.notify_one();
        }
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    fn add(&mut self, key: K) -> bool {
        if self.dirty.contains_key(&key) {
            return false;
        }
        self.dirty.insert(key.clone(), Instant::now());
        if !self.working.contains(&key) {
            self.ready.push_back(key);
        }
        true
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
            self.add(key);
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
        let queue = Queue::new("test");
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
    async fn delays_keep_the_soonest_and_failures_back_off() {
        let queue = Queue::new("test");
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
