//! What was written since, laid over a scan.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use store_api::{KeyValue, StoreError, in_range};

use crate::Visit;

/// Visits what `scan` finds in `[start, end)`, in key order, with what was `written` in its place; `None` was deleted.
pub fn overlay(
    written: &BTreeMap<Bytes, Option<KeyValue>>,
    start: &[u8],
    end: &[u8],
    scan: impl FnOnce(&mut Visit<'_>) -> Result<(), StoreError>,
    visit: &mut Visit<'_>,
) -> Result<(), StoreError> {
    let from = (Bound::Included(start), Bound::Unbounded);
    let mut written = written.range::<[u8], _>(from).take_while(|(key, _)| in_range(key, start, end)).peekable();
    let mut flow = ControlFlow::Continue(());
    scan(&mut |found| {
        while let Some((_, newer)) = written.next_if(|(key, _)| **key < found.key) {
            flow = tell(newer.clone(), visit);
            flow?;
        }
        flow = match written.next_if(|(key, _)| **key == found.key) {
            Some((_, newer)) => tell(newer.clone(), visit),
            None => visit(found),
        };
        flow
    })?;
    if flow.is_continue() {
        // What comes after the last key found.
        let _ = written.try_for_each(|(_, newer)| tell(newer.clone(), visit));
    }
    Ok(())
}

fn tell(newer: Option<KeyValue>, visit: &mut Visit<'_>) -> ControlFlow<()> {
    newer.map_or(ControlFlow::Continue(()), visit)
}
