//! strace at a replica: what its system calls do can be changed while it runs.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::Failure;
use crate::cluster::{Cluster, command};

/// Calls that put data on the disk.
pub(super) const SYNCS: &str = "fdatasync,fsync";
/// Until strace has let go.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Tracer {
    strace: Child,
    trace: PathBuf,
}

pub(super) fn lacks() -> Option<String> {
    (!command::there_is("strace")).then(|| "strace is not installed".to_owned())
}

impl Tracer {
    /// `tamper`: what is injected into [`SYNCS`], in strace's words.
    pub(super) async fn attach(cluster: &Cluster, number: usize, tamper: &str) -> Result<Self, Failure> {
        let pid = cluster.replica(number).pid().await?;
        let trace = cluster.dir.join("logs").join(format!("strace-{number}.txt"));
        // A trace of an earlier injection proves nothing.
        let _ = std::fs::remove_file(&trace);
        let strace = Command::new("strace")
            .args(["-f", "-q", "-p", &pid.to_string(), "-o"])
            .arg(&trace)
            .args(["-e", &format!("trace={SYNCS}"), "-e", &format!("inject={SYNCS}:{tamper}")])
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
