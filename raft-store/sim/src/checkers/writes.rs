//! C1 to C6 of writes: what was acknowledged is there for ever, with the revision it was acknowledged with; nothing is
//! there that nobody wrote; nothing twice; what was refused never; and acknowledged writes are in the order of time.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use store_api::{Event, Revision, StoreError};

use super::Checker;
use crate::facts::{Answer, CallId, Fact, What};
use crate::view::View;

#[derive(Default)]
pub(super) struct Writes {
    calls: BTreeMap<CallId, Asked>,
    /// The newest revision acknowledged when each value was to be written for the first time.
    first_asked: BTreeMap<Bytes, Revision>,
    issued: BTreeSet<Bytes>,
    /// Values that surely were not written, unless another try of the same was.
    refused: BTreeMap<Bytes, CallId>,
    maybe: BTreeSet<Bytes>,
    acknowledged: BTreeMap<Bytes, Revision>,
    /// Where each value was written.
    written: BTreeMap<Bytes, Revision>,
    seen: Revision,
    told: Revision,
}

struct Asked {
    keys: Vec<Bytes>,
    value: Bytes,
    delete: bool,
}

impl Checker for Writes {
    fn name(&self) -> &'static str {
        "C1-C6 writes"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        match fact {
            Fact::Called { call, what: What::Write { keys, value, .. }, .. } => {
                self.issued.insert(value.clone());
                self.first_asked.entry(value.clone()).or_insert(self.told);
                self.calls.insert(*call, Asked { keys: keys.clone(), value: value.clone(), delete: false });
                Ok(())
            }
            Fact::Called { call, what: What::Delete { key, .. }, .. } => {
                let keys = vec![key.clone()];
                self.calls.insert(*call, Asked { keys, value: Bytes::new(), delete: true });
                Ok(())
            }
            Fact::Returned { call, answer, .. } => match self.calls.remove(call) {
                Some(asked) => self.returned(*call, asked, answer, view),
                None => Ok(()),
            },
            Fact::Lost { call } => {
                if let Some(asked) = self.calls.remove(call) {
                    self.maybe.insert(asked.value);
                }
                Ok(())
            }
            Fact::Committed { .. } => self.look(view),
            Fact::Ended { .. } => self.finish(),
            _ => Ok(()),
        }
    }
}

impl Writes {
    fn returned(&mut self, call: CallId, asked: Asked, answer: &Answer, view: &View) -> Result<(), String> {
        match answer {
            Answer::Wrote { succeeded: true, revision } => {
                self.told = self.told.max(*revision);
                if asked.delete {
                    return Ok(());
                }
                if self.first_asked.get(&asked.value) >= Some(revision) {
                    return Err(format!("{:?} was acknowledged at {revision}, which was told of before", asked.value));
                }
                let there = asked
                    .keys
                    .iter()
                    .all(|key| view.truth.value(key, *revision) == Some((asked.value.clone(), *revision)));
                if !there {
                    return Err(format!("{:?} was acknowledged at {revision} and is not there", asked.value));
                }
                self.acknowledged.insert(asked.value, *revision);
                Ok(())
            }
            Answer::Wrote { succeeded: false, .. } => {
                self.refused.insert(asked.value, call);
                Ok(())
            }
            Answer::Failed(StoreError::Unknown(_) | StoreError::Fatal(_)) => {
                self.maybe.insert(asked.value);
                Ok(())
            }
            Answer::Failed(_) => {
                self.refused.insert(asked.value, call);
                Ok(())
            }
            _ => Err(format!("a write was answered by {answer:?}")),
        }
    }

    /// What was committed since.
    fn look(&mut self, view: &View) -> Result<(), String> {
        for (revision, events) in view.truth.events.range(self.seen + 1..) {
            self.seen = *revision;
            for event in events {
                let Event::Put { kv, .. } = event else { continue };
                if !self.issued.contains(&kv.value) {
                    return Err(format!("{:?} at {revision} was never written", kv.value));
                }
                let first = *self.written.entry(kv.value.clone()).or_insert(*revision);
                if first != *revision {
                    return Err(format!("{:?} was written at {first} and at {revision}", kv.value));
                }
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), String> {
        let lost = self.acknowledged.iter().find(|(value, revision)| self.written.get(*value) != Some(revision));
        if let Some((value, revision)) = lost {
            return Err(format!("{value:?}, acknowledged at {revision}, is lost"));
        }
        let phantom = self.refused.iter().find(|(value, _)| {
            self.written.contains_key(*value) && !self.maybe.contains(*value) && !self.acknowledged.contains_key(*value)
        });
        match phantom {
            Some((value, call)) => Err(format!("{value:?} was refused ({call:?}) and is there")),
            None => Ok(()),
        }
    }
}
