//! Whole clusters in one process: what a store promises, also when replicas fail.

mod admin;
mod anew;
mod conformance;
mod crowds;
mod disks;
mod failures;
mod members;
mod peer_port;
mod sizes;
mod support;
mod timing;
