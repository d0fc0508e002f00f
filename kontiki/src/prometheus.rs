//! The process's metrics recorder.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::Failure;

#[derive(Clone)]
pub(crate) struct Metrics(PrometheusHandle);

/// Buckets of every `*_seconds` histogram, in seconds: from a fast fsync to upstream's longest request.
const SECONDS: [f64; 20] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 5.0, 10.0,
    30.0, 60.0,
];
/// Buckets of every `*_sizes` histogram, in bytes.
const BYTES: [f64; 7] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

pub(crate) fn install() -> Result<Metrics, Failure> {
    let mut builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_sizes".to_owned()), &BYTES)?;
    // Upstream's own bounds, where dashboards rely on them.
    for (name, bounds) in api_http::metrics::BUCKETS {
        builder = builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), bounds)?;
    }
    Ok(Metrics(builder.install_recorder()?))
}

impl Metrics {
    pub(crate) fn render(&self) -> String {
        self.0.run_upkeep();
        process();
        self.0.render()
    }
}

/// `process_*` as client libraries of Prometheus export them.
fn process() {
    let Ok(text) = std::fs::read_to_string("/proc/self/statm") else { return };
    let pages = |index: usize| text.split_whitespace().nth(index).and_then(|field| field.parse::<f64>().ok());
    const PAGE_BYTES: f64 = 4096.0;
    if let (Some(size), Some(resident)) = (pages(0), pages(1)) {
        metrics::gauge!("process_virtual_memory_bytes").set(size * PAGE_BYTES);
        metrics::gauge!("process_resident_memory_bytes").set(resident * PAGE_BYTES);
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        metrics::gauge!("process_open_fds").set(entries.count() as f64);
    }
}
