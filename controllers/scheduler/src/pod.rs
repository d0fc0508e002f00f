//! A pod as the scheduler sees it: everything compared is computed once.

use std::sync::Arc;

use api_machinery::labels::Selector;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Affinity, Pod, PodAffinityTerm, PodSpec, Toleration, TopologySpreadConstraint};

use crate::matching::{self, Labels, NodeTerm, PodTerm};
use crate::node::HostPort;
use crate::resources::{Resources, requests};

/// A compiled topology spread constraint.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    pub(crate) topology_key: String,
    pub(crate) max_skew: i64,
    pub(crate) min_domains: i64,
    /// `DoNotSchedule` rather than `ScheduleAnyway`.
    pub(crate) hard: bool,
    pub(crate) selector: Selector,
    pub(crate) honor_affinity: bool,
    pub(crate) honor_taints: bool,
}

/// Pod affinity and anti-affinity, required and (with weights) preferred.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodAffinity {
    pub(crate) required: Vec<PodTerm>,
    pub(crate) required_anti: Vec<PodTerm>,
    /// Negative weights are anti-affinity.
    pub(crate) preferred: Vec<(PodTerm, i64)>,
}

#[derive(Clone, Debug)]
pub struct PodInfo {
    pub pod: Arc<Pod>,
    pub uid: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub priority: i32,
    pub created: Timestamp,
    pub requests: Resources,
    /// Requests with upstream's defaults for containers that ask for nothing, for comparing nodes.
    pub(crate) weighed: Resources,
    pub(crate) labels: Labels,
    pub(crate) tolerations: Vec<Toleration>,
    pub(crate) node_name: String,
    pub(crate) node_selector: Selector,
    /// `None`: no requirement. Terms are alternatives.
    pub(crate) node_required: Option<Vec<NodeTerm>>,
    pub(crate) node_preferred: Vec<(NodeTerm, i64)>,
    pub(crate) ports: Vec<HostPort>,
    pub(crate) spread: Vec<Spread>,
    pub(crate) affinity: PodAffinity,
    pub(crate) images: Vec<String>,
}

impl PodInfo {
    pub fn new(pod: Arc<Pod>) -> Self {
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let meta = &pod.metadata;
        let labels = meta.labels.clone().unwrap_or_default();
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let affinity = spec.affinity.clone().unwrap_or_default();
        let node = affinity.node_affinity.clone().unwrap_or_default();
        Self {
            uid: meta.uid.as_deref().unwrap_or_default().into(),
            namespace: namespace.into(),
            name: meta.name.as_deref().unwrap_or_default().into(),
            priority: spec.priority.unwrap_or(0),
            created: meta.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            requests: requests(spec, false),
            weighed: requests(spec, true),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            node_name: spec.node_name.clone().unwrap_or_default(),
            node_selector: node_selector(spec),
            node_required: node.required_during_scheduling_ignored_during_execution.as_ref().map(matching::node_terms),
            node_preferred: node
                .preferred_during_scheduling_ignored_during_execution
                .iter()
                .flatten()
                .map(|term| (NodeTerm::new(&term.preference), i64::from(term.weight)))
                .collect(),
            ports: ports(spec),
            spread: spec.topology_spread_constraints.iter().flatten().map(|own| compile_spread(own, &labels)).collect(),
            affinity: pod_affinity(&affinity, namespace, &labels),
            images: spec.containers.iter().filter_map(|container| container.image.clone()).collect(),
            labels,
            pod,
        }
    }

    /// `ns/name`, as Events have it.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
    /// The node it is assigned to, or the empty string.
    pub fn assigned_node(&self) -> &str {
        &self.node_name
    }
    pub(crate) fn preempts(&self) -> bool {
        let policy = self.pod.spec.as_ref().and_then(|spec| spec.preemption_policy.as_deref());
        policy != Some("Never")
    }
}

fn node_selector(spec: &PodSpec) -> Selector {
    let terms = spec.node_selector.iter().flatten().map(|(key, value)| matching::equal(key, value));
    Selector { requirements: terms.collect(), nothing: false }
}

fn ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten().filter(|own| own.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports.filter_map(HostPort::of).collect()
}

fn compile_spread(own: &TopologySpreadConstraint, labels: &Labels) -> Spread {
    let mut selector = matching::selector(own.label_selector.as_ref());
    for key in own.match_label_keys.iter().flatten() {
        selector.requirements.extend(labels.get(key).map(|value| matching::equal(key, value)));
    }
    Spread {
        topology_key: own.topology_key.clone(),
        max_skew: own.max_skew.into(),
        min_domains: own.min_domains.unwrap_or(1).into(),
        hard: own.when_unsatisfiable == "DoNotSchedule",
        selector,
        honor_affinity: own.node_affinity_policy.as_deref() != Some("Ignore"),
        honor_taints: own.node_taints_policy.as_deref() == Some("Honor"),
    }
}

fn pod_affinity(affinity: &Affinity, namespace: &str, labels: &Labels) -> PodAffinity {
    let all = |terms: Option<Vec<PodAffinityTerm>>| -> Vec<PodTerm> {
        terms.unwrap_or_default().iter().map(|term| PodTerm::new(term, namespace, labels)).collect()
    };
    let with = affinity.pod_affinity.clone().unwrap_or_default();
    let against = affinity.pod_anti_affinity.clone().unwrap_or_default();
    let wished = with.preferred_during_scheduling_ignored_during_execution.unwrap_or_default();
    let unwished = against.preferred_during_scheduling_ignored_during_execution.unwrap_or_default();
    let weighed = wished.iter().map(|term| (term, 1)).chain(unwished.iter().map(|term| (term, -1)));
    PodAffinity {
        required: all(with.required_during_scheduling_ignored_during_execution),
        required_anti: all(against.required_during_scheduling_ignored_during_execution),
        preferred: weighed
            .map(|(term, sign)| {
                (PodTerm::new(&term.pod_affinity_term, namespace, labels), sign * i64::from(term.weight))
            })
            .collect(),
    }
}

impl PodAffinity {
    pub(crate) fn is_empty(&self) -> bool {
        self.required.is_empty() && self.required_anti.is_empty() && self.preferred.is_empty()
    }
}
