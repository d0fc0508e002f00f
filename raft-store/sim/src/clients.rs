//! Clients, each with one call under way, and watchers that hop from replica to replica.

mod calls;
mod watcher;

use std::collections::BTreeMap;

use bytes::Bytes;
use store_api::{LeaseId, NodeId, Revision, StoreError};

use crate::checkers::leases::LEASED;
use crate::checkers::watches::WATCHED;
use crate::facts::{Answer, CallId, How, What};
use crate::rng::Rng;

pub(crate) use calls::perform;
pub(crate) use watcher::{Watcher, watch};

/// Registers that clients write to.
const REGISTERS: u64 = 6;
/// Out of a hundred calls of unknown outcome so many are tried again.
const RETRIES: u64 = 70;

pub(crate) struct Client {
    id: u64,
    pub(crate) busy: Option<CallId>,
    /// When it calls next, microseconds.
    pub(crate) next_at: u64,
    requests: u64,
    /// The revision each key was last seen at.
    known: BTreeMap<Bytes, Revision>,
    lease: Option<Held>,
    asked: Option<What>,
    retry: Option<What>,
    /// The newest revision it was told of.
    head: Revision,
}

struct Held {
    lease: LeaseId,
    renewals: u64,
    attached: bool,
}

impl Client {
    pub(crate) fn new(id: u64) -> Self {
        Self {
            id,
            busy: None,
            next_at: 0,
            requests: 0,
            known: BTreeMap::new(),
            lease: None,
            asked: None,
            retry: None,
            head: 1,
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// What it wants next.
    pub(crate) fn choose(&mut self, rng: &mut Rng) -> What {
        let what = match self.retry.take() {
            Some(again) => again,
            None => self.anew(rng),
        };
        self.asked = Some(what.clone());
        what
    }

    fn request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    fn anew(&mut self, rng: &mut Rng) -> What {
        match rng.number(0..100) {
            0..33 => self.write(rng),
            33..41 => self.write_pair(),
            41..49 => What::Delete { key: register(rng), request: self.request() },
            49..72 => What::Read { keys: some_keys(rng), how: How::Linearizable },
            72..80 => What::Read { keys: some_keys(rng), how: How::Local },
            80..85 => {
                let back = rng.number(0..30);
                What::Read { keys: some_keys(rng), how: How::At(self.head.saturating_sub(back).max(1)) }
            }
            85..87 => What::Compact { revision: self.head.saturating_sub(rng.number(5..40)).max(1) },
            _ => self.with_lease(rng),
        }
    }

    fn write(&mut self, rng: &mut Rng) -> What {
        let (key, request) = (register(rng), self.request());
        let expects = self.known.get(&key).copied().filter(|_| rng.percent(60));
        // A revision that may be compacted, or not, where the transaction is applied.
        let reads = rng.percent(8).then(|| self.head.saturating_sub(rng.number(0..40)).max(1));
        What::Write { keys: vec![key], value: self.value(request), expects, reads, request, lease: 0 }
    }

    fn write_pair(&mut self) -> What {
        let request = self.request();
        What::Write { keys: pair(), value: self.value(request), expects: None, reads: None, request, lease: 0 }
    }

    fn value(&self, request: u64) -> Bytes {
        format!("v{}-{request}", self.id).into()
    }

    /// A lease is granted, a key held with it, renewed for a while, and then let go.
    fn with_lease(&mut self, rng: &mut Rng) -> What {
        let Some(mut held) = self.lease.take() else { return What::Grant { ttl_ms: rng.number(400..2_500) } };
        if !held.attached {
            held.attached = true;
            let (lease, request) = (held.lease, self.request());
            self.lease = Some(held);
            let key = Bytes::from([LEASED, format!("{}-{request}", self.id).as_bytes()].concat());
            let value = self.value(request);
            return What::Write { keys: vec![key], value, expects: None, reads: None, request, lease };
        }
        held.renewals += 1;
        let lease = held.lease;
        self.lease = Some(held).filter(|held| held.renewals < 5);
        What::Renew { lease }
    }

    /// Its call was answered; `None`: it never will be.
    pub(crate) fn answered(&mut self, answer: Option<&Answer>, now: u64, rng: &mut Rng) {
        self.busy = None;
        self.next_at = now + rng.number(1..40) * 1_000;
        let asked = self.asked.take();
        match (asked, answer) {
            (Some(asked), None | Some(Answer::Failed(StoreError::Unknown(_)))) => {
                let repeatable = matches!(asked, What::Write { .. } | What::Delete { .. });
                self.retry = Some(asked).filter(|_| repeatable && rng.percent(RETRIES));
            }
            (Some(What::Write { keys, .. }), Some(Answer::Wrote { succeeded: true, revision })) => {
                self.head = self.head.max(*revision);
                self.known.extend(keys.into_iter().map(|key| (key, *revision)));
            }
            (Some(What::Read { keys, how: How::Linearizable, .. }), Some(Answer::Read { revision, found })) => {
                self.head = self.head.max(*revision);
                let at = found.iter().map(|found| found.as_ref().map_or(0, |(_, at)| *at));
                self.known.extend(keys.into_iter().zip(at));
            }
            (Some(What::Grant { .. }), Some(Answer::Granted(lease))) => {
                self.lease = Some(Held { lease: *lease, renewals: 0, attached: false });
            }
            (Some(What::Renew { .. }), Some(Answer::Failed(_))) => self.lease = None,
            _ => {}
        }
    }
}

fn register(rng: &mut Rng) -> Bytes {
    Bytes::from([WATCHED, rng.number(0..REGISTERS).to_string().as_bytes()].concat())
}

/// Two keys that are only written together.
fn pair() -> Vec<Bytes> {
    vec![Bytes::from("p/left"), Bytes::from("p/right")]
}

fn some_keys(rng: &mut Rng) -> Vec<Bytes> {
    match rng.once_in(4) {
        true => pair(),
        false => vec![register(rng)],
    }
}

/// A write by which a replica shows that it accepts writes.
pub(crate) fn probe(host: NodeId, round: u64) -> What {
    let value = format!("probe-{host}-{round}").into();
    What::Write { keys: vec!["probe".into()], value, expects: None, reads: None, request: round, lease: 0 }
}
