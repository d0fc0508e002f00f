//! Structured logs on standard error: text by default, JSON with `KONTIKI_LOG_FORMAT=json`.
//! `KONTIKI_LOG` filters as `tracing` does (`info`, `debug`, `info,store_node=debug`).

use std::backtrace::Backtrace;
use std::panic::PanicHookInfo;

use tracing_subscriber::EnvFilter;

pub(crate) fn init() {
    let filter = EnvFilter::try_from_env("KONTIKI_LOG").unwrap_or_else(|_| EnvFilter::new("info,openraft=warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match std::env::var("KONTIKI_LOG_FORMAT").as_deref() {
        Ok("json") => builder.json().init(),
        _ => builder.with_ansi(false).init(),
    }
    std::panic::set_hook(Box::new(log_panic));
}

/// A panic is a line of the log like everything else. Those of the parser of expressions are caught, and whoever can
/// write an expression can have one: they are no news.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let current = std::thread::current();
    let thread = current.name().unwrap_or("");
    if thread == api_cel::PARSER {
        return tracing::debug!(thread, "panicked at {location}: {message}");
    }
    let backtrace = Backtrace::capture();
    tracing::error!(thread, %backtrace, "panicked at {location}: {message}");
}
