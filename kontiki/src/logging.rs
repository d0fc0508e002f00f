//! Structured logs on standard error: text by default, JSON with `KONTIKI_LOG_FORMAT=json`.
//! `KONTIKI_LOG` filters as `tracing` does (`info`, `debug`, `info,store_node=debug`).

use tracing_subscriber::EnvFilter;

pub(crate) fn init() {
    let filter = EnvFilter::try_from_env("KONTIKI_LOG").unwrap_or_else(|_| EnvFilter::new("info,openraft=warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match std::env::var("KONTIKI_LOG_FORMAT").as_deref() {
        Ok("json") => builder.json().init(),
        _ => builder.with_ansi(false).init(),
    }
}
