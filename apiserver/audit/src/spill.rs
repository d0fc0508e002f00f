//! Records that a webhook had not taken when the server ended, one a line, for the next start.

use std::fs::OpenOptions;
use std::io::{Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::event::Event;

/// The file grows no larger (bytes): it is read as a whole.
const MAX_BYTES: u64 = 256 << 20;

/// A file that is there only while it has something.
pub struct Spill {
    path: PathBuf,
    one: Mutex<()>,
}

impl Spill {
    pub fn new(path: PathBuf) -> Self {
        Self { path, one: Mutex::default() }
    }

    /// On disk when it returns.
    pub(crate) fn append(&self, events: &[Arc<Event>]) -> Result<()> {
        let _one = self.one.lock();
        let mut text = String::new();
        for event in events {
            text.push_str(&event.to_json()?);
            text.push('\n');
        }
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
        if file.metadata()?.len() + text.len() as u64 > MAX_BYTES {
            return Err(std::io::Error::other(format!(
                "{} would be larger than {MAX_BYTES} bytes",
                self.path.display()
            )));
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }

    /// Those that are whole: a crash may have cut the last one short.
    fn lines(&self) -> Result<Vec<String>> {
        let whole = |line: &&str| serde_json::from_str::<serde::de::IgnoredAny>(line).is_ok();
        match std::fs::read_to_string(&self.path) {
            Ok(text) => Ok(text.lines().filter(whole).map(str::to_owned).collect()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn first(&self, count: usize) -> Result<Vec<String>> {
        let _one = self.one.lock();
        Ok(self.lines()?.into_iter().take(count).collect())
    }

    /// They were sent.
    pub(crate) fn drop_first(&self, count: usize) -> Result<()> {
        let _one = self.one.lock();
        let rest: Vec<String> = self.lines()?.into_iter().skip(count).collect();
        if rest.is_empty() {
            return std::fs::remove_file(&self.path);
        }
        let next = self.path.with_extension("next");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all((rest.join("\n") + "\n").as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&next, &self.path)
    }
}
