//! What a load costs the servers: processor time, memory, bytes and flushes of the disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use nix::sys::stat::{major, minor};
use system_tests::processes::{field, processor};

use crate::Failure;
use crate::servers::Server;

/// Of all replicas of a server together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    pub(crate) processor: Duration,
    /// Of the clients, which share the machine with the replicas.
    pub(crate) clients: Duration,
    /// Sent to the disk, write-back caches included.
    pub(crate) written_bytes: u64,
    pub(crate) resident_bytes: u64,
    /// Of the whole disk, whoever asked for them: nothing else should be writing. `None` where it does not count them.
    pub(crate) flushes: Option<u64>,
}

impl Cost {
    /// What was used since; memory as it is now.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            processor: self.processor.saturating_sub(before.processor),
            clients: self.clients.saturating_sub(before.clients),
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
            resident_bytes: self.resident_bytes,
            flushes: self.flushes.zip(before.flushes).map(|(now, then)| now.saturating_sub(then)),
        }
    }
}

/// Fails when a replica is gone.
pub(crate) fn sample(server: &Server) -> Result<Cost, Failure> {
    let own = processor(&fs::read_to_string("/proc/self/stat")?).ok_or("/proc/self/stat has another form")?;
    let mut cost = Cost { flushes: flushes(server)?, clients: own, ..Cost::default() };
    for pid in &server.pids {
        let read = |file: &str| {
            fs::read_to_string(format!("/proc/{pid}/{file}"))
                .map_err(|error| format!("process {pid} of {}: {error}", server.name))
        };
        let odd = |file: &str| format!("/proc/{pid}/{file} has another form");
        cost.processor += processor(&read("stat")?).ok_or_else(|| odd("stat"))?;
        cost.written_bytes += field(&read("io")?, "write_bytes").ok_or_else(|| odd("io"))?;
        cost.resident_bytes += field(&read("status")?, "VmRSS").ok_or_else(|| odd("status"))? * 1024;
    }
    Ok(cost)
}

pub(crate) fn load_average() -> Result<f64, Failure> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().next().unwrap_or_default().parse()?)
}

fn flushes(server: &Server) -> Result<Option<u64>, Failure> {
    let device = fs::metadata(&server.dir)?.dev();
    Ok(fs::read_to_string("/proc/diskstats").ok().and_then(|text| flushes_in(&text, major(device), minor(device))))
}

fn flushes_in(diskstats: &str, major: u64, minor: u64) -> Option<u64> {
    let (major, minor) = (major.to_string(), minor.to_string());
    let mut lines = diskstats.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let fields = lines.find(|fields| fields.starts_with(&[major.as_str(), minor.as_str()]))?;
    fields.get(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flushes_are_of_the_disk() {
        let disks =
            " 7 0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n 254 0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 1027 17\n";
        assert_eq!(flushes_in(disks, 254, 0), Some(1027));
        assert_eq!(flushes_in(disks, 254, 1), None);
    }

    #[test]
    fn costs_are_differences() {
        let cost = |seconds, bytes, flushes| Cost {
            processor: Duration::from_secs(seconds),
            clients: Duration::from_secs(seconds),
            written_bytes: bytes,
            resident_bytes: bytes,
            flushes,
        };
        let used = cost(5, 30, Some(9)).since(&cost(2, 10, Some(4)));
        assert_eq!(used, Cost { resident_bytes: 30, ..cost(3, 20, Some(5)) });
        assert_eq!(cost(5, 3, None).since(&cost(2, 1, Some(4))).flushes, None);
    }
}
