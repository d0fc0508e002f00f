//! Kinds against upstream's samples and measured answers, one file a subject.
//! One program, because each by itself would be linked with everything again.

mod cases;
mod changes;
mod defaults;
mod golden;
mod long_lists;
mod samples;
mod told_empty;
