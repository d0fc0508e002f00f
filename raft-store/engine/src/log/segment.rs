//! The files of the log: `<position of its first byte>.log`, one after the other without gaps.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use store_api::StoreError;

use super::record::{self, Record};
use crate::{dir, fatal, room};

/// One file of the log.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// Position of its first byte.
    pub(super) base: u64,
    pub(super) file: Arc<File>,
    /// The highest index of its entries, those truncated later included.
    pub(super) highest: Option<u64>,
}

/// What was found in a file.
pub(super) struct Scan {
    /// Each whole record with its position and the bytes it takes.
    pub(super) records: Vec<(Record, u64, usize)>,
    /// Position of the end of the last whole record.
    pub(super) sound: u64,
    /// Position of the end of the file.
    pub(super) end: u64,
}

impl Segment {
    /// Creates the file of this base, which replaces one of which nothing was ever durable.
    pub(super) fn create(dir: &Path, base: u64) -> Result<Self, StoreError> {
        let path = path(dir, base);
        let file = dir::create_file(&path, true).map_err(|e| fatal(path.display(), e))?;
        dir::sync_parent(&path).map_err(|e| fatal(path.display(), e))?;
        Ok(Self { base, file: Arc::new(file), highest: None })
    }

    /// All files there are, in order.
    pub(super) fn open_all(dir: &Path) -> Result<Vec<Self>, StoreError> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(dir).map_err(|e| fatal(dir.display(), e))? {
            let path = entry.map_err(|e| fatal(dir.display(), e))?.path();
            if let Some(base) = base(&path) {
                let file = dir::create_file(&path, false).map_err(|e| fatal(path.display(), e))?;
                segments.push(Self { base, file: Arc::new(file), highest: None });
            }
        }
        segments.sort_by_key(|segment| segment.base);
        Ok(segments)
    }

    /// Reads the whole file, up to the first record that is not whole and sound.
    pub(super) fn scan(&self) -> Result<Scan, StoreError> {
        let length = self.file.metadata().map_err(failed_read)?.len();
        let mut content = vec![0; length as usize];
        self.file.read_exact_at(&mut content, 0).map_err(failed_read)?;
        let content = Bytes::from(content);
        let (mut records, mut offset) = (Vec::new(), 0);
        while let Some((record, bytes)) = record::decode(&content.slice(offset..), self.base + offset as u64) {
            records.push((record, self.base + offset as u64, bytes));
            offset += bytes;
        }
        Ok(Scan { records, sound: self.base + offset as u64, end: self.base + length })
    }

    /// Reads what lies at a position in this file.
    pub(super) fn read(&self, position: u64, bytes: usize) -> Result<Bytes, StoreError> {
        let mut content = vec![0; bytes];
        self.file.read_exact_at(&mut content, position - self.base).map_err(failed_read)?;
        Ok(content.into())
    }

    pub(super) fn write(&self, position: u64, content: &[u8]) -> Result<(), StoreError> {
        room::write_all_at(&self.file, content, position - self.base).map_err(failed_write)
    }

    /// Durable on return.
    pub(super) fn cut(&self, end: u64) -> Result<(), StoreError> {
        self.file.set_len(end - self.base).and_then(|()| self.file.sync_all()).map_err(failed_write)
    }

    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(failed_write)
    }

    pub(super) fn remove(&self, dir: &Path) -> Result<(), StoreError> {
        match fs::remove_file(path(dir, self.base)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed_write(error)),
            _ => Ok(()),
        }
    }
}

fn path(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.log"))
}

fn base(path: &Path) -> Option<u64> {
    path.extension().filter(|extension| *extension == "log")?;
    path.file_stem()?.to_str()?.parse().ok()
}

fn failed_write(error: io::Error) -> StoreError {
    fatal("writing the raft log failed", error)
}

fn failed_read(error: io::Error) -> StoreError {
    fatal("reading the raft log failed", error)
}
