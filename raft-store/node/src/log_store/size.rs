//! How many bytes of entries the log holds, about: what was written since the start counts.

use std::collections::VecDeque;

/// Bytes between two marks.
const MARK_BYTES: u64 = 1 << 20;

/// Sizes by index, about to the [`MARK_BYTES`].
#[derive(Debug, Default)]
pub(super) struct Size {
    /// Bytes of all entries ever.
    total: u64,
    /// Indexes, and the bytes of all entries before.
    marks: VecDeque<(u64, u64)>,
}

impl Size {
    pub(super) fn append(&mut self, index: u64, bytes: usize) {
        if self.marks.back().is_none_or(|(_, before)| self.total - before >= MARK_BYTES) {
            self.marks.push_back((index, self.total));
        }
        self.total += bytes as u64;
    }

    /// Nothing is left from `from` on.
    pub(super) fn truncate(&mut self, from: u64) {
        while let Some((_, before)) = self.marks.back().filter(|(index, _)| *index >= from) {
            self.total = *before;
            self.marks.pop_back();
        }
    }

    /// Nothing is left up to `upto`. One mark stays before it.
    pub(super) fn purge(&mut self, upto: u64) {
        while self.marks.get(1).is_some_and(|(index, _)| *index <= upto) {
            self.marks.pop_front();
        }
    }

    /// Bytes of the entries after `index`.
    pub(super) fn after(&self, index: u64) -> u64 {
        let next = self.marks.partition_point(|(mark, _)| *mark <= index + 1);
        self.marks.get(next.saturating_sub(1)).map_or(0, |(_, before)| self.total - before)
    }

    /// The last index after which there are at most so many bytes, if there are more in all.
    pub(super) fn leaving(&self, bytes: u64) -> Option<u64> {
        let first = self.marks.partition_point(|(_, before)| self.total - before > bytes);
        let (index, _) = self.marks.get(first).filter(|_| first > 0)?;
        index.checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_known_about() {
        let mut size = Size::default();
        assert_eq!((size.after(0), size.leaving(0)), (0, None));
        (0..100).for_each(|index| size.append(index, 1 << 19));
        assert_eq!(size.after(99), 1 << 20, "never too little");
        assert_eq!(size.after(49), 50 << 19);
        assert_eq!(size.after(50), 50 << 19);
        assert_eq!(size.leaving(100 << 19), None);
        assert_eq!(size.leaving(10 << 19), Some(89));
        size.purge(49);
        assert_eq!((size.after(49), size.leaving(10 << 19)), (50 << 19, Some(89)));
        size.truncate(60);
        assert_eq!((size.after(49), size.leaving(4 << 19)), (10 << 19, Some(55)));
        size.append(60, 1);
        assert_eq!(size.after(49), (10 << 19) + 1);
    }
}
