//! What happened to the lists, to be looked up.

use std::collections::BTreeMap;

use crate::checkers::append::SEPARATOR;
use crate::history::{Stored, Txn};

/// What one transaction wrote, by key.
type Writes<'a> = BTreeMap<&'a str, &'a str>;

pub(super) struct Book<'a> {
    by_key: BTreeMap<&'a str, Vec<&'a Stored>>,
    /// By the last element of what was written, and the revision.
    by_element: BTreeMap<&'a str, BTreeMap<u64, Writes<'a>>>,
    events: usize,
}

impl<'a> Book<'a> {
    /// Of events in their order.
    pub(super) fn new(truth: &'a [Stored]) -> Self {
        let mut book = Self { by_key: BTreeMap::new(), by_element: BTreeMap::new(), events: truth.len() };
        for stored in truth {
            book.by_key.entry(&stored.key).or_default().push(stored);
            let at = book.by_element.entry(element(&stored.value)).or_default();
            at.entry(stored.revision).or_default().insert(&stored.key, &stored.value);
        }
        book
    }

    pub(super) fn len(&self) -> usize {
        self.events
    }

    /// The list as it was at a revision.
    pub(super) fn at(&self, key: &str, revision: u64) -> Option<&'a Stored> {
        let versions = self.by_key.get(key)?;
        versions[..versions.partition_point(|stored| stored.revision <= revision)].last().copied()
    }

    /// Everything that was written with this element last, by revision.
    pub(super) fn of(&self, element: &str) -> BTreeMap<u64, &Writes<'a>> {
        let found = self.by_element.get(element).into_iter().flatten();
        found.map(|(revision, writes)| (*revision, writes)).collect()
    }
}

/// The transaction's own: it appended it.
pub(super) fn element(value: &str) -> &str {
    value.rsplit(SEPARATOR).next().unwrap_or(value)
}

pub(super) fn borrowed(txn: &Txn) -> Writes<'_> {
    txn.writes.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}
