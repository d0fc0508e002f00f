//! Reads the log at start: all of it, every checksum.
//!
//! A file is synced, and the mark after it, before the next one is begun. So only the last one may have a torn
//! end, and only beyond the mark.

use std::path::Path;

use store_api::StoreError;

use super::index::{Index, Place};
use super::mark::Mark;
use super::record::Record;
use super::segment::{Scan, Segment};

/// What the files hold.
pub(super) struct Recovered {
    /// In order; the last one is written to.
    pub(super) segments: Vec<Segment>,
    pub(super) index: Index,
    /// Position of the end, all before it synced.
    pub(super) end: u64,
}

/// Drops what was never durable; refuses a log that lacks what was. `None` when nothing is left.
pub(super) fn recover(dir: &Path, mut files: Vec<Segment>, mark: &mut Mark) -> Result<Option<Recovered>, StoreError> {
    let mut recovered: Option<Recovered> = None;
    let last = files.pop();
    for segment in files {
        let scan = segment.scan()?;
        if scan.sound < scan.end {
            return Err(damaged(&mut recovered, segment, scan));
        }
        take(&mut recovered, segment, scan)?;
    }
    if let Some(segment) = last {
        take_last(dir, mark, &mut recovered, segment)?;
    }
    let end = recovered.as_ref().map_or(0, |recovered| recovered.end);
    if end < mark.position() {
        return Err(lost(format_args!("it ends at byte {end}, and was durable up to byte {}", mark.position())));
    }
    if let Some(recovered) = &recovered {
        check_begin(recovered)?;
        mark.set(recovered.end)?;
    }
    Ok(recovered)
}

fn take_last(dir: &Path, mark: &Mark, recovered: &mut Option<Recovered>, segment: Segment) -> Result<(), StoreError> {
    let scan = segment.scan()?;
    if scan.sound < scan.end {
        if scan.sound < mark.position() {
            return Err(damaged(recovered, segment, scan));
        }
        tracing::warn!(from = scan.sound, "the end of the raft log was never made durable and is dropped");
        segment.cut(scan.sound)?;
    }
    // It was begun, and its head never became durable.
    if scan.records.is_empty() && scan.sound >= mark.position() {
        return segment.remove(dir);
    }
    segment.sync()?;
    take(recovered, segment, scan)
}

/// Adds one more file.
fn take(recovered: &mut Option<Recovered>, mut segment: Segment, scan: Scan) -> Result<(), StoreError> {
    let Some((Record::Head(head), ..)) = scan.records.first() else {
        return Err(damaged_after(recovered.as_ref(), segment.base));
    };
    let mut before = match recovered.take() {
        Some(before) if before.end != segment.base => {
            return Err(lost(format_args!("a file is missing between bytes {} and {}", before.end, segment.base)));
        }
        Some(before) => before,
        None => Recovered { segments: Vec::new(), index: Index::begin(head), end: segment.base },
    };
    for (record, position, bytes) in &scan.records {
        if let Record::Entry { index, .. } = record {
            segment.highest = segment.highest.max(Some(*index));
        }
        let place = Place { position: *position, bytes: *bytes };
        before.index.take(record, place).map_err(|hole| lost(format_args!("it has a hole: {hole}")))?;
    }
    before.segments.push(segment);
    before.end = scan.sound;
    *recovered = Some(before);
    Ok(())
}

/// Files that have gone held only what was purged.
fn check_begin(recovered: &Recovered) -> Result<(), StoreError> {
    let base = recovered.segments.first().map_or(0, |segment| segment.base);
    let index = &recovered.index;
    if index.has_hole() || (base > 0 && index.purged().is_none()) {
        return Err(lost(format_args!("its first file is missing, and not all in it was purged")));
    }
    Ok(())
}

/// The file is sound up to somewhere only.
fn damaged(recovered: &mut Option<Recovered>, segment: Segment, scan: Scan) -> StoreError {
    let sound = scan.sound;
    match take(recovered, segment, scan) {
        Ok(()) => damaged_after(recovered.as_ref(), sound),
        Err(error) => error,
    }
}

fn damaged_after(recovered: Option<&Recovered>, position: u64) -> StoreError {
    let last = recovered.and_then(|recovered| recovered.index.bounds()).map(|(_, last)| last);
    let after = last.map_or("before its first entry".to_owned(), |last| format!("after entry {last}"));
    StoreError::Fatal(format!(
        "the raft log is damaged {after}, at byte {position}. This replica must be replaced by a new one"
    ))
}

fn lost(what: std::fmt::Arguments<'_>) -> StoreError {
    StoreError::Fatal(format!(
        "the raft log lost acknowledged entries or votes: {what}. This replica must be replaced by a new one"
    ))
}
