//! Changes of the membership, one after the other, each tried until it is done.

use std::collections::VecDeque;
use std::sync::Arc;

use store_api::{NodeId, StoreError};
use store_node::RaftStore;

use crate::facts::{Answer, CallId};
use crate::host::Host;

/// Tries of one job.
const TRIES: u32 = 60;
/// Between tries, microseconds.
const PAUSE: u64 = 300_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    Found(Vec<NodeId>),
    Remove(NodeId),
    /// An id for a replica that is then started.
    NewId,
    Add(NodeId),
}

#[derive(Debug, Default)]
pub(crate) struct Jobs {
    waiting: VecDeque<Job>,
    pub(crate) call: Option<CallId>,
    tries: u32,
    next_at: u64,
    given_up: Vec<Job>,
}

impl Jobs {
    pub(crate) fn push(&mut self, job: Job) {
        self.waiting.push_back(job);
    }

    /// Before all others.
    pub(crate) fn push_front(&mut self, job: Job) {
        self.waiting.push_front(job);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The one that is to be begun now.
    pub(crate) fn next(&self, now: u64) -> Option<Job> {
        self.waiting.front().filter(|_| self.call.is_none() && now >= self.next_at).cloned()
    }

    pub(crate) fn given_up(&self) -> &[Job] {
        &self.given_up
    }

    /// It was answered, or never will be; answers the job when it is done.
    pub(crate) fn answered(&mut self, answer: Option<&Answer>, now: u64) -> Option<Job> {
        self.call = None;
        let done = matches!(answer, Some(Answer::Done | Answer::NodeId(_)));
        self.next_at = now + if done { 0 } else { PAUSE };
        self.tries = if done { 0 } else { self.tries + 1 };
        if done {
            return self.waiting.pop_front();
        }
        if self.tries >= TRIES {
            self.tries = 0;
            self.given_up.extend(self.waiting.pop_front());
        }
        None
    }
}

pub(crate) async fn perform(store: Arc<RaftStore>, job: Job) -> Answer {
    let done = |result: Result<(), StoreError>| result.map(|()| Answer::Done);
    let answer = match job {
        Job::Found(ids) => done(store.initialize(ids.into_iter().map(|id| Host::member(id, true)).collect()).await),
        Job::Remove(id) => done(store.remove_member(id, true).await),
        Job::NewId => store.allocate_node_id().await.map(Answer::NodeId),
        Job::Add(id) => done(store.add_member(Host::member(id, true), true).await),
    };
    answer.unwrap_or_else(Answer::Failed)
}
