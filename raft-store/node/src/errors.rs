//! Errors that end a replica.

use std::fmt::Display;

use store_api::StoreError;

/// Ends the process: what was promised to be durable may not be, so nothing may be answered any more.
pub(crate) fn die(reason: &str) -> ! {
    tracing::error!(reason, "the store failed, the process ends");
    eprintln!("kontiki: the store failed, the process ends: {reason}");
    std::process::abort()
}

/// `map_err` for what cannot be read or is not what it should be.
pub(crate) fn broken<E: Display>(what: &str) -> impl FnOnce(E) -> StoreError + '_ {
    move |error| StoreError::Fatal(format!("{what}: {error}"))
}
