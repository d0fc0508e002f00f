//! The state of one resource: its current objects and its window of events. Pure; the lock and the
//! wake-ups are [`crate::resource`]'s.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use api_machinery::ObjectKey;
use store_api::Revision;
use tokio::time::Instant;

use crate::topics::{Standing, Topic, Topics};
use crate::{CacheConfig, CacheEvent, EventKind, Object};

/// Objects by `NAMESPACE/NAME`, which is the order of the store's keys: pages from here and pages from
/// the store continue each other.
pub(crate) type Objects = BTreeMap<Box<str>, Arc<Object>>;

/// Of versions that are not current, those in so many newest events keep what was made of them: cursors that
/// keep up are about to send it. What is older is bytes only.
pub(crate) const RECENT_EVENTS: usize = 256;
/// At most about so many events are handed out at once; the rest waits in the window.
const EVENTS_AT_ONCE: usize = 1_000;
/// At most about so many events are looked at while the state is locked.
const LOOKED_AT_ONCE: usize = 4_096;

/// A change as the store tells it, already encoded.
pub(crate) enum Change {
    Put(Arc<Object>),
    /// The last state, with the revision of the deletion.
    Delete(Arc<Object>),
    /// What is there since this revision cannot be read, or what was there when it was deleted.
    Lost(ObjectKey, Revision),
}

impl Change {
    pub(crate) fn key(&self) -> &ObjectKey {
        match self {
            Self::Put(object) | Self::Delete(object) => &object.key,
            Self::Lost(key, _) => key,
        }
    }
}

struct Entry {
    event: CacheEvent,
    bytes: usize,
    at: Instant,
}

impl Entry {
    /// `bytes`: what is freed when the window forgets the event. That is the state before; the state after is the
    /// current one, or the state before of a later event, but for the last state of what is deleted.
    fn new(event: CacheEvent, at: Instant) -> Self {
        let previous = event.previous.as_ref().map_or(0, |previous| previous.bytes());
        let last = if event.kind == EventKind::Deleted { event.object.bytes() } else { 0 };
        Self { event, bytes: size_of::<Self>() + previous + last, at }
    }
}

#[derive(Default)]
pub(crate) struct State {
    objects: Objects,
    /// Of pods: node, and the objects on it.
    by_node: HashMap<Box<str>, Objects>,
    /// Of the current objects as they are sent.
    object_bytes: u64,
    window: VecDeque<Entry>,
    /// What the window alone holds.
    window_bytes: usize,
    /// Sequence number of the window's first event. A cursor before it has lost events.
    first_seq: u64,
    /// Every event with a revision above this is in the window.
    floor: Revision,
    /// Revision of the newest event ever applied.
    newest: Revision,
    pub(crate) topics: Topics,
}

/// What a cursor finds.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) events: Vec<CacheEvent>,
    pub(crate) next_seq: u64,
    /// Revision of the last event looked at, when the search stopped before the window's end.
    pub(crate) stopped_at: Option<Revision>,
}

fn suffix(object: &Object) -> Box<str> {
    suffix_of(&object.key)
}

