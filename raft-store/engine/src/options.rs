//! How RocksDB is run. Every choice here is about not losing or mistaking data; see also RocksDB's own notes.

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, ChecksumType, DB, DBCompressionType, DBRecoveryMode, LogLevel, Options, ReadOptions,
    WriteOptions,
};
use store_api::StoreError;

use crate::{fatal, room};

/// Bytes that are read, unpacked and checked for one key.
const BLOCK_BYTES: usize = 4 << 10;
/// Files of writes that are merged into the first level at once. Each time much of it is written anew: half as often
/// as by default.
const FILES_MERGED: i32 = 8;
/// Bytes of writes gathered in memory before they go to a table file.
const BUFFER_BYTES: usize = 16 << 20;
/// A table file with so many deletions among so many keys is rewritten.
const DELETIONS_WINDOW: usize = 4_096;
const DELETIONS_IN_WINDOW: usize = 2_048;
/// RocksDB's own text logs.
const INFO_LOG_BYTES: usize = 1 << 20;
const INFO_LOGS: usize = 2;

/// The state. It is written without a write-ahead log: a crash takes it back to the last flush of its memory
/// tables, whole batches in order, and the raft log holds everything since; that nothing made durable is missing
/// is checked against the pointer file. (Point-in-time recovery is for directories of versions that had one.)
///
/// Left at its default on purpose: best-efforts recovery, which has lost data.
pub(crate) fn state(blocks: &Cache) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_paranoid_checks(true);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(BUFFER_BYTES);
    options.set_max_write_buffer_number(3);
    options.set_level_zero_file_num_compaction_trigger(FILES_MERGED);
    options.set_prefix_extractor(crate::state::keys::version_prefix());
    // They go on by themselves, and in a simulation nothing does.
    options.set_disable_auto_compactions(room::is_simulated());
    // What was deleted is given back to the disk soon, file by file.
    options.add_compact_on_deletion_collector_factory(DELETIONS_WINDOW, DELETIONS_IN_WINDOW, 0.5);
    options.set_memtable_prefix_bloom_ratio(0.05);
    options.set_block_based_table_factory(&tables(blocks));
    options.set_max_background_jobs(2);
    options.set_max_open_files(512);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(INFO_LOG_BYTES);
    options.set_keep_log_file_num(INFO_LOGS);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

fn tables(blocks: &Cache) -> BlockBasedOptions {
    let mut tables = BlockBasedOptions::default();
    tables.set_format_version(6);
    tables.set_checksum_type(ChecksumType::XXH3);
    tables.set_block_size(BLOCK_BYTES);
    tables.set_block_cache(blocks);
    tables.set_cache_index_and_filter_blocks(true);
    tables.set_pin_l0_filter_and_index_blocks_in_cache(true);
    tables.set_bloom_filter(10.0, false);
    tables
}

pub(crate) fn open(options: &Options, path: &Path) -> Result<DB, StoreError> {
    crate::dir::create_private(path).map_err(|e| fatal(path.display(), e))?;
    DB::open(options, path).map_err(|e| opening_failed(path, &e))
}

/// What the operating system said is in the text only.
fn opening_failed(path: &Path, error: &rocksdb::Error) -> StoreError {
    let text = error.to_string();
    let why = format!("{} cannot be opened: {text}", path.display());
    if text.contains("No space left on device") {
        return StoreError::NoSpace(why);
    }
    match text.contains("Permission denied") || text.contains("Too many open files") {
        true => StoreError::Invalid(why),
        false => StoreError::Fatal(why),
    }
}

/// For what the raft log, or a snapshot file, holds until it is flushed. All writes to one database are of this kind,
/// or none is.
pub(crate) fn unlogged() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

/// In key order over `[lower, upper)`.
pub(crate) fn scan(lower: &[u8], upper: &[u8]) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_total_order_seek(true);
    options.set_iterate_lower_bound(lower);
    options.set_iterate_upper_bound(upper);
    options
}

/// [`scan`] over so much that it must not drive everything else out of the cache.
pub(crate) fn scan_once(lower: &[u8], upper: &[u8]) -> ReadOptions {
    let mut options = scan(lower, upper);
    options.fill_cache(false);
    options
}

/// Among the versions of one key, with help of the prefix filters.
pub(crate) fn within_key() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_prefix_same_as_start(true);
    options
}
