//! What others tell a worker, and what it shows them.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kubelet_core::probe::ProbeKind;
use kubelet_core::termination::Termination;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// What others say to a worker. Never more than the newest of each thing.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<Said>,
    pub(super) wake: Notify,
    view: Mutex<Option<Arc<View>>>,
}

#[derive(Default)]
pub(super) struct Said {
    pub(super) pod: Option<Arc<Pod>>,
    pub(super) gone: bool,
    pub(super) relist: bool,
    /// The node ends the pod of its own accord.
    pub(super) end: Option<Termination>,
    /// By container id and probe.
    pub(super) probes: HashMap<(String, ProbeKind), bool>,
}

/// What the server side of the kubelet sees of a pod.
pub(crate) struct View {
    pub(crate) pod: Arc<Pod>,
    pub(crate) status: PodStatus,
    /// Container ids by name, newest first.
    pub(crate) containers: Vec<(String, String, u32, bool)>,
    pub(crate) sandbox: Option<String>,
}

impl Inbox {
    fn say(&self, what: impl FnOnce(&mut Said)) {
        what(&mut self.state.lock());
        self.wake.notify_one();
    }

    pub(crate) fn update(&self, pod: Arc<Pod>) {
        self.say(|said| said.pod = Some(pod));
    }

    pub(crate) fn gone(&self) {
        self.say(|said| said.gone = true);
    }

    pub(crate) fn relist(&self) {
        self.say(|said| said.relist = true);
    }

    /// The first word counts.
    pub(crate) fn end(&self, termination: Termination) {
        self.say(|said| {
            said.end.get_or_insert(termination);
        });
    }

    pub(crate) fn probe(&self, container: &str, kind: ProbeKind, good: bool) {
        self.say(|said| {
            said.probes.insert((container.to_owned(), kind), good);
        });
    }

    pub(crate) fn view(&self) -> Option<Arc<View>> {
        self.view.lock().clone()
    }

    /// Everything said since the last time.
    pub(super) fn take(&self) -> Said {
        std::mem::take(&mut *self.state.lock())
    }

    pub(super) fn show(&self, view: View) {
        *self.view.lock() = Some(Arc::new(view));
    }
}
