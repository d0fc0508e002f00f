//! What a process uses, as the kernel tells it.

use std::time::Duration;

/// Of the times in `/proc/PID/stat`: part of the kernel's interface.
const TICKS_PER_SECOND: u64 = 100;

/// The processor time in `/proc/PID/stat`. The name in it, in parentheses, may hold anything.
pub fn processor(stat: &str) -> Option<Duration> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// The number in a line `name: number ...`.
pub fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let stat = "12 (a (b) c) S 1 12 12 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 9 0 100";
        assert_eq!(processor(stat), Some(Duration::from_secs(3)));
        assert_eq!(processor("12 (a"), None);
        assert_eq!(field("rchar: 5\nwrite_bytes: 4096\ncancelled_write_bytes: 1\n", "write_bytes"), Some(4096));
        assert_eq!(field("VmHWM:\t 10 kB\nVmRSS:\t 9 kB\n", "VmRSS"), Some(9));
        assert_eq!(field("", "VmRSS"), None);
    }
}
