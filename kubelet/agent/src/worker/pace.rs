//! How long a worker waits for news before it looks or decides of its own accord. Never not at all.

use std::time::Duration;

/// How often a pod is looked at though nothing was heard of it.
const RESYNC: Duration = Duration::from_secs(60);
/// How often one looks after containers that are meant to end.
const LOOK_OFTEN: Duration = Duration::from_millis(100);
/// Wait before asking a runtime again that did not answer.
const UNSYNCED: Duration = Duration::from_millis(500);
/// A little later than asked, so that the time has come whatever the clocks' grain.
const GRAIN: Duration = Duration::from_millis(5);

/// What decides over it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// What is known of the runtime is what it last said.
    pub(super) synced: bool,
    /// Containers are expected to end in the next moments.
    pub(super) ending_soon: bool,
    /// Until volumes are to be brought up to date.
    pub(super) volumes: Option<Duration>,
    /// Until a decision is due.
    pub(super) wake: Option<Duration>,
}

/// What to do when nothing was heard until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Ask the runtime, then decide.
    Look,
    Decide,
}

pub(super) fn next(pace: &Pace) -> (Duration, Then) {
    // Without the runtime nothing is decided: whatever is due stays due.
    if !pace.synced {
        return (UNSYNCED, Then::Look);
    }
    let look = if pace.ending_soon { LOOK_OFTEN } else { RESYNC };
    let due = pace.volumes.into_iter().chain(pace.wake).min().map(|due| due + GRAIN);
    match due {
        Some(due) if due < look => (due, Then::Decide),
        _ => (look, Then::Look),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_first_and_the_runtime_before_all() {
        let quiet = Pace { synced: true, ending_soon: false, volumes: None, wake: None };
        let due = Pace { volumes: Some(Duration::ZERO), wake: Some(Duration::ZERO), ..quiet };
        let millis = Duration::from_millis;
        let cases = [
            (quiet, (RESYNC, Then::Look)),
            (Pace { ending_soon: true, ..quiet }, (LOOK_OFTEN, Then::Look)),
            (Pace { volumes: Some(millis(1000)), ..quiet }, (millis(1005), Then::Decide)),
            (Pace { volumes: Some(millis(1000)), wake: Some(millis(70)), ..quiet }, (millis(75), Then::Decide)),
            // Long past: a pause all the same.
            (due, (GRAIN, Then::Decide)),
            (Pace { synced: false, ..due }, (UNSYNCED, Then::Look)),
        ];
        for (pace, expected) in cases {
            assert_eq!(next(&pace), expected, "{pace:?}");
        }
    }
}
