//! Errors that end a replica.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt::Display;

use store_api::StoreError;

type End = Box<dyn Fn(&str) -> Infallible>;

thread_local! {
    /// How a simulated process on this thread ends.
    static END: RefCell<Option<End>> = const { RefCell::new(None) };
}

pub(crate) fn take_end(end: impl Fn(&str) -> Infallible + 'static) {
    END.with(|taken| *taken.borrow_mut() = Some(Box::new(end)));
}

/// Ends the process: what was promised to be durable may not be, so nothing may be answered any more.
pub(crate) fn die(reason: &str) -> ! {
    END.with(|end| {
        if let Some(end) = end.borrow().as_ref() {
            match end(reason) {}
        }
    });
    tracing::error!(reason, "the store failed, the process ends");
    eprintln!("kontiki: the store failed, the process ends: {reason}");
    std::process::abort()
}

/// `map_err` for what cannot be read or is not what it should be.
pub(crate) fn broken<E: Display>(what: &str) -> impl FnOnce(E) -> StoreError + '_ {
    move |error| StoreError::Fatal(format!("{what}: {error}"))
}
