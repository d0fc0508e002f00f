//! Turns by key: who wants one waits until those who came before have had theirs. Only keys of somebody who has a turn
//! or waits for one are held.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Mutex as Turnstile, OwnedMutexGuard};

/// `N` is what one who had a turn tells the next.
pub(crate) struct Turns<K, N>(Mutex<HashMap<K, Arc<Turnstile<N>>>>);

/// A turn, or the wait for it.
pub(crate) struct Turn<'a, K: Eq + Hash, N> {
    turns: &'a Turns<K, N>,
    key: K,
    /// `None` while it has not begun, and when it ends.
    told: Option<OwnedMutexGuard<N>>,
}

impl<K, N> Default for Turns<K, N> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, N: Default> Turns<K, N> {
    pub(crate) async fn take(&self, key: K) -> Turn<'_, K, N>
    where
        K: Clone,
    {
        let turnstile = self.0.lock().entry(key.clone()).or_default().clone();
        let mut turn = Turn { turns: self, key, told: None };
        // When it is given up here the turnstile goes first, so that the turn's end sees that nobody is left.
        turn.told = Some(turnstile.lock_owned().await);
        turn
    }

    /// Whether somebody has a turn or waits for one.
    pub(crate) fn is_taken(&self, key: &K) -> bool {
        self.0.lock().contains_key(key)
    }
}

impl<K: Eq + Hash, N> Turn<'_, K, N> {
    pub(crate) fn told(&self) -> Option<&N> {
        self.told.as_deref()
    }

    pub(crate) fn told_mut(&mut self) -> Option<&mut N> {
        self.told.as_deref_mut()
    }
}

impl<K: Eq + Hash, N> Drop for Turn<'_, K, N> {
    fn drop(&mut self) {
        let mut turns = self.turns.0.lock();
        drop(self.told.take());
        // Nobody waits: a new turn is taken under this lock only.
        if turns.get(&self.key).is_some_and(|own| Arc::strong_count(own) == 1) {
            turns.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_come_in_order_and_leave_nothing_behind() {
        let turns: Turns<&str, Vec<u32>> = Turns::default();
        let first = turns.take("k").await;
        assert!(turns.is_taken(&"k") && !turns.is_taken(&"other"));
        assert!(tokio::time::timeout(Duration::from_secs(1), turns.take("k")).await.is_err(), "it is the first one's");
        let after = |number| {
            let turns = &turns;
            async move {
                let mut turn = turns.take("k").await;
                let told = turn.told_mut().expect("it has begun");
                told.push(number);
                told.clone()
            }
        };
        let end = async { drop(first) };
        let (two, three, ()) = tokio::join!(after(2), after(3), end);
        assert_eq!((two, three), (vec![2], vec![2, 3]));
        assert!(!turns.is_taken(&"k"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_last_leaves_nothing_behind() {
        let turns: Turns<&str, ()> = Turns::default();
        let first = turns.take("k").await;
        let mut second = Box::pin(turns.take("k"));
        assert!(futures::poll!(second.as_mut()).is_pending());
        drop(first);
        assert!(turns.is_taken(&"k"), "the second waits");
        drop(second);
        assert!(!turns.is_taken(&"k"));
    }
}