fn suffix_of(key: &ObjectKey) -> Box<str> {
    format!("{}/{}", key.namespace, key.name).into()
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
    pub(crate) fn object_bytes(&self) -> u64 {
        self.object_bytes
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

    /// Shows one change and remembers it as an event. Deleting what is not there is no event. What cannot be read any
    /// more is gone for whoever looks here: what was there before must not be taken for what is there now.
    pub(crate) fn apply(&mut self, change: Change, now: Instant) {
        let key = suffix_of(change.key());
        let event = match change {
            Change::Put(object) => Some(self.put(&key, object)),
            Change::Delete(object) => self.remove(&key, object),
            Change::Lost(_, revision) => {
                let last = self.objects.get(&key).map(|shown| Arc::new(shown.at_revision(revision)));
                last.and_then(|last| self.remove(&key, last))
            }
        };
        let Some(event) = event else { return };
        self.newest = event.revision;
        self.topics.note(&event, &key, self.end_seq());
        let entry = Entry::new(event, now);
        self.window_bytes += entry.bytes;
        self.window.push_back(entry);
        self.seal_past();
    }

    fn put(&mut self, key: &str, object: Arc<Object>) -> CacheEvent {
        let previous = self.objects.insert(key.into(), object.clone());
        self.object_bytes += object.json.len() as u64;
        self.object_bytes -= previous.as_ref().map_or(0, |previous| previous.json.len() as u64);
        self.index(key, &object, previous.as_deref());
        let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
        CacheEvent { kind, revision: object.revision, object, previous }
    }

    fn remove(&mut self, key: &str, object: Arc<Object>) -> Option<CacheEvent> {
        let previous = self.objects.remove(key)?;
        self.object_bytes -= previous.json.len() as u64;
        self.unindex(key, &previous);
        Some(CacheEvent { kind: EventKind::Deleted, revision: object.revision, object, previous: Some(previous) })
    }

    fn index(&mut self, key: &str, object: &Arc<Object>, previous: Option<&Object>) {
        if let Some(previous) = previous.filter(|previous| previous.node() != object.node()) {
            self.unindex(key, previous);
        }
        if let Some(node) = object.node() {
            self.by_node.entry(node.into()).or_default().insert(key.into(), object.clone());
        }
    }

    fn unindex(&mut self, key: &str, previous: &Object) {
        let Some(node) = previous.node() else { return };
        if let Some(objects) = self.by_node.get_mut(node) {
            objects.remove(key);
            if objects.is_empty() {
                self.by_node.remove(node);
            }
        }
    }

    /// The event that is recent no longer leaves nothing behind but bytes, unless it brought what is current.
    fn seal_past(&self) {
        let Some(entry) = self.window.len().checked_sub(RECENT_EVENTS + 1).and_then(|at| self.window.get(at)) else {
            return;
        };
        if let Some(previous) = &entry.event.previous {
            previous.seal();
        }
        let object = &entry.event.object;
        let current = self.objects.get(&suffix(object));
        if !current.is_some_and(|current| Arc::ptr_eq(current, object)) {
            object.seal();
        }
    }

    /// Drops the oldest events that are beyond a limit.
    pub(crate) fn trim(&mut self, config: &CacheConfig, now: Instant) {
        while let Some(oldest) = self.window.front() {
            let old = now.saturating_duration_since(oldest.at) > config.window_age.max(Duration::from_secs(1));
            if self.window.len() <= config.window_events && self.window_bytes <= config.window_bytes && !old {
                break;
            }
            let event = &oldest.event;
            self.topics.forget(event, &suffix(&event.object), self.first_seq);
            self.floor = event.revision;
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

    /// The cursor of one who has seen everything: the sequence number of the next event.
    pub(crate) fn end_seq(&self) -> u64 {
        self.first_seq + self.window.len() as u64
    }

    fn entry(&self, seq: u64) -> Option<&Entry> {
        self.window.get(usize::try_from(seq.checked_sub(self.first_seq)?).ok()?)
    }

    /// The events of a topic from a sequence number on that `wanted` takes, as many as are handed out at once (a
    /// revision is never split). `None` when some of the topic are forgotten.
    pub(crate) fn read(&self, topic: &Topic, seq: u64, wanted: impl Fn(&CacheEvent) -> bool) -> Option<Found> {
        let Standing::At { scan_to, then } = self.topics.standing(topic, seq, self.first_seq, self.end_seq()) else {
            return None;
        };
        let mut found = Found { next_seq: self.end_seq(), ..Found::default() };
        let mut last = None;
        for (looked, at) in (seq..scan_to).chain(self.topics.events(topic, then)).enumerate() {
            let Some(Entry { event, .. }) = self.entry(at) else { break };
            let enough = found.events.len() >= EVENTS_AT_ONCE || looked >= LOOKED_AT_ONCE;
            if enough && last != Some(event.revision) {
                (found.next_seq, found.stopped_at) = (at, last);
                break;
            }
            if topic.holds(event) && wanted(event) {
                found.events.push(event.clone());
            }
            last = Some(event.revision);
        }
        Some(found)
    }

    /// Whether a cursor has seen all there is of its topic.
    pub(crate) fn is_caught_up(&self, topic: &Topic, seq: u64) -> bool {
        match self.topics.standing(topic, seq, self.first_seq, self.end_seq()) {
            Standing::Lost => false,
            Standing::At { scan_to, then } => seq >= scan_to && self.topics.events(topic, then).next().is_none(),
        }
    }

    /// Starts over from a list: every cursor before it has lost events.
    pub(crate) fn reset(&mut self, objects: Vec<Arc<Object>>, floor: Revision) {
        let first_seq = self.end_seq() + 1;
        let mut topics = std::mem::take(&mut self.topics);
        topics.reset(first_seq);
        *self = Self { first_seq, topics, ..Self::new(floor) };
        for object in objects {
            self.put(&suffix(&object), object);
        }
    }
}

#[cfg(test)]
mod tests {
    use api_codec::stored;
    use api_machinery::{GroupResource, ObjectKey};
    use serde_json::json;

    use super::*;

    const LARGE: CacheConfig =
        CacheConfig { window_events: 100_000, window_bytes: 1 << 30, window_age: Duration::from_secs(600) };

    fn pod(name: &str, node: &str, revision: Revision) -> Arc<Object> {
        let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i", "command": ["x".repeat(1_000)]}]}});
        let key = ObjectKey::new(GroupResource::new("", "pods"), "default", name);
        Arc::new(Object::from_stored(key, revision, &stored::encode(&value)).expect("an object"))
    }

    fn use_it(object: &Object) {
        object.kept_value();
        object.protobuf();
        object.typed::<serde_json::Value>();
    }

    /// Bytes by [`Object::bytes`] of every version that only the window holds, and versions that hold more.
    fn held(state: &State) -> (usize, usize) {
        let mut versions: BTreeMap<(Revision, Box<str>), (Arc<Object>, bool)> = BTreeMap::new();
        for entry in &state.window {
            for object in [Some(&entry.event.object), entry.event.previous.as_ref()].into_iter().flatten() {
                let current = state.objects.get(&suffix(object)).is_some_and(|own| Arc::ptr_eq(own, object));
                versions.insert((object.revision, suffix(object)), (object.clone(), current));
            }
        }
        let past: Vec<_> = versions.values().filter(|(_, current)| !current).map(|(object, _)| object).collect();
        let bytes = past.iter().map(|object| object.bytes()).sum();
        (bytes, past.iter().filter(|object| object.holds_forms()).count())
    }

    #[tokio::test]
    async fn the_window_counts_what_it_holds_and_the_past_is_bytes_only() {
        let (mut state, now) = (State::new(0), Instant::now());
        let listed = (0..50).map(|index| pod(&format!("p{index}"), "n", 1)).collect();
        state.reset(listed, 1);
        let mut peak = 0;
        for revision in 2..3_000 {
            let object = pod(&format!("p{}", revision % 50), "n", revision);
            // Everybody looks at every version, in every way, before and after it is replaced.
            use_it(&object);
            let change = if revision % 7 == 0 { Change::Delete(object) } else { Change::Put(object) };
            state.apply(change, now);
            state.window.iter().rev().take(3).for_each(|entry| use_it(&entry.event.object));
            let config = CacheConfig { window_bytes: 500_000, ..LARGE };
            state.trim(&config, now);
            peak = peak.max(state.window_bytes());
        }
        let entries = state.window_len() * size_of::<Entry>();
        let (bytes, with_forms) = held(&state);
        assert_eq!(bytes + entries, state.window_bytes(), "counted and held");
        assert!(peak <= 500_000 && state.window_len() > 150, "{peak} bytes, {} events", state.window_len());
        assert!(with_forms <= 2 * RECENT_EVENTS, "{with_forms} versions of the past hold more than bytes");

        // Without a bound of bytes the window is long, and still only its newest part holds more.
        let mut long = State::new(0);
        for revision in 1..5_000 {
            let object = pod("p", "n", revision);
            use_it(&object);
            long.apply(Change::Put(object), now);
        }
        let (_, with_forms) = held(&long);
        assert!((1..=RECENT_EVENTS + 1).contains(&with_forms), "{with_forms} of {}", long.window_len());
        assert!(long.get("default", "p").expect("there").holds_forms(), "what is current keeps its forms");
    }

    #[test]
    fn what_cannot_be_read_any_more_is_not_shown_as_it_was() {
        let (mut state, now) = (State::new(0), Instant::now());
        let lost = |name: &str, revision| Change::Lost(pod(name, "n", 1).key.clone(), revision);
        state.apply(Change::Put(pod("p", "n", 1)), now);
        state.apply(lost("p", 2), now);
        assert!(state.get("default", "p").is_none() && state.on_node("n").is_empty());
        state.apply(lost("p", 3), now);
        state.apply(lost("q", 4), now);
        state.apply(Change::Put(pod("p", "n", 5)), now);
        let found = state.read(&Topic::All, state.seek(0).expect("kept"), |_| true).expect("kept");
        let told: Vec<_> =
            found.events.iter().map(|event| (event.kind, event.revision, event.object.revision)).collect();
        assert_eq!(told, [(EventKind::Added, 1, 1), (EventKind::Deleted, 2, 2), (EventKind::Added, 5, 5)]);
    }

    #[test]
    fn a_topics_cursor_goes_from_event_to_event() {
        let (mut state, now) = (State::new(0), Instant::now());
        let node = Topic::Node("n3".into());
        for revision in 1..=100 {
            state.apply(Change::Put(pod(&format!("p{revision}"), &format!("n{}", revision % 10), revision)), now);
        }
        // Begun before the topic was followed: by looking through the window.
        let seq = state.seek(50).expect("kept");
        state.topics.follow(&node, state.end_seq());
        let revisions = |found: &Found| found.events.iter().map(|event| event.revision).collect::<Vec<_>>();
        let found = state.read(&node, seq, |_| true).expect("kept");
        assert_eq!((revisions(&found), found.next_seq), (vec![53, 63, 73, 83, 93], state.end_seq()));
        // From then on only the topic's events are looked at.
        for revision in 101..=200 {
            state.apply(Change::Put(pod(&format!("p{revision}"), &format!("n{}", revision % 10), revision)), now);
        }
        let looked = std::cell::Cell::new(0);
        let count = |_: &CacheEvent| {
            looked.set(looked.get() + 1);
            true
        };
        let found = state.read(&node, found.next_seq, count).expect("kept");
        assert_eq!((revisions(&found).len(), looked.get()), (10, 10));
        assert!(state.is_caught_up(&node, found.next_seq));
        // An object that moves away is told of once more; what others do is not waited for.
        state.apply(Change::Put(pod("p193", "n4", 201)), now);
        assert!(!state.is_caught_up(&node, found.next_seq));
        let moved = state.read(&node, found.next_seq, |_| true).expect("kept");
        assert_eq!(revisions(&moved), [201]);
        // What is forgotten matters only where it was of the topic.
        for revision in 202..=300 {
            state.apply(Change::Put(pod("other", "n4", revision)), now);
        }
        state.trim(&CacheConfig { window_events: 10, ..LARGE }, now);
        assert!(state.read(&node, moved.next_seq, |_| true).is_some_and(|found| found.events.is_empty()));
        assert!(state.read(&node, found.next_seq, |_| true).is_none(), "201 was of this topic");
        assert!(state.read(&Topic::All, moved.next_seq, |_| true).is_none());
        state.reset(Vec::new(), 400);
        assert!(state.read(&node, moved.next_seq, |_| true).is_none(), "a list ends all cursors");
    }
}
