//! How far this replica has applied, and who waits for it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use store_api::Revision;
use tokio::sync::oneshot;

/// A number that only grows, with waiters in order: an advance wakes those it satisfies, nobody else.
#[derive(Default)]
struct Mark {
    reached: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    by_number: BTreeMap<(u64, u64), oneshot::Sender<()>>,
    next: u64,
}

impl Mark {
    fn get(&self) -> u64 {
        self.reached.load(Ordering::Acquire)
    }

    fn advance(&self, to: u64) {
        if self.reached.fetch_max(to, Ordering::AcqRel) >= to {
            return;
        }
        let satisfied = {
            let mut waiting = self.waiting.lock();
            let later = waiting.by_number.split_off(&(to + 1, 0));
            std::mem::replace(&mut waiting.by_number, later)
        };
        for (_, waiter) in satisfied {
            waiter.send(()).ok();
        }
    }

    async fn wait(&self, number: u64) {
        let (key, wait) = {
            let mut waiting = self.waiting.lock();
            // Checked under the lock that `advance` takes after it has stored the number.
            if self.get() >= number {
                return;
            }
            let key = (number, waiting.next);
            waiting.next += 1;
            let (wake, wait) = oneshot::channel();
            waiting.by_number.insert(key, wake);
            (key, wait)
        };
        let _forget = Forget { mark: self, key };
        wait.await.ok();
    }
}

/// Takes a waiter out when it stops waiting, so that abandoned waits cost nothing.
struct Forget<'a> {
    mark: &'a Mark,
    key: (u64, u64),
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if self.mark.get() < self.key.0 {
            self.mark.waiting.lock().by_number.remove(&self.key);
        }
    }
}

/// The log index and the revision applied here.
#[derive(Default)]
pub(crate) struct Applied {
    index: Mark,
    revision: Mark,
}

impl Applied {
    pub(crate) fn index(&self) -> u64 {
        self.index.get()
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision.get()
    }

    pub(crate) fn advance(&self, index: u64, revision: Revision) {
        self.revision.advance(revision);
        self.index.advance(index);
    }

    /// False when `timeout` passed first.
    pub(crate) async fn wait_index(&self, index: u64, timeout: Duration) -> bool {
        self.index() >= index || tokio::time::timeout(timeout, self.index.wait(index)).await.is_ok()
    }

    /// False when `timeout` passed first.
    pub(crate) async fn wait_revision(&self, revision: Revision, timeout: Duration) -> bool {
        self.revision() >= revision || tokio::time::timeout(timeout, self.revision.wait(revision)).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_advance_wakes_whom_it_satisfies_and_forgets_who_left() {
        let applied = Applied::default();
        let long = Duration::from_secs(60);
        let (first, second) = (applied.wait_index(3, long), applied.wait_index(5, long));
        let mut second = Box::pin(second);
        assert!(futures::poll!(second.as_mut()).is_pending());
        let advance = async {
            applied.advance(4, 2);
            true
        };
        assert_eq!(tokio::join!(first, advance), (true, true));
        assert!(futures::poll!(second.as_mut()).is_pending());
        assert_eq!(applied.index.waiting.lock().by_number.len(), 1);
        drop(second);
        assert_eq!(applied.index.waiting.lock().by_number.len(), 0);
        assert!(applied.wait_revision(2, Duration::ZERO).await);
        assert!(!applied.wait_revision(3, Duration::from_millis(1)).await);
    }
}
