//! S19: applying is deterministic: the same log in groups of other sizes, at another time, gives the same bytes.

use super::Checker;
use crate::facts::Fact;
use crate::view::View;

#[derive(Default)]
pub(super) struct Deterministic {
    entries: usize,
}

impl Checker for Deterministic {
    fn name(&self) -> &'static str {
        "S19 deterministic apply"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        let Fact::Ended { snapshots } = fact else { return Ok(()) };
        let mut size = 0;
        let again = view.truth.replay(|| {
            size = size % 17 + 3;
            size
        })?;
        self.entries = view.truth.committed.len();
        let last = self.entries as u64 - 1;
        match snapshots.iter().find(|(_, index, hash)| *index == last && *hash != again) {
            Some((host, ..)) => Err(format!("applied again in groups, the log gives another state than {host} has")),
            None => Ok(()),
        }
    }
}
