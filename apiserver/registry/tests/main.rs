//! The registry over a store in memory, one file a subject.
//! One program, because each by itself would be linked with everything again.

mod apply;
mod common;
mod deletes;
mod fanout;
mod namespaces;
mod objects;
mod patches;
mod quotas;
mod reads;
mod resize;
mod rights;
mod services;
mod unfit;
mod upstream;
