//! The state of one resource: its current objects and its window of events. Pure; the lock and the
//! wake-ups are [`crate::resource`]'s.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use store_api::Revision;
use tokio::time::Instant;

use crate::{CacheConfig, CacheEvent, EventKind, Object};

/// Objects by `NAMESPACE/NAME`, which is the order of the store's keys: pages from here and pages from
/// the store continue each other.
pub(crate) type Objects = BTreeMap<Box<str>, Arc<Object>>;

/// A change as the store tells it, already encoded.
pub(crate) enum Change {
    /// `node`: `spec.nodeName` of a pod.
    Put { object: Arc<Object>, node: Option<Box<str>> },
    /// `object`: the last state, with the revision of the deletion.
    Delete { object: Arc<Object> },
}

struct Entry {
    event: CacheEvent,
    bytes: usize,
    at: Instant,
}

#[derive(Default)]
pub(crate) struct State {
    objects: Objects,
    /// Of pods: node, and the objects on it.
    by_node: HashMap<Box<str>, Objects>,
    node_of: HashMap<Box<str>, Box<str>>,
    window: VecDeque<Entry>,
    window_bytes: usize,
    /// Sequence number of the window's first event. A cursor before it has lost events.
    first_seq: u64,
    /// Every event with a revision above this is in the window.
    floor: Revision,
    /// Revision of the newest event ever applied.
    newest: Revision,
}

/// What a cursor finds.
pub(crate) struct Found {
    pub(crate) events: Vec<CacheEvent>,
    pub(crate) next_seq: u64,
    /// Revision of the last event looked at, when the search stopped before the window's end.
    pub(crate) stopped_at: Option<Revision>,
}

fn suffix(object: &Object) -> Box<str> {
    format!("{}/{}", object.key.namespace, object.key.name).into()
}

impl State {
    pub(crate) fn new(floor: Revision) -> Self {
        Self { floor, newest: floor, ..Self::default() }
    }

    pub(crate) fn newest(&self) -> Revision {
        self.newest
    }
    pub(crate) fn floor(&self) -> Revision {
        self.floor
    }
    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }
    pub(crate) fn window_len(&self) -> usize {
        self.window.len()
    }
    pub(crate) fn window_bytes(&self) -> usize {
        self.window_bytes
    }
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.objects.get(format!("{namespace}/{name}").as_str()).cloned()
    }

    /// All objects, or those of one namespace without looking at others.
    pub(crate) fn list(&self, namespace: Option<&str>) -> Vec<Arc<Object>> {
        match namespace {
            None => self.objects.values().cloned().collect(),
            Some(namespace) => {
                // `0` is the byte after `/`.
                let (start, end) = (format!("{namespace}/"), format!("{namespace}0"));
                let range = (Bound::Included(start.as_str()), Bound::Excluded(end.as_str()));
                self.objects.range::<str, _>(range).map(|(_, object)| object.clone()).collect()
            }
        }
    }

    pub(crate) fn on_node(&self, node: &str) -> Vec<Arc<Object>> {
        self.by_node.get(node).map(|objects| objects.values().cloned().collect()).unwrap_or_default()
    }

    /// Shows one change and remembers it as an event. Deleting what is not there is no event.
    pub(crate) fn apply(&mut self, change: Change, now: Instant) {
        let event = match change {
            Change::Put { object, node } => self.put(object, node),
            Change::Delete { object } => match self.remove(&object) {
                Some(event) => event,
                None => return,
            },
        };
        self.newest = event.revision;
        let bytes = event.object.json.len();
        self.window_bytes += bytes;
        self.window.push_back(Entry { event, bytes, at: now });
    }

    fn put(&mut self, object: Arc<Object>, node: Option<Box<str>>) -> CacheEvent {
        let key = suffix(&object);
        self.index(&key, &object, node);
        let previous = self.objects.insert(key, object.clone());
        let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
        CacheEvent { kind, revision: object.revision, object, previous }
    }

    fn remove(&mut self, object: &Arc<Object>) -> Option<CacheEvent> {
        let key = suffix(object);
        self.unindex(&key);
        let previous = self.objects.remove(&key)?;
        Some(CacheEvent {
            kind: EventKind::Deleted,
            revision: object.revision,
            object: object.clone(),
            previous: Some(previous),
        })
    }

    fn index(&mut self, key: &str, object: &Arc<Object>, node: Option<Box<str>>) {
        if self.node_of.get(key) != node.as_ref() {
            self.unindex(key);
        }
        if let Some(node) = node {
            self.by_node.entry(node.clone()).or_default().insert(key.into(), object.clone());
            self.node_of.insert(key.into(), node);
        }
    }

    fn unindex(&mut self, key: &str) {
        let Some(node) = self.node_of.remove(key) else { return };
        if let Some(objects) = self.by_node.get_mut(&node) {
            objects.remove(key);
            if objects.is_empty() {
                self.by_node.remove(&node);
            }
        }
    }

    /// Drops the oldest events that are beyond a limit.
    pub(crate) fn trim(&mut self, config: &CacheConfig, now: Instant) {
        while let Some(oldest) = self.window.front() {
            let old = now.saturating_duration_since(oldest.at) > config.window_age.max(Duration::from_secs(1));
            if self.window.len() <= config.window_events && self.window_bytes <= config.window_bytes && !old {
                break;
            }
            self.floor = oldest.event.revision;
            self.window_bytes -= oldest.bytes;
            self.first_seq += 1;
            self.window.pop_front();
        }
    }

    /// Where a cursor starts that wants everything after a revision; `None` when that is forgotten.
    pub(crate) fn seek(&self, after: Revision) -> Option<u64> {
        if after < self.floor {
            return None;
        }
        let skipped = self.window.partition_point(|entry| entry.event.revision <= after);
        Some(self.first_seq + skipped as u64)
    }

    /// The cursor of one who has seen everything.
    pub(crate) fn seek_end(&self) -> u64 {
        self.first_seq + self.window.len() as u64
    }

    /// The events from a sequence number on that `wanted` takes, about `limit` of them (a revision is never
    /// split). `None` when the first are forgotten.
    pub(crate) fn read(&self, seq: u64, limit: usize, wanted: impl Fn(&CacheEvent) -> bool) -> Option<Found> {
        let skip = usize::try_from(seq.checked_sub(self.first_seq)?).ok()?;
        let mut found = Found { events: Vec::new(), next_seq: seq, stopped_at: None };
        let mut last = None;
        for entry in self.window.iter().skip(skip) {
            if found.events.len() >= limit && last != Some(entry.event.revision) {
                found.stopped_at = last;
                break;
            }
            if wanted(&entry.event) {
                found.events.push(entry.event.clone());
            }
            last = Some(entry.event.revision);
            found.next_seq += 1;
        }
        Some(found)
    }

    /// Starts over from a list: every cursor before it has lost events.
    pub(crate) fn reset(&mut self, objects: Vec<(Arc<Object>, Option<Box<str>>)>, floor: Revision) {
        let first_seq = self.first_seq + self.window.len() as u64 + 1;
        *self = Self { first_seq, ..Self::new(floor) };
        for (object, node) in objects {
            self.put(object, node);
        }
    }
}
