//! Running synchronous disk work from async code.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs `work` here, letting other tasks of a multi-threaded runtime go on elsewhere.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
