//! The whole server over a store in memory, one file a subject.
//! One program, because each by itself would be linked with everything again.

mod api;
mod apply;
mod attacks;
mod audit;
mod bad_input;
mod cases;
mod common;
mod flow;
mod fuzz;
mod gates;
mod kubectl;
mod list_table;
mod protobuf;
mod streams;
