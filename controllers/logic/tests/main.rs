//! What controllers decide, one file a subject.
//! One program, because each by itself would be linked with everything again.

mod certificates;
mod disruption;
mod fake;
mod golden;
mod quotas;
mod rollouts;
