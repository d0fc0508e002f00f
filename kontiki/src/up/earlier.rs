//! Processes of an earlier `up` on the directory that did not end in order: they are given the time to, and
//! then killed, before new ones need their ports and files.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;

use super::children::END_PATIENCE;
use super::say::say;

const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) async fn end(dir: &Path) {
    let pids = alive(dir);
    if pids.is_empty() {
        return;
    }
    say(format_args!("  {} processes of an earlier run are ended first", pids.len()));
    signal(&pids, Signal::SIGTERM);
    let deadline = Instant::now() + END_PATIENCE;
    while !alive(dir).is_empty() && Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    signal(&alive(dir), Signal::SIGKILL);
}

fn signal(pids: &[i32], signal: Signal) {
    for pid in pids {
        // Gone meanwhile: nothing to end.
        let _ = kill(Pid::from_raw(*pid), signal);
    }
}

fn alive(dir: &Path) -> Vec<i32> {
    let command = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let list = std::fs::read_to_string(dir.join("pids")).unwrap_or_default();
    pids(&list).into_iter().filter(|pid| is_ours(&command(*pid), dir)).collect()
}

/// Of the file's lines `NAME PID`.
fn pids(list: &str) -> Vec<i32> {
    list.lines().filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).filter(|pid| *pid > 1).collect()
}

/// The number may have gone to somebody else since: ours are told a configuration below the directory.
fn is_ours(command: &str, dir: &Path) -> bool {
    let words: Vec<&str> = command.split('\0').collect();
    words.windows(2).any(|pair| pair[0] == "--config" && Path::new(pair[1]).starts_with(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_processes_of_this_directory() {
        assert_eq!(pids("replica-1 12\nnode-1 x\n\nhollow 1\nreplica-2 13\n"), [12, 13]);
        let dir = Path::new("/d/k");
        assert!(is_ours("/bin/kontiki\0server\0--config\0/d/k/replica-1/server.yaml\0", dir));
        assert!(!is_ours("/bin/kontiki\0server\0--config\0/d/k2/replica-1/server.yaml\0", dir));
        assert!(!is_ours("vi\0/d/k/replica-1/server.yaml\0", dir));
        assert!(!is_ours("", dir), "a process that has ended");
    }
}
