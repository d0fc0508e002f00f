//! The database in use, and the pointer file that names it.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use rocksdb::{Cache, DB};
use store_api::{Revision, StoreError};

use super::{Position, Published};
use crate::{dir, fatal, options};

/// One database, until a snapshot replaces it. Readers hold it as long as they read.
pub(super) struct Generation {
    db: DB,
    published: RwLock<Published>,
    /// Every event up to here is removed already; held while removing.
    pub(super) collected: Mutex<Revision>,
    /// After the database, so that it is closed before its files go.
    files: Files,
}

struct Files {
    path: PathBuf,
    retired: AtomicBool,
}

impl Generation {
    pub(super) fn open(root: &Path, number: u64, blocks: &Cache) -> Result<Self, StoreError> {
        let path = directory(root, number);
        let db = options::open(&options::state(blocks), &path)?;
        dir::sync_parent(&path).map_err(|e| fatal(path.display(), e))?;
        let files = Files { path, retired: AtomicBool::new(false) };
        Ok(Self { db, published: RwLock::default(), collected: Mutex::new(0), files })
    }

    /// Opens one that does not exist yet; what lies there is of an attempt that failed.
    pub(super) fn create(root: &Path, number: u64, blocks: &Cache) -> Result<Self, StoreError> {
        remove(&directory(root, number))?;
        Self::open(root, number, blocks)
    }

    pub(super) fn db(&self) -> &DB {
        &self.db
    }

    pub(super) fn path(&self) -> &Path {
        &self.files.path
    }

    pub(super) fn published(&self) -> Published {
        *self.published.read()
    }

    pub(super) fn publish(&self, position: &Position) {
        let Position { revision, compacted, hash, .. } = *position;
        *self.published.write() = Published { revision, compacted, hash };
    }

    /// Its files are removed when the last reader is done.
    pub(super) fn retire(&self) {
        self.files.retired.store(true, Ordering::Relaxed);
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if self.retired.load(Ordering::Relaxed)
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "an old state is not removed; the next start will");
        }
    }
}

fn directory(root: &Path, number: u64) -> PathBuf {
    root.join(format!("db-{number}"))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fatal(path.display(), error)),
        _ => Ok(()),
    }
}

/// Removes databases that were retired, or never became current.
pub(super) fn remove_others(root: &Path, pointer: &Pointer) -> Result<(), StoreError> {
    let current = directory(root, pointer.generation);
    for entry in fs::read_dir(root).map_err(|e| fatal(root.display(), e))? {
        let path = entry.map_err(|e| fatal(root.display(), e))?.path();
        if is_database(&path) && path != current {
            remove(&path)?;
        }
    }
    Ok(())
}

fn is_database(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("db-"))
}

/// Which database is current, and how much of it was made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    pub(super) generation: u64,
    /// Entries before it are applied and no power cut may take that away, because the log may be gone.
    pub(super) durable_index: u64,
}

impl Pointer {
    /// Reads the pointer, or makes the first one in a new directory.
    pub(super) fn open(root: &Path) -> Result<Self, StoreError> {
        let path = root.join("CURRENT");
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).ok_or_else(|| fatal(path.display(), "damaged")),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !has_database(root)? => {
                let pointer = Self { generation: 1, durable_index: 0 };
                pointer.save(root)?;
                Ok(pointer)
            }
            Err(error) => Err(fatal(path.display(), error)),
        }
    }

    /// Durable on return; a crash leaves the one before or this one.
    pub(super) fn save(&self, root: &Path) -> Result<(), StoreError> {
        let path = root.join("CURRENT");
        dir::write_atomically(&path, self.text().as_bytes()).map_err(|e| dir::write_failed(&path, e))
    }

    fn text(&self) -> String {
        let mut text = format!("generation {}\ndurable-index {}\n", self.generation, self.durable_index);
        let checksum = crc32fast::hash(text.as_bytes());
        writeln!(text, "crc32 {checksum:08x}").expect("writing to a string");
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let generation = lines.next()?.strip_prefix("generation ")?.parse().ok()?;
        let durable_index = lines.next()?.strip_prefix("durable-index ")?.parse().ok()?;
        let pointer = Self { generation, durable_index };
        (pointer.text() == text).then_some(pointer)
    }
}

fn has_database(root: &Path) -> Result<bool, StoreError> {
    let entries = fs::read_dir(root).map_err(|e| fatal(root.display(), e))?;
    Ok(entries.flatten().any(|entry| is_database(&entry.path())))
}
