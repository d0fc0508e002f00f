//! What lies under the keys of the state. Records that are many are packed by hand, the others are
//! protobuf messages, which can grow.

use bytes::Bytes;
use prost::Message;
use store_api::{Event, FIRST_REVISION, KeyValue, RequestId, Revision, StoreError};
use store_core::{Floor, OpRef, Remembered, VersionRef};

/// Where the state is: everything about it that is one of a kind. Written in every batch.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Position {
    #[prost(uint64, tag = "1")]
    pub(crate) revision: Revision,
    #[prost(uint64, tag = "2")]
    pub(crate) compacted: Revision,
    /// Of the last entry applied; opaque.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(crate) log_id: Option<Bytes>,
    /// Opaque.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub(crate) membership: Option<Bytes>,
    #[prost(uint64, tag = "5")]
    pub(crate) last_lease_id: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) last_node_id: u64,
    #[prost(fixed64, tag = "7")]
    pub(crate) hash: u64,
    /// Of the entry that follows the last one applied.
    #[prost(uint64, tag = "8")]
    pub(crate) next_index: u64,
    /// The node ids in the membership.
    #[prost(uint64, repeated, tag = "9")]
    pub(crate) members: Vec<u64>,
}

impl Position {
    /// What lies under [`super::keys::POSITION`]; before the first entry that is nothing.
    pub(crate) fn stored(raw: Option<&[u8]>) -> Result<Self, StoreError> {
        match raw {
            Some(raw) => decode("position", raw),
            None => Ok(Self { revision: FIRST_REVISION, ..Self::default() }),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LeaseRecord {
    #[prost(uint64, tag = "1")]
    pub(super) ttl_ms: u64,
    #[prost(uint64, tag = "2")]
    pub(super) renewals: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FloorRecord {
    #[prost(uint64, tag = "1")]
    seq: u64,
    #[prost(uint64, tag = "2")]
    place: u64,
}

#[derive(Clone, PartialEq, Message)]
struct ReplyRecord {
    #[prost(fixed64, tag = "1")]
    client_high: u64,
    #[prost(fixed64, tag = "2")]
    client_low: u64,
    #[prost(uint64, tag = "3")]
    seq: u64,
    #[prost(oneof = "AnswerRecord", tags = "4, 5, 6, 7")]
    answer: Option<AnswerRecord>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum AnswerRecord {
    #[prost(message, tag = "4")]
    Txn(TxnRecord),
    #[prost(uint64, tag = "5")]
    Lease(u64),
    #[prost(uint64, tag = "6")]
    NodeId(u64),
    #[prost(bool, tag = "7")]
    TooLarge(bool),
}

#[derive(Clone, PartialEq, Message)]
struct TxnRecord {
    #[prost(bool, tag = "1")]
    succeeded: bool,
    #[prost(uint64, tag = "2")]
    revision: u64,
    #[prost(message, repeated, tag = "3")]
    ops: Vec<OpRecord>,
    #[prost(uint64, tag = "4")]
    needs: u64,
}

#[derive(Clone, PartialEq, Message)]
struct OpRecord {
    /// 1 put, 2 deleted, 3 got, 4 ranged, 5 transaction.
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(message, repeated, tag = "2")]
    versions: Vec<VersionRecord>,
    #[prost(uint64, tag = "3")]
    count: u64,
    /// Of a range: whether there was more. Of a transaction: whether it succeeded.
    #[prost(bool, tag = "4")]
    flag: bool,
    #[prost(bool, tag = "5")]
    with_values: bool,
    #[prost(message, repeated, tag = "6")]
    ops: Vec<OpRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct VersionRecord {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(uint64, tag = "2")]
    revision: u64,
}

pub(crate) fn decode<M: Message + Default>(what: &str, raw: &[u8]) -> Result<M, StoreError> {
    M::decode(raw).map_err(|error| StoreError::Fatal(format!("the state's {what} is damaged: {error}")))
}

fn damaged(what: &str) -> StoreError {
    StoreError::Fatal(format!("the state's {what} is damaged. This replica must be replaced by a new one"))
}

pub(super) fn encode_floor(floor: Floor) -> Vec<u8> {
    FloorRecord { seq: floor.seq, place: floor.place }.encode_to_vec()
}

pub(super) fn decode_floor(raw: &[u8]) -> Result<Floor, StoreError> {
    let FloorRecord { seq, place } = decode("floor of requests", raw)?;
    Ok(Floor { seq, place })
}

/// Appends an answer.
pub(super) fn encode_reply(id: &RequestId, answer: &Remembered, out: &mut Vec<u8>) {
    let answer = match answer {
        Remembered::Lease(id) => AnswerRecord::Lease(*id),
        Remembered::NodeId(id) => AnswerRecord::NodeId(*id),
        Remembered::TooLarge => AnswerRecord::TooLarge(true),
        Remembered::Txn { succeeded, revision, needs, ops } => AnswerRecord::Txn(TxnRecord {
            succeeded: *succeeded,
            revision: *revision,
            needs: *needs,
            ops: ops.iter().map(encode_op).collect(),
        }),
    };
    let (client_high, client_low) = ((id.client >> 64) as u64, id.client as u64);
    out.extend_from_slice(&ReplyRecord { client_high, client_low, seq: id.seq, answer: Some(answer) }.encode_to_vec());
}

pub(super) fn decode_reply(raw: &[u8]) -> Result<(RequestId, Remembered), StoreError> {
    let record: ReplyRecord = decode("reply", raw)?;
    let client = u128::from(record.client_high) << 64 | u128::from(record.client_low);
    let answer = match record.answer.ok_or_else(|| damaged("reply"))? {
        AnswerRecord::Lease(id) => Remembered::Lease(id),
        AnswerRecord::NodeId(id) => Remembered::NodeId(id),
        AnswerRecord::TooLarge(_) => Remembered::TooLarge,
        AnswerRecord::Txn(TxnRecord { succeeded, revision, needs, ops }) => {
            let ops = decode_ops(ops).ok_or_else(|| damaged("reply"))?;
            Remembered::Txn { succeeded, revision, needs, ops }
        }
    };
    Ok((RequestId { client, seq: record.seq }, answer))
}

fn encode_op(op: &OpRef) -> OpRecord {
    let record = |v: &VersionRef| VersionRecord { key: v.key.clone(), revision: v.revision };
    let one = |kind, version: &Option<VersionRef>| OpRecord {
        kind,
        versions: version.iter().map(record).collect(),
        ..OpRecord::default()
    };
    match op {
        OpRef::Put(version) => one(1, version),
        OpRef::Deleted { count, previous } => OpRecord {
            kind: 2,
            versions: previous.iter().map(record).collect(),
            count: *count as u64,
            ..OpRecord::default()
        },
        OpRef::Got(version) => one(3, version),
        OpRef::Ranged { versions, with_values, more, count } => OpRecord {
            kind: 4,
            versions: versions.iter().map(record).collect(),
            count: *count as u64,
            flag: *more,
            with_values: *with_values,
            ..OpRecord::default()
        },
        OpRef::Txn { succeeded, ops } => {
            OpRecord { kind: 5, flag: *succeeded, ops: ops.iter().map(encode_op).collect(), ..OpRecord::default() }
        }
    }
}

fn decode_ops(records: Vec<OpRecord>) -> Option<Vec<OpRef>> {
    records.into_iter().map(decode_op).collect()
}

fn decode_op(record: OpRecord) -> Option<OpRef> {
    let OpRecord { kind, versions, count, flag, with_values, ops } = record;
    let mut versions = versions.into_iter().map(|v| VersionRef { key: v.key, revision: v.revision });
    let count = usize::try_from(count).ok()?;
    Some(match kind {
        1 => OpRef::Put(versions.next()),
        2 => OpRef::Deleted { count, previous: versions.collect() },
        3 => OpRef::Got(versions.next()),
        4 => OpRef::Ranged { versions: versions.collect(), with_values, more: flag, count },
        5 => OpRef::Txn { succeeded: flag, ops: decode_ops(ops)? },
        _ => return None,
    })
}

const TOMBSTONE: u8 = 0;
const PUT: u8 = 1;
/// Kind, create revision, version, lease.
const VERSION_HEADER: usize = 1 + 3 * 8;

/// Replaces `out` by the version an event writes.
pub(super) fn encode_version(event: &Event, out: &mut Vec<u8>) {
    out.clear();
    match event {
        Event::Delete { .. } => out.push(TOMBSTONE),
        Event::Put { kv, .. } => {
            out.reserve(VERSION_HEADER + kv.value.len());
            out.push(PUT);
            for number in [kv.create_revision, kv.version, kv.lease] {
                out.extend_from_slice(&number.to_be_bytes());
            }
            out.extend_from_slice(&kv.value);
        }
    }
}

/// A version as it lies in the database.
pub(crate) struct Version<'a> {
    create_revision: Revision,
    version: u64,
    lease: u64,
    value: &'a [u8],
}

impl<'a> Version<'a> {
    /// `None` is a deletion.
    pub(crate) fn parse(raw: &'a [u8]) -> Result<Option<Self>, StoreError> {
        if raw == [TOMBSTONE] {
            return Ok(None);
        }
        let (header, value) = raw.split_first_chunk::<VERSION_HEADER>().ok_or_else(|| damaged("version"))?;
        if header[0] != PUT {
            return Err(damaged("version"));
        }
        let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|n| header[1 + at * 8 + n]));
        Ok(Some(Self { create_revision: number(0), version: number(1), lease: number(2), value }))
    }

    pub(super) fn into_kv(self, key: Bytes, mod_revision: Revision, keys_only: bool) -> KeyValue {
        let value = if keys_only { Bytes::new() } else { Bytes::copy_from_slice(self.value) };
        let Self { create_revision, version, lease, .. } = self;
        KeyValue { key, value, create_revision, mod_revision, version, lease }
    }
}

/// An event without its values: they are the versions of the key at its revision and at `previous`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventRef {
    pub(super) key: Bytes,
    pub(super) deleted: bool,
    /// Revision of the version before, or 0.
    pub(super) previous: Revision,
}

