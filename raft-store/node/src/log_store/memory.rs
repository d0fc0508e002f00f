//! What is known of the log without asking the disk: its ends, the vote, the newest entries.

use std::collections::VecDeque;

use openraft::LogIdOptionExt;
use store_api::StoreError;
use store_engine::RaftLog;

use crate::codec;
use crate::errors::broken;
use crate::types::{Entry, LogId, Vote};

/// Bytes of newest entries kept in memory after they were written.
const KEPT_BYTES: usize = 32 << 20;
/// Entries kept in memory after they were written.
const KEPT_ENTRIES: usize = 16_384;

#[derive(Default)]
pub(super) struct Memory {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    last: Option<LogId>,
    /// Consecutive, up to `last`. Those above `written` exist nowhere else yet.
    newest: VecDeque<Entry>,
    bytes: usize,
    written: u64,
}

/// Reads the ends of the log from disk.
pub(super) fn load(log: &RaftLog) -> Result<Memory, StoreError> {
    let id = |bytes: Option<bytes::Bytes>| {
        bytes.map(|bytes| codec::log_id_from_bytes(&bytes)).transpose().map_err(broken("a log id of the raft log"))
    };
    let vote = log.vote()?.map(|bytes| codec::vote_from_bytes(&bytes)).transpose();
    let purged = id(log.last_purged()?)?;
    let last = match log.bounds() {
        Some((_, last)) => Some(entry_at(log, last)?.log_id),
        None => purged,
    };
    Ok(Memory {
        vote: vote.map_err(broken("the vote"))?,
        committed: id(log.committed()?)?,
        purged,
        last,
        written: last.map_or(0, |last| last.index()),
        ..Memory::default()
    })
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
    pub(super) fn last(&self) -> Option<LogId> {
        self.last
    }

    /// The part of `start..end` that exists, as (first index, first index found in memory, entries in
    /// memory): what is below the second number is to be read from disk.
    pub(super) fn read(&self, start: u64, end: u64, max_bytes: usize) -> (u64, u64, Vec<Entry>) {
        let start = start.max(self.purged.next_index());
        let end = end.min(self.last.next_index());
        let Some(first) = self.newest.front().map(|entry| entry.log_id.index()) else {
            return (start, end, Vec::new());
        };
        let from = start.max(first);
        if from >= end {
            return (start, end, Vec::new());
        }
        let mut taken = 0;
        let range = (from - first) as usize..(end - first) as usize;
        let within = |entry: &&Entry| {
            let fits = taken < max_bytes;
            taken = taken.saturating_add(codec::entry_size(entry));
            fits
        };
        let entries = self.newest.range(range).take_while(within).cloned().collect();
        (start, from, entries)
    }

    pub(super) fn append(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            self.bytes += codec::entry_size(&entry);
            self.last = Some(entry.log_id);
            self.newest.push_back(entry);
        }
    }

    /// The engine can read everything up to `index`.
    pub(super) fn written(&mut self, index: u64) {
        self.written = self.written.max(index);
        self.evict();
    }

    fn evict(&mut self) {
        while self.bytes > KEPT_BYTES || self.newest.len() > KEPT_ENTRIES {
            match self.newest.front() {
                Some(entry) if entry.log_id.index() <= self.written => self.drop_first(),
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
        self.written = self.written.min(from.saturating_sub(1));
    }

    pub(super) fn purge(&mut self, upto: LogId) {
        while self.newest.front().is_some_and(|entry| entry.log_id.index() <= upto.index()) {
            self.drop_first();
        }
        self.purged = self.purged.max(Some(upto));
        self.last = self.last.max(Some(upto));
    }
}
