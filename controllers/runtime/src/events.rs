//! Recording Events: repeated ones are counted, floods are cut, and nobody ever waits for them.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use api_machinery::error::{Reason, Result};
use api_machinery::{object, time};
use api_registry::Registry;
use controller_logic::Gvr;
use controller_logic::plan::{EventNote, PatchType, Regarding, Target};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store_api::Fence;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::clock;

/// Events waiting to be written, at most, per writer; more are dropped.
const PENDING: usize = 1024;
const WRITERS: usize = 4;
/// Series remembered per writer.
const REMEMBERED: usize = 4096;
/// A series that rested so long begins anew.
const SERIES_REST: SignedDuration = SignedDuration::from_mins(10);
/// Different messages of one reason about one object before they are combined.
const COMBINE_AFTER: u32 = 10;
/// Events about one object from one component: so many at once, then one per five minutes, as upstream.
const BURST: f64 = 25.0;
const REFILL_PER_SECOND: f64 = 1.0 / 300.0;

/// Hands events to the writers.
#[derive(Clone)]
pub(crate) struct Recorder {
    writers: Arc<[mpsc::Sender<(&'static str, EventNote)>]>,
}

impl Recorder {
    /// Starts the writers; they end with `stop`.
    pub(crate) fn start(registry: &Arc<Registry>, fence: Option<Fence>, stop: &CancellationToken) -> Self {
        let writers = (0..WRITERS).map(|_| {
            let (sender, receiver) = mpsc::channel(PENDING);
            let client = Client::new(registry.clone(), "event-recorder", fence.clone());
            let stop = stop.clone();
            tokio::spawn(async move { stop.run_until_cancelled(write_all(client, receiver)).await });
            sender
        });
        Self { writers: writers.collect() }
    }

    /// Never waits. All events about one object go to one writer, in order.
    pub(crate) fn record(&self, account: &'static str, note: EventNote) {
        let mut hasher = DefaultHasher::new();
        note.regarding.uid.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % WRITERS as u64).unwrap_or(0);
        if self.writers[index].try_send((account, note)).is_err() {
            metrics::counter!("event_recorder_dropped_total").increment(1);
        }
    }
}

async fn write_all(client: Client, mut receiver: mpsc::Receiver<(&'static str, EventNote)>) {
    let mut correlator = Correlator::default();
    while let Some((account, note)) = receiver.recv().await {
        let Some(write) = correlator.observe(account, &note, clock::now()) else { continue };
        match write.perform(&client).await {
            Ok(name) => correlator.wrote(&write.series, name),
            Err(error) => tracing::debug!(reason = note.reason, %error, "an event was not recorded"),
        }
    }
}

type SeriesKey = (&'static str, Regarding, bool, &'static str, String);

struct Series {
    name: Option<String>,
    count: i32,
    first: Timestamp,
    last: Timestamp,
}

#[derive(Default)]
struct Correlator {
    series: HashMap<SeriesKey, Series>,
    /// Different messages per (component, object, reason), with the time of the first.
    similar: HashMap<(&'static str, String, &'static str), (u32, Timestamp)>,
    budgets: HashMap<(&'static str, String), (f64, Timestamp)>,
}

/// What is to be written for one event.
struct Write {
    series: SeriesKey,
    /// Of the Event that is counted up.
    existing: Option<String>,
    count: i32,
    first: Timestamp,
    now: Timestamp,
}

impl Correlator {
    /// Decides what an event becomes; `None` when it is over its budget.
    fn observe(&mut self, account: &'static str, note: &EventNote, now: Timestamp) -> Option<Write> {
        self.forget_old(now);
        if !self.spend(account, &note.regarding.uid, now) {
            return None;
        }
        let message = self.combined(account, note, now);
        // The version an object had is not what makes events equal.
        let regarding = Regarding { resource_version: String::new(), ..note.regarding.clone() };
        let key = (account, regarding, note.warning, note.reason, message);
        let fresh = Series { name: None, count: 0, first: now, last: now };
        let series = self.series.entry(key.clone()).or_insert(fresh);
        if now.duration_since(series.last) > SERIES_REST {
            (series.name, series.count, series.first) = (None, 0, now);
        }
        series.count = series.count.saturating_add(1);
        series.last = now;
        Some(Write { series: key, existing: series.name.clone(), count: series.count, first: series.first, now })
    }

    fn wrote(&mut self, key: &SeriesKey, name: String) {
        if let Some(series) = self.series.get_mut(key) {
            series.name = Some(name);
        }
    }

    fn spend(&mut self, account: &'static str, uid: &str, now: Timestamp) -> bool {
        let budget = self.budgets.entry((account, uid.to_owned())).or_insert((BURST, now));
        let passed = now.duration_since(budget.1).as_secs_f64().max(0.0);
        *budget = ((budget.0 + passed * REFILL_PER_SECOND).min(BURST), now);
        let allowed = budget.0 >= 1.0;
        if allowed {
            budget.0 -= 1.0;
        }
        allowed
    }

    fn combined(&mut self, account: &'static str, note: &EventNote, now: Timestamp) -> String {
        let key = (account, note.regarding.uid.clone(), note.reason);
        let similar = self.similar.entry(key).or_insert((0, now));
        if now.duration_since(similar.1) > SERIES_REST {
            *similar = (0, now);
        }
        similar.0 += 1;
        if similar.0 > COMBINE_AFTER {
            format!("(combined from similar events): {}", note.message)
        } else {
            note.message.clone()
        }
    }

    /// Keeps the memory bounded: first what rests, and when that does not help, everything.
    fn forget_old(&mut self, now: Timestamp) {
        if self.series.len() >= REMEMBERED {
            self.series.retain(|_, series| now.duration_since(series.last) <= SERIES_REST);
        }
        if self.budgets.len() >= REMEMBERED {
            self.budgets.retain(|_, (left, at)| *left < BURST - 1.0 && now.duration_since(*at) <= SERIES_REST * 6);
            self.similar.retain(|_, (_, at)| now.duration_since(*at) <= SERIES_REST);
        }
        if self.series.len() >= REMEMBERED || self.budgets.len() >= REMEMBERED || self.similar.len() >= REMEMBERED * 2 {
            *self = Self::default();
        }
    }
}

impl Write {
    /// The name of the Event that now tells it.
    async fn perform(&self, client: &Client) -> Result<String> {
        let namespace = match self.series.1.namespace.as_str() {
            "" => "default",
            own => own,
        };
        let gvr = Gvr::new("", "v1", "events");
        if let Some(name) = &self.existing {
            let target = Target::new(gvr.clone(), namespace, name);
            let body =
                json!({ "count": self.count, "lastTimestamp": time::seconds(self.now), "message": self.series.4 });
            match client.patch(&target, "", PatchType::Merge, body).await {
                Ok(_) => return Ok(name.clone()),
                Err(error) if error.reason == Reason::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let target = Target::new(gvr, namespace, "");
        let written = client.create(&target, "", self.object(namespace)).await?;
        Ok(object::name(&written.object).to_owned())
    }

    fn object(&self, namespace: &str) -> Value {
        let (account, regarding, warning, reason, message) = &self.series;
        let nanos = u64::try_from(self.now.as_nanosecond()).unwrap_or(0);
        let mut involved = json!({ "apiVersion": regarding.api_version, "kind": regarding.kind, "name": regarding.name, "uid": regarding.uid });
        if !regarding.namespace.is_empty() {
            involved["namespace"] = json!(regarding.namespace);
        }
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": { "namespace": namespace, "name": format!("{}.{nanos:x}", regarding.name) },
            "involvedObject": involved,
            "reason": reason, "message": message, "type": if *warning { "Warning" } else { "Normal" },
            "source": { "component": account }, "reportingComponent": account, "reportingInstance": "",
            "firstTimestamp": time::seconds(self.first), "lastTimestamp": time::seconds(self.now), "count": self.count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(message: &str) -> EventNote {
        let regarding = Regarding {
            api_version: "v1".into(),
            kind: "Pod",
            namespace: "ns".into(),
            name: "pod".into(),
            uid: "u".into(),
            resource_version: "1".into(),
        };
        EventNote { regarding, warning: false, reason: "Why", message: message.into() }
    }

    #[test]
    fn repeated_events_are_counted_similar_ones_combined_and_floods_cut() {
        let mut correlator = Correlator::default();
        let now = Timestamp::UNIX_EPOCH;
        let first = correlator.observe("a", &note("same"), now).expect("within the budget");
        correlator.wrote(&first.series, "pod.1".into());
        let second = correlator.observe("a", &note("same"), now).expect("within the budget");
        assert_eq!((first.count, second.count, second.existing.as_deref()), (1, 2, Some("pod.1")));
        let texts: Vec<_> =
            (0..30).filter_map(|index| correlator.observe("a", &note(&format!("m{index}")), now)).collect();
        assert_eq!(texts.len(), 23, "25 at once in all");
        assert_eq!(texts[7].series.4, "m7");
        assert_eq!(texts[8].series.4, "(combined from similar events): m8");
        let later = now + SignedDuration::from_mins(10);
        assert!(correlator.observe("a", &note("later"), later).is_some(), "the budget refills");
    }
}
