//! The one place of the agent that reads clocks.

use jiff::Timestamp;

#[expect(clippy::disallowed_methods, reason = "the agent is a shell: it stamps what it does")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// From the runtime's nanoseconds since 1970; 0 is no time.
pub(crate) fn from_nanos(nanos: i64) -> Option<Timestamp> {
    if nanos == 0 { None } else { Timestamp::from_nanosecond(i128::from(nanos)).ok() }
}

/// How long from now until `time`; zero when it has passed.
pub(crate) fn until(time: Timestamp) -> std::time::Duration {
    let now = now();
    if time <= now { std::time::Duration::ZERO } else { time.duration_since(now).unsigned_abs() }
}
