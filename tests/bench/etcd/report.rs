//! What is printed: a line for each run, and a table of medians with their ratios.

use std::time::Duration;

use system_tests::figures::{median, quantile, short};

use crate::cost::Cost;
use crate::load::{Load, Tally};
use crate::servers::{REPLICAS, Server};

/// One load on one server, once.
pub(crate) struct Run {
    pub(crate) tally: Tally,
    pub(crate) cost: Cost,
    pub(crate) load_average: f64,
}

/// What is compared.
#[derive(Clone, Copy, Debug)]
struct Figures {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// All of the following of the three replicas together, and of one call or delivery.
    processor_us: f64,
    /// Of the clients.
    clients_us: f64,
    written_bytes: f64,
    /// `NaN` where the disk does not count them.
    flushes: f64,
    resident_mib: f64,
    failed: usize,
    load_average: f64,
}

fn figures(run: &Run) -> Figures {
    let mut sorted = run.tally.latencies.clone();
    sorted.sort_unstable();
    let count = sorted.len() as f64;
    let ms = |wanted| f64::from(quantile(&sorted, wanted)) / 1000.0;
    Figures {
        per_second: count / run.tally.elapsed.max(Duration::from_millis(1)).as_secs_f64(),
        p50_ms: ms(0.5),
        p99_ms: ms(0.99),
        processor_us: run.cost.processor.as_micros() as f64 / count,
        clients_us: run.cost.clients.as_micros() as f64 / count,
        written_bytes: run.cost.written_bytes as f64 / count,
        flushes: run.cost.flushes.map_or(f64::NAN, |flushes| flushes as f64 / count),
        resident_mib: run.cost.resident_bytes as f64 / f64::from(1 << 20),
        failed: run.tally.failed,
        load_average: run.load_average,
    }
}

pub(crate) fn machine(servers: &[Server]) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = crate::cost::load_average().map_or_else(|error| error.to_string(), |load| load.to_string());
    let mut text = format!(
        "{cores} cores shared by clients and servers, load average {load}; {REPLICAS} replicas each, one disk, mutual \
         TLS\nper call or delivery: processor time, bytes written and flushes of all replicas together; resident \
         memory is theirs, too"
    );
    for server in servers {
        text.push_str(&format!("\n{}: {}", server.name, server.version));
    }
    text
}

pub(crate) fn line(server: &str, load: &Load, run: &Run) -> String {
    let figures = figures(run);
    let failed = if figures.failed > 0 { format!(", {} FAILED", figures.failed) } else { String::new() };
    let Load { work, clients, .. } = load;
    format!(
        "{work:5} {clients:>4} {server:8} {:>7} {}/s, p50 {} ms, p99 {} ms, {} us (clients {}), {} bytes, {} flushes, {} MiB, load \
         {}{failed}",
        short(figures.per_second),
        work.unit(),
        short(figures.p50_ms),
        short(figures.p99_ms),
        short(figures.processor_us),
        short(figures.clients_us),
        short(figures.written_bytes),
        short(figures.flushes),
        short(figures.resident_mib),
        short(figures.load_average),
    )
}

/// Figures by server and load, in the order in which they came.
#[derive(Default)]
pub(crate) struct Report {
    servers: Vec<&'static str>,
    loads: Vec<Load>,
    runs: Vec<(&'static str, Load, Figures)>,
}

impl Report {
    pub(crate) fn add(&mut self, server: &'static str, load: &Load, run: Run) {
        if !self.servers.contains(&server) {
            self.servers.push(server);
        }
        if !self.loads.contains(load) {
            self.loads.push(*load);
        }
        self.runs.push((server, *load, figures(&run)));
    }

    fn median(&self, server: &str, load: &Load, field: impl Fn(&Figures) -> f64) -> f64 {
        let of = self.runs.iter().filter(|(by, what, _)| *by == server && what == load);
        median(of.map(|(_, _, figures)| field(figures)).collect())
    }

    /// Medians of each server; ratios are of the first to the second: more a second is better, less of all else.
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "{:5} {:>4} {:8} {:>8} {:>8} {:>8} {:>8} {:>9} {:>8} {:>8} {:>6} {:>6}\n",
            "", "", "", "per s", "p50 ms", "p99 ms", "cpu us", "bytes", "flushes", "MiB", "load", "failed"
        );
        for load in &self.loads {
            for server in &self.servers {
                let of = |field: fn(&Figures) -> f64| self.median(server, load, field);
                let failed = self.failed(server, load).to_string();
                text.push_str(&row(load, server, &FIELDS.map(of).map(short), &failed));
            }
            if let [ours, other] = self.servers[..] {
                let ratio =
                    |field: fn(&Figures) -> f64| self.median(ours, load, field) / self.median(other, load, field);
                text.push_str(&row(load, "ratio", &FIELDS.map(ratio).map(short), ""));
            }
        }
        text
    }

    fn failed(&self, server: &str, load: &Load) -> usize {
        let of = self.runs.iter().filter(|(by, what, _)| *by == server && what == load);
        of.map(|(_, _, figures)| figures.failed).sum()
    }
}

const FIELDS: [fn(&Figures) -> f64; 8] = [
    |figures| figures.per_second,
    |figures| figures.p50_ms,
    |figures| figures.p99_ms,
    |figures| figures.processor_us,
    |figures| figures.written_bytes,
    |figures| figures.flushes,
    |figures| figures.resident_mib,
    |figures| figures.load_average,
];

fn row(Load { work, clients, .. }: &Load, name: &str, cells: &[String; 8], failed: &str) -> String {
    let [per_second, p50, p99, processor, bytes, flushes, resident, load] = cells;
    format!(
        "{work:5} {clients:>4} {name:8} {per_second:>8} {p50:>8} {p99:>8} {processor:>8} {bytes:>9} {flushes:>8} \
         {resident:>8} {load:>6} {failed:>6}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Work;

    #[test]
    fn medians_are_compared() {
        let mut report = Report::default();
        let load = Load { work: Work::Put, clients: 1, time: Duration::from_secs(1) };
        let run = |calls: usize, micros| Run {
            tally: Tally { latencies: vec![micros; calls], failed: 1, elapsed: Duration::from_secs(1) },
            cost: Cost { written_bytes: 1000, ..Cost::default() },
            load_average: 2.0,
        };
        for (server, calls, micros) in [("a", 100, 1000), ("b", 50, 4000), ("a", 300, 1000), ("b", 50, 4000)] {
            report.add(server, &load, run(calls, micros));
        }
        let table = report.table();
        let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let rows: Vec<Vec<String>> = table.lines().map(cells).collect();
        assert_eq!(rows[1][..5], ["put", "1", "a", "200", "1.00"]);
        assert_eq!(rows[3][..5], ["put", "1", "ratio", "4.00", "0.25"]);
        assert_eq!(rows[1].last().map(String::as_str), Some("2"));
        assert!(rows[1].contains(&"-".to_owned()), "flushes are not counted");
    }
}
