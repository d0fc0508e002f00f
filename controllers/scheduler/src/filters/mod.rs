//! Filters: may this pod run on this node? One file each; their order is upstream's.

pub(crate) mod inter_pod_affinity;
pub(crate) mod node_affinity;
pub(crate) mod node_name;
pub(crate) mod node_ports;
pub(crate) mod node_resources_fit;
pub(crate) mod node_unschedulable;
pub(crate) mod pod_topology_spread;
pub(crate) mod taint_toleration;

use std::borrow::Cow;

use crate::cycle::Cycle;

/// Why a node is no place for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// Upstream's texts; several only for resources.
    pub(crate) reasons: Vec<Cow<'static, str>>,
    /// Removing other pods would not help.
    pub(crate) unresolvable: bool,
}

impl Rejection {
    pub(crate) fn resolvable(reason: &'static str) -> Option<Self> {
        Some(Self { reasons: vec![reason.into()], unresolvable: false })
    }
    pub(crate) fn unresolvable(reason: &'static str) -> Option<Self> {
        Some(Self { reasons: vec![reason.into()], unresolvable: true })
    }
}

/// The filters by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Plugin {
    NodeUnschedulable,
    NodeName,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    PodTopologySpread,
    InterPodAffinity,
}

/// Answers why the node (by slot) is rejected, or `None`.
type Filter = fn(&Cycle<'_>, usize) -> Option<Rejection>;

/// Upstream's order: a node is rejected by the first that objects.
pub(crate) const ORDER: [(Plugin, Filter); 8] = [
    (Plugin::NodeUnschedulable, node_unschedulable::filter),
    (Plugin::NodeName, node_name::filter),
    (Plugin::TaintToleration, taint_toleration::filter),
    (Plugin::NodeAffinity, node_affinity::filter),
    (Plugin::NodePorts, node_ports::filter),
    (Plugin::NodeResourcesFit, node_resources_fit::filter),
    (Plugin::PodTopologySpread, pod_topology_spread::filter),
    (Plugin::InterPodAffinity, inter_pod_affinity::filter),
];

/// Some of the filters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterSet(u16);

impl FilterSet {
    pub const ALL: Self = Self(u16::MAX);

    pub fn of(plugins: &[Plugin]) -> Self {
        plugins.iter().fold(Self::default(), |set, plugin| set.with(*plugin))
    }
    #[must_use]
    pub fn with(self, plugin: Plugin) -> Self {
        Self(self.0 | 1 << plugin as u16)
    }
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The first rejection of a node.
pub(crate) fn check(cycle: &Cycle<'_>, slot: usize) -> Option<(Plugin, Rejection)> {
    ORDER.iter().find_map(|(plugin, filter)| filter(cycle, slot).map(|rejection| (*plugin, rejection)))
}
