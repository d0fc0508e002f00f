//! What is computed once for the pod at hand, before nodes are looked at.

use crate::filters::{inter_pod_affinity, pod_topology_spread};
use crate::pod::{PodInfo, Spread};
use crate::snapshot::Snapshot;

pub(crate) struct Cycle<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) pod: &'a PodInfo,
    pub(crate) constraints: &'a [Spread],
    pub(crate) spread: pod_topology_spread::State<'a>,
    pub(crate) affinity: inter_pod_affinity::State,
}

impl<'a> Cycle<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot, pod: &'a PodInfo, constraints: &'a [Spread]) -> Self {
        Self {
            snapshot,
            pod,
            constraints,
            spread: pod_topology_spread::State::new(snapshot, pod, constraints),
            affinity: inter_pod_affinity::State::new(snapshot, pod),
        }
    }
}
