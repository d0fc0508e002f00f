//! Running synchronous disk work from async code.

use std::io;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

/// Runs `work` here, letting other tasks of a multi-threaded runtime go on elsewhere.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Runs `work`, which takes long, beside everything else of a multi-threaded runtime. One with a single thread, as
/// in a simulation, does nothing else meanwhile.
pub(crate) async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, io::Error> {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::spawn_blocking(work).await.map_err(io::Error::other),
        _ => Ok(work()),
    }
}

/// The nice value of [`behind`]: where processors are scarce, a thread of it gets a third of what others get.
const NICENESS: i32 = 5;

/// The same for work that nobody's request waits for: on a thread of its own, which leaves the processors to others
/// when they are short.
pub(crate) async fn behind<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, io::Error> {
    if Handle::current().runtime_flavor() != RuntimeFlavor::MultiThread {
        return Ok(work());
    }
    let (done, result) = oneshot::channel();
    let run = move || {
        // Of this thread alone, as Linux has it. A system that refuses gets the work done as quickly as any other.
        if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
            tracing::debug!(%error, "work behind everything else has the same priority");
        }
        // Whoever asked may have gone.
        done.send(work()).ok();
    };
    std::thread::Builder::new().name("behind".into()).spawn(run)?;
    result.await.map_err(|_| io::Error::other("the work panicked"))
}
