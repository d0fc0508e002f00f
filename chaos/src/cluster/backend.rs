//! What replicas run in.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use crate::Failure;

/// How a replica is started.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) number: usize,
    /// The process that keeps its network namespace.
    pub(crate) holder: i32,
    /// Of `kontiki`.
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    /// Has its data, seen under the same path inside.
    pub(crate) disk: PathBuf,
    pub(crate) log: PathBuf,
}

#[async_trait]
pub(crate) trait Backend: Send + Sync {
    fn name(&self) -> &'static str;
    /// Starts a process that keeps a network namespace, and answers its id.
    async fn hold(&self, number: usize) -> Result<i32, Failure>;
    async fn start(&self, program: &Program) -> Result<Box<dyn Running>, Failure>;
    /// Ends what `hold` started.
    async fn end(&self) {}
}

/// A replica's process.
#[async_trait]
pub(crate) trait Running: Send + Sync {
    /// As this machine numbers it, whatever it is called inside.
    fn pid(&self) -> i32;
    /// How it ended, when it did.
    async fn ended(&mut self) -> Result<Option<String>, Failure>;
    /// Frees what is left of it after its end.
    async fn clear(self: Box<Self>) {}
}

/// Between two looks whether a process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits for the end.
pub(crate) async fn end_of(running: &mut dyn Running, patience: Duration) -> Result<String, Failure> {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        if let Some(how) = running.ended().await? {
            return Ok(how);
        }
        if tokio::time::Instant::now() > deadline {
            return Err(format!("process {} did not end within {} s", running.pid(), patience.as_secs()).into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
