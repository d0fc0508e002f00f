//! S15: snapshots of equal states are equal, byte for byte, on all replicas and where nothing ever failed.

use super::Checker;
use crate::facts::Fact;
use crate::view::View;

pub(super) struct Snapshots;

impl Checker for Snapshots {
    fn name(&self) -> &'static str {
        "S15 equal snapshots"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        let Fact::Ended { snapshots } = fact else { return Ok(()) };
        let last = view.truth.committed.len() as u64 - 1;
        let expected = view.truth.snapshot()?;
        let wrong = snapshots.iter().find(|(_, index, hash)| *index == last && *hash != expected);
        match wrong {
            Some((host, index, _)) => Err(format!("the snapshot of {host} at entry {index} differs")),
            None if snapshots.iter().any(|(_, index, _)| *index == last) => Ok(()),
            None => Err(format!("no replica has applied all {last} entries: {snapshots:x?}")),
        }
    }
}
