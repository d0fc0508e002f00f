//! What audit counts, under upstream's names.

use std::sync::Arc;

use metrics::counter;

use crate::event::{Event, Level};
use crate::legacy;

/// Records shown in our own log of those that were lost at once; the others are only counted.
const SHOWN: usize = 10;

/// One record is on its way to the backends.
pub fn event() {
    counter!("apiserver_audit_event_total").increment(1);
}

/// The policy decided for a request.
pub fn level(level: Level) {
    counter!("apiserver_audit_level_total", "level" => level.as_str()).increment(1);
}

/// A request was refused because it could not be recorded.
pub fn rejected() {
    counter!("apiserver_audit_requests_rejected_total").increment(1);
}

/// Records that a plugin could not keep. They are shown in the log in one line each, as upstream.
pub(crate) fn lost(plugin: &'static str, why: &str, events: &[Arc<Event>]) {
    counter!("apiserver_audit_error_total", "plugin" => plugin).increment(events.len() as u64);
    tracing::error!(plugin, count = events.len(), why, "audit events were not recorded");
    for event in events.iter().take(SHOWN) {
        tracing::error!(plugin, event = legacy::line(event), "not recorded");
    }
}
