//! Which keys the operations of a transaction may write, to refuse those that write one twice.

use std::collections::{BTreeMap, BTreeSet};

use crate::Op;

/// The keys that a list of operations may write.
#[derive(Default)]
pub(crate) struct Written<'a> {
    puts: BTreeSet<&'a [u8]>,
    deleted: Ranges<'a>,
}

impl<'a> Written<'a> {
    /// `Err` is a key that the list may put and write in another operation as well. Of a nested transaction only
    /// one branch runs, so its branches may write the same keys.
    pub(crate) fn by(ops: &'a [Op]) -> Result<Self, &'a [u8]> {
        let mut written = Self::default();
        for op in ops {
            written.add(Self::by_one(op)?)?;
        }
        Ok(written)
    }

    fn by_one(op: &'a Op) -> Result<Self, &'a [u8]> {
        let mut written = Self::default();
        match op {
            Op::Put { key, .. } | Op::Update { key, .. } => drop(written.puts.insert(key)),
            Op::Delete { key } => written.deleted.insert_key(key),
            Op::DeleteRange { start, end } => written.deleted.insert(start, end),
            Op::Get { .. } | Op::Range(_) => {}
            Op::Txn(nested) => {
                let (success, failure) = (Self::by(&nested.success)?, Self::by(&nested.failure)?);
                written.puts = &success.puts | &failure.puts;
                written.deleted = success.deleted;
                failure.deleted.each(|start, end| written.deleted.insert_bound(start, end));
            }
        }
        Ok(written)
    }

    fn add(&mut self, other: Self) -> Result<(), &'a [u8]> {
        let taken = |key: &&[u8]| self.puts.contains(key) || self.deleted.contains(key);
        if let Some(key) = other.puts.iter().copied().find(taken) {
            return Err(key);
        }
        if let Some(key) = other.deleted.first_inside(&self.puts) {
            return Err(key);
        }
        self.puts.extend(other.puts);
        other.deleted.each(|start, end| self.deleted.insert_bound(start, end));
        Ok(())
    }
}

/// The end of a range of keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End<'a> {
    Before(&'a [u8]),
    /// Of a single key.
    With(&'a [u8]),
    Never,
}

impl End<'_> {
    fn is_after(&self, key: &[u8]) -> bool {
        match self {
            End::Before(end) => key < *end,
            End::With(last) => key <= *last,
            End::Never => true,
        }
    }

    fn reaches(&self, other: &End<'_>) -> bool {
        match (self, other) {
            (End::Never, _) => true,
            (_, End::Never) => false,
            (End::With(a), End::With(b) | End::Before(b)) | (End::Before(a), End::Before(b)) => a >= b,
            (End::Before(a), End::With(b)) => a > b,
        }
    }
}

/// Ranges of keys that do not overlap, by their starts.
#[derive(Default)]
struct Ranges<'a> {
    ends: BTreeMap<&'a [u8], End<'a>>,
}

impl<'a> Ranges<'a> {
    fn insert_key(&mut self, key: &'a [u8]) {
        self.insert_bound(key, End::With(key));
    }

    fn insert(&mut self, start: &'a [u8], end: &'a [u8]) {
        match end {
            [] => self.insert_bound(start, End::Never),
            end if start < end => self.insert_bound(start, End::Before(end)),
            _ => {}
        }
    }

    fn insert_bound(&mut self, mut start: &'a [u8], mut end: End<'a>) {
        if let Some((before, its_end)) = self.ends.range(..=start).next_back()
            && its_end.is_after(start)
        {
            start = before;
            end = if its_end.reaches(&end) { *its_end } else { end };
        }
        while let Some((within, its_end)) = self.ends.range(start..).next()
            && end.is_after(within)
        {
            end = if its_end.reaches(&end) { *its_end } else { end };
            let within = *within;
            self.ends.remove(within);
        }
        self.ends.insert(start, end);
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.ends.range(..=key).next_back().is_some_and(|(_, end)| end.is_after(key))
    }

    /// A key of a set that lies in one of the ranges.
    fn first_inside(&self, keys: &BTreeSet<&'a [u8]>) -> Option<&'a [u8]> {
        let inside =
            |(start, end): (&&'a [u8], &End<'a>)| keys.range(*start..).next().copied().filter(|key| end.is_after(key));
        self.ends.iter().find_map(inside)
    }

    fn each(self, mut visit: impl FnMut(&'a [u8], End<'a>)) {
        self.ends.into_iter().for_each(|(start, end)| visit(start, end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Nested;

    fn put(key: &'static str) -> Op {
        Op::Put { key: key.into(), value: "v".into(), lease: 0 }
    }

    fn delete(start: &'static str, end: &'static str) -> Op {
        Op::DeleteRange { start: start.into(), end: end.into() }
    }

    fn nested(success: Vec<Op>, failure: Vec<Op>) -> Op {
        Op::Txn(Box::new(Nested { compare: Vec::new(), success, failure }))
    }

    #[test]
    fn a_key_is_written_once_however_deep() {
        let twice = |key: &'static str| Err(key.as_bytes());
        for (ops, want) in [
            (vec![put("a"), put("b")], Ok(())),
            (vec![put("a"), put("a")], twice("a")),
            (vec![delete("a", "c"), put("c")], Ok(())),
            (vec![delete("a", "c"), put("b")], twice("b")),
            (vec![put("b"), delete("a", "")], twice("b")),
            (vec![delete("a", "c"), delete("b", "d"), Op::Delete { key: "b".into() }], Ok(())),
            (vec![delete("a", "c"), delete("b", "d"), put("c")], twice("c")),
            (vec![Op::Delete { key: "b".into() }, delete("a", "c"), put("bb")], twice("bb")),
            (vec![delete("c", "a"), put("b")], Ok(())),
            (vec![nested(vec![put("a")], vec![put("a"), put("b")]), put("c")], Ok(())),
            (vec![nested(vec![put("a")], vec![delete("a", "b")])], Ok(())),
            (vec![nested(vec![put("a")], vec![put("b")]), put("b")], twice("b")),
            (vec![nested(vec![delete("a", "b")], vec![]), nested(vec![], vec![put("a")])], twice("a")),
            (vec![put("a"), nested(vec![], vec![nested(vec![Op::Delete { key: "a".into() }], vec![])])], twice("a")),
        ] {
            let found = Written::by(&ops).map(drop);
            assert_eq!(found, want, "{ops:?}");
        }
    }
}
