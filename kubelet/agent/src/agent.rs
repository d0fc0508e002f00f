//! One node: what its parts share, and how they start.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{self as api, Pod, Service};
use kubelet_core::admit::Pressure;
use kubelet_core::pods;
use kubelet_cri::{FakeRuntime, RemoteRuntime, SharedRuntime};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::Client;
use crate::events::Recorder;
use crate::follow::{keep_pods, keep_services};
use crate::machine::Machine;
use crate::objects::Objects;
use crate::relist::keep_relisting;
use crate::statuses::Statuses;
use crate::worker::{self, Inbox};
use crate::{AgentConfig, AgentError, Runtime, eviction, housekeeping, node_status, server};

/// How long the runtime may take to answer at the start.
const RUNTIME_TIMEOUT: Duration = Duration::from_secs(30);

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
    /// Pods the node has taken, by uid: newcomers are measured against them.
    pub(crate) admitted: Mutex<HashMap<String, Arc<Pod>>>,
    /// The Node object as last read.
    pub(crate) object: Mutex<Arc<api::Node>>,
    /// Set once all pods of this node are known.
    pub(crate) pods_known: CancellationToken,
    /// Whether the runtime heeds `supplementalGroupsPolicy`.
    pub(crate) strict_groups: bool,
    /// As last looked at.
    pub(crate) pressure: Mutex<Pressure>,
    /// Asks for the node to be tidied up now.
    pub(crate) tidy: Notify,
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
            Runtime::Fake => {
                let pod_cidr = config.pod_cidr.as_deref().ok_or("a hollow node needs a podCIDR".to_owned());
                Arc::new(pod_cidr.and_then(FakeRuntime::new).map_err(AgentError::Config)?)
            }
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
        let strict_groups = runtime.features().await.is_ok_and(|f| f.supplemental_groups_policy);
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
            admitted: Mutex::default(),
            object: Mutex::default(),
            pods_known: CancellationToken::new(),
            strict_groups,
            pressure: Mutex::default(),
            tidy: Notify::new(),
            status_wake: Notify::new(),
            stop,
            client,
            config,
        }))
    }

    /// Registers the node and runs it until stopped. Pods go on.
    pub(crate) async fn run(self: Arc<Self>) -> Result<(), AgentError> {
        let stop = self.stop.clone();
        let mut tasks = JoinSet::new();
        // A node that is Ready can be asked for logs: the port is open before anyone hears of the node.
        if self.config.port != 0 {
            tasks.spawn(server::bind(self.clone()).await?);
        }
        let registered = tokio::select! {
            result = node_status::register(&self) => result,
            () = stop.cancelled() => return Ok(()),
        };
        registered.map_err(|e| AgentError::Api(format!("registering node {}: {e}", self.config.node_name)))?;
        self.events.node(true, "Starting", "Starting kubelet.".to_owned());
        tasks.spawn(node_status::keep_lease(self.clone(), stop.clone()));
        tasks.spawn(node_status::keep_status(self.clone(), stop.clone()));
        tasks.spawn(crate::pod_network::configure(self.clone()));
        tasks.spawn(keep_pods(self.clone()));
        tasks.spawn(keep_relisting(self.clone()));
        if !self.hollow {
            tasks.spawn(keep_services(self.clone()));
            tasks.spawn(crate::logs::keep_rotating(self.clone()));
            tasks.spawn(eviction::keep(self.clone()));
        }
        tasks.spawn(housekeeping::keep(self.clone()));
        stop.cancelled().await;
        tasks.shutdown().await;
        if self.config.stop_pods_on_exit {
            node_status::say_goodbye(&self).await;
        }
        Ok(())
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
