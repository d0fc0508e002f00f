//! Where this crate reads the time and draws numbers: everything that decides is handed them.

use std::time::SystemTime;

use jiff::Timestamp;

/// The time of the wall clock.
pub(crate) fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "the shell's one clock; decisions get the time as an argument")]
    let now = SystemTime::now();
    Timestamp::try_from(now).unwrap_or(Timestamp::MAX)
}
