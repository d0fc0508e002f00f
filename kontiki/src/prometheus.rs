//! The process's metrics recorder.

use std::io;
use std::thread;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::Failure;

/// How often what was measured is put into its buckets: until then each value takes memory of its own.
const UPKEEP: Duration = Duration::from_secs(5);

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
    let metrics = Metrics(builder.install_recorder()?);
    metrics.keep_up(UPKEEP)?;
    Ok(metrics)
}

impl Metrics {
    /// Nothing piles up where nobody asks for it.
    fn keep_up(&self, every: Duration) -> io::Result<()> {
        let handle = self.0.clone();
        let keep = move || {
            loop {
                thread::sleep(every);
                handle.run_upkeep();
            }
        };
        thread::Builder::new().name("metrics".to_owned()).spawn(keep).map(drop)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    /// Mebibytes.
    fn resident() -> u64 {
        let text = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
        let pages: u64 = text.split_whitespace().nth(1).and_then(|field| field.parse().ok()).expect("a number");
        (pages * 4096) >> 20
    }

    #[test]
    fn what_nobody_asks_for_does_not_pile_up() {
        const VALUES: usize = 4_000_000;
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .expect("buckets")
            .build_recorder();
        let record = || {
            let histogram = metrics::histogram!("t_seconds");
            (0..VALUES).for_each(|_| histogram.record(0.5));
        };
        let before = resident();
        metrics::with_local_recorder(&recorder, record);
        let kept = resident() - before;
        assert!(kept > 20, "{kept} MiB: values that wait to be put away take memory, or this shows nothing");
        recorder.handle().run_upkeep();
        Metrics(recorder.handle()).keep_up(Duration::from_millis(1)).expect("a thread");
        let before = resident();
        (0..4).for_each(|_| metrics::with_local_recorder(&recorder, record));
        let more = resident().saturating_sub(before);
        assert!(more < 2 * kept, "{more} MiB more for four times as many, {kept} MiB for so many without");
    }
}
