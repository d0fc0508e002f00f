//! What the log holds and where, in memory. Records do here when they are written what they do when they are read
//! again at start: there is one path for both.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use store_api::StoreError;

use super::record::{ENTRY_OVERHEAD, Head, Record};

/// Where an entry's record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) position: u64,
    pub(super) bytes: usize,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Index {
    /// Index of the first of `places`.
    first: u64,
    places: VecDeque<Place>,
    /// The only index that may be appended next; any when the log never held one.
    next: Option<u64>,
    vote: Option<Bytes>,
    committed: Option<Bytes>,
    purged: Option<(u64, Bytes)>,
}

impl Index {
    /// Begins where files that have gone left off.
    pub(super) fn begin(head: &Head) -> Self {
        Self {
            next: head.next,
            vote: head.vote.clone(),
            committed: head.committed.clone(),
            purged: head.purged.map(|to| (to, head.last_purged.clone().unwrap_or_default())),
            ..Self::default()
        }
    }

    /// What the next file begins with.
    pub(super) fn head(&self) -> Head {
        Head {
            next: self.next,
            vote: self.vote.clone(),
            committed: self.committed.clone(),
            purged: self.purged.as_ref().map(|(to, _)| *to),
            last_purged: self.purged.as_ref().map(|(_, last)| last.clone()),
        }
    }

    /// Whether `index` may be appended.
    pub(super) fn check_next(&self, index: u64) -> Result<(), StoreError> {
        match self.next {
            Some(next) if next != index => Err(StoreError::Invalid(format!("log index {index} follows, not {next}"))),
            _ => Ok(()),
        }
    }

    /// Does what the record says. An entry must follow the one before.
    pub(super) fn take(&mut self, record: &Record, place: Place) -> Result<(), StoreError> {
        match record {
            Record::Head(_) => {}
            Record::Entry { index, .. } => {
                self.check_next(*index)?;
                if self.places.is_empty() {
                    self.first = *index;
                }
                self.places.push_back(place);
                self.next = Some(index + 1);
            }
            Record::Vote(vote) => self.vote = Some(vote.clone()),
            Record::Committed(committed) => self.committed = Some(committed.clone()),
            Record::Purge { to, last_purged } => {
                let gone = (to + 1).saturating_sub(self.first).min(self.places.len() as u64);
                self.places.drain(..gone as usize);
                self.first += gone;
                self.next = self.next.max(Some(to + 1));
                self.purged = Some((*to, last_purged.clone()));
            }
            Record::Truncate { from } => {
                self.places.truncate(from.saturating_sub(self.first) as usize);
                self.next = Some(*from);
            }
        }
        Ok(())
    }

    /// First and last index kept.
    pub(super) fn bounds(&self) -> Option<(u64, u64)> {
        (!self.places.is_empty()).then(|| (self.first, self.first + self.places.len() as u64 - 1))
    }

    /// Whether entries are missing between what was purged and what is kept.
    pub(super) fn has_hole(&self) -> bool {
        let begins = self.bounds().map(|(first, _)| first).or(self.next);
        let purged = self.purged.as_ref().map(|(to, _)| to + 1);
        purged.is_some_and(|from| begins.is_some_and(|first| first > from))
    }

    /// Where the entries of the range lie that are kept, up to and including the one with which `max_bytes` are reached.
    pub(super) fn places(&self, range: Range<u64>, max_bytes: usize) -> Vec<Place> {
        let begin = range.start.saturating_sub(self.first).min(self.places.len() as u64) as usize;
        let end = range.end.saturating_sub(self.first).min(self.places.len() as u64) as usize;
        let mut bytes = 0;
        let enough = |place: &&Place| {
            let more = bytes < max_bytes;
            bytes += place.bytes - ENTRY_OVERHEAD;
            more
        };
        self.places.range(begin..end.max(begin)).take_while(enough).copied().collect()
    }

    pub(super) fn vote(&self) -> Option<Bytes> {
        self.vote.clone()
    }

    pub(super) fn committed(&self) -> Option<Bytes> {
        self.committed.clone()
    }

    pub(super) fn purged(&self) -> Option<&(u64, Bytes)> {
        self.purged.as_ref()
    }
}
