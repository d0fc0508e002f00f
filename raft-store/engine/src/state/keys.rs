//! The key layout of the state.
//!
//! | key                              | value                                            |
//! |----------------------------------|--------------------------------------------------|
//! | `v` escaped key, `!revision`     | one version: its numbers and its value           |
//! | `g` last revision                | a pack: the events of a group, without values    |
//! | `l` lease                        | a lease                                          |
//! | `k` lease, key                   | empty: the lease holds the key                   |
//! | `a` first place                  | a pack: the answers to a group, for retries      |
//! | `f` client                       | the floor of its forgotten requests              |
//! | `m`                              | the position: revision, log id, ...              |
//! | `r` node                         | empty: the node was a member and was removed     |
//!
//! A pack ([`super::packed`]) holds one record for each revision, or each answer, of a group of entries that were
//! applied together; they follow one another.
//!
//! Versions of a key lie together, newest first (the revision is inverted), so the newest is one seek away.
//! A zero byte in a key becomes `00 ff` and the key ends with `00 01`: byte order is kept, and no key's
//! versions lie among those of a key it is the beginning of.

use bytes::Bytes;
use rocksdb::SliceTransform;
use store_api::{LeaseId, Revision};

pub(crate) const POSITION: &[u8] = b"m";
pub(crate) const EVENTS: u8 = b'g';
pub(crate) const ANSWERS: u8 = b'a';
/// Up to format 4: the events of one revision.
pub(crate) const OLD_EVENTS: u8 = b'e';
/// Up to format 4: one answer.
pub(crate) const OLD_ANSWER: u8 = b'd';
const ZERO: [u8; 2] = [0x00, 0xff];
const END: [u8; 2] = [0x00, 0x01];
const REVISION_BYTES: usize = 8;

/// Appends the key so that byte order is kept, without its end.
fn escape(key: &[u8], out: &mut Vec<u8>) {
    for (n, part) in key.split(|byte| *byte == 0).enumerate() {
        if n > 0 {
            out.extend_from_slice(&ZERO);
        }
        out.extend_from_slice(part);
    }
}

/// Where the newest version of `key` at or before `revision` is found, or those of other keys.
pub(super) fn version_key(key: &[u8], revision: Revision) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 16);
    out.push(b'v');
    escape(key, &mut out);
    out.extend_from_slice(&END);
    out.extend_from_slice(&(!revision).to_be_bytes());
    out
}

/// `[lower, upper)` of all versions of the keys in `[start, end)`; an empty `end` is the end of the key space.
pub(super) fn version_bounds(start: &[u8], end: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let bound = |key: &[u8]| {
        let mut out = vec![b'v'];
        escape(key, &mut out);
        out
    };
    (bound(start), if end.is_empty() { vec![b'v' + 1] } else { bound(end) })
}

/// What the versions of one key have in common, and the revision.
pub(crate) fn split_version(raw: &[u8]) -> Option<(&[u8], Revision)> {
    let (prefix, inverted) = raw.split_last_chunk::<REVISION_BYTES>()?;
    (prefix.first() == Some(&b'v') && prefix.ends_with(&END)).then(|| (prefix, !u64::from_be_bytes(*inverted)))
}

/// The key of a version prefix.
pub(super) fn unescape(prefix: &[u8]) -> Option<Bytes> {
    let escaped = prefix.strip_prefix(b"v")?.strip_suffix(&END)?;
    if !escaped.contains(&0) {
        return Some(Bytes::copy_from_slice(escaped));
    }
    let mut key = Vec::with_capacity(escaped.len());
    let mut rest = escaped.iter();
    while let Some(byte) = rest.next() {
        key.push(*byte);
        if *byte == 0 && rest.next() != Some(&ZERO[1]) {
            return None;
        }
    }
    Some(key.into())
}

/// Where the next key's versions begin.
pub(super) fn after_versions(prefix: &[u8]) -> Vec<u8> {
    let mut out = prefix.to_vec();
    if let Some(last) = out.last_mut() {
        // The end of a key is `00 01`, so this stays below every longer key and above all versions.
        *last += 1;
    }
    out
}

pub(super) fn numbered(tag: u8, number: u64) -> [u8; 9] {
    let mut key = [tag; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Of the group whose last revision this is.
pub(crate) fn events_key(revision: Revision) -> [u8; 9] {
    numbered(EVENTS, revision)
}

pub(super) fn lease_key(id: LeaseId) -> [u8; 9] {
    numbered(b'l', id)
}

pub(super) fn attachment_key(id: LeaseId, key: &[u8]) -> Vec<u8> {
    [&numbered(b'k', id)[..], key].concat()
}

/// Of the group whose first answer has this place.
pub(crate) fn answers_key(place: u64) -> [u8; 9] {
    numbered(ANSWERS, place)
}

pub(super) fn removed_key(node: u64) -> [u8; 9] {
    numbered(b'r', node)
}

pub(super) fn floor_key(client: u128) -> [u8; 17] {
    let mut key = [b'f'; 17];
    key[1..].copy_from_slice(&client.to_be_bytes());
    key
}

/// The number after the tag, and what follows it.
pub(crate) fn number(raw: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = raw.get(1..)?.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

pub(super) fn client(raw: &[u8]) -> Option<u128> {
    raw.get(1..)?.try_into().ok().map(u128::from_be_bytes)
}

/// `[lower, upper)` of all keys with a tag.
pub(crate) fn tagged(tag: u8) -> ([u8; 1], [u8; 1]) {
    ([tag], [tag + 1])
}

/// Lets filters answer whether a key has any version.
pub(crate) fn version_prefix() -> SliceTransform {
    SliceTransform::create("kontiki-versions", without_revision, Some(is_version))
}

fn without_revision(raw: &[u8]) -> &[u8] {
    &raw[..raw.len().saturating_sub(REVISION_BYTES)]
}

fn is_version(raw: &[u8]) -> bool {
    raw.first() == Some(&b'v') && raw.len() > REVISION_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_by_key_then_newest_first() {
        let keys: [&[u8]; 9] = [b"", b"\0", b"\0\x01", b"a", b"a\0", b"a\0\xff", b"a\x01", b"ab", b"\xff"];
        let mut raw = Vec::new();
        for key in keys {
            for revision in [u64::MAX, 300, 2, 1, 0] {
                let version = version_key(key, revision);
                let (prefix, found) = split_version(&version).expect("a version");
                assert_eq!((unescape(prefix).as_deref(), found), (Some(key), revision));
                assert!(after_versions(prefix) > version);
                raw.push(version);
            }
        }
        assert!(raw.is_sorted());
        for (n, start) in keys.iter().enumerate() {
            for end in &keys[n..] {
                let (lower, upper) = version_bounds(start, end);
                for key in keys {
                    let version = version_key(key, 7);
                    let inside = version >= lower && (end.is_empty() || version < upper);
                    assert_eq!(inside, store_api::in_range(key, start, end), "{key:?} in {start:?}..{end:?}");
                }
            }
        }
    }

    #[test]
    fn damaged_keys_are_noticed() {
        for raw in [&b""[..], b"v", b"v\0\x01", b"x\0\x01\0\0\0\0\0\0\0\0", b"va\0\0\0\0\0\0\0\0"] {
            assert_eq!(split_version(raw), None, "{raw:?}");
        }
        for prefix in [&b"v\0\x02\0\x01"[..], b"v\0\0\x01", b"va"] {
            assert_eq!(unescape(prefix), None, "{prefix:?}");
        }
    }
}
