//! Running synchronous disk work from async code.

use std::io;

use tokio::runtime::{Handle, RuntimeFlavor};

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
