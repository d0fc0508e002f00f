//! Following the API server: the pods bound to this node go to their workers, services to whoever asks.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};
use kubelet_core::admit::{self, NodeView, Rejection};
use kubelet_core::pods;
use tokio::sync::mpsc;

use crate::agent::Node;
use crate::api::{ListWatch, Notice, list_watch};
use crate::node_status;
use crate::worker::{self, Inbox};

/// Notices waiting to be taken in.
const NOTICES: usize = 64;

/// Follows the pods bound to this node.
pub(crate) async fn keep_pods(node: Arc<Node>) {
    let (sender, mut notices) = mpsc::channel(NOTICES);
    let query = format!("fieldSelector=spec.nodeName%3D{}", node.config.node_name);
    let what = ListWatch { path: "/api/v1/pods".to_owned(), query };
    let watching = tokio::spawn(list_watch::<Pod>(node.client.clone(), what, sender));
    loop {
        let notice = tokio::select! {
            notice = notices.recv() => notice,
            () = node.stop.cancelled() => None,
        };
        match notice {
            None => break,
            Some(Notice::Changed(pod)) => node.deliver(pod).await,
            Some(Notice::Gone(pod)) => node.deliver_last(pod),
            Some(Notice::All(all)) => node.deliver_all(all).await,
        }
    }
    watching.abort();
}

/// Whether no node has taken it up yet.
fn is_new(pod: &Pod) -> bool {
    let untouched = pod.status.as_ref().is_none_or(|s| s.container_statuses.is_none() && s.start_time.is_none());
    untouched && pod.metadata.deletion_timestamp.is_none()
}

impl Node {
    async fn deliver_all(self: &Arc<Self>, mut all: Vec<Pod>) {
        let uids: HashSet<String> = all.iter().map(|p| pods::identity(p).2.to_owned()).collect();
        let lost: Vec<_> = self.workers.lock().keys().filter(|uid| !uids.contains(*uid)).cloned().collect();
        lost.iter().for_each(|uid| self.gone(uid));
        // What is here already comes first: the new ones are measured against it.
        all.sort_by_key(|pod| (is_new(pod), pod.metadata.creation_timestamp.as_ref().map(|t| t.0)));
        for pod in all {
            self.deliver(pod).await;
        }
        self.pods_known.cancel();
    }

    /// Hands a pod to its worker, which is made if need be.
    async fn deliver(self: &Arc<Self>, pod: Pod) {
        let uid = pods::identity(&pod).2.to_owned();
        let pod = Arc::new(pod);
        if let Some(inbox) = self.workers.lock().get(&uid) {
            inbox.update(pod.clone());
            if let Some(taken) = self.admitted.lock().get_mut(&uid) {
                *taken = pod;
            }
            return;
        }
        // One after the other: pods that arrive together see each other.
        let refused = self.judge(&pod).await;
        let inbox = Arc::new(Inbox::default());
        self.workers.lock().insert(uid, inbox.clone());
        worker::spawn(self.clone(), pod, inbox, refused);
    }

    /// The last state of a pod that is gone: tells a worker its grace, and makes no new one.
    fn deliver_last(&self, pod: Pod) {
        let uid = pods::identity(&pod).2.to_owned();
        if let Some(inbox) = self.workers.lock().get(&uid) {
            inbox.update(Arc::new(pod));
        }
        self.gone(&uid);
    }

    fn gone(&self, uid: &str) {
        if let Some(inbox) = self.workers.lock().get(uid) {
            inbox.gone();
        }
    }

    /// Whether the node refuses a pod that it has not seen before. What it takes, it has taken from now on.
    async fn judge(&self, pod: &Arc<Pod>) -> Option<Rejection> {
        let mut verdict = if is_new(pod) { self.admit(pod) } else { Ok(()) };
        if verdict.as_ref().is_err_and(|refused| refused.of_node_object) && node_status::read(self).await.is_ok() {
            verdict = self.admit(pod);
        }
        if verdict.is_ok() {
            self.take(pod);
        }
        verdict.err()
    }

    pub(crate) fn take(&self, pod: &Arc<Pod>) {
        self.admitted.lock().insert(pods::identity(pod).2.to_owned(), pod.clone());
    }

    fn admit(&self, pod: &Pod) -> Result<(), Rejection> {
        let taken: Vec<Arc<Pod>> = self.admitted.lock().values().cloned().collect();
        let others: Vec<&Pod> = taken.iter().map(|p| &**p).filter(|p| !self.has_ended(p)).collect();
        let object = self.object.lock().clone();
        let labels = object.metadata.labels.clone().unwrap_or_else(|| node_status::labels(self));
        let node = NodeView {
            name: &self.config.node_name,
            labels: &labels,
            allocatable: &self.machine.allocatable(),
            taints: object.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or(&[]),
            pressure: *self.pressure.lock(),
            strict_groups: self.strict_groups,
        };
        admit::admit(pod, &others, &node)
    }

    /// As the API server has it, or as its worker is about to tell.
    fn has_ended(&self, pod: &Pod) -> bool {
        let view = self.workers.lock().get(pods::identity(pod).2).and_then(|inbox| inbox.view());
        let phase = view.as_ref().and_then(|view| view.status.phase.as_deref());
        pods::is_terminal(pod) || matches!(phase, Some("Succeeded" | "Failed"))
    }
}

/// Follows services, for the variables of containers.
pub(crate) async fn keep_services(node: Arc<Node>) {
    let (sender, mut notices) = mpsc::channel(NOTICES);
    let what =
        ListWatch { path: "/api/v1/services".to_owned(), query: "fieldSelector=spec.clusterIP%21%3DNone".to_owned() };
    let watching = tokio::spawn(list_watch::<Service>(node.client.clone(), what, sender));
    let key =
        |s: &Service| (s.metadata.namespace.clone().unwrap_or_default(), s.metadata.name.clone().unwrap_or_default());
    while let Some(notice) = notices.recv().await {
        let mut services = node.services.write();
        match notice {
            Notice::All(all) => *services = all.into_iter().map(|s| (key(&s), s)).collect(),
            Notice::Changed(service) => {
                services.insert(key(&service), service);
            }
            Notice::Gone(service) => {
                services.remove(&key(&service));
            }
        }
        drop(services);
        node.services_known.cancel();
    }
    watching.abort();
}
