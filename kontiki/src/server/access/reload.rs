//! Files that are read again when they change, without restart. What cannot be used is logged and counted, and what
//! was read before stays in use.

use std::path::{Path, PathBuf};
use std::time::Duration;

use metrics::{counter, gauge};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::Failure;

/// How often a file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A configuration file and what it said last.
pub(super) struct Watched {
    /// `authentication` or `authorization`.
    what: &'static str,
    file: PathBuf,
    text: String,
    /// Of this replica, in metrics.
    server: String,
}

impl Watched {
    pub(super) fn new(what: &'static str, id: u64, file: &Path, text: String) -> Self {
        let server = format!("sha256:{}", hex::encode(Sha256::digest(format!("kontiki-{id}"))));
        Self { what, file: file.to_owned(), text, server }
    }

    /// Uses what the file says now, when that is something else.
    fn look(&mut self, text: std::io::Result<String>, load: &impl Fn(&str) -> Result<(), Failure>, now: f64) {
        let text = match text {
            Ok(text) if text == self.text => return,
            Ok(text) => text,
            Err(error) => return self.count(Err(error.into()), now),
        };
        let loaded = load(&text);
        // Also when it is no good: it is not tried again before it changes.
        self.text = text;
        self.count(loaded, now);
    }

    fn count(&self, loaded: Result<(), Failure>, now: f64) {
        let (what, file) = (self.what, self.file.display());
        let status = match loaded {
            Ok(()) => {
                tracing::info!(%file, "{what} configuration reloaded");
                "success"
            }
            Err(error) => {
                tracing::error!(%file, %error, "a changed {what} configuration cannot be used: the old one stays");
                "failure"
            }
        };
        let labels = [("status", status.to_owned()), ("apiserver_id_hash", self.server.clone())];
        let name = format!("apiserver_{what}_config_controller_automatic_reload");
        counter!(format!("{name}s_total"), &labels).increment(1);
        gauge!(format!("{name}_last_timestamp_seconds"), &labels).set(now);
    }
}

/// Looks at the file until stopped. `load` makes what it says count, or says why not.
pub(super) fn follow(
    mut watched: Watched,
    stop: CancellationToken,
    load: impl Fn(&str) -> Result<(), Failure> + Send + 'static,
) {
    tokio::spawn(async move {
        let mut seen = stamp(&watched.file);
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let now = stamp(&watched.file);
            if now == seen {
                continue;
            }
            seen = now;
            let text = std::fs::read_to_string(&watched.file);
            watched.look(text, &load, seconds(crate::now()));
        }
    });
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
fn seconds(now: jiff::Timestamp) -> f64 {
    now.as_second() as f64
}

/// What changes with a file.
fn stamp(file: &Path) -> Option<(std::time::SystemTime, u64)> {
    let meta = std::fs::metadata(file).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn what_is_no_good_is_tried_once() {
        let loaded = RefCell::new(Vec::new());
        let load = |text: &str| {
            loaded.borrow_mut().push(text.to_owned());
            if text == "bad" { Err("bad".into()) } else { Ok(()) }
        };
        let mut watched = Watched::new("authentication", 1, Path::new("f"), "first".to_owned());
        for text in ["first", "bad", "bad", "second", "second", "first"] {
            watched.look(Ok(text.to_owned()), &load, 0.0);
        }
        watched.look(Err(std::io::ErrorKind::NotFound.into()), &load, 0.0);
        watched.look(Ok("first".to_owned()), &load, 0.0);
        assert_eq!(*loaded.borrow(), ["bad", "second", "first"]);
    }
}
