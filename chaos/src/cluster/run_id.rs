//! Whose something is. A run is named by its process and the moment at which that began, so that a process id
//! which is used again is nobody's.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Failure;

/// In the environment of everything that a run starts, with the run's name.
pub(crate) const MARK: &str = "KONTIKI_CHAOS";
/// The same on its containers.
pub(crate) const LABEL: &str = "io.kontiki.chaos";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunId {
    pid: u32,
    /// Clock ticks since the machine's start.
    began: u64,
    /// A process may do several runs.
    number: u32,
}

impl RunId {
    /// A new run of this process.
    pub(crate) fn new() -> Result<Self, Failure> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let pid = std::process::id();
        let began = began(pid).ok_or("this process is not in /proc")?;
        Ok(Self { pid, began, number: NUMBER.fetch_add(1, Ordering::Relaxed) })
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let id = Self {
            pid: parts.next()?.parse().ok()?,
            began: parts.next()?.parse().ok()?,
            number: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(id)
    }

    /// Whether its process is still there.
    pub(crate) fn lives(&self) -> bool {
        began(self.pid) == Some(self.began)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.pid, self.began, self.number)
    }
}

fn began(pid: u32) -> Option<u64> {
    parse_began(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The 22nd field; the second is the program's name in brackets, with whatever is in it.
fn parse_began(stat: &str) -> Option<u64> {
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_a_process_at_a_time() {
        let id = RunId::new().expect("this process");
        assert!(id.lives());
        assert_eq!(RunId::parse(&id.to_string()), Some(id.clone()));
        let earlier = RunId { began: id.began - 1, ..id.clone() };
        assert!(!earlier.lives(), "another process with the same number");
        assert_ne!(RunId::new().expect("this process"), id);
        assert_eq!(RunId::parse("123"), None);
        assert_eq!(RunId::parse("1-2-3-4"), None);
    }

    #[test]
    fn a_program_may_be_called_anything() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20";
        assert_eq!(parse_began(stat), Some(777));
    }
}
