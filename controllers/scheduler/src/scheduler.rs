//! The snapshot and the queue together: changes in, attempts out.

use std::collections::HashMap;
use std::sync::Arc;

use api_machinery::labels::Selector;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};

use crate::PROFILE;
use crate::decide::{Decision, schedule};
use crate::filters::{FilterSet, Plugin};
use crate::matching::equal;
use crate::pod::PodInfo;
use crate::queue::{Pending, Queue, QueueSizes};
use crate::snapshot::Snapshot;

/// One try to place one pod.
#[derive(Debug)]
pub struct Attempt {
    pub pending: Pending,
    pub decision: Decision,
}

#[derive(Default)]
pub struct Scheduler {
    snapshot: Snapshot,
    queue: Queue,
    /// Where the next look at the nodes begins.
    start: usize,
    /// Pods placed but not yet seen as bound.
    assumed: HashMap<Arc<str>, Pending>,
}

impl Scheduler {
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
    pub fn sizes(&self) -> QueueSizes {
        self.queue.sizes()
    }
    /// When the next pod becomes ready by itself.
    pub fn next_ready(&self) -> Option<Timestamp> {
        self.queue.next_ready()
    }
    pub fn flush(&mut self, now: Timestamp) {
        self.queue.flush(now);
    }

    /// A pod came or changed.
    pub fn set_pod(&mut self, pod: &Arc<Pod>, now: Timestamp) {
        let spec = pod.spec.as_ref();
        let node = spec.and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        if matches!(phase, "Succeeded" | "Failed") {
            self.remove_pod(uid, now);
        } else if !node.is_empty() {
            self.pod_on_node(pod, uid, node, now);
        } else if spec.and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or(PROFILE) == PROFILE {
            self.pod_without_node(pod, uid, now);
        }
    }

    fn pod_on_node(&mut self, pod: &Arc<Pod>, uid: &str, node: &str, now: Timestamp) {
        self.queue.remove(uid);
        let was_assumed = self.assumed.remove(uid).is_some();
        let known = self.snapshot.node_of(uid) == Some(node);
        if known && !was_assumed && self.same_for_scheduling(pod, uid, node) {
            return;
        }
        let info = Arc::new(PodInfo::new(pod.clone()));
        self.snapshot.add_pod(info, node);
        if !known {
            // Somebody to be near to, or another count in a domain.
            self.queue.happened(FilterSet::of(&[Plugin::InterPodAffinity, Plugin::PodTopologySpread]), now);
        }
    }

    /// Most updates of running pods are of their status, which does not matter here.
    fn same_for_scheduling(&self, pod: &Pod, uid: &str, node: &str) -> bool {
        let on_node = self.snapshot.node(node).map(|node| &node.pods);
        let known = on_node.and_then(|pods| pods.iter().find(|own| &*own.uid == uid)).map(|own| &own.pod);
        known.is_some_and(|known| {
            known.metadata.labels == pod.metadata.labels
                && known.metadata.deletion_timestamp == pod.metadata.deletion_timestamp
                && known.spec == pod.spec
        })
    }

    fn pod_without_node(&mut self, pod: &Arc<Pod>, uid: &str, now: Timestamp) {
        if pod.metadata.deletion_timestamp.is_some() {
            self.queue.remove(uid);
            self.forget(uid, true);
            return;
        }
        if let Some(pending) = self.assumed.get_mut(uid) {
            // What is tried again should the binding fail.
            pending.pod = Arc::new(PodInfo::new(pod.clone()));
            return;
        }
        // Writing the PodScheduled condition changes the pod: that alone must not wake it.
        let known = self.queue.get(uid).map(|pending| &pending.pod.pod);
        let same = |known: &&Arc<Pod>| known.spec == pod.spec && known.metadata.labels == pod.metadata.labels;
        if known.filter(same).is_none() {
            self.queue.put(Arc::new(PodInfo::new(pod.clone())), now);
        }
    }

    /// A pod went, or has ended.
    pub fn remove_pod(&mut self, uid: &str, now: Timestamp) {
        self.queue.remove(uid);
        self.assumed.remove(uid);
        if self.snapshot.remove_pod(uid).is_some() {
            let freed =
                [Plugin::NodeResourcesFit, Plugin::NodePorts, Plugin::PodTopologySpread, Plugin::InterPodAffinity];
            self.queue.happened(FilterSet::of(&freed), now);
        }
    }

    pub fn set_node(&mut self, node: &Node, now: Timestamp) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let before = self.snapshot.node(name).map(|own| {
            (own.allocatable.clone(), own.max_pods, own.labels.clone(), own.taints.clone(), own.unschedulable)
        });
        self.snapshot.set_node(node);
        let Some(after) = self.snapshot.node(name) else { return };
        let Some((allocatable, max_pods, labels, taints, unschedulable)) = before else {
            return self.queue.happened(FilterSet::ALL, now);
        };
        let mut changed = FilterSet::default();
        if allocatable != after.allocatable || max_pods != after.max_pods {
            changed = changed.with(Plugin::NodeResourcesFit);
        }
        if labels != after.labels {
            changed = changed.with(Plugin::NodeAffinity).with(Plugin::PodTopologySpread).with(Plugin::InterPodAffinity);
        }
        if taints != after.taints {
            changed = changed.with(Plugin::TaintToleration).with(Plugin::PodTopologySpread);
        }
        if unschedulable != after.unschedulable {
            changed = changed.with(Plugin::NodeUnschedulable);
        }
        if !changed.is_empty() {
            self.queue.happened(changed, now);
        }
    }

    pub fn remove_node(&mut self, name: &str) {
        self.snapshot.remove_node(name);
    }
    pub fn set_namespace(&mut self, name: &str, namespace: Option<&Namespace>) {
        let labels = namespace.map(|namespace| namespace.metadata.labels.clone().unwrap_or_default());
        self.snapshot.set_namespace(name, labels);
    }
    pub fn set_service(&mut self, namespace: &str, name: &str, service: Option<&Service>) {
        let selector = service.and_then(|service| service.spec.as_ref()?.selector.as_ref());
        let selector = selector.filter(|selector| !selector.is_empty()).map(|selector| Selector {
            requirements: selector.iter().map(|(key, value)| equal(key, value)).collect(),
            nothing: false,
        });
        self.snapshot.set_service(namespace, name, selector);
    }
    /// The selector of a controller of pods, by its uid; pods of one controller are spread.
    pub fn set_owner(&mut self, uid: &str, selector: Option<Selector>) {
        self.snapshot.set_owner(uid, selector);
    }

    /// Tries the next pod. A placed one is assumed to be on its node at once; [`Self::forget`] takes that back.
    pub fn next(&mut self, now: Timestamp, random: u64) -> Option<Attempt> {
        let pending = self.queue.pop(now)?;
        let decision = schedule(&mut self.snapshot, &pending.pod, &mut self.start, random);
        match &decision {
            Decision::Place { node, .. } => {
                self.snapshot.add_pod(pending.pod.clone(), node);
                self.assumed.insert(pending.pod.uid.clone(), pending.clone());
            }
            Decision::Unschedulable { rejected_by, .. } => self.queue.unschedulable(pending.clone(), *rejected_by),
        }
        Some(Attempt { pending, decision })
    }

    /// The binding failed: the pod is on no node, and is tried again after its back-off. A pod that is
    /// `gone` is not tried again.
    pub fn forget(&mut self, uid: &str, gone: bool) {
        let Some(pending) = self.assumed.remove(uid) else { return };
        self.snapshot.remove_pod(uid);
        if !gone {
            self.queue.failed(pending);
        }
    }
}
