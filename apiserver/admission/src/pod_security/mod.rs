//! The Pod Security Standards as data and pure functions: levels, their versions, and what each forbids.

pub(crate) mod checks;
mod evaluate;
mod pods;
pub(crate) mod policy;

pub(crate) use evaluate::{Findings, evaluate};
pub(crate) use pods::{Pod, is_significant_update, pod_of};
pub(crate) use policy::{Level, LevelVersion, Policy};
