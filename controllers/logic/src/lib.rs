//! Controllers as pure functions: what each one watches, and `reconcile(&World, key, now) -> Plan`.
//!
//! One file is one controller. A controller reads typed objects from a [`World`] (what the cache
//! shows), maps changes of objects to the keys of its queue, and answers a [`Plan`]: a list of
//! actions the runtime performs. Nothing here waits, reads a clock or speaks to a server; a
//! controller that must know more than the cache shows asks for it with [`Plan::read`].
//!
//! A plan that is performed twice does no harm, and a controller is not run again for the same key
//! before the world shows what its last plan wrote. That replaces upstream's expectations.

pub mod chosen;
pub mod controller;
pub mod graph;
pub mod hash;
pub mod meta;
pub mod observed;
pub mod patch;
pub mod plan;
pub mod pods;
pub mod world;

mod controllers;
mod placed;
mod trim;
mod visits;

pub use chosen::Chosen;
pub use controller::{Context, Controller, Failure};
pub use controllers::*;
pub use plan::{Action, Gvr, Plan, Step, Target};
pub use world::{Change, Key, Kind, Table, World};