/// Appends the events of one revision.
pub(super) fn encode_events(events: &[Event], out: &mut Vec<u8>) {
    for event in events {
        let (kind, previous) = match event {
            Event::Put { previous, .. } => (PUT, previous.as_ref().map_or(0, |p| p.mod_revision)),
            Event::Delete { previous, .. } => (TOMBSTONE, previous.mod_revision),
        };
        let key = &event.kv().key;
        out.push(kind);
        out.extend_from_slice(&previous.to_be_bytes());
        out.extend_from_slice(&u32::try_from(key.len()).expect("keys are checked to be short").to_be_bytes());
        out.extend_from_slice(key);
    }
}

pub(super) fn decode_events(raw: &[u8]) -> Result<Vec<EventRef>, StoreError> {
    let mut events = Vec::new();
    let mut rest = raw;
    while !rest.is_empty() {
        let (event, after) = decode_event(rest).ok_or_else(|| damaged("list of events"))?;
        events.push(event);
        rest = after;
    }
    Ok(events)
}

/// The same events without the deletions.
pub(super) fn puts(raw: &[u8]) -> Result<Vec<u8>, StoreError> {
    let (mut puts, mut rest) = (Vec::new(), raw);
    while !rest.is_empty() {
        let (event, after) = decode_event(rest).ok_or_else(|| damaged("list of events"))?;
        if !event.deleted {
            puts.extend_from_slice(&rest[..rest.len() - after.len()]);
        }
        rest = after;
    }
    Ok(puts)
}

