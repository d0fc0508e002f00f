//! Bounds on the sizes of records and of batches of them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::backend::Backend;
use crate::event::{Event, Level};
use crate::meter;

pub const NAME: &str = "truncate";
const ANNOTATION: &str = "audit.k8s.io/truncated";

/// Sizes are of JSON, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// A larger record loses its bodies; one that is still larger is not kept.
    pub max_event: usize,
    /// A larger batch is split.
    pub max_batch: usize,
}

/// What becomes of records.
pub(crate) struct Split {
    pub batches: Vec<Vec<Arc<Event>>>,
    pub too_large: Vec<Arc<Event>>,
}

/// Pure.
pub(crate) fn split(events: &[Arc<Event>], bounds: Bounds) -> Split {
    let mut done = Split { batches: Vec::new(), too_large: Vec::new() };
    let mut room = 0;
    for event in events {
        let mut event = event.clone();
        let mut size = size(&event);
        if size > bounds.max_event && event.level >= Level::Request {
            event = Arc::new(without_bodies(&event));
            size = self::size(&event);
        }
        if size > bounds.max_event {
            done.too_large.push(event);
            continue;
        }
        match done.batches.last_mut().filter(|_| size <= room) {
            Some(batch) => batch.push(event),
            None => {
                done.batches.push(vec![event]);
                room = bounds.max_batch;
            }
        }
        room = room.saturating_sub(size);
    }
    done
}

/// A record that cannot be written is too large for any bound.
fn size(event: &Event) -> usize {
    event.to_json().map_or(usize::MAX, |json| json.len() + 1)
}

fn without_bodies(event: &Event) -> Event {
    let mut event = event.clone();
    event.request_object = None;
    event.response_object = None;
    event.annotations.insert(ANNOTATION.to_owned(), "true".to_owned());
    event
}

pub struct Truncate {
    pub delegate: Arc<dyn Backend>,
    pub bounds: Bounds,
}

#[async_trait]
impl Backend for Truncate {
    fn name(&self) -> &'static str {
        NAME
    }
    async fn process(&self, events: &[Arc<Event>]) -> bool {
        let done = split(events, self.bounds);
        let mut kept = true;
        for batch in &done.batches {
            kept = self.delegate.process(batch).await && kept;
        }
        if !done.too_large.is_empty() {
            meter::lost(NAME, "event is too large even after truncating", &done.too_large);
        }
        kept
    }
    async fn shutdown(&self, patience: Duration) {
        self.delegate.shutdown(patience).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::raw;

    fn event(level: Level, bytes: usize, agent: usize) -> Arc<Event> {
        let mut event = Event::new(level, String::new(), "2026-01-02T03:04:05Z".parse().expect("a time"));
        event.request_object = raw(&json!("x".repeat(bytes)));
        event.user_agent = "y".repeat(agent);
        Arc::new(event)
    }

    #[test]
    fn bodies_go_first_and_batches_are_split() {
        let bounds = Bounds { max_event: 1000, max_batch: 1500 };
        let events = [
            event(Level::Request, 500, 0),
            event(Level::Request, 5000, 0),
            event(Level::Request, 500, 0),
            event(Level::Metadata, 5000, 0),
            event(Level::RequestResponse, 10, 5000),
        ];
        let done = split(&events, bounds);
        let shown: Vec<Vec<bool>> = done
            .batches
            .iter()
            .map(|batch| batch.iter().map(|event| event.annotations.contains_key(ANNOTATION)).collect())
            .collect();
        assert_eq!(shown, [vec![false, true], vec![false]]);
        assert_eq!(done.too_large.len(), 2, "one has no bodies to lose, one is too large without");
        assert!(done.batches[0][1].request_object.is_none());
        for batch in &done.batches {
            assert!(batch.iter().map(|event| size(event)).sum::<usize>() <= bounds.max_batch);
        }
    }
}
