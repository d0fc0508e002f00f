//! One node: what its parts share, and how they start.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use kubelet_core::admit::{self, NodeView, Pressure, Rejection};
use kubelet_core::pods;
use kubelet_cri::{FakeRuntime, RemoteRuntime, SharedRuntime, labels};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::{Client, ListWatch, Notice, list_watch};
use crate::events::Recorder;
use crate::machine::Machine;
use crate::objects::Objects;
use crate::statuses::Statuses;
use crate::worker::{self, Inbox};
use crate::{AgentConfig, AgentError, Runtime, node_status, server, volumes};

/// How often the runtime is asked what runs.
const RELIST_EVERY: Duration = Duration::from_secs(1);
/// The same for hollow nodes, whose containers end only by script.
const HOLLOW_RELIST_EVERY: Duration = Duration::from_secs(5);
/// How long the runtime may take to answer at the start.
const RUNTIME_TIMEOUT: Duration = Duration::from_secs(30);
/// Notices of pods waiting to be handed to their workers.
const NOTICES: usize = 64;

/// What the parts of a node share.
pub(crate) struct Node {
    pub(crate) config: AgentConfig,
    pub(crate) client: Client,
    pub(crate) runtime: SharedRuntime,
    /// `containerd`
    pub(crate) runtime_name: String,
    pub(crate) hollow: bool,
    pub(crate) machine: Machine,
    pub(crate) events: Recorder,
    pub(crate) statuses: Statuses,
    pub(crate) objects: Objects,
    /// By namespace and name.
    pub(crate) services: RwLock<BTreeMap<(String, String), Service>>,
    /// Containers do not start before services are known: their variables would be missing.
    pub(crate) services_known: CancellationToken,
    /// By pod uid.
    pub(crate) workers: Mutex<HashMap<String, Arc<Inbox>>>,
    /// As last looked at.
    pub(crate) pressure: Mutex<Pressure>,
    /// Asks for the node's status to be looked at now.
    pub(crate) status_wake: Notify,
    /// Ends all workers' tasks, not their pods.
    pub(crate) stop: CancellationToken,
}

impl Node {
    /// Connects to the runtime and prepares everything; nothing runs yet.
    pub(crate) async fn new(config: AgentConfig, stop: CancellationToken) -> Result<Arc<Self>, AgentError> {
        let hollow = matches!(config.runtime, Runtime::Fake);
        let client = Client::new(config.kubeconfig.clone(), &config.servers, hollow)
            .map_err(|e| AgentError::Config(e.to_string()))?;
        let runtime: SharedRuntime = match &config.runtime {
            Runtime::Cri { socket } => Arc::new(RemoteRuntime::new(socket)),
            Runtime::Fake => Arc::new(FakeRuntime::new(&config.pod_cidr).map_err(AgentError::Config)?),
        };
        let version = runtime_version(&runtime).await?;
        let runtime_version = format!("{}://{}", version.runtime_name, version.runtime_version);
        let machine = if hollow {
            Machine::hollow(config.max_pods, runtime_version)
        } else {
            std::fs::create_dir_all(&config.root_dir)
                .map_err(|e| AgentError::Config(format!("{}: {e}", config.root_dir.display())))?;
            Machine::read(&config.root_dir, config.max_pods, runtime_version)
        };
        let services_known = CancellationToken::new();
        if hollow {
            services_known.cancel();
        }
        Ok(Arc::new(Self {
            events: Recorder::start(client.clone(), config.node_name.clone(), hollow),
            statuses: Statuses::start(client.clone()),
            objects: Objects::new(client.clone()),
            runtime,
            runtime_name: version.runtime_name,
            hollow,
            machine,
            services: RwLock::default(),
            services_known,
            workers: Mutex::default(),
            pressure: Mutex::default(),
            status_wake: Notify::new(),
            stop,
            client,
            config,
        }))
    }

