//! Several small records under one key: what a group of entries writes of one kind is written at once, because a
//! database pays for every key, in memory, in every table file it is copied to, and in time.
//!
//! Each is its length (u32, big-endian) and its content, one after the other.

use store_api::{Revision, StoreError};

use super::keys;

/// Records being gathered.
#[derive(Default)]
pub(crate) struct Pack {
    bytes: Vec<u8>,
    count: u64,
}

impl Pack {
    /// With this one record only.
    pub(crate) fn of(content: &[u8]) -> Vec<u8> {
        let mut pack = Self::default();
        pack.add(|out| out.extend_from_slice(content));
        pack.bytes
    }

    /// Adds what `write` appends.
    pub(crate) fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(&[0; size_of::<u32>()]);
        write(&mut self.bytes);
        let content = begin + size_of::<u32>();
        let length = u32::try_from(self.bytes.len() - content).expect("one entry's records are checked to be short");
        self.bytes[begin..content].copy_from_slice(&length.to_be_bytes());
        self.count += 1;
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }
}

/// Records with the number that each has.
pub(crate) type Numbered<'a> = Vec<(u64, &'a [u8])>;

/// The revisions of a pack of events, whose key is the last one's.
pub(crate) fn revisions<'a>(key: &[u8], value: &'a [u8]) -> Result<(Revision, Numbered<'a>), StoreError> {
    let Some((last, [])) = keys::number(key) else { return Err(damaged()) };
    let revisions = unpack(value)?;
    let first = (last + 1).checked_sub(revisions.len() as u64).ok_or_else(damaged)?;
    Ok((last, (first..).zip(revisions).collect()))
}

/// The places of a pack of answers, whose key is the first one's.
pub(crate) fn places<'a>(key: &[u8], value: &'a [u8]) -> Result<Numbered<'a>, StoreError> {
    let Some((first, [])) = keys::number(key) else { return Err(damaged()) };
    Ok((first..).zip(unpack(value)?).collect())
}

/// The records of a pack, in order; at least one.
fn unpack(raw: &[u8]) -> Result<Vec<&[u8]>, StoreError> {
    let (mut records, mut rest) = (Vec::new(), raw);
    while !rest.is_empty() {
        let (record, after) = first(rest).ok_or_else(damaged)?;
        records.push(record);
        rest = after;
    }
    if records.is_empty() { Err(damaged()) } else { Ok(records) }
}

fn first(raw: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = raw.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

fn damaged() -> StoreError {
    StoreError::Fatal("the state has a damaged pack of records. This replica must be replaced by a new one".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_damage_is_noticed() {
        let mut pack = Pack::default();
        let records: [&[u8]; 3] = [b"one", b"", b"three"];
        records.iter().for_each(|record| pack.add(|out| out.extend_from_slice(record)));
        assert_eq!((unpack(pack.bytes()), pack.count()), (Ok(records.to_vec()), 3));
        assert_eq!(unpack(&Pack::of(b"one")), Ok(vec![&b"one"[..]]));
        for cut in [0, 1, 3, 6, 8, pack.bytes().len() - 1] {
            assert!(unpack(&pack.bytes()[..cut]).is_err(), "cut at {cut}");
        }
        pack.clear();
        assert_eq!((pack.count(), pack.bytes()), (0, &b""[..]));
    }
}
