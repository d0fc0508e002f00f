//! Time as the API writes it, always UTC. Callers pass the time in: nothing here reads a clock.

use jiff::Timestamp;

/// `metav1.Time`: `2026-01-02T03:04:05Z`, whole seconds.
pub fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `metav1.MicroTime`: `2026-01-02T03:04:05.678901Z`, always six digits.
pub fn micros(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Reads RFC 3339 with any offset.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// The age column: `5s`, `2m10s`, `3h`, `47h`, `5d`, as `duration.HumanDuration` upstream.
pub fn human_duration(_seconds: i64) -> String {
    todo!()
}
