//! How events become responses: pure.

use bytes::Bytes;
use kontiki_proto::etcd as pb;
use pb::watch_create_request::FilterType;
use prost::Message;
use store_api::{Event, Revision, WatchBatch};

use crate::kv::{end_of, key_value};
use crate::limits::{MAX_REQUEST_BYTES, WATCH_RESPONSE_BYTES};

/// What one watch wants to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) id: i64,
    pub(super) prev_kv: bool,
    pub(super) progress: bool,
    fragment: bool,
    no_puts: bool,
    no_deletes: bool,
}

impl Wish {
    pub(super) fn of(request: &pb::WatchCreateRequest, id: i64) -> Self {
        Self {
            id,
            prev_kv: request.prev_kv,
            progress: request.progress_notify,
            fragment: request.fragment,
            no_puts: request.filters().any(|filter| filter == FilterType::Noput),
            no_deletes: request.filters().any(|filter| filter == FilterType::Nodelete),
        }
    }

    fn wants(&self, event: &Event) -> bool {
        match event {
            Event::Put { .. } => !self.no_puts,
            Event::Delete { .. } => !self.no_deletes,
        }
    }

    /// The events of a batch, in responses of whole revisions, each with the revision up to which it tells all.
    /// One revision that is too large for a message comes in fragments, where the client takes them.
    pub(super) fn responses(&self, batch: WatchBatch) -> Vec<(Revision, pb::WatchResponse)> {
        let WatchBatch { revision, events } = batch;
        let mut responses: Vec<(Revision, pb::WatchResponse)> = Vec::new();
        let mut bytes = 0;
        for event in events.into_iter().filter(|event| self.wants(event)) {
            let at = event.kv().mod_revision;
            let event = self.event(event);
            match responses.last_mut() {
                Some((upto, response)) if *upto == at || bytes < WATCH_RESPONSE_BYTES => {
                    *upto = at;
                    bytes += event.encoded_len();
                    response.events.push(event);
                }
                _ => {
                    bytes = event.encoded_len();
                    let events = vec![event];
                    responses.push((at, pb::WatchResponse { watch_id: self.id, events, ..Default::default() }));
                }
            }
        }
        if let Some((upto, _)) = responses.last_mut() {
            *upto = revision;
        }
        match self.fragment {
            true => responses.into_iter().flat_map(|(upto, response)| fragments(upto, response)).collect(),
            false => responses,
        }
    }

    fn event(&self, event: Event) -> pb::Event {
        use pb::event::EventType;
        let (kind, kv, previous) = match event {
            Event::Put { kv, previous } => (EventType::Put, kv, previous),
            Event::Delete { kv, previous } => (EventType::Delete, kv, Some(previous)),
        };
        let prev_kv = previous.filter(|_| self.prev_kv).map(key_value);
        pb::Event { r#type: kind.into(), kv: Some(key_value(kv)), prev_kv }
    }
}

/// Parts no larger than a request may be, unless one event is; all but the last say that more follows.
fn fragments(upto: Revision, response: pb::WatchResponse) -> Vec<(Revision, pb::WatchResponse)> {
    if response.events.len() < 2 || response.encoded_len() < MAX_REQUEST_BYTES {
        return vec![(upto, response)];
    }
    let empty = pb::WatchResponse { events: Vec::new(), fragment: true, ..response.clone() };
    let mut parts = vec![(upto, empty.clone())];
    let mut bytes = 0;
    for event in response.events {
        let length = event.encoded_len() + EVENT_FRAME_BYTES;
        if bytes > 0 && bytes + length >= MAX_REQUEST_BYTES {
            parts.push((upto, empty.clone()));
            bytes = 0;
        }
        bytes += length;
        if let Some((_, part)) = parts.last_mut() {
            part.events.push(event);
        }
    }
    if let Some((_, last)) = parts.last_mut() {
        last.fragment = false;
    }
    parts
}

/// What surrounds an event in a response: its tag and its length.
const EVENT_FRAME_BYTES: usize = 8;

/// The range of a watch. An empty key is the first one.
pub(super) fn range_of(request: &pb::WatchCreateRequest) -> (Bytes, Bytes) {
    let key = if request.key.is_empty() { Bytes::from_static(&[0]) } else { request.key.clone() };
    let end = end_of(&key, &request.range_end);
    (key, end)
}

#[cfg(test)]
mod tests {
    use store_api::KeyValue;

