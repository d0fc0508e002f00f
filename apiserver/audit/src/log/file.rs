//! The log file, put aside when it is full.

use std::fs::{File, OpenOptions};
use std::io::{Error, Result, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use parking_lot::Mutex;

use super::rotate::{COMPRESSED, Keep, backup_name, outdated, time_of};
use crate::Now;

/// Where the log is, and what becomes of it when it is full.
#[derive(Clone, Debug)]
pub struct FileConfig {
    pub path: PathBuf,
    /// Bytes; 0: it is never full.
    pub max_bytes: u64,
    pub keep: Keep,
    pub compress: bool,
}

pub(crate) struct RotatingFile {
    config: FileConfig,
    now: Now,
    file: File,
    bytes: u64,
    /// One clean-up at a time.
    cleaning: Arc<Mutex<()>>,
}

fn open(path: &Path) -> Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

impl RotatingFile {
    /// Continues a file that is there. Folders are made for this user only.
    pub(crate) fn open(config: FileConfig, now: Now) -> Result<Self> {
        if let Some(folder) = config.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let (file, bytes) = open(&config.path)?;
        Ok(Self { config, now, file, bytes, cleaning: Arc::default() })
    }

    /// One record with its end. It is in one file as a whole.
    pub(crate) fn write(&mut self, line: &[u8]) -> Result<()> {
        let (length, max) = (line.len() as u64, self.config.max_bytes);
        if max > 0 && length > max {
            return Err(Error::other(format!("write length {length} exceeds maximum file size {max}")));
        }
        if max > 0 && self.bytes + length > max {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.bytes += length;
        Ok(())
    }

    fn rotate(&mut self) -> Result<()> {
        let mut at = (self.now)();
        let mut aside = backup_name(&self.config.path, at);
        // Names have milliseconds, and nothing that was put aside is overwritten.
        while aside.exists() || aside.with_added_suffix(COMPRESSED).exists() {
            at = at.saturating_add(jiff::SignedDuration::from_millis(1)).map_err(Error::other)?;
            aside = backup_name(&self.config.path, at);
        }
        std::fs::rename(&self.config.path, &aside)?;
        (self.file, self.bytes) = open(&self.config.path)?;
        self.clean_up();
        Ok(())
    }

    /// Beside the writing: a large file takes seconds to compress.
    fn clean_up(&self) {
        let (config, now, cleaning) = (self.config.clone(), self.now, self.cleaning.clone());
        let done = std::thread::Builder::new().name("audit-clean".to_owned()).spawn(move || {
            let _one = cleaning.lock();
            if let Err(error) = clean(&config, now) {
                tracing::warn!(%error, path = %config.path.display(), "cannot clean up old audit logs");
            }
        });
        if let Err(error) = done {
            tracing::warn!(%error, "cannot clean up old audit logs");
        }
    }
}

trait WithSuffix {
    fn with_added_suffix(&self, suffix: &str) -> PathBuf;
}

impl WithSuffix for Path {
    fn with_added_suffix(&self, suffix: &str) -> PathBuf {
        let mut name = self.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    }
}

/// Removes what is outdated and compresses the rest, where that is wanted.
fn clean(config: &FileConfig, now: Now) -> Result<()> {
    let folder = config.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut old = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(time) = time_of(&config.path, &name) {
            old.push((name, time));
        }
    }
    let gone = outdated(old.clone(), config.keep, now());
    for name in &gone {
        std::fs::remove_file(folder.join(name))?;
    }
    if config.compress {
        for (name, _) in old.iter().filter(|(name, _)| !gone.contains(name) && !name.ends_with(COMPRESSED)) {
            compress(&folder.join(name))?;
        }
    }
    Ok(())
}

/// The file goes only when the copy is whole.
fn compress(path: &Path) -> Result<()> {
    let target = path.with_added_suffix(COMPRESSED);
    let partial = path.with_added_suffix(".partial");
    let out = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&partial)?;
    let mut encoder = GzEncoder::new(out, Compression::default());
    std::io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    std::fs::rename(&partial, &target)?;
    std::fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn now() -> jiff::Timestamp {
        "2026-01-02T03:04:05Z".parse().expect("a time")
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Until the thread that cleans up is done.
    fn settled(file: &RotatingFile, folder: &Path, want: &[&str]) {
        for _ in 0..1000 {
            let cleaned = file.cleaning.lock();
            if names(folder) == want {
                return;
            }
            drop(cleaned);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(names(folder), want);
    }

    #[test]
    fn a_full_file_is_put_aside_and_old_ones_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("logs/audit.log");
        let keep = Keep { backups: 2, days: 0 };
        let config = FileConfig { path: path.clone(), max_bytes: 10, keep, compress: true };
        let mut file = RotatingFile::open(config.clone(), now).expect("opens");
        for line in ["11111\n", "222\n", "33333\n", "44444\n"] {
            file.write(line.as_bytes()).expect("writes");
        }
        assert!(file.write(b"is too long to fit\n").is_err());
        let logs = path.parent().expect("a folder");
        let want = ["audit-2026-01-02T03-04-05.000.log.gz", "audit-2026-01-02T03-04-05.001.log.gz", "audit.log"];
        settled(&file, logs, &want);
        let mut first = String::new();
        let packed = File::open(logs.join(want[0])).expect("is there");
        flate2::read::GzDecoder::new(packed).read_to_string(&mut first).expect("is whole");
        assert_eq!(first, "11111\n222\n");
        file.write(b"555555\n").expect("writes");
        let want = ["audit-2026-01-02T03-04-05.001.log.gz", "audit-2026-01-02T03-04-05.002.log.gz", "audit.log"];
        settled(&file, logs, &want);
        drop(file);
        let mut again = RotatingFile::open(config, now).expect("opens");
        again.write(b"66\n").expect("writes");
        assert_eq!(std::fs::read_to_string(&path).expect("text"), "555555\n66\n", "a file is continued");
    }
}
