//! What priority and fairness counts, under upstream's names. Gauges are set when somebody asks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use api_flow::{Class, Flow, LevelView, RejectReason, Work};
use metrics::{Gauge, counter, gauge, histogram};

use crate::request_info::RequestInfo;

/// Labels of one request.
#[derive(Clone)]
pub(super) struct Labels {
    level: String,
    schema: String,
    /// `watch`, or `regular`.
    kind: &'static str,
    /// `mutating`, or `readOnly`.
    request_kind: &'static str,
}

impl Labels {
    pub(super) fn new(class: &Class, info: &RequestInfo) -> Self {
        Self {
            level: class.level.to_string(),
            schema: class.schema.name.clone(),
            kind: if info.verb == "watch" { "watch" } else { "regular" },
            request_kind: if info.is_mutating() { "mutating" } else { "readOnly" },
        }
    }

    fn both(&self) -> [(&'static str, String); 2] {
        [("priority_level", self.level.clone()), ("flow_schema", self.schema.clone())]
    }

    #[expect(clippy::cast_precision_loss, reason = "seats are few")]
    pub(super) fn estimated(&self, work: &Work) {
        histogram!("apiserver_flowcontrol_work_estimated_seats", &self.both()).record(work.max_seats() as f64);
    }

    pub(super) fn rejected(&self, reason: RejectReason) {
        let [level, schema] = self.both();
        let labels = [level, schema, ("reason", reason.as_str().to_owned())];
        counter!("apiserver_flowcontrol_rejected_requests_total", &labels).increment(1);
    }

    pub(super) fn waited(&self, took: Duration, execute: bool) {
        let [level, schema] = self.both();
        let labels = [level, schema, ("execute", execute.to_string())];
        histogram!("apiserver_flowcontrol_request_wait_duration_seconds", &labels).record(took.as_secs_f64());
    }

    /// While it waits in a queue of that length, itself included.
    #[expect(clippy::cast_precision_loss, reason = "queues are short")]
    pub(super) fn queued(&self, length: Option<usize>) -> Raised {
        if let Some(length) = length {
            let name = "apiserver_flowcontrol_request_queue_length_after_enqueue";
            histogram!(name, &self.both()).record(length as f64);
        }
        Raised::new(gauge!("apiserver_current_inqueue_requests", "request_kind" => self.request_kind))
    }
}

/// A gauge that is one higher while this is there.
pub(super) struct Raised(Gauge);

impl Raised {
    fn new(gauge: Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// A request that waits, and then is executed.
pub(super) struct Execution {
    labels: Labels,
    began: Option<(Instant, Option<Raised>)>,
}

impl Execution {
    pub(super) fn new(labels: &Labels) -> Self {
        Self { labels: labels.clone(), began: None }
    }

    pub(super) fn begin(&mut self) {
        counter!("apiserver_flowcontrol_dispatched_requests_total", &self.labels.both()).increment(1);
        let inflight = || gauge!("apiserver_current_inflight_requests", "request_kind" => self.labels.request_kind);
        let raised = (self.labels.kind == "regular").then(|| Raised::new(inflight()));
        self.began = Some((Instant::now(), raised));
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        if let Some((began, _)) = &self.began {
            let [level, schema] = self.labels.both();
            let labels = [level, schema, ("type", self.labels.kind.to_owned())];
            let took = began.elapsed().as_secs_f64();
            histogram!("apiserver_flowcontrol_request_execution_seconds", &labels).record(took);
        }
    }
}

/// Requests and seats, waiting and executing.
#[derive(Default)]
struct Now {
    waiting: [u64; 2],
    executing: [u64; 2],
}

pub(super) fn observe(flow: &Flow) {
    gauge!("apiserver_flowcontrol_seat_fair_frac").set(flow.fair_fraction());
    // Every pair that there can be is shown, so that what has ended goes to zero.
    let mut pairs: BTreeMap<(String, String), Now> =
        flow.schemas().map(|schema| ((schema.level.clone(), schema.name.clone()), Now::default())).collect();
    for level in flow.levels() {
        limits(&level);
        for request in level.queues.requests.values() {
            let pair = (level.name.to_owned(), request.origin.schema.to_string());
            let now = pairs.entry(pair).or_default();
            let counts = if request.started.is_some() { &mut now.executing } else { &mut now.waiting };
            counts[0] += 1;
            counts[1] += request.work.max_seats();
        }
    }
    for ((level, schema), now) in pairs {
        requests(level, schema, &now);
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
fn requests(level: String, schema: String, now: &Now) {
    let labels = [("priority_level", level), ("flow_schema", schema)];
    gauge!("apiserver_flowcontrol_current_inqueue_requests", &labels).set(now.waiting[0] as f64);
    gauge!("apiserver_flowcontrol_current_inqueue_seats", &labels).set(now.waiting[1] as f64);
    gauge!("apiserver_flowcontrol_current_executing_requests", &labels).set(now.executing[0] as f64);
    gauge!("apiserver_flowcontrol_current_executing_seats", &labels).set(now.executing[1] as f64);
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
fn limits(level: &LevelView<'_>) {
    let labels = [("priority_level", level.name.to_owned())];
    let (limits, demand) = (level.limits, level.demand);
    gauge!("apiserver_flowcontrol_nominal_limit_seats", &labels).set(limits.nominal as f64);
    gauge!("apiserver_flowcontrol_lower_limit_seats", &labels).set(limits.min as f64);
    gauge!("apiserver_flowcontrol_upper_limit_seats", &labels).set(limits.max as f64);
    gauge!("apiserver_flowcontrol_current_limit_seats", &labels).set(limits.current as f64);
    gauge!("apiserver_flowcontrol_demand_seats_high_watermark", &labels).set(demand.high_watermark as f64);
    gauge!("apiserver_flowcontrol_demand_seats_average", &labels).set(demand.average);
    gauge!("apiserver_flowcontrol_demand_seats_stdev", &labels).set(demand.deviation);
    gauge!("apiserver_flowcontrol_demand_seats_smoothed", &labels).set(demand.smoothed);
    gauge!("apiserver_flowcontrol_target_seats", &labels).set(level.target);
    gauge!("apiserver_flowcontrol_current_r", &labels).set(level.current_r.to_float());
}