    use super::*;

    fn kv(key: &'static str, bytes: usize, revision: Revision) -> KeyValue {
        KeyValue {
            key: key.into(),
            value: vec![b'v'; bytes].into(),
            create_revision: 2,
            mod_revision: revision,
            version: 1,
            lease: 0,
        }
    }

    fn put(bytes: usize, revision: Revision) -> Event {
        Event::Put { kv: kv("k", bytes, revision), previous: Some(kv("k", 1, revision - 1)) }
    }

    fn delete(revision: Revision) -> Event {
        Event::Delete { kv: kv("k", 0, revision), previous: kv("k", 1, revision - 1) }
    }

    /// For each response: the revision it goes up to, how many events, whether more of it follows.
    fn told(wish: &Wish, revision: Revision, events: Vec<Event>) -> Vec<(Revision, usize, bool)> {
        let responses = wish.responses(WatchBatch { revision, events });
        responses.iter().map(|(upto, response)| (*upto, response.events.len(), response.fragment)).collect()
    }

    #[test]
    fn responses_hold_whole_revisions_and_end_when_large() {
        let wish = Wish::default();
        assert_eq!(told(&wish, 9, vec![]), []);
        assert_eq!(told(&wish, 9, vec![put(1, 5), put(1, 6), delete(6)]), [(9, 3, false)]);
        let large = WATCH_RESPONSE_BYTES;
        let events = vec![put(large, 5), put(1, 5), put(1, 6), put(large, 7), delete(8)];
        assert_eq!(told(&wish, 9, events), [(5, 2, false), (7, 2, false), (9, 1, false)]);
    }

    #[test]
    fn filters_and_previous_values_are_as_asked() {
        let request = |filters: &[FilterType], prev_kv| pb::WatchCreateRequest {
            filters: filters.iter().map(|filter| (*filter).into()).collect(),
            prev_kv,
            ..Default::default()
        };
        let events = || vec![put(1, 5), delete(6)];
        let wish = Wish::of(&request(&[FilterType::Noput], true), 3);
        let responses = wish.responses(WatchBatch { revision: 6, events: events() });
        let [(6, pb::WatchResponse { watch_id: 3, events: told_events, .. })] = &responses[..] else {
            panic!("{responses:?}")
        };
        assert_eq!((told_events.len(), told_events[0].prev_kv.is_some()), (1, true));
        assert_eq!(told(&Wish::of(&request(&[FilterType::Noput, FilterType::Nodelete], false), 1), 6, events()), []);
        let plain = Wish::of(&request(&[], false), 1).responses(WatchBatch { revision: 6, events: events() });
        assert!(plain[0].1.events.iter().all(|event| event.prev_kv.is_none()));
    }

    #[test]
    fn one_large_revision_comes_in_fragments_where_they_are_taken() {
        let events = || (0..5).map(|_| put(MAX_REQUEST_BYTES / 2, 5)).collect::<Vec<_>>();
        let wish = Wish { fragment: true, ..Wish::default() };
        let parts: Vec<_> = (1..=5).map(|n| (9, 1, n < 5)).collect();
        assert_eq!(told(&wish, 9, events()), parts);
        assert_eq!(told(&Wish::default(), 9, events()), [(9, 5, false)]);
        let small = || (0..3).map(|_| put(MAX_REQUEST_BYTES / 3, 5)).collect::<Vec<_>>();
        assert_eq!(told(&wish, 9, small()), [(9, 2, true), (9, 1, false)]);
        assert_eq!(told(&wish, 9, vec![put(MAX_REQUEST_BYTES, 5)]), [(9, 1, false)], "one event stays whole");
    }
}
