//! What this machine is and has: capacity, versions, addresses, pressure.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::NodeSystemInfo;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kubelet_core::admit::Pressure;
use kubelet_core::eviction::{Shortage, Starved};

/// Kubernetes' version whose node behaviour this is.
pub(crate) const KUBELET_VERSION: &str = "v1.36.2";

#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) cpus: usize,
    /// Bytes.
    pub(crate) memory: i64,
    /// Bytes of the file system pods' files are on.
    pub(crate) storage: i64,
    pub(crate) max_pods: u32,
    pub(crate) info: NodeSystemInfo,
}

impl Machine {
    pub(crate) fn read(root: &Path, max_pods: u32, runtime_version: String) -> Self {
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory: meminfo("MemTotal:").unwrap_or(0),
            storage: filesystem(root).map_or(0, |(total, _)| total),
            max_pods,
            info: info(runtime_version),
        }
    }

    /// What a hollow node claims to have.
    pub(crate) fn hollow(max_pods: u32, runtime_version: String) -> Self {
        Self { cpus: 16, memory: 64 << 30, storage: 512 << 30, max_pods, info: info(runtime_version) }
    }

    pub(crate) fn capacity(&self) -> BTreeMap<String, Quantity> {
        let amounts = [
            ("cpu", self.cpus.to_string()),
            ("memory", format!("{}Ki", self.memory / 1024)),
            ("ephemeral-storage", format!("{}Ki", self.storage / 1024)),
            ("pods", self.max_pods.to_string()),
            ("hugepages-1Gi", "0".to_owned()),
            ("hugepages-2Mi", "0".to_owned()),
        ];
        amounts.into_iter().map(|(name, amount)| (name.to_owned(), Quantity(amount))).collect()
    }

    /// Capacity less what the node keeps for evicting in time: 100 MiB of memory, 10 % of storage.
    pub(crate) fn allocatable(&self) -> BTreeMap<String, Quantity> {
        let mut amounts = self.capacity();
        amounts.insert("memory".into(), Quantity(format!("{}Ki", (self.memory - (100 << 20)).max(0) / 1024)));
        amounts.insert("ephemeral-storage".into(), Quantity((self.storage / 10 * 9).to_string()));
        amounts
    }
}

fn info(runtime_version: String) -> NodeSystemInfo {
    let line = |path: &str| fs::read_to_string(path).map(|t| t.trim().to_owned()).unwrap_or_default();
    NodeSystemInfo {
        architecture: crate::images::architecture().to_owned(),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        container_runtime_version: runtime_version,
        kernel_version: line("/proc/sys/kernel/osrelease"),
        kube_proxy_version: String::new(),
        kubelet_version: KUBELET_VERSION.to_owned(),
        machine_id: line("/etc/machine-id"),
        operating_system: "linux".to_owned(),
        os_image: os_image(),
        system_uuid: line("/sys/class/dmi/id/product_uuid"),
        ..Default::default()
    }
}

fn os_image() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |n| n.trim_matches('"').to_owned())
}

/// A line of `/proc/meminfo` in bytes.
pub(crate) fn meminfo(key: &str) -> Option<i64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<i64>().ok().map(|kib| kib * 1024)
}

/// Nanoseconds that all CPUs together were busy since the machine started.
pub(crate) fn cpu_nanos() -> Option<i64> {
    busy(&fs::read_to_string("/proc/stat").ok()?)
}

fn busy(stat: &str) -> Option<i64> {
    // "cpu user nice system idle iowait irq softirq steal ...", in hundredths of a second
    const TICK: i64 = 10_000_000;
    let words = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<i64> = words.map_while(|word| word.parse().ok()).collect();
    let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|index| ticks.get(*index)).sum::<i64>();
    busy.checked_mul(TICK)
}

/// Total and available bytes of the file system of `path`.
pub(crate) fn filesystem(path: &Path) -> Option<(i64, i64)> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    let unit = stat.fragment_size();
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(unit)).ok();
    Some((bytes(stat.blocks())?, bytes(stat.blocks_available())?))
}

/// Free space that is enough on any disk: a tenth of a large one is not a shortage.
const ENOUGH_DISK: i64 = 5 << 30;

/// Memory that must stay available, upstream's default threshold.
const ENOUGH_MEMORY: i64 = 100 << 20;

/// Upstream's default thresholds: less than 100 MiB of memory, less than 10 % of the disk (and than
/// [`ENOUGH_DISK`]); and less than 5 % of the process ids.
pub(crate) fn pressure(root: &Path) -> Pressure {
    Pressure { memory: memory_short().is_some(), disk: disk_short(root).is_some(), pid: pids_short() }
}

/// What is so short that pods have to go; memory first, for it cannot wait.
pub(crate) fn shortage(root: &Path) -> Option<Shortage> {
    memory_short().or_else(|| disk_short(root))
}

fn memory_short() -> Option<Shortage> {
    short(Starved::Memory, ENOUGH_MEMORY, meminfo("MemAvailable:")?)
}

fn disk_short(root: &Path) -> Option<Shortage> {
    let (total, available) = filesystem(root)?;
    short(Starved::Disk, (total / 10).min(ENOUGH_DISK), available)
}

fn short(of: Starved, threshold: i64, available: i64) -> Option<Shortage> {
    (available < threshold).then_some(Shortage { of, threshold, available })
}

fn pids_short() -> bool {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<i64>().ok();
    let Some(max) = number("/proc/sys/kernel/pid_max") else { return false };
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    // "0.20 0.18 0.12 1/80 11206": running and all tasks
    let tasks =
        load.split_whitespace().nth(3).and_then(|f| f.split_once('/')).and_then(|(_, all)| all.parse::<i64>().ok());
    tasks.is_some_and(|tasks| max - tasks < max / 20)
}

#[cfg(test)]
mod tests {
    #[test]
    fn idle_time_is_not_busy() {
        assert_eq!(super::busy("cpu  1 2 3 1000 1000 4 5 6 7 8\ncpu0 1 2 3 4\n"), Some(210_000_000));
        assert_eq!(super::busy(""), None);
    }
}
