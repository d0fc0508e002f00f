//! Answers of entries applied here, for those who forwarded them.
//!
//! The leader says only under which index a forwarded command was applied: this replica applies the same entry
//! and finds the same answer, which holds what was replaced or deleted and may be larger than any message.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use store_api::RequestId;
use store_core::Reply;

/// Who waits for what.
#[derive(Default)]
pub(crate) struct Answers {
    waiting: Mutex<HashMap<RequestId, Waiting>>,
}

#[derive(Default)]
struct Waiting {
    callers: usize,
    /// By index: a request that was tried twice has two entries, and they may be answered differently.
    replies: Vec<(u64, Reply)>,
}

/// Keeps the answers to a request as long as it is held.
pub(crate) struct Expected {
    answers: Arc<Answers>,
    request: RequestId,
}

impl Answers {
    /// To be called before the command is sent.
    pub(crate) fn expect(self: &Arc<Self>, request: RequestId) -> Expected {
        self.waiting.lock().entry(request).or_default().callers += 1;
        Expected { answers: self.clone(), request }
    }

    /// What was applied, before anybody is told that it was.
    pub(crate) fn offer<'a>(&self, applied: impl Iterator<Item = (u64, Option<RequestId>, &'a Reply)>) {
        let mut waiting = self.waiting.lock();
        if waiting.is_empty() {
            return;
        }
        for (index, request, reply) in applied {
            if let Some(waiting) = request.and_then(|request| waiting.get_mut(&request)) {
                waiting.replies.push((index, reply.clone()));
            }
        }
    }
}

impl Expected {
    /// The answer of the entry at `index`; `None` when a snapshot took its place here.
    pub(crate) fn at(&self, index: u64) -> Option<Reply> {
        let waiting = self.answers.waiting.lock();
        let replies = &waiting.get(&self.request)?.replies;
        replies.iter().find(|(applied, _)| *applied == index).map(|(_, reply)| reply.clone())
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        let mut waiting = self.answers.waiting.lock();
        if let Some(entry) = waiting.get_mut(&self.request) {
            entry.callers -= 1;
            if entry.callers == 0 {
                waiting.remove(&self.request);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_for_those_who_wait_and_no_longer() {
        let answers = Arc::new(Answers::default());
        let request = |seq| RequestId { client: 1, seq };
        let offer = |index, seq, reply: &Reply| answers.offer([(index, Some(request(seq)), reply)].into_iter());
        offer(1, 7, &Reply::Done);
        let first = answers.expect(request(7));
        let second = answers.expect(request(7));
        assert_eq!(first.at(1), None, "nobody waited then");
        offer(2, 7, &Reply::Lease(1));
        offer(3, 8, &Reply::Done);
        offer(4, 7, &Reply::Lease(2));
        answers.offer([(5, None, &Reply::Done)].into_iter());
        assert_eq!((first.at(2), first.at(4)), (Some(Reply::Lease(1)), Some(Reply::Lease(2))));
        assert_eq!((first.at(3), first.at(5)), (None, None));
        drop(first);
        assert_eq!(second.at(4), Some(Reply::Lease(2)));
        drop(second);
        assert!(answers.waiting.lock().is_empty());
    }
}
