//! Keys, ranges and versions between etcd's form and the store's.

use bytes::Bytes;
use kontiki_proto::etcd as pb;
use store_api::KeyValue;

use crate::face::signed;

/// A range's end as the store knows it: etcd says "only this key" by none, and "to the end" by one zero byte.
pub(crate) fn end_of(key: &Bytes, range_end: &Bytes) -> Bytes {
    match range_end.as_ref() {
        [] => Bytes::from([key.as_ref(), &[0]].concat()),
        [0] => Bytes::new(),
        _ => range_end.clone(),
    }
}

pub(crate) fn key_value(kv: KeyValue) -> pb::KeyValue {
    pb::KeyValue {
        key: kv.key,
        value: kv.value,
        create_revision: signed(kv.create_revision),
        mod_revision: signed(kv.mod_revision),
        version: signed(kv.version),
        lease: kv.lease.cast_signed(),
    }
}
