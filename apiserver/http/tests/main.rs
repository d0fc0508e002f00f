//! The whole server over a store in memory, one file a subject.
//! One program, because each by itself would be linked with everything again.

mod api;
mod apply;
mod attacks;
mod audit;
mod bad_input;
mod cases;
mod common;
mod discovery;
mod documents;
mod every_kind;
mod flow;
mod fuzz;
mod gates;
#[path = "../../codec/tests/common/golden.rs"]
mod golden;
mod kubectl;
mod list_table;
mod managers;
mod protobuf;
#[path = "../../codec/tests/common/report.rs"]
mod report;
mod streams;
mod switches;
mod wire;
