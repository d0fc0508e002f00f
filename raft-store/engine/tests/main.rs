//! The log and the state on real files, one file a subject.
//! One program, because each by itself would be linked with everything again.

mod concurrent;
mod conformance;
mod damage;
mod formats;
#[path = "support/image.rs"]
mod image;
mod log;
mod oracle;
mod snapshot;
mod support;
