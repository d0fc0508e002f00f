//! What is known of the log without asking the disk: its ends, the vote, the newest entries.

use std::collections::VecDeque;
use std::ops::Range;

use openraft::LogIdOptionExt;
use store_api::StoreError;
use store_engine::RaftLog;

use super::size::Size;
use crate::codec;
use crate::errors::broken;
use crate::types::{Entry, LogId, Vote};

/// Entries kept in memory after they were written.
const KEPT_ENTRIES: usize = 16_384;

#[derive(Default)]
pub(super) struct Memory {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    /// The first index the log holds, or will.
    begins: u64,
    last: Option<LogId>,
    /// Consecutive, up to `last`. Those from `unwritten` on exist nowhere else yet.
    newest: VecDeque<Entry>,
    bytes: usize,
    /// How many bytes are kept after they were written.
    held: usize,
    unwritten: u64,
    size: Size,
    /// Truncations so far: what was read from disk over one may be of either side of it.
    truncations: u64,
}

/// How to read a part of the log, and how the log stood when that was found out.
pub(super) struct Plan {
    /// To be read from disk; may be empty.
    pub(super) disk: Range<u64>,
    /// What follows it.
    pub(super) newest: Vec<Entry>,
    truncations: u64,
}

/// What became of a [`Plan`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// All there is was read, as far as the limit allowed.
    Whole,
    /// The log was truncated meanwhile.
    Again,
    /// Entries are missing that nobody removed.
    Hole,
}

/// Reads the ends of the log from disk.
pub(super) fn load(log: &RaftLog, held: usize) -> Result<Memory, StoreError> {
    let id = |bytes: Option<bytes::Bytes>| {
        bytes.map(|bytes| codec::log_id_from_bytes(&bytes)).transpose().map_err(broken("a log id of the raft log"))
    };
    let vote = log.vote()?.map(|bytes| codec::vote_from_bytes(&bytes)).transpose();
    let purged = id(log.last_purged()?)?;
    let last = match log.bounds() {
        Some((_, last)) => Some(entry_at(log, last)?.log_id),
        None => purged,
    };
    let committed = id(log.committed()?)?;
    Ok(Memory {
        vote: vote.map_err(broken("the vote"))?,
        committed: committed.and_then(|committed| within(committed, last)),
        purged,
        begins: log.bounds().map_or(purged.next_index(), |(first, _)| first),
        last,
        unwritten: last.next_index(),
        held,
        ..Memory::default()
    })
}

/// A crash may take away entries that were committed elsewhere and not yet durable here; what is left of the
/// log is committed all the same.
fn within(committed: LogId, last: Option<LogId>) -> Option<LogId> {
    match last {
        Some(last) if committed.index() <= last.index() => Some(committed),
        last => last,
    }
}

fn entry_at(log: &RaftLog, index: u64) -> Result<Entry, StoreError> {
    let read = log.read(index..index + 1)?;
    let Some((_, bytes)) = read.into_iter().next() else {
        return Err(StoreError::Fatal(format!("entry {index} of the raft log is missing")));
    };
    codec::entry_from_bytes(bytes).map_err(broken("an entry of the raft log"))
}

impl Memory {
    pub(super) fn vote(&self) -> Option<Vote> {
        self.vote
    }
    pub(super) fn set_vote(&mut self, vote: Vote) {
        self.vote = Some(vote);
    }
    pub(super) fn committed(&self) -> Option<LogId> {
        self.committed
    }
    pub(super) fn set_committed(&mut self, committed: Option<LogId>) {
        self.committed = committed;
    }
    pub(super) fn purged(&self) -> Option<LogId> {
        self.purged
    }
    pub(super) fn size(&self) -> &Size {
        &self.size
    }
    pub(super) fn last(&self) -> Option<LogId> {
        self.last
    }

    /// How to read the part of `start..end` that exists. `newest` stops at about `max_bytes`.
    pub(super) fn plan(&self, start: u64, end: u64, max_bytes: usize) -> Plan {
        let start = start.max(self.begins);
        let end = end.min(self.last.next_index());
        let first = self.newest.front().map_or(end, |entry| entry.log_id.index());
        let from = start.max(first).min(end);
        let mut taken = 0;
        let within = |entry: &&Entry| {
            let fits = taken < max_bytes;
            taken = taken.saturating_add(codec::entry_size(entry));
            fits
        };
        let in_memory = self.newest.iter().skip((from.saturating_sub(first)) as usize).take((end - from) as usize);
        Plan {
            disk: start..from,
            newest: in_memory.take_while(within).cloned().collect(),
            truncations: self.truncations,
        }
    }

    /// Judges what was read from disk; `full` says that the limit ended it. Only a purge may have taken entries
    /// meanwhile, from the front.
    pub(super) fn check(&self, plan: &Plan, read: &[Entry], full: bool) -> Check {
        if self.truncations != plan.truncations {
            return Check::Again;
        }
        let begins = plan.disk.start.max(self.begins);
        let first = read.first().map_or(begins, |entry| entry.log_id.index());
        let next = read.last().map_or(begins, |entry| entry.log_id.index() + 1);
        match first <= begins && (full || next >= plan.disk.end) {
            true => Check::Whole,
            false => Check::Hole,
        }
    }

    pub(super) fn append(&mut self, entries: Vec<Entry>) {
        if let Some(first) = entries.first().filter(|_| self.last.is_none()) {
            self.begins = first.log_id.index();
        }
        for entry in entries {
            let bytes = codec::entry_size(&entry);
            self.size.append(entry.log_id.index(), bytes);
            self.bytes += bytes;
            self.last = Some(entry.log_id);
            self.newest.push_back(entry);
        }
    }

    /// The engine can read everything up to `index`.
    pub(super) fn written(&mut self, index: u64) {
        self.unwritten = self.unwritten.max(index + 1);
        self.evict();
    }

    fn evict(&mut self) {
        while self.bytes > self.held || self.newest.len() > KEPT_ENTRIES {
            match self.newest.front() {
                Some(entry) if entry.log_id.index() < self.unwritten => self.drop_first(),
                _ => break,
            }
        }
    }

    fn drop_first(&mut self) {
        if let Some(entry) = self.newest.pop_front() {
            self.bytes -= codec::entry_size(&entry);
        }
    }

    pub(super) fn truncate(&mut self, last: Option<LogId>) {
        let from = last.next_index();
        while self.newest.back().is_some_and(|entry| entry.log_id.index() >= from) {
            if let Some(entry) = self.newest.pop_back() {
                self.bytes -= codec::entry_size(&entry);
            }
        }
        if self.last.next_index() > from {
            self.last = last.max(self.purged);
        }
        self.size.truncate(from);
        self.truncations += 1;
        self.not_written(from);
    }

    /// The engine holds nothing from `from` on.
    pub(super) fn not_written(&mut self, from: u64) {
        self.unwritten = self.unwritten.min(from);
    }

    pub(super) fn purge(&mut self, upto: LogId) {
        while self.newest.front().is_some_and(|entry| entry.log_id.index() <= upto.index()) {
            self.drop_first();
        }
        self.purged = self.purged.max(Some(upto));
        self.begins = self.begins.max(self.purged.next_index());
        self.size.purge(upto.index());
        self.last = self.last.max(Some(upto));
    }
}

#[cfg(test)]
impl Memory {
    pub(super) fn unwritten(&self) -> u64 {
        self.unwritten
    }

    pub(super) fn forget_written(&mut self) {
        while self.newest.front().is_some_and(|entry| entry.log_id.index() < self.unwritten) {
            self.drop_first();
        }
    }
}
