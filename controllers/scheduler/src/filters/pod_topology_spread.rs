//! Topology spread constraints that must hold.

use crate::counts::{CountKey, Topology};
use crate::cycle::Cycle;
use crate::filters::{Rejection, node_affinity};
use crate::matching::tolerates;
use crate::node::NodeInfo;
use crate::pod::{PodInfo, Spread};
use crate::snapshot::Snapshot;

/// One constraint with the matching pods of each domain.
pub(crate) struct Domain<'a> {
    pub(crate) topology: &'a Topology,
    /// By domain; `None` where no node counts.
    counts: Vec<Option<u32>>,
    least: i64,
    max_skew: i64,
    /// The pod counts for its own constraint.
    own: i64,
}

pub(crate) struct State<'a> {
    hard: Vec<Domain<'a>>,
}

impl<'a> State<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot, pod: &PodInfo, constraints: &'a [Spread]) -> Self {
        let hard: Vec<_> = constraints.iter().filter(|constraint| constraint.hard).collect();
        Self { hard: domains(snapshot, pod, &hard, true) }
    }
}

/// Whether the pods of a node count for a constraint.
fn counts_node(pod: &PodInfo, node: &NodeInfo, constraint: &Spread) -> bool {
    let affine = !constraint.honor_affinity || node_affinity::matches(pod, node);
    let hard = |effect: &str| effect == "NoSchedule" || effect == "NoExecute";
    let clean =
        || node.taints.iter().filter(|taint| hard(&taint.effect)).all(|taint| tolerates(&pod.tolerations, taint));
    affine && (!constraint.honor_taints || clean())
}

/// Sums up the pods per domain. `all_keys`: only nodes that have the label of every constraint.
pub(crate) fn domains<'a>(
    snapshot: &'a Snapshot,
    pod: &PodInfo,
    constraints: &[&Spread],
    all_keys: bool,
) -> Vec<Domain<'a>> {
    let known = constraints.iter().filter_map(|own| Some((*own, snapshot.topology(&own.topology_key)?)));
    let known: Vec<_> = known.collect();
    // The common case, a pod without any node affinity, needs no look at the node itself.
    let free = pod.node_required.is_none() && pod.node_selector.requirements.is_empty();
    let sum = |constraint: &Spread, topology: &Topology| {
        let per_node = snapshot.counts.get(&CountKey::new(&pod.namespace, &constraint.selector)).unwrap_or(&[]);
        let mut counts = vec![None; topology.domains];
        for slot in &snapshot.order {
            let Some(domain) = topology.of(*slot) else { continue };
            let keyed = !all_keys || known.len() == 1 || known.iter().all(|(_, other)| other.of(*slot).is_some());
            let simple = free && !constraint.honor_taints;
            if keyed && (simple || counts_node(pod, &snapshot.nodes[*slot], constraint)) {
                *counts[domain].get_or_insert(0) += per_node.get(*slot).copied().unwrap_or(0);
            }
        }
        counts
    };
    let build = |(constraint, topology): (&Spread, &'a Topology)| {
        let counts = sum(constraint, topology);
        let present = counts.iter().flatten().count();
        let enough = i64::try_from(present).unwrap_or(i64::MAX) >= constraint.min_domains;
        let least = if enough { counts.iter().flatten().min().copied().unwrap_or(0) } else { 0 };
        Domain {
            topology,
            counts,
            least: least.into(),
            max_skew: constraint.max_skew,
            own: constraint.selector.matches_map(&pod.labels).into(),
        }
    };
    known.iter().map(|(constraint, topology)| build((constraint, topology))).collect()
}

/// Matching pods in the domain of each node, for scoring.
pub(crate) enum Soft<'a> {
    Domains(Domain<'a>),
    /// Every node is a domain of its own (a host): there is nothing to sum up.
    Nodes {
        topology: &'a Topology,
        per_node: &'a [u32],
    },
}

impl<'a> Soft<'a> {
    pub(crate) fn all(snapshot: &'a Snapshot, pod: &PodInfo, constraints: &[&Spread], all_keys: bool) -> Vec<Self> {
        let own = |constraint: &&Spread| {
            let topology = snapshot.topology(&constraint.topology_key)?;
            let per_node = snapshot.counts.get(&CountKey::new(&pod.namespace, &constraint.selector))?;
            if topology.domains == topology.nodes {
                return Some(Soft::Nodes { topology, per_node });
            }
            domains(snapshot, pod, &[*constraint], all_keys).pop().map(Soft::Domains)
        };
        constraints.iter().filter_map(own).collect()
    }
    fn topology(&self) -> &'a Topology {
        match self {
            Soft::Domains(domain) => domain.topology,
            Soft::Nodes { topology, .. } => topology,
        }
    }
    /// `None`: the node has not the label.
    pub(crate) fn count(&self, slot: usize) -> Option<u32> {
        let id = self.topology().of(slot)?;
        Some(match self {
            Soft::Domains(domain) => domain.counts[id].unwrap_or(0),
            Soft::Nodes { per_node, .. } => per_node.get(slot).copied().unwrap_or(0),
        })
    }
    /// Domains among these nodes.
    pub(crate) fn domains_of(&self, slots: &[usize]) -> usize {
        let ids = slots.iter().filter_map(|slot| self.topology().of(*slot));
        match self {
            Soft::Nodes { .. } => ids.count(),
            Soft::Domains(domain) => {
                let mut seen = vec![false; domain.counts.len()];
                ids.for_each(|id| seen[id] = true);
                seen.iter().filter(|seen| **seen).count()
            }
        }
    }
}

pub(crate) fn filter(cycle: &Cycle<'_>, slot: usize) -> Option<Rejection> {
    cycle.spread.hard.iter().find_map(|own| {
        let Some(domain) = own.topology.of(slot) else {
            let reason = "node(s) didn't match pod topology spread constraints (missing required label)";
            return Rejection::unresolvable(reason);
        };
        let skew = i64::from(own.counts[domain].unwrap_or(0)) + own.own - own.least;
        if skew <= own.max_skew {
            return None;
        }
        Rejection::resolvable("node(s) didn't match pod topology spread constraints")
    })
}
