//! One property, one file. A checker that has not caught a planted violation in its tests counts as absent.

pub mod set;
pub mod watch;

/// What is wrong, for people.
pub type Violations = Vec<String>;
