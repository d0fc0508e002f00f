//! The high-water mark: up to which position the log was certainly synced, kept outside of it.
//!
//! A log that finds its last records damaged cannot tell a write that was torn by a crash, which nobody
//! relied on, from one that was acknowledged and lost since. The mark can: it is set after every sync.
//! Setting it is an unsynced write of 16 bytes, so it costs no second fsync: it is exact after a crash of the
//! process, and after a power cut at worst somewhat low, never high.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use store_api::StoreError;

use crate::{dir, fatal};

const MAGIC: &[u8; 4] = b"KMRK";
/// Within one sector, so it is never torn.
const BYTES: usize = 16;

pub(super) struct Mark {
    path: PathBuf,
    file: File,
    position: u64,
}

impl Mark {
    /// Opens the mark, or creates it when there is no log yet.
    pub(super) fn open(path: &Path, log_exists: bool) -> Result<Self, StoreError> {
        if !path.exists() {
            if log_exists {
                return Err(fatal(path.display(), "missing, so it cannot be told whether the raft log is complete"));
            }
            dir::write_atomically(path, &encode(0)).map_err(|e| fatal(path.display(), e))?;
        }
        let file = dir::create_file(path, false).map_err(|e| fatal(path.display(), e))?;
        let mut content = [0; BYTES];
        file.read_exact_at(&mut content, 0).map_err(|e| fatal(path.display(), e))?;
        let position = decode(&content).ok_or_else(|| fatal(path.display(), "damaged"))?;
        Ok(Self { path: path.to_owned(), file, position })
    }

    /// Everything before it was synced.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// After everything before `position` was synced.
    pub(super) fn set(&mut self, position: u64) -> Result<(), StoreError> {
        self.file.write_all_at(&encode(position), 0).map_err(|e| fatal(self.path.display(), e))?;
        self.position = position;
        Ok(())
    }

    /// The mark itself is durable on return.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(|e| fatal(self.path.display(), e))
    }
}

fn encode(position: u64) -> [u8; BYTES] {
    let mut content = [0; BYTES];
    content[..4].copy_from_slice(MAGIC);
    content[4..12].copy_from_slice(&position.to_be_bytes());
    let checksum = crc32fast::hash(&content[..12]);
    content[12..].copy_from_slice(&checksum.to_be_bytes());
    content
}

fn decode(content: &[u8; BYTES]) -> Option<u64> {
    let sound = content.starts_with(MAGIC) && content[12..] == crc32fast::hash(&content[..12]).to_be_bytes();
    let position: [u8; 8] = content[4..12].try_into().ok()?;
    sound.then_some(u64::from_be_bytes(position))
}
