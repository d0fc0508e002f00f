//! Range: what is asked of the store, and what is made of its answer.
//!
//! The store answers in the order of keys, cut at a limit. Sorting by anything else and the bounds on revisions are
//! applied here, to as much as etcd applies them to.

use kontiki_proto::etcd as pb;
use pb::range_request::{SortOrder, SortTarget};
use store_api::{GetReply, KeyValue, RangeReply, RangeRequest, ReadAt, TxnRange};

use super::convert::{end_of, key_value};
use crate::face::{given, signed};

/// Exactly one key, and its value: a read without a scan.
pub(super) fn is_single(request: &pb::RangeRequest) -> bool {
    request.range_end.is_empty() && !request.count_only
}

pub(super) fn of_single(request: &pb::RangeRequest, found: GetReply) -> RangeReply {
    let mut kvs: Vec<KeyValue> = found.kv.into_iter().collect();
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value.clear());
    }
    RangeReply { more: false, count: kvs.len(), kvs, revision: found.revision }
}

pub(super) fn wanted(request: &pb::RangeRequest, at: ReadAt) -> RangeRequest {
    let TxnRange { start, end, limit, keys_only, count_only, .. } = wanted_in_txn(request);
    RangeRequest { start, end, at, limit, keys_only, count: true, count_only }
}

pub(super) fn wanted_in_txn(request: &pb::RangeRequest) -> TxnRange {
    TxnRange {
        start: request.key.clone(),
        end: end_of(&request.key, &request.range_end),
        at: given(request.revision),
        limit: limit(request),
        keys_only: request.keys_only && request.sort_target() != SortTarget::Value,
        count_only: request.count_only,
    }
}

/// One more than asked for tells whether there is more. What is sorted or sieved afterwards is read whole.
fn limit(request: &pb::RangeRequest) -> usize {
    let whole = request.sort_order() != SortOrder::None
        || request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0;
    match given(request.limit) {
        Some(limit) if !whole => usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1),
        _ => 0,
    }
}

pub(super) fn response(
    request: &pb::RangeRequest,
    mut kvs: Vec<KeyValue>,
    count: usize,
    header: Option<pb::ResponseHeader>,
) -> pb::RangeResponse {
    sieve(request, &mut kvs);
    sort(request, &mut kvs);
    let mut more = false;
    if let Some(limit) = given(request.limit).and_then(|limit| usize::try_from(limit).ok())
        && kvs.len() > limit
    {
        kvs.truncate(limit);
        more = true;
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value.clear());
    }
    let kvs = kvs.into_iter().map(key_value).collect();
    pb::RangeResponse { header, kvs, more, count: signed(count as u64) }
}

fn sieve(request: &pb::RangeRequest, kvs: &mut Vec<KeyValue>) {
    let within =
        |number: u64, min: i64, max: i64| (min == 0 || signed(number) >= min) && (max == 0 || signed(number) <= max);
    kvs.retain(|kv| {
        within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
            && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
    });
}

/// A target without an order sorts upwards; the order of keys is there already.
fn sort(request: &pb::RangeRequest, kvs: &mut [KeyValue]) {
    let target = request.sort_target();
    match target {
        SortTarget::Key => {}
        SortTarget::Version => kvs.sort_by_key(|kv| kv.version),
        SortTarget::Create => kvs.sort_by_key(|kv| kv.create_revision),
        SortTarget::Mod => kvs.sort_by_key(|kv| kv.mod_revision),
        SortTarget::Value => kvs.sort_by(|a, b| a.value.cmp(&b.value)),
    }
    if request.sort_order() == SortOrder::Descend {
        kvs.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(key: &'static str, value: &'static str, create: u64, modified: u64, version: u64) -> KeyValue {
        KeyValue {
            key: key.into(),
            value: value.into(),
            create_revision: create,
            mod_revision: modified,
            version,
            lease: 0,
        }
    }

    fn all() -> Vec<KeyValue> {
        vec![kv("a", "3", 2, 9, 4), kv("b", "1", 3, 3, 1), kv("c", "2", 4, 5, 2)]
    }

    /// What the store would hand over, and what becomes of it.
    fn answer(request: &pb::RangeRequest) -> (String, bool) {
        let mut kvs = all();
        let limit = wanted_in_txn(request).limit;
        if limit != 0 {
            kvs.truncate(limit);
        }
        let response = response(request, kvs, 3, None);
        let keys: Vec<String> = response.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect();
        assert_eq!(response.count, 3, "the count knows no sieve and no limit");
        (keys.join(""), response.more)
    }

    #[test]
    fn answers_are_sorted_sieved_and_cut_as_etcd_does() {
        let base = pb::RangeRequest { key: "a".into(), range_end: "z".into(), ..Default::default() };
        let sorted = |target: SortTarget, order: SortOrder, limit| pb::RangeRequest {
            sort_target: target.into(),
            sort_order: order.into(),
            limit,
            ..base.clone()
        };
        for (request, keys, more) in [
            (base.clone(), "abc", false),
            (pb::RangeRequest { limit: 2, ..base.clone() }, "ab", true),
            (pb::RangeRequest { limit: 3, ..base.clone() }, "abc", false),
            (pb::RangeRequest { limit: -1, ..base.clone() }, "abc", false),
            (sorted(SortTarget::Key, SortOrder::Descend, 0), "cba", false),
            (sorted(SortTarget::Key, SortOrder::Descend, 2), "cb", true),
            (sorted(SortTarget::Value, SortOrder::Ascend, 2), "bc", true),
            (sorted(SortTarget::Mod, SortOrder::Descend, 1), "a", true),
            (sorted(SortTarget::Create, SortOrder::Ascend, 0), "abc", false),
            (sorted(SortTarget::Version, SortOrder::Ascend, 0), "bca", false),
            // Without an order the limit cuts in the order of keys, before the target sorts.
            (sorted(SortTarget::Value, SortOrder::None, 1), "b", true),
            (pb::RangeRequest { min_mod_revision: 4, limit: 1, ..base.clone() }, "a", true),
            (pb::RangeRequest { max_mod_revision: 5, ..base.clone() }, "bc", false),
            (pb::RangeRequest { min_create_revision: 3, max_create_revision: 3, ..base.clone() }, "b", false),
        ] {
            assert_eq!(answer(&request), (keys.to_owned(), more), "{request:?}");
        }
    }

    #[test]
    fn ends_are_read_as_etcd_writes_them() {
        let end = |range_end: &'static [u8]| end_of(&"k".into(), &range_end.into());
        assert_eq!((end(b"").as_ref(), end(b"\0").as_ref(), end(b"l").as_ref()), (&b"k\0"[..], &b""[..], &b"l"[..]));
    }

    #[test]
    fn values_that_are_sorted_by_are_read_and_left_out() {
        let request = pb::RangeRequest {
            key: "a".into(),
            range_end: "z".into(),
            keys_only: true,
            sort_target: SortTarget::Value.into(),
            ..Default::default()
        };
        assert!(!wanted_in_txn(&request).keys_only);
        let response = response(&request, all(), 3, None);
        assert!(response.kvs.iter().all(|kv| kv.value.is_empty()));
        assert_eq!(response.kvs[0].key, "b");
    }
}
