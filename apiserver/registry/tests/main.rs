//! The registry over a store in memory, one file a subject.
//! One program, because each by itself would be linked with everything again.

mod apply;
mod bootstrap_rbac;
mod common;
mod contests;
mod deletes;
mod fanout;
mod namespaces;
mod objects;
mod patches;
mod quotas;
mod rbac_matrix;
mod reads;
mod resize;
mod rights;
mod services;
mod stored_versions;
mod unfit;
mod upstream;
