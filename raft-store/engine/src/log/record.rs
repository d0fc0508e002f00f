//! Keys and values of the log's database. Every value begins with a CRC-32 over its key and content.

use store_api::StoreError;

const CHECKSUM_BYTES: usize = 4;

pub(super) fn entry_key(index: u64) -> [u8; 9] {
    let mut key = [b'e'; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

pub(super) fn entry_index(key: &[u8]) -> Result<u64, StoreError> {
    match key.split_first() {
        Some((b'e', index)) => index.try_into().map(u64::from_be_bytes).map_err(|_| damaged(key)),
        _ => Err(damaged(key)),
    }
}

/// Replaces `sealed` by the checksum and the content.
pub(super) fn seal(key: &[u8], content: &[u8], sealed: &mut Vec<u8>) {
    sealed.clear();
    sealed.extend_from_slice(&checksum(key, content).to_be_bytes());
    sealed.extend_from_slice(content);
}

/// The content, when its checksum is right.
pub(super) fn open<'a>(key: &[u8], sealed: &'a [u8]) -> Result<&'a [u8], StoreError> {
    let (sum, content) = sealed.split_at_checked(CHECKSUM_BYTES).ok_or_else(|| damaged(key))?;
    match sum == checksum(key, content).to_be_bytes() {
        true => Ok(content),
        false => Err(damaged(key)),
    }
}

fn checksum(key: &[u8], content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(content);
    hasher.finalize()
}

/// What a synced write says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Synced {
    /// Its number, from 1.
    pub(super) writes: u64,
    /// The last index the log had then, kept or purged.
    pub(super) last: Option<u64>,
}

impl Synced {
    /// 0 is "no entry", so the index is kept plus one.
    pub(super) fn encode(self) -> [u8; 16] {
        let last = self.last.map_or(0, |last| last + 1);
        let number = u128::from(self.writes) << 64 | u128::from(last);
        number.to_be_bytes()
    }

    pub(super) fn decode(content: &[u8]) -> Result<Self, StoreError> {
        let number = content.try_into().map(u128::from_be_bytes).map_err(|_| damaged(b"s"))?;
        Ok(Self { writes: (number >> 64) as u64, last: (number as u64).checked_sub(1) })
    }
}

pub(super) fn encode_purged(to: u64, last_purged: &[u8]) -> Vec<u8> {
    [&to.to_be_bytes()[..], last_purged].concat()
}

pub(super) fn decode_purged(content: &[u8]) -> Result<(u64, &[u8]), StoreError> {
    let (to, opaque) = content.split_first_chunk().ok_or_else(|| damaged(b"p"))?;
    Ok((u64::from_be_bytes(*to), opaque))
}

fn damaged(key: &[u8]) -> StoreError {
    let what = match key.strip_prefix(b"e").map(<[u8; 8]>::try_from) {
        Some(Ok(index)) => format!("entry {}", u64::from_be_bytes(index)),
        _ => format!("record {:?}", String::from_utf8_lossy(key)),
    };
    StoreError::Fatal(format!("the raft log is damaged at {what}. This replica must be replaced by a new one"))
}
