//! Reads: one version, a range at a revision, the events between two revisions.
//!
//! A reader takes its view of the database first and looks at the compacted revision after it. What lies
//! below that mark is removed only after the mark was published, so a view that was taken while the mark
//! allowed the read holds everything it needs.

use std::ops::ControlFlow;

use bytes::Bytes;
use rocksdb::{DB, DBRawIterator, ReadOptions, Snapshot};
use store_api::{Event, FIRST_REVISION, KeyValue, RangeReply, RangeRequest, Revision, StoreError, in_range};

use super::generation::Generation;
use super::records::{self, EventRef, Version};
use super::{Published, keys, packed};
use crate::{Events, fatal, options};

/// Bytes of events handed out at once.
const MAX_EVENT_BYTES: usize = 32 << 20;
/// Revisions looked at at once, however few of their events are wanted.
const MAX_EVENT_REVISIONS: u64 = 65_536;
/// Old versions stepped over one by one before a seek is cheaper.
const STEPS: usize = 4;

pub(super) fn get(
    generation: &Generation,
    key: &[u8],
    at: Option<Revision>,
) -> Result<(Option<KeyValue>, Revision), StoreError> {
    loop {
        let revision = readable(generation.published(), at)?;
        let mut iterator = generation.db().raw_iterator_opt(options::within_key());
        let kv = find(&mut iterator, &Bytes::copy_from_slice(key), revision)?;
        if still_readable(generation, at, revision)? {
            return Ok((kv, revision));
        }
    }
}

