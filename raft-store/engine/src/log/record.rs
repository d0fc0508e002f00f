//! One record of the log.
//!
//! | bytes | what                                                               |
//! |-------|--------------------------------------------------------------------|
//! | 4     | length of kind and content                                         |
//! | 4     | CRC-32 of the record's position in the log, its kind and content   |
//! | 1     | kind                                                               |
//! | ...   | content                                                            |
//!
//! Numbers are big-endian. With its position in the checksum, a record in another's place is noticed too.

use bytes::Bytes;
use prost::Message;

/// Length and checksum.
const FRAME_BYTES: usize = 8;
/// What an entry's record is longer than the entry.
pub(super) const ENTRY_OVERHEAD: usize = FRAME_BYTES + 1 + 8;

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Record {
    /// First in every file of the log.
    Head(Head),
    Entry {
        index: u64,
        entry: Bytes,
    },
    Vote(Bytes),
    Committed(Bytes),
    /// Everything up to and including `to` has gone.
    Purge {
        to: u64,
        last_purged: Bytes,
    },
    /// `from` and everything after it has gone.
    Truncate {
        from: u64,
    },
}

/// What the files before it have come to, so that they may go.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Head {
    /// The only index that may follow.
    #[prost(uint64, optional, tag = "1")]
    pub(super) next: Option<u64>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(super) vote: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(super) committed: Option<Bytes>,
    #[prost(uint64, optional, tag = "4")]
    pub(super) purged: Option<u64>,
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub(super) last_purged: Option<Bytes>,
}

/// Appends the record that lies at `position`.
pub(super) fn encode(record: &Record, position: u64, out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(&[0; FRAME_BYTES]);
    match record {
        Record::Head(head) => {
            out.push(b'h');
            out.extend_from_slice(&head.encode_to_vec());
        }
        Record::Entry { index, entry } => numbered(b'e', *index, entry, out),
        Record::Vote(vote) => {
            out.push(b'v');
            out.extend_from_slice(vote);
        }
        Record::Committed(committed) => {
            out.push(b'c');
            out.extend_from_slice(committed);
        }
        Record::Purge { to, last_purged } => numbered(b'p', *to, last_purged, out),
        Record::Truncate { from } => numbered(b't', *from, b"", out),
    }
    let length = (out.len() - begin - FRAME_BYTES) as u32;
    let checksum = checksum(position, &out[begin + FRAME_BYTES..]);
    out[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
    out[begin + 4..begin + FRAME_BYTES].copy_from_slice(&checksum.to_be_bytes());
}

fn numbered(kind: u8, number: u64, rest: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(rest);
}

/// The record at the beginning of `raw`, which lies at `position`, and the bytes it takes. `None` when there is no
/// whole and sound one.
pub(super) fn decode(raw: &Bytes, position: u64) -> Option<(Record, usize)> {
    let (length, rest) = raw.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let body = rest.get(..u32::from_be_bytes(*length) as usize)?;
    if checksum(position, body) != u32::from_be_bytes(*sum) {
        return None;
    }
    let (kind, content) = body.split_first()?;
    let number = || content.split_first_chunk().map(|(number, rest)| (u64::from_be_bytes(*number), rest));
    let record = match kind {
        b'h' => Record::Head(Head::decode(raw.slice_ref(content)).ok()?),
        b'e' => number().map(|(index, entry)| Record::Entry { index, entry: raw.slice_ref(entry) })?,
        b'v' => Record::Vote(raw.slice_ref(content)),
        b'c' => Record::Committed(raw.slice_ref(content)),
        b'p' => number().map(|(to, last)| Record::Purge { to, last_purged: raw.slice_ref(last) })?,
        b't' => number().filter(|(_, rest)| rest.is_empty()).map(|(from, _)| Record::Truncate { from })?,
        _ => return None,
    };
    Some((record, FRAME_BYTES + body.len()))
}

fn checksum(position: u64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&position.to_be_bytes());
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_was_and_nowhere_else() {
        let head = Head { next: Some(0), vote: Some("v".into()), purged: Some(7), ..Head::default() };
        for record in [
            Record::Head(Head::default()),
            Record::Head(head),
            Record::Entry { index: u64::MAX, entry: Bytes::from(vec![7; 1000]) },
            Record::Entry { index: 0, entry: Bytes::new() },
            Record::Vote("vote".into()),
            Record::Committed("".into()),
            Record::Purge { to: 3, last_purged: "opaque".into() },
            Record::Truncate { from: 9 },
        ] {
            let mut raw = b"before".to_vec();
            encode(&record, 77, &mut raw);
            let raw = Bytes::from(raw).slice(6..);
            let length = raw.len();
            assert_eq!(decode(&raw, 77), Some((record.clone(), length)));
            assert_eq!(decode(&raw, 78), None, "at another place");
            assert_eq!(decode(&[&raw[..], b"after"].concat().into(), 77), Some((record, length)));
            for cut in 0..length {
                assert_eq!(decode(&raw.slice(..cut), 77), None, "cut to {cut}");
                let mut flipped = raw.to_vec();
                flipped[cut] ^= 1 << (cut % 8);
                assert_eq!(decode(&flipped.into(), 77), None, "byte {cut}");
            }
        }
    }
}
