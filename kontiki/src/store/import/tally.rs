//! How many keys there are, and a hash of them and their values, in the order of keys.

use std::fmt;
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use store_api::{RangeRequest, ReadAt};
use store_engine::StateMachine;

use crate::Failure;

/// Keys read at once.
const PAGE_KEYS: usize = 1_000;

#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) keys: u64,
    /// Of keys and values.
    bytes: u64,
    /// Keys with a lease.
    pub(super) leased: u64,
    hash: Sha256,
}

impl Tally {
    pub(super) fn add(&mut self, key: &[u8], value: &[u8], is_leased: bool) {
        self.keys += 1;
        self.leased += u64::from(is_leased);
        for part in [key, value] {
            self.bytes += part.len() as u64;
            self.hash.update((part.len() as u64).to_be_bytes());
            self.hash.update(part);
        }
    }

    /// Equal where keys and values are.
    pub(super) fn sum(&self) -> (u64, u64, String) {
        (self.keys, self.bytes, hex::encode(self.hash.clone().finalize()))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (keys, bytes, hash) = self.sum();
        write!(f, "{keys} keys, {bytes} bytes, SHA-256 {hash}")
    }
}

/// Of a store that does not run, read from its disk. Blocks.
pub(super) fn of_store(dir: &Path) -> Result<Tally, Failure> {
    let state = StateMachine::open(dir)?;
    let (mut tally, mut start) = (Tally::default(), Bytes::new());
    loop {
        let page = RangeRequest {
            start: start.clone(),
            end: Bytes::new(),
            at: ReadAt::Local,
            limit: PAGE_KEYS,
            keys_only: false,
            count: false,
            count_only: false,
        };
        let found = state.range(&page, None)?;
        found.kvs.iter().for_each(|kv| tally.add(&kv.key, &kv.value, kv.lease != 0));
        match found.kvs.last() {
            Some(last) if found.more => start = [&last.key[..], &[0]].concat().into(),
            _ => return Ok(tally),
        }
    }
}
