//! Kinds against upstream's samples and measured answers, one file a subject.
//! One program, because each by itself would be linked with everything again.

mod cases;
mod changes;
mod defaults;
#[path = "../../codec/tests/common/golden.rs"]
mod folder;
mod golden;
mod long_lists;
#[path = "../../codec/tests/common/report.rs"]
mod report;
mod samples;
mod told_empty;
