//! Whole clusters in one process: what a store promises, also when replicas fail.

mod admin;
mod conformance;
mod failures;
mod members;
