//! Recording Events: repeated ones are counted, floods are cut, and nobody ever waits for them.

use std::collections::{HashMap, HashSet};
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
/// So many different messages of one reason about one object are combined from the last of them on.
const COMBINE_AT: usize = 10;
/// What combined messages begin with.
const COMBINED: &str = "(combined from similar events): ";
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

/// Component, object, warning, reason and message; combined events are one series whatever they say.
type SeriesKey = (&'static str, Regarding, bool, &'static str, Option<String>);

struct Series {
    name: Option<String>,
    count: i32,
    first: Timestamp,
    last: Timestamp,
}

/// Events that differ in their message only.
struct Similar {
    /// Hashes of the messages that are told one by one.
    messages: HashSet<u64>,
    last: Timestamp,
}

#[derive(Default)]
struct Correlator {
    series: HashMap<SeriesKey, Series>,
    /// By component, object, warning and reason.
    similar: HashMap<(&'static str, String, bool, &'static str), Similar>,
    budgets: HashMap<(&'static str, String), (f64, Timestamp)>,
}

/// What is to be written for one event.
struct Write {
    series: SeriesKey,
    message: String,
    /// Of the Event that is counted up.
    existing: Option<String>,
    count: i32,
    first: Timestamp,
    now: Timestamp,
}

impl Correlator {
    /// Decides what an event becomes; `None` when it is over its budget. It is counted all the same: the next one
    /// within the budget tells how many there were.
    fn observe(&mut self, account: &'static str, note: &EventNote, now: Timestamp) -> Option<Write> {
        self.forget_old(now);
        let combined = self.is_combined(account, note, now);
        // The version an object had is not what makes events equal.
        let regarding = Regarding { resource_version: String::new(), ..note.regarding.clone() };
        let told = (!combined).then(|| note.message.clone());
        let message = if combined { format!("{COMBINED}{}", note.message) } else { note.message.clone() };
        let key = (account, regarding, note.warning, note.reason, told);
        let fresh = Series { name: None, count: 0, first: now, last: now };
        let series = self.series.entry(key.clone()).or_insert(fresh);
        if now.duration_since(series.last) > SERIES_REST {
            (series.name, series.count, series.first) = (None, 0, now);
        }
        series.count = series.count.saturating_add(1);
        series.last = now;
        let (existing, count, first) = (series.name.clone(), series.count, series.first);
        let within = self.spend(account, &note.regarding.uid, now);
        within.then_some(Write { series: key, message, existing, count, first, now })
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

    /// Whether this is one message too many. A message that was told before is not: repeating is no variety.
    fn is_combined(&mut self, account: &'static str, note: &EventNote, now: Timestamp) -> bool {
        let key = (account, note.regarding.uid.clone(), note.warning, note.reason);
        let similar = self.similar.entry(key).or_insert_with(|| Similar { messages: HashSet::new(), last: now });
        if now.duration_since(similar.last) > SERIES_REST {
            similar.messages.clear();
        }
        similar.last = now;
        let mut hasher = DefaultHasher::new();
        note.message.hash(&mut hasher);
        let message = hasher.finish();
        if !similar.messages.contains(&message) && similar.messages.len() + 1 >= COMBINE_AT {
            return true;
        }
        similar.messages.insert(message);
        false
    }

    /// Keeps the memory bounded: first what rests, and when that does not help, everything.
    fn forget_old(&mut self, now: Timestamp) {
        if self.series.len() >= REMEMBERED {
            self.series.retain(|_, series| now.duration_since(series.last) <= SERIES_REST);
        }
        if self.budgets.len() >= REMEMBERED {
            self.budgets.retain(|_, (left, at)| *left < BURST - 1.0 && now.duration_since(*at) <= SERIES_REST * 6);
            self.similar.retain(|_, similar| now.duration_since(similar.last) <= SERIES_REST);
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
                json!({ "count": self.count, "lastTimestamp": time::seconds(self.now), "message": self.message });
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
        let (account, regarding, warning, reason, _) = &self.series;
        let nanos = u64::try_from(self.now.as_nanosecond()).unwrap_or(0);
        let mut involved = json!({ "apiVersion": regarding.api_version, "kind": regarding.kind, "name": regarding.name, "uid": regarding.uid });
        if !regarding.namespace.is_empty() {
            involved["namespace"] = json!(regarding.namespace);
        }
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": { "namespace": namespace, "name": format!("{}.{nanos:x}", regarding.name) },
            "involvedObject": involved,
            "reason": reason, "message": self.message, "type": if *warning { "Warning" } else { "Normal" },
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
            kind: "Pod".into(),
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
        let repeated = (0..12).filter_map(|_| correlator.observe("a", &note("same"), now)).last().expect("within");
        assert_eq!((repeated.count, repeated.message.as_str()), (14, "same"), "repeating is no variety");
        let other = |uid: &str, index: i32| {
            let regarding = Regarding { uid: uid.into(), ..note("").regarding };
            EventNote { regarding, ..note(&format!("m{index}")) }
        };
        let told: Vec<_> = (0..30).filter_map(|index| correlator.observe("a", &other("v", index), now)).collect();
        assert_eq!(told.len(), 25, "25 at once in all");
        assert_eq!(told[8].message, "m8");
        assert_eq!((told[9].message.as_str(), told[9].count), ("(combined from similar events): m9", 1));
        assert_eq!((told[24].message.as_str(), told[24].count), ("(combined from similar events): m24", 16));
        correlator.wrote(&told[24].series, "pod.2".into());
        let later = now + SignedDuration::from_mins(10);
        let later = correlator.observe("a", &other("v", 99), later).expect("the budget refills");
        assert_eq!((later.count, later.existing.as_deref()), (22, Some("pod.2")), "those not told are counted");
    }
}
