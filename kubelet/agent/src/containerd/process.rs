//! The process of a containerd: started, started again when it ends, ended.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::usable::find_program;
use super::{ContainerdConfig, write};
use crate::log_file;

/// How long it may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause before it is started again: doubled each time it does not live long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Having lived this long, it starts again quickly.
const HEALTHY: Duration = Duration::from_secs(60);
/// How often its log is measured, and bytes kept of it.
const LOG_EVERY: Duration = Duration::from_secs(60);
const LOG_BYTES: u64 = 8 << 20;

/// A containerd that is our child.
pub(super) struct Process {
    child: Child,
    began: Instant,
    /// Bytes that others have said before, in the same log.
    log_start: u64,
}

impl Process {
    pub(super) fn spawn(config: &ContainerdConfig) -> Result<Self, String> {
        let log_path = config.log_file();
        let text = |e: std::io::Error| format!("{}: {e}", log_path.display());
        let log = fs::OpenOptions::new().create(true).append(true).open(&log_path).map_err(text)?;
        let errors = log.try_clone().map_err(text)?;
        let log_start = log.metadata().map_err(text)?.len();
        let mut command = command(config)?;
        // Its own process group: a Ctrl-C at our terminal is ours to handle.
        command.process_group(0).stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = Command::from(command).kill_on_drop(true).spawn();
        let child = child.map_err(|e| format!("starting containerd: {e}"))?;
        // For whoever has to end it when this process cannot.
        write(&config.pid_file(), &format!("{}\n", child.id().unwrap_or(0)))?;
        Ok(Self { child, began: Instant::now(), log_start })
    }

    /// How it ended, when it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// What it said last: the reason of its end, when that was a failure.
    pub(super) fn last_words(&self, config: &ContainerdConfig) -> String {
        let log = fs::read(config.log_file()).unwrap_or_default();
        // Shortened meanwhile: all of it is new.
        let start = usize::try_from(self.log_start).ok().filter(|start| *start <= log.len()).unwrap_or(0);
        words(&String::from_utf8_lossy(&log[start..]))
    }

    async fn end(mut self) {
        if let Some(pid) = self.child.id() {
            signal(pid, Signal::SIGTERM);
        }
        if tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await.is_err() {
            tracing::warn!(seconds = STOP_TIMEOUT.as_secs(), "containerd did not end in time: killed");
            let _ = self.child.kill().await;
        }
    }
}

/// containerd under `setpriv`, by which the kernel ends it when this process ends, however it does. Pods go
/// on: their shims do not depend on it, and the next containerd on the directory finds them.
fn command(config: &ContainerdConfig) -> Result<std::process::Command, String> {
    let containerd = find_program("containerd").ok_or("containerd is not installed")?;
    let mut command = match find_program("setpriv") {
        Some(setpriv) => {
            let mut command = std::process::Command::new(setpriv);
            command.args(["--pdeathsig", "TERM", "--"]).arg(containerd);
            command
        }
        None => std::process::Command::new(containerd),
    };
    command.arg("--config").arg(config.config_file());
    Ok(command)
}

fn words(log: &str) -> String {
    let failure = log.lines().rev().find(|line| line.contains("level=fatal") || line.contains("level=error"));
    failure.or(log.lines().last()).unwrap_or("it said nothing").to_owned()
}

fn signal(pid: u32, signal: Signal) {
    // Gone already: nothing to end.
    let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
}

/// Starts it again when it ends, until told to stop; then ends it.
pub(super) async fn keep(config: ContainerdConfig, mut process: Process, stop: CancellationToken) {
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::select! {
            status = process.child.wait() => {
                let said = process.last_words(&config);
                tracing::error!(?status, said, "containerd ended; it is started again");
            }
            () = bound_log(&config) => {}
            () = stop.cancelled() => return process.end().await,
        }
        pause = next_pause(pause, process.began.elapsed());
        process = loop {
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
            match Process::spawn(&config) {
                Ok(process) => break process,
                Err(error) => {
                    tracing::error!(%error, "cannot start containerd again");
                    pause = next_pause(pause, Duration::ZERO);
                }
            }
        };
    }
}

/// The pause after a life of this length.
fn next_pause(before: Duration, lived: Duration) -> Duration {
    if lived >= HEALTHY { FIRST_PAUSE } else { before.saturating_mul(2).min(LONGEST_PAUSE) }
}

async fn bound_log(config: &ContainerdConfig) {
    loop {
        tokio::time::sleep(LOG_EVERY).await;
        if let Err(error) = log_file::bound(&config.log_file(), LOG_BYTES) {
            tracing::warn!(%error, "cannot shorten the log of containerd");
        }
    }
}

/// The process id of the containerd on this directory, whoever started it.
pub(super) fn pid(config: &ContainerdConfig) -> Option<u32> {
    let pid = fs::read_to_string(config.pid_file()).ok()?.trim().parse().ok()?;
    // The number may have gone to somebody else since.
    let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    command.split('\0').any(|word| Path::new(word) == config.config_file()).then_some(pid)
}

/// Ends one that an agent left here which was killed.
pub(super) async fn end_earlier(config: &ContainerdConfig) {
    let Some(pid) = pid(config) else { return };
    signal(pid, Signal::SIGTERM);
    let gone = async {
        while self::pid(config).is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(STOP_TIMEOUT, gone).await.is_err() {
        signal(pid, Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_before_other_words() {
        assert_eq!(words("level=info a\nlevel=error b\nlevel=info c\n"), "level=error b");
        assert_eq!(words("exec format error\n"), "exec format error");
        assert_eq!(words(""), "it said nothing");
    }

    #[test]
    fn pauses_grow_until_it_lives() {
        let mut pause = FIRST_PAUSE;
        let mut seen = Vec::new();
        for lived in [0, 0, 59, 60, 0, 0, 0, 0, 0, 0, 0] {
            pause = next_pause(pause, Duration::from_secs(lived));
            seen.push(pause.as_millis());
        }
        assert_eq!(seen, [1000, 2000, 4000, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    }
}
