//! One replica and the machine it runs on: its own runtime on its own clock, its disk, and whether it is up.
//!
//! To end it is to drop the runtime: nothing of it runs on.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use store_api::{Member, NodeId, StoreError};
use store_node::world::{LogDisk, PeerChannel, PeerServer, World};
use store_node::{Held, NodeConfig, Placement, RaftStore};
use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::disk::Disk;
use crate::net;
use crate::process;
use crate::shared::Shared;

pub(crate) const CLUSTER: &str = "sim";

/// What all replicas of a run are configured with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) snapshot_entries: u64,
    pub(crate) history: Option<Duration>,
    pub(crate) reserve_bytes: u64,
}

type Begun = Arc<Mutex<Option<Result<Arc<RaftStore>, StoreError>>>>;

/// A process of the replica.
struct Process {
    runtime: Runtime,
    store: Option<Arc<RaftStore>>,
    begun: Begun,
    /// It ended in good order.
    stopped: Arc<Mutex<bool>>,
}

pub(crate) struct Host {
    pub(crate) id: NodeId,
    pub(crate) disk: Arc<Disk>,
    shared: Arc<Shared>,
    settings: Settings,
    process: Option<Process>,
    pub(crate) life: u64,
    /// It stands still until then, microseconds.
    pub(crate) paused_until: u64,
    /// Thousandths of the time that pass by its own clock.
    pub(crate) rate: u64,
    debt: u64,
    /// The clock is that much ahead at once, milliseconds.
    pub(crate) jump: u64,
    /// How long it stood still, milliseconds.
    pub(crate) debt_of_pause: u64,
}

/// How starting went.
pub(crate) enum Started {
    Now,
    Failed(StoreError),
    No,
}

impl Host {
    pub(crate) fn new(id: NodeId, disk: Arc<Disk>, shared: Arc<Shared>, settings: Settings) -> Self {
        shared.net.lock().name(id, &address(id));
        Self {
            id,
            disk,
            shared,
            settings,
            process: None,
            life: 0,
            paused_until: 0,
            rate: 1_000,
            debt: 0,
            jump: 0,
            debt_of_pause: 0,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    pub(crate) fn store(&self) -> Option<Arc<RaftStore>> {
        self.process.as_ref()?.store.clone()
    }

    pub(crate) fn start(&mut self) -> io::Result<()> {
        self.life += 1;
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
        let (begun, stopped) = (Begun::default(), Arc::<Mutex<bool>>::default());
        let world = SimWorld { host: self.id, life: self.life, disk: self.disk.clone(), shared: self.shared.clone() };
        let config = self.config();
        let (slot, end) = (begun.clone(), stopped.clone());
        runtime.spawn(async move {
            let started = RaftStore::start_in(config, Arc::new(world)).await;
            let store = started.as_ref().ok().cloned();
            *slot.lock() = Some(started);
            if let Some(store) = store {
                store.stopped().await;
                *end.lock() = true;
            }
        });
        self.process = Some(Process { runtime, store: None, begun, stopped });
        Ok(())
    }

    fn config(&self) -> NodeConfig {
        let nowhere = Path::new("/nonexistent").to_path_buf();
        NodeConfig {
            id: self.id,
            cluster_id: CLUSTER.into(),
            data_dir: self.disk.dir.clone(),
            peer_listen: SocketAddr::from(([127, 0, 0, 1], 1)),
            ca: nowhere.clone(),
            certificate: nowhere.clone(),
            key: nowhere,
            heartbeat: NodeConfig::HEARTBEAT,
            election_timeout: NodeConfig::ELECTION_TIMEOUT,
            history: self.settings.history,
            history_bytes: NodeConfig::HISTORY_BYTES,
            snapshot_entries: self.settings.snapshot_entries,
            log_bytes: NodeConfig::LOG_BYTES,
            reserve_bytes: self.settings.reserve_bytes,
            held: Held::UNDER_A_CACHE,
            placement: Placement::default(),
        }
    }

    pub(crate) fn member(id: NodeId, voter: bool) -> Member {
        Member { id, peer_addr: address(id), api_url: format!("https://host-{id}:6443"), voter, ..Member::default() }
    }

    /// Lets it run for so long, by the time of the world.
    pub(crate) fn step(&mut self, milliseconds: u64) {
        let Some(process) = &self.process else { return };
        let owed = self.debt + milliseconds * self.rate;
        self.debt = owed % 1_000;
        let (run, jump) = (owed / 1_000, std::mem::take(&mut self.jump));
        process::as_process(self.id, || {
            process.runtime.block_on(async {
                if jump > 0 {
                    tokio::time::advance(Duration::from_millis(jump)).await;
                }
                if run > 0 {
                    tokio::time::sleep(Duration::from_millis(run)).await;
                }
            });
        });
    }

    /// Whether it has just started, or could not.
    pub(crate) fn started(&mut self) -> Started {
        let Some(process) = &mut self.process else { return Started::No };
        match process.begun.lock().take() {
            Some(Ok(store)) => {
                process.store = Some(store);
                Started::Now
            }
            Some(Err(error)) => Started::Failed(error),
            None => Started::No,
        }
    }

    /// Whether it ended by itself, in good order.
    pub(crate) fn has_stopped(&self) -> bool {
        self.process.as_ref().is_some_and(|process| *process.stopped.lock())
    }

    /// Runs something as its process until it is done; time stands still for everybody else.
    pub(crate) fn finish<T>(&self, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        let process = self.process.as_ref().ok_or("it does not run")?;
        process::as_process(self.id, || process.runtime.block_on(work))
    }

    pub(crate) fn spawn_abortable(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        Some(self.process.as_ref()?.runtime.spawn(task).abort_handle())
    }

    /// Runs something as a task of its process.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(process) = &self.process {
            process.runtime.spawn(task);
        }
    }

    /// The process is no more; with the power, what was not durable.
    pub(crate) fn end(&mut self, power: bool) -> io::Result<String> {
        let closed = self.shared.net.lock().close(self.id, !power);
        let Some(process) = self.process.take() else { return Ok(String::new()) };
        self.disk.freeze()?;
        process::as_process(self.id, || {
            drop(closed);
            drop(process);
        });
        self.disk.thaw()?;
        (self.paused_until, self.jump, self.debt, self.debt_of_pause) = (0, 0, 0, 0);
        match power {
            true => self.disk.lose_power(),
            false => Ok(String::new()),
        }
    }
}

pub(crate) fn address(id: NodeId) -> String {
    format!("host-{id}:7000")
}

/// What a replica finds around it.
struct SimWorld {
    host: NodeId,
    life: u64,
    disk: Arc<Disk>,
    shared: Arc<Shared>,
}

#[async_trait]
impl World for SimWorld {
    fn channels(&self, to: NodeId, addr: &str) -> [PeerChannel; 2] {
        [(); 2].map(|()| net::channel(self.shared.clone(), self.host, to, addr, CLUSTER))
    }

    async fn bind(&self) -> Result<(), StoreError> {
        self.disk.opened();
        Ok(())
    }

    fn serve(&self, server: PeerServer, _stop: CancellationToken) {
        self.shared.net.lock().open(self.host, server);
    }

    fn names(&self) -> (u128, String) {
        let start = u128::from(self.host) << 64 | u128::from(self.life);
        (start, format!("disk-{}-{}", self.host, self.life))
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(self.disk.free())
    }

    fn log_disk(&self) -> Option<Arc<dyn LogDisk>> {
        Some(self.disk.clone())
    }

    fn tend(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}
