//! The high-water mark: how many synced writes the log's database has had, kept outside of it.
//!
//! A database that finds its last records damaged cannot tell a write that was torn by a crash, which
//! nobody relied on, from one that was acknowledged and lost since. The mark can: every synced write
//! carries its number in the same batch, and the mark is set to that number after it. Setting it is an
//! unsynced write of 16 bytes, so it costs no second fsync: it is exact after a crash of the process,
//! and after a power cut at worst somewhat low, never high.

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
    writes: u64,
}

impl Mark {
    /// Opens the mark, or creates it when the database does not exist yet.
    pub(super) fn open(path: &Path, database_exists: bool) -> Result<Self, StoreError> {
        if !path.exists() {
            if database_exists {
                return Err(fatal(path.display(), "missing, so it cannot be told whether the raft log is complete"));
            }
            dir::write_atomically(path, &encode(0)).map_err(|e| fatal(path.display(), e))?;
        }
        let file = dir::create_file(path, false).map_err(|e| fatal(path.display(), e))?;
        let mut content = [0; BYTES];
        file.read_exact_at(&mut content, 0).map_err(|e| fatal(path.display(), e))?;
        let writes = decode(&content).ok_or_else(|| fatal(path.display(), "damaged"))?;
        Ok(Self { path: path.to_owned(), file, writes })
    }

    /// Synced writes that certainly happened.
    pub(super) fn writes(&self) -> u64 {
        self.writes
    }

    /// After synced write number `writes` has happened.
    pub(super) fn set(&mut self, writes: u64) -> Result<(), StoreError> {
        self.file.write_all_at(&encode(writes), 0).map_err(|e| fatal(self.path.display(), e))?;
        self.writes = writes;
        Ok(())
    }
}

fn encode(writes: u64) -> [u8; BYTES] {
    let mut content = [0; BYTES];
    content[..4].copy_from_slice(MAGIC);
    content[4..12].copy_from_slice(&writes.to_be_bytes());
    let checksum = crc32fast::hash(&content[..12]);
    content[12..].copy_from_slice(&checksum.to_be_bytes());
    content
}

fn decode(content: &[u8; BYTES]) -> Option<u64> {
    let sound = content.starts_with(MAGIC) && content[12..] == crc32fast::hash(&content[..12]).to_be_bytes();
    let writes: [u8; 8] = content[4..12].try_into().ok()?;
    sound.then_some(u64::from_be_bytes(writes))
}