    /// Registers the node and runs it until stopped. Pods go on.
    pub(crate) async fn run(self: Arc<Self>) -> Result<(), AgentError> {
        let stop = self.stop.clone();
        let registered = tokio::select! {
            result = node_status::register(&self) => result,
            () = stop.cancelled() => return Ok(()),
        };
        registered.map_err(|e| AgentError::Api(format!("registering node {}: {e}", self.config.node_name)))?;
        self.events.node(true, "Starting", "Starting kubelet.".to_owned());
        let mut tasks = JoinSet::new();
        tasks.spawn(node_status::keep_lease(self.clone(), stop.clone()));
        tasks.spawn(node_status::keep_status(self.clone(), stop.clone()));
        tasks.spawn(keep_pods(self.clone()));
        tasks.spawn(keep_relisting(self.clone()));
        if !self.hollow {
            tasks.spawn(keep_services(self.clone()));
            tasks.spawn(crate::logs::keep_rotating(self.clone()));
        }
        if self.config.port != 0 {
            let server = server::bind(self.clone()).await?;
            tasks.spawn(server);
        }
        stop.cancelled().await;
        tasks.abort_all();
        Ok(())
    }

    /// Hands a pod to its worker, which is made if need be.
    fn deliver(self: &Arc<Self>, pod: Pod) {
        let uid = pods::identity(&pod).2.to_owned();
        let mut workers = self.workers.lock();
        if let Some(inbox) = workers.get(&uid) {
            inbox.update(Arc::new(pod));
            return;
        }
        let inbox = Arc::new(Inbox::default());
        workers.insert(uid, inbox.clone());
        drop(workers);
        worker::spawn(self.clone(), Arc::new(pod), inbox);
    }

    /// Whether the node takes a pod that it has not seen before.
    pub(crate) fn admit(&self, pod: &Pod) -> Result<(), Rejection> {
        let uid = pods::identity(pod).2;
        let views = self.views();
        let alive = |p: &&Pod| pods::identity(p).2 != uid && !pods::is_terminal(p);
        let others: Vec<&Pod> = views.iter().map(|view| &*view.pod).filter(alive).collect();
        let (labels, allocatable) = (node_status::labels(self), self.machine.allocatable());
        let node = NodeView { labels: &labels, allocatable: &allocatable, pressure: *self.pressure.lock() };
        admit::admit(pod, &others, &node)
    }

    fn gone(&self, uid: &str) {
        if let Some(inbox) = self.workers.lock().get(uid) {
            inbox.gone();
        }
    }

    /// The pod of this name, as its worker has it.
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Option<Arc<worker::View>> {
        let workers = self.workers.lock();
        let views = workers.values().filter_map(|inbox| inbox.view());
        views.into_iter().find(|view| {
            let (pod_namespace, pod_name, _) = pods::identity(&view.pod);
            pod_namespace == namespace && pod_name == name
        })
    }

    /// The addresses of a pod, as last told.
    pub(crate) fn pod_ips(&self, pod: &Pod) -> Vec<String> {
        let view = self.workers.lock().get(pods::identity(pod).2).and_then(|inbox| inbox.view());
        let ips = view.and_then(|view| view.status.pod_ips.clone()).unwrap_or_default();
        ips.into_iter().map(|ip| ip.ip).collect()
    }

    pub(crate) fn views(&self) -> Vec<Arc<worker::View>> {
        self.workers.lock().values().filter_map(|inbox| inbox.view()).collect()
    }
}

