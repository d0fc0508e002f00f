//! Answers of others that are kept for a while, a bounded number of them.

use std::collections::HashMap;
use std::time::Instant;

use parking_lot::Mutex;

/// Under which an answer is kept: a SHA-256 of what was asked, so that no token is held.
pub(crate) type Key = [u8; 32];

/// Two generations: what was not asked for in one is forgotten with the next.
pub(crate) struct Replies<T> {
    kept: Mutex<Generations<T>>,
    /// Answers in a generation.
    max: usize,
}

struct Generations<T> {
    young: HashMap<Key, (T, Instant)>,
    old: HashMap<Key, (T, Instant)>,
}

impl<T: Clone> Replies<T> {
    pub(crate) fn new(max: usize) -> Self {
        Self { kept: Mutex::new(Generations { young: HashMap::new(), old: HashMap::new() }), max }
    }

    /// An answer that is still good `now`.
    pub(crate) fn get(&self, key: &Key, now: Instant) -> Option<T> {
        let mut kept = self.kept.lock();
        if let Some((value, until)) = kept.young.get(key) {
            return (*until > now).then(|| value.clone());
        }
        let (value, until) = kept.old.remove(key).filter(|(_, until)| *until > now)?;
        self.insert(&mut kept, *key, (value.clone(), until));
        Some(value)
    }

    pub(crate) fn put(&self, key: Key, value: T, until: Instant) {
        self.insert(&mut self.kept.lock(), key, (value, until));
    }

    fn insert(&self, kept: &mut Generations<T>, key: Key, entry: (T, Instant)) {
        if kept.young.len() >= self.max {
            kept.old = std::mem::take(&mut kept.young);
        }
        kept.young.insert(key, entry);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn answers_end_and_are_few() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let replies = Replies::new(2);
        let key = |number: u8| [number; 32];
        replies.put(key(1), "one", at(10));
        assert_eq!(replies.get(&key(1), at(9)), Some("one"));
        assert_eq!(replies.get(&key(1), at(10)), None);
        for number in 2..=5 {
            replies.put(key(number), "more", at(100));
        }
        assert_eq!(replies.get(&key(1), at(0)), None, "forgotten");
        assert_eq!(replies.get(&key(3), at(0)), Some("more"));
        let kept = replies.kept.lock();
        assert!(kept.young.len() + kept.old.len() <= 4);
    }
}
