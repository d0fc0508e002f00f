//! strace at a replica: what its system calls do can be changed while it runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::Failure;
use crate::cluster::{Cluster, MARK, command};

/// Until strace has let go.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Tracer {
    strace: Child,
    trace: PathBuf,
}

pub(super) fn lacks() -> Option<String> {
    (!command::there_is("strace")).then(|| "strace is not installed".to_owned())
}

/// What is tampered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Calls {
    /// Putting data on the disk for good.
    Syncs,
    /// Writing to the logs that are open now: what is written first.
    LogWrites,
}

impl Calls {
    fn names(self) -> &'static str {
        match self {
            Self::Syncs => "fdatasync,fsync",
            Self::LogWrites => "write,pwrite64,writev,pwritev",
        }
    }

    /// The files that it is about, below this directory; all of the process when empty.
    fn files(self, pid: i32, dir: &Path) -> Result<BTreeSet<PathBuf>, Failure> {
        if self == Self::Syncs {
            return Ok(BTreeSet::new());
        }
        let mut files = BTreeSet::new();
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
            // It may be closed by now.
            let Ok(file) = std::fs::read_link(entry?.path()) else { continue };
            if file.starts_with(dir) && file.extension().is_some_and(|extension| extension == "log") {
                files.insert(file);
            }
        }
        match files.is_empty() {
            true => Err(format!("process {pid} has no log open").into()),
            false => Ok(files),
        }
    }
}

impl Tracer {
    /// `tamper`: what is injected into the calls, in strace's words.
    pub(super) async fn attach(cluster: &Cluster, number: usize, calls: Calls, tamper: &str) -> Result<Self, Failure> {
        let pid = cluster.replica(number).pid().await?;
        let trace = cluster.dir.join("logs").join(format!("strace-{number}.txt"));
        // A trace of an earlier injection proves nothing.
        let _ = std::fs::remove_file(&trace);
        let names = calls.names();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-q", "-p", &pid.to_string(), "-o"]).arg(&trace);
        strace.args(["-e", &format!("trace={names}"), "-e", &format!("inject={names}:{tamper}")]);
        for file in calls.files(pid, cluster.replica(number).disk.mount())? {
            strace.arg("-P").arg(file);
        }
        let strace = strace
            .env(MARK, &cluster.run)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .process_group(0)
            .spawn()?;
        Ok(Self { strace, trace })
    }

    /// Lines of the trace with this word: `DELAYED`, `INJECTED`.
    pub(super) fn count(&self, word: &str) -> usize {
        count(&self.trace, word)
    }

    /// Lets the process go on as it is.
    pub(super) async fn detach(mut self) -> Result<(), Failure> {
        if let Some(pid) = self.strace.id() {
            // It ends by itself with the process that it follows.
            let _ = kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGINT);
        }
        tokio::time::timeout(PATIENCE, self.strace.wait()).await.map_err(|_| "strace does not let go")??;
        Ok(())
    }
}

fn count(trace: &Path, word: &str) -> usize {
    let text = std::fs::read_to_string(trace).unwrap_or_default();
    text.lines().filter(|line| line.contains(word)).count()
}