async fn runtime_version(runtime: &SharedRuntime) -> Result<kubelet_cri::cri::VersionResponse, AgentError> {
    let deadline = tokio::time::Instant::now() + RUNTIME_TIMEOUT;
    loop {
        match runtime.version().await {
            Ok(version) => return Ok(version),
            Err(error) if tokio::time::Instant::now() > deadline => return Err(AgentError::Runtime(error.to_string())),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Follows the pods bound to this node.
async fn keep_pods(node: Arc<Node>) {
    let (sender, mut notices) = mpsc::channel(NOTICES);
    let query = format!("fieldSelector=spec.nodeName%3D{}", node.config.node_name);
    let what = ListWatch { path: "/api/v1/pods".to_owned(), query };
    let watching = tokio::spawn(list_watch::<Pod>(node.client.clone(), what, sender));
    let mut cleaned = false;
    loop {
        let notice = tokio::select! {
            notice = notices.recv() => notice,
            () = node.stop.cancelled() => None,
        };
        match notice {
            None => break,
            Some(Notice::Changed(pod)) => node.deliver(pod),
            Some(Notice::Gone(pod)) => {
                let uid = pods::identity(&pod).2.to_owned();
                node.deliver_last(pod);
                node.gone(&uid);
            }
            Some(Notice::All(all)) => {
                let uids: HashSet<String> = all.iter().map(|p| pods::identity(p).2.to_owned()).collect();
                let lost: Vec<_> = node.workers.lock().keys().filter(|uid| !uids.contains(*uid)).cloned().collect();
                lost.iter().for_each(|uid| node.gone(uid));
                all.into_iter().for_each(|pod| node.deliver(pod));
                if !cleaned {
                    cleaned = true;
                    tokio::spawn(remove_leftovers(node.clone(), uids));
                }
            }
        }
    }
    watching.abort();
}

impl Node {
    /// The last state of a pod that is gone: tells a worker its grace, and makes no new one.
    fn deliver_last(&self, pod: Pod) {
        if let Some(inbox) = self.workers.lock().get(pods::identity(&pod).2) {
            inbox.update(Arc::new(pod));
        }
    }
}

/// Ends sandboxes and removes files of pods that went away while we were not there.
async fn remove_leftovers(node: Arc<Node>, known: HashSet<String>) {
    let sandboxes = match node.runtime.list_pod_sandboxes(None).await {
        Ok(sandboxes) => sandboxes,
        Err(error) => {
            tracing::warn!(%error, "looking for leftover sandboxes");
            return;
        }
    };
    for sandbox in sandboxes {
        let uid = sandbox.labels.get(labels::POD_UID).cloned().unwrap_or_default();
        if known.contains(&uid) || node.workers.lock().contains_key(&uid) {
            continue;
        }
        tracing::info!(sandbox = sandbox.id, uid, "removing a leftover sandbox");
        let ended = match node.runtime.stop_pod_sandbox(&sandbox.id).await {
            Ok(()) => node.runtime.remove_pod_sandbox(&sandbox.id).await,
            failed => failed,
        };
        if let Err(error) = ended {
            tracing::warn!(%error, sandbox = sandbox.id, "removing a leftover sandbox");
        }
    }
    if !node.hollow {
        let root = node.config.root_dir.clone();
        let known = move |uid: &str| known.contains(uid) || node.workers.lock().contains_key(uid);
        // Blocking: file systems may be slow.
        let _ = tokio::task::spawn_blocking(move || volumes::remove_leftovers(&root, &known)).await;
    }
}

/// Asks the runtime what runs, and wakes the workers of pods for which that changed.
async fn keep_relisting(node: Arc<Node>) {
    let every = if node.hollow { HOLLOW_RELIST_EVERY } else { RELIST_EVERY };
    let mut before: Option<HashMap<String, u64>> = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = node.stop.cancelled() => return,
        }
        let (sandboxes, containers) =
            match tokio::join!(node.runtime.list_pod_sandboxes(None), node.runtime.list_containers(None)) {
                (Ok(sandboxes), Ok(containers)) => (sandboxes, containers),
                (Err(error), _) | (_, Err(error)) => {
                    tracing::warn!(%error, "asking the runtime what runs");
                    node.status_wake.notify_one();
                    continue;
                }
            };
        let mut present: HashMap<String, u64> = HashMap::new();
        let items = sandboxes
            .iter()
            .map(|s| (&s.labels, &s.id, s.state))
            .chain(containers.iter().map(|c| (&c.labels, &c.id, c.state)));
        for (labels, id, state) in items {
            let Some(uid) = labels.get(labels::POD_UID) else { continue };
            // Order does not matter: a sum of hashes.
            let entry = present.entry(uid.clone()).or_default();
            *entry = entry.wrapping_add(fingerprint(id, state));
        }
        let running =
            containers.iter().filter(|c| c.state == kubelet_cri::cri::ContainerState::ContainerRunning as i32).count();
        if !node.hollow {
            metrics::gauge!("kubelet_running_containers", "container_state" => "running").set(running as f64);
            let pods =
                sandboxes.iter().filter(|s| s.state == kubelet_cri::cri::PodSandboxState::SandboxReady as i32).count();
            metrics::gauge!("kubelet_running_pods").set(pods as f64);
        }
        {
            let workers = node.workers.lock();
            for (uid, inbox) in workers.iter() {
                if before.as_ref().is_none_or(|before| present.get(uid) != before.get(uid)) {
                    inbox.relist();
                }
            }
        }
        before = Some(present);
    }
}

fn fingerprint(id: &str, state: i32) -> u64 {
    use std::hash::{Hash as _, Hasher as _};
    let mut hasher = std::hash::DefaultHasher::new();
    (id, state).hash(&mut hasher);
    hasher.finish()
}

/// Follows services, for the variables of containers.
async fn keep_services(node: Arc<Node>) {
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