fn decode_event(raw: &[u8]) -> Option<(EventRef, &[u8])> {
    let (kind, rest) = raw.split_first()?;
    let (previous, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (key, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    let deleted = match *kind {
        PUT => false,
        TOMBSTONE => true,
        _ => return None,
    };
    Some((EventRef { key: Bytes::copy_from_slice(key), deleted, previous: u64::from_be_bytes(*previous) }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_come_back() {
        let version = VersionRef { key: Bytes::from("k"), revision: 7 };
        let ops = vec![
            OpRef::Put(None),
            OpRef::Put(Some(version.clone())),
            OpRef::Deleted { count: 0, previous: vec![] },
            OpRef::Deleted { count: 2, previous: vec![version.clone(), version.clone()] },
            OpRef::Got(None),
            OpRef::Got(Some(version.clone())),
            OpRef::Ranged { versions: vec![version.clone()], with_values: true, more: false, count: 1 },
            OpRef::Txn {
                succeeded: true,
                ops: vec![
                    OpRef::Ranged { versions: vec![version], with_values: false, more: true, count: 9 },
                    OpRef::Txn { succeeded: false, ops: vec![] },
                ],
            },
        ];
        let id = RequestId { client: u128::MAX - 5, seq: 3 };
        let txn = Remembered::Txn { succeeded: true, revision: 8, needs: 5, ops };
        for answer in [Remembered::Lease(4), Remembered::NodeId(0), Remembered::TooLarge, txn] {
            let mut raw = Vec::new();
            encode_reply(&id, &answer, &mut raw);
            assert_eq!(decode_reply(&raw), Ok((id, answer)));
        }
        let floor = Floor { seq: 0, place: u64::MAX };
        assert_eq!(decode_floor(&encode_floor(floor)), Ok(floor));
    }

    #[test]
    fn truncated_records_are_noticed() {
        let kv = KeyValue {
            key: Bytes::from("key"),
            value: Bytes::from("value"),
            create_revision: 1,
            mod_revision: 2,
            version: 3,
            lease: 4,
        };
        let events = [Event::Put { kv: kv.clone(), previous: None }, Event::Delete { kv: kv.clone(), previous: kv }];
        let mut raw = Vec::new();
        encode_events(&events, &mut raw);
        assert_eq!(decode_events(&raw).map(|events| events.len()), Ok(2));
        for cut in (1..raw.len()).filter(|cut| *cut != raw.len() / 2) {
            assert!(decode_events(&raw[..cut]).is_err(), "cut at {cut}");
        }
        encode_version(&events[0], &mut raw);
        assert!(Version::parse(&raw[..VERSION_HEADER - 1]).is_err());
        assert!(Version::parse(b"").is_err() && Version::parse(b"\x07").is_err());
    }
}
