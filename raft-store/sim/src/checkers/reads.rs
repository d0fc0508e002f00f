//! C4, C7 to C11, C14: every read is the state at the revision it says, at one revision for all of its keys; and a
//! replica never answers an older one than it did before, as long as it runs.

use std::collections::BTreeMap;

use bytes::Bytes;
use store_api::{NodeId, Revision, StoreError};

use super::Checker;
use crate::facts::{Answer, CallId, Fact, How, What};
use crate::view::View;

#[derive(Default)]
pub(super) struct Reads {
    calls: BTreeMap<CallId, (Vec<Bytes>, How, Revision)>,
    /// The newest revision each replica answered, in which of its lives.
    answered: BTreeMap<NodeId, (u64, Revision)>,
}

impl Checker for Reads {
    fn name(&self) -> &'static str {
        "C4-C14 reads"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        match fact {
            Fact::Called { call, host, what: What::Read { keys, how } } => {
                let life = view.hosts.get(host).map_or(0, |host| host.life);
                let before = self.answered.get(host).filter(|(of, _)| *of == life).map_or(0, |(_, revision)| *revision);
                self.calls.insert(*call, (keys.clone(), *how, before));
                Ok(())
            }
            Fact::Returned { call, host, answer } => match self.calls.remove(call) {
                Some((keys, how, before)) => self.returned(*host, &keys, how, before, answer, view),
                None => Ok(()),
            },
            Fact::Lost { call } => {
                self.calls.remove(call);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Reads {
    fn returned(
        &mut self,
        host: NodeId,
        keys: &[Bytes],
        how: How,
        before: Revision,
        answer: &Answer,
        view: &View,
    ) -> Result<(), String> {
        let (revision, found) = match answer {
            Answer::Read { revision, found } => (*revision, found),
            Answer::Failed(StoreError::Compacted { requested, oldest }) if requested < oldest => return Ok(()),
            Answer::Failed(StoreError::Unavailable(_) | StoreError::FutureRevision { .. }) => return Ok(()),
            // What cannot be read is not made up.
            Answer::Failed(StoreError::Fatal(_)) if view.is_doubtful(host) => return Ok(()),
            answer => return Err(format!("a read was answered by {answer:?}")),
        };
        if let How::At(at) = how
            && at != revision
        {
            return Err(format!("{host} answered at {revision} what was asked at {at}"));
        }
        for (key, found) in keys.iter().zip(found) {
            let expected = view.truth.value(key, revision);
            if *found != expected {
                return Err(format!("{host} answered {found:?} for {key:?} at {revision}, it was {expected:?}"));
            }
        }
        if !matches!(how, How::At(_)) {
            if revision < before {
                return Err(format!("{host} answered at {revision}, and at {before} before"));
            }
            let life = view.hosts.get(&host).map_or(0, |host| host.life);
            let newest = self.answered.entry(host).or_insert((life, revision));
            *newest = if newest.0 == life { (life, newest.1.max(revision)) } else { (life, revision) };
        }
        Ok(())
    }
}