pub(super) fn range(
    generation: &Generation,
    request: &RangeRequest,
    at: Option<Revision>,
) -> Result<RangeReply, StoreError> {
    loop {
        let revision = readable(generation.published(), at)?;
        let mut reply = RangeReply { kvs: Vec::new(), more: false, count: 0, revision };
        scan(generation.db(), &request.start, &request.end, revision, |version| {
            reply.more = !request.count_only && request.limit != 0 && reply.count >= request.limit;
            if reply.more && !request.count {
                return Ok(ControlFlow::Break(()));
            }
            reply.count += 1;
            if !reply.more && !request.count_only {
                let key = version.key()?;
                reply.kvs.push(version.into_kv(key, request.keys_only));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if still_readable(generation, at, revision)? {
            return Ok(reply);
        }
    }
}

/// The revision to read at.
pub(super) fn readable(published: Published, at: Option<Revision>) -> Result<Revision, StoreError> {
    let Published { revision: current, compacted, .. } = published;
    match at {
        None => Ok(current),
        Some(requested) if requested > current => Err(StoreError::FutureRevision { requested, current }),
        Some(requested) if requested < compacted => Err(StoreError::Compacted { requested, oldest: compacted }),
        Some(requested) => Ok(requested),
    }
}

/// Whether nothing read at `revision` can have been removed meanwhile; a read of the newest is tried again.
fn still_readable(generation: &Generation, at: Option<Revision>, revision: Revision) -> Result<bool, StoreError> {
    match readable(generation.published(), Some(revision)) {
        Ok(_) => Ok(true),
        Err(_) if at.is_none() => Ok(false),
        Err(error) => Err(error),
    }
}

/// The version of a key at a revision, by an iterator made with [`options::within_key`].
pub(super) fn find(
    iterator: &mut DBRawIterator<'_>,
    key: &Bytes,
    at: Revision,
) -> Result<Option<KeyValue>, StoreError> {
    let wanted = keys::version_key(key, at);
    iterator.seek(&wanted);
    let Some((raw, value)) = iterator.item() else {
        iterator.status().map_err(failed)?;
        return Ok(None);
    };
    let (prefix, revision) = keys::split_version(raw).ok_or_else(damaged)?;
    if !wanted.starts_with(prefix) {
        return Ok(None);
    }
    Ok(Version::parse(value)?.map(|version| version.into_kv(key.clone(), revision, false)))
}

/// The version that was written at exactly this revision.
pub(super) fn version(db: &DB, key: Bytes, revision: Revision) -> Result<Option<KeyValue>, StoreError> {
    let raw = db.get_pinned(keys::version_key(&key, revision)).map_err(failed)?;
    let Some(raw) = raw else { return Ok(None) };
    Ok(Version::parse(&raw)?.map(|version| version.into_kv(key, revision, false)))
}

/// A version that a scan came by; its value is copied only when it is wanted.
pub(super) struct Scanned<'a> {
    prefix: &'a [u8],
    revision: Revision,
    version: Version<'a>,
}

impl Scanned<'_> {
    pub(super) fn key(&self) -> Result<Bytes, StoreError> {
        keys::unescape(self.prefix).ok_or_else(damaged)
    }

    pub(super) fn into_kv(self, key: Bytes, keys_only: bool) -> KeyValue {
        self.version.into_kv(key, self.revision, keys_only)
    }
}

/// Visits the keys of `[start, end)` that exist at a revision, in order, until told to stop.
pub(super) fn scan(
    db: &DB,
    start: &[u8],
    end: &[u8],
    at: Revision,
    mut visit: impl FnMut(Scanned<'_>) -> Result<ControlFlow<()>, StoreError>,
) -> Result<(), StoreError> {
    let (lower, upper) = keys::version_bounds(start, end);
    if lower >= upper {
        return Ok(());
    }
    let mut iterator = db.raw_iterator_opt(options::scan(&lower, &upper));
    iterator.seek_to_first();
    let mut prefix = Vec::new();
    while let Some(raw) = iterator.key() {
        let (found, revision) = keys::split_version(raw).ok_or_else(damaged)?;
        prefix.clear();
        prefix.extend_from_slice(found);
        if revision <= at {
            if let Some(version) = Version::parse(iterator.value().unwrap_or_default())?
                && visit(Scanned { prefix: &prefix, revision, version })?.is_break()
            {
                return Ok(());
            }
            leave_key(&mut iterator, &prefix);
        } else {
            skip_newer(&mut iterator, &prefix, at);
        }
    }
    iterator.status().map_err(failed)
}

/// Goes to the first version of another key.
fn leave_key(iterator: &mut DBRawIterator<'_>, prefix: &[u8]) {
    for _ in 0..STEPS {
        iterator.next();
        if !iterator.key().is_some_and(|raw| raw.starts_with(prefix)) {
            return;
        }
    }
    iterator.seek(keys::after_versions(prefix));
}

/// Goes to the version of this key at a revision, or to another key.
fn skip_newer(iterator: &mut DBRawIterator<'_>, prefix: &[u8], at: Revision) {
    let wanted = [prefix, &(!at).to_be_bytes()].concat();
    for _ in 0..STEPS {
        iterator.next();
        if iterator.key().is_none_or(|raw| raw >= wanted.as_slice()) {
            return;
        }
    }
    iterator.seek(wanted);
}

/// See [`super::StateMachine::events_in`].
pub(super) fn events(
    generation: &Generation,
    after: Revision,
    until: Revision,
    range: (&[u8], &[u8]),
    max_events: usize,
) -> Result<Events, StoreError> {
    let published = generation.published();
    let until = until.min(published.revision);
    let view = generation.db().snapshot();
    let compacted = generation.published().compacted;
    if after + 1 < compacted {
        return Err(StoreError::Compacted { requested: after + 1, oldest: compacted });
    }
    // The first revision has no events.
    let after = after.max(FIRST_REVISION);
    let mut found = Events { upto: after.max(until), revisions: Vec::new() };
    if after >= until {
        return Ok(found);
    }
    // The group in which the last revision lies may end after it.
    let (lower, upper) = (keys::events_key(after + 1), keys::tagged(keys::EVENTS).1);
    let mut iterator = view.raw_iterator_opt(options::scan(&lower, &upper));
    iterator.seek_to_first();
    let (mut count, mut bytes, mut expected) = (0, 0, after + 1);
    while let Some((raw, value)) = iterator.item().filter(|_| expected <= until) {
        let (_, revisions) = packed::revisions(raw, value)?;
        let wanted = revisions.into_iter().filter(|(revision, _)| *revision > after && *revision <= until);
        for (revision, events) in wanted {
            if revision != expected {
                return Err(damaged());
            }
            let events = events_of(&view, revision, events, range)?;
            count += events.len();
            bytes += events.iter().map(event_bytes).sum::<usize>();
            if !events.is_empty() {
                found.revisions.push((revision, events));
            }
            let looked_at = revision - after;
            if count >= max_events || bytes >= MAX_EVENT_BYTES || looked_at >= MAX_EVENT_REVISIONS {
                found.upto = revision;
                return Ok(found);
            }
            expected += 1;
        }
        iterator.next();
    }
    iterator.status().map_err(failed)?;
    match expected == until + 1 {
        true => Ok(found),
        false => Err(damaged()),
    }
}

/// Those events of a revision that are in the range; every revision has some.
fn events_of(
    view: &Snapshot<'_>,
    revision: Revision,
    events: &[u8],
    (start, end): (&[u8], &[u8]),
) -> Result<Vec<Event>, StoreError> {
    // Whose values are not wanted are not read.
    let wanted = records::decode_events(events)?.into_iter().filter(|event| in_range(&event.key, start, end));
    wanted.map(|event| full_event(view, event, revision)).collect()
}

fn full_event(view: &Snapshot<'_>, event: EventRef, revision: Revision) -> Result<Event, StoreError> {
    let EventRef { key, deleted, previous } = event;
    let previous = match previous {
        0 => None,
        previous => Some(existing(view, &key, previous)?),
    };
    if !deleted {
        return Ok(Event::Put { kv: existing(view, &key, revision)?, previous });
    }
    let empty = Bytes::new();
    let kv = KeyValue { key, value: empty, create_revision: 0, mod_revision: revision, version: 0, lease: 0 };
    Ok(Event::Delete { kv, previous: previous.ok_or_else(damaged)? })
}

fn existing(view: &Snapshot<'_>, key: &Bytes, revision: Revision) -> Result<KeyValue, StoreError> {
    let raw = view.get_pinned_opt(keys::version_key(key, revision), ReadOptions::default()).map_err(failed)?;
    let raw = raw.ok_or_else(damaged)?;
    let version = Version::parse(&raw)?.ok_or_else(damaged)?;
    Ok(version.into_kv(key.clone(), revision, false))
}

fn event_bytes(event: &Event) -> usize {
    match event {
        Event::Put { kv, previous } => kv.value.len() + previous.as_ref().map_or(0, |kv| kv.value.len()),
        Event::Delete { previous, .. } => previous.value.len(),
    }
}

pub(super) fn failed(error: rocksdb::Error) -> StoreError {
    fatal("reading the state failed", error)
}

pub(super) fn damaged() -> StoreError {
    StoreError::Fatal("the state's history is damaged. This replica must be replaced by a new one".into())
}
