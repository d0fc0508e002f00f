//! What every controller offers the runtime.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::plan::{Plan, Target};
use crate::world::{Change, Key, World};

/// Why the last plan of the same key was not completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Upstream's word for the action that failed: `FailedCreate`, `FailedDelete`, or empty.
    pub reason: &'static str,
    pub message: String,
}

/// What a reconcile is told besides the world.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    pub now: Timestamp,
    pub failure: Option<&'a Failure>,
    /// Answers to [`Plan::read`] of the round before: `None` is "does not exist".
    pub reads: &'a BTreeMap<Target, Option<Value>>,
    /// The round before asked for it: all kinds show at least what any of them showed then.
    pub level: bool,
    /// With `level`: the revision that all kinds show at least. 0 without it.
    pub shown: u64,
}

/// One controller. All of it is synchronous and has no effects.
pub trait Controller: Send + Sync {
    /// Name of its queue and of its metrics: `deployment`.
    fn name(&self) -> &'static str;

    /// What its Events are reported by, and the name of its service account: `deployment-controller`.
    fn account(&self) -> &'static str;

    /// Keys reconciled at the same time, at most.
    fn workers(&self) -> usize {
        5
    }

    /// The least time from one look at a key to the next: what changes meanwhile is looked at together. The first
    /// change after a rest is looked at immediately.
    fn pace(&self) -> Duration {
        Duration::ZERO
    }

    /// Keys that a change of one object concerns. `world` shows the state after the change.
    fn keys(&self, world: &World, change: &Change<'_>) -> Vec<Key>;

    /// Keys to look at when the controller starts, beyond what the first list maps to, and after each
    /// [`Self::resync_seconds`].
    fn all_keys(&self, _world: &World) -> Vec<Key> {
        Vec::new()
    }

    /// Seconds between looks at [`Self::all_keys`]; 0 is never.
    fn resync_seconds(&self) -> u64 {
        0
    }

    /// Compares what is with what should be.
    fn reconcile(&self, world: &World, key: &Key, context: &Context<'_>) -> Plan;
}
