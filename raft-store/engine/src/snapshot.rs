//! Snapshot files: one consistent state, streamed, with a checksum on every part and one over the whole.
//!
//! A file is a magic, a header, chunks of records, and an end ([`format`]). What compaction made
//! unreachable is left out ([`filter`]), so equal states give equal content on every replica.

mod filter;
mod format;

use std::path::{Path, PathBuf};

use rocksdb::{DB, ReadOptions, WriteBatch};
use store_api::{Revision, StoreError};

use crate::planted::{Bug, is_planted};
use crate::state::{Position, migrate};
use crate::{SnapshotInfo, dir, fatal, options};
pub(crate) use filter::{Filter, position};
use format::{Reader, Writer};

pub(crate) use format::Header;

/// Bytes of records loaded in one batch.
const LOAD_BYTES: usize = 4 << 20;

pub(crate) struct Built {
    pub(crate) header: Header,
    pub(crate) info: SnapshotInfo,
}

/// Writes the state as it is now. The file appears under its name when it is whole and durable.
pub(crate) fn build(db: &DB, file: &Path) -> Result<Built, StoreError> {
    let temporary = file.with_added_extension("tmp");
    let header = write(db, &temporary).inspect_err(|_| {
        let _ = std::fs::remove_file(&temporary);
    })?;
    dir::rename_durably(&temporary, file).map_err(|e| dir::write_failed(file, e))?;
    let bytes = std::fs::metadata(file).map_err(|e| fatal(file.display(), e))?.len();
    let info = info(file, &header, bytes);
    Ok(Built { header, info })
}

fn write(db: &DB, path: &Path) -> Result<Header, StoreError> {
    let view = db.snapshot();
    let header = Header { position: filter::position(&view)? };
    let failed = |error| dir::write_failed(path, error);
    let mut writer = Writer::create(path, &header).map_err(failed)?;
    let compacted = if is_planted(Bug::SnapshotKeepsGarbage) { 0 } else { header.position.compacted };
    each_record(&view, compacted, options::scan(b"", b"\xff"), &mut |key, value| {
        writer.record(key, value).map_err(failed)
    })?;
    writer.finish().map_err(failed)?;
    Ok(header)
}

/// Is shown a record's key and content.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError>;

/// What a snapshot of a state with this compacted revision holds, record by record: equal states hold the same.
pub(crate) fn each_record(
    view: &rocksdb::Snapshot<'_>,
    compacted: Revision,
    scan: ReadOptions,
    visit: Visit<'_>,
) -> Result<(), StoreError> {
    let mut filter = Filter::new(compacted);
    let mut iterator = view.raw_iterator_opt(scan);
    iterator.seek_to_first();
    let apart = filter::Apart::new(view)?;
    while let Some((key, value)) = iterator.item() {
        match apart.records(&filter, key, value)? {
            Some(records) => records.iter().try_for_each(|(key, value)| visit(key, value))?,
            None if filter.keeps(key, value)? => visit(key, value)?,
            None => {}
        }
        iterator.next();
    }
    iterator.status().map_err(|e| fatal("reading the state failed", e))
}

/// Loads a file into an empty database, durable on return. `Invalid` when the file is not whole.
pub(crate) fn load(
    file: &Path,
    db: &DB,
    observe: &mut dyn FnMut() -> Result<(), StoreError>,
) -> Result<Built, StoreError> {
    let mut reader = Reader::open(file)?;
    let mut batch = WriteBatch::default();
    while let Some(records) = reader.next_records()? {
        for (key, value) in records.iter() {
            match reader.is_older().then(|| migrate::renewed(key, value)).flatten() {
                Some((key, value)) => batch.put(key, value),
                None => batch.put(key, value),
            }
        }
        if batch.size_in_bytes() >= LOAD_BYTES {
            write_batch(db, std::mem::take(&mut batch))?;
            observe()?;
        }
    }
    write_batch(db, batch)?;
    let (header, bytes) = reader.finish()?;
    db.flush().map_err(|e| fatal("flushing a new state failed", e))?;
    let info = info(file, &header, bytes);
    Ok(Built { header, info })
}

/// Reads a whole snapshot file, checks it, and says what it holds. `Invalid` when it is not whole.
pub fn verify_snapshot(file: &Path) -> Result<SnapshotInfo, StoreError> {
    verify(file, Reader::open(file)?)
}

/// [`verify_snapshot`] of one that lies within something else, called `name`.
pub fn verify_snapshot_in(name: &Path, content: Box<dyn std::io::Read + Send>) -> Result<SnapshotInfo, StoreError> {
    verify(name, Reader::of(name, content)?)
}

fn verify(name: &Path, mut reader: Reader) -> Result<SnapshotInfo, StoreError> {
    while reader.next_records()?.is_some() {}
    let (header, bytes) = reader.finish()?;
    Ok(info(name, &header, bytes))
}

fn write_batch(db: &DB, batch: WriteBatch) -> Result<(), StoreError> {
    db.write_opt(batch, &options::unlogged()).map_err(|e| fatal("writing a new state failed", e))
}

fn info(file: &Path, header: &Header, bytes: u64) -> SnapshotInfo {
    let Position { log_id, membership, revision, .. } = header.position.clone();
    SnapshotInfo { file: PathBuf::from(file), log_id, membership, revision, bytes }
}
