//! Records in a file, or on standard output, one a line.
//!
//! One thread writes, so that a slow disk holds up requests in blocking modes, and nothing else of the process.

pub(crate) mod file;
pub(crate) mod rotate;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
pub use file::FileConfig;
use file::RotatingFile;
pub use rotate::Keep;
use tokio::sync::{mpsc, oneshot};

use crate::Now;
use crate::backend::Backend;
use crate::event::Event;
use crate::{legacy, meter};

pub const NAME: &str = "log";
/// Writes that wait for the thread; more wait to be one of them.
const MAX_WAITING: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Legacy,
}

enum Out {
    Stdout,
    File(Box<RotatingFile>),
}

/// Lines, and who waits for them to be written.
struct Job {
    lines: Vec<u8>,
    done: oneshot::Sender<std::io::Result<()>>,
}

pub struct Log {
    format: Format,
    jobs: mpsc::Sender<Job>,
}

impl Out {
    fn write(&mut self, lines: &[u8]) -> std::io::Result<()> {
        match self {
            Out::Stdout => {
                let mut out = std::io::stdout().lock();
                out.write_all(lines)?;
                out.flush()
            }
            Out::File(file) => lines.split_inclusive(|byte| *byte == b'\n').try_for_each(|line| file.write(line)),
        }
    }
}

impl Log {
    /// `file`: `None` for standard output. Fails when the file cannot be opened.
    pub fn start(format: Format, file: Option<FileConfig>, now: Now) -> std::io::Result<Self> {
        let mut out = match file {
            None => Out::Stdout,
            Some(config) => Out::File(Box::new(RotatingFile::open(config, now)?)),
        };
        let (jobs, mut waiting) = mpsc::channel::<Job>(MAX_WAITING);
        std::thread::Builder::new().name("audit-log".to_owned()).spawn(move || {
            while let Some(job) = waiting.blocking_recv() {
                // Whoever is not there any more needs no answer.
                let _: Result<(), _> = job.done.send(out.write(&job.lines));
            }
        })?;
        Ok(Self { format, jobs })
    }

    fn lines(&self, events: &[Arc<Event>]) -> serde_json::Result<Vec<u8>> {
        let mut lines = Vec::new();
        for event in events {
            let line = match self.format {
                Format::Json => event.to_json()?,
                Format::Legacy => legacy::line(event),
            };
            lines.extend_from_slice(line.as_bytes());
            lines.push(b'\n');
        }
        Ok(lines)
    }

    /// Written, in the order in which it was asked for.
    async fn write(&self, lines: Vec<u8>) -> Result<(), String> {
        let (done, written) = oneshot::channel();
        let gone = "the thread that writes the audit log is gone";
        self.jobs.send(Job { lines, done }).await.map_err(|_| gone.to_owned())?;
        written.await.map_err(|_| gone.to_owned())?.map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Backend for Log {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn process(&self, events: &[Arc<Event>]) -> bool {
        let written = match self.lines(events) {
            Ok(lines) => self.write(lines).await,
            Err(error) => Err(error.to_string()),
        };
        match written {
            Ok(()) => true,
            Err(why) => {
                meter::lost(NAME, &why, events);
                false
            }
        }
    }

    /// When this is written, so is everything before it.
    async fn shutdown(&self, patience: Duration) {
        if tokio::time::timeout(patience, self.write(Vec::new())).await.is_err() {
            tracing::warn!("the audit log was not written in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Level;

    fn now() -> jiff::Timestamp {
        "2026-01-02T03:04:05Z".parse().expect("a time")
    }

    fn event(id: &str) -> Arc<Event> {
        Arc::new(Event::new(Level::Metadata, id.to_owned(), now()))
    }

    #[tokio::test]
    async fn what_was_accepted_is_in_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.log");
        let config =
            FileConfig { path: path.clone(), max_bytes: 0, keep: Keep { backups: 0, days: 0 }, compress: false };
        let log = Log::start(Format::Json, Some(config), now).expect("starts");
        assert!(log.process(&[event("a"), event("b")]).await);
        let text = std::fs::read_to_string(&path).expect("is there");
        assert_eq!(text.lines().count(), 2, "written before it is acknowledged: {text}");
        // Nobody waits for these; they are written all the same.
        for id in ["c", "d", "e"] {
            let mut asked = Box::pin(log.write(log.lines(&[event(id)]).expect("lines")));
            let _: std::task::Poll<_> = futures::poll!(asked.as_mut());
        }
        log.shutdown(Duration::from_secs(10)).await;
        let text = std::fs::read_to_string(&path).expect("is there");
        let ids: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["auditID"].to_string())
            .collect();
        assert_eq!(ids, [r#""a""#, r#""b""#, r#""c""#, r#""d""#, r#""e""#]);
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_not_acknowledged() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.log");
        let config = FileConfig { path, max_bytes: 10, keep: Keep { backups: 0, days: 0 }, compress: false };
        let log = Log::start(Format::Legacy, Some(config), now).expect("starts");
        assert!(!log.process(&[event("a")]).await, "a line is longer than the file may be");
    }
}
