//! Starting and stopping a replica.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use openraft::{Config, SnapshotPolicy};
use store_api::{NodeId, StoreError};
use store_engine::{RaftLog, StateMachine};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::blocking::beside;
use crate::contact::Contact;
use crate::errors::broken;
use crate::log_store::LogStore;
use crate::peer::{NetworkFactory, PeerServer, Peers};
use crate::read_index::Question;
use crate::replica::{PROPOSALS_KIB, Raft, Replica};
use crate::snapshot::Snapshots;
use crate::space::Space;
use crate::state_machine::{Effects, Machine, applied_state};
use crate::timing::Timing;
use crate::tls::{PeerIdentity, valid_cluster_id};
use crate::world::World;
use crate::{NodeConfig, background, fence, forward, identity, read_index, witness};

/// Readers and forwarded writes that wait for a round or a call.
const QUEUE: usize = 16_384;
/// Until the old owner of a data directory in this process has let go of it.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// The parts that live on disk.
struct Disk {
    space: Arc<Space>,
    log: LogStore,
    effects: Arc<Effects>,
    identity: identity::Identity,
}

pub(crate) async fn start(config: NodeConfig, world: Arc<dyn World>) -> Result<Arc<Replica>, StoreError> {
    let (client, incarnation) = world.names();
    let (on_disk, disk_world) = (config.clone(), world.clone());
    let disk = beside(move || open(&on_disk, incarnation, disk_world)).await;
    let Disk { space, log, effects, identity } = disk.map_err(broken("opening the store"))??;
    world.bind().await?;
    let me = PeerIdentity { id: config.id, cluster: config.cluster_id.clone() };
    let peers = Peers::new(me, identity.incarnation.clone(), world.clone());
    let factory = NetworkFactory { me: config.id, peers: peers.clone(), effects: effects.clone() };
    let (fenced, raft) = start_raft(&config, &log, &effects, factory).await?;
    let (confirm, confirm_queue) = mpsc::channel(QUEUE);
    let (barrier, barrier_queue) = mpsc::channel(QUEUE);
    let (forwards, forward_queue) = mpsc::channel(QUEUE);
    let stop = CancellationToken::new();
    let replica = Arc::new(Replica {
        scrub: effects.scrub.clone(),
        identity,
        raft,
        effects,
        log,
        peers,
        confirm,
        barrier,
        forwards,
        proposals: Arc::new(Semaphore::new(PROPOSALS_KIB)),
        gate: Arc::default(),
        client,
        requests: AtomicU64::new(1),
        disk_bytes: AtomicU64::new(0),
        space,
        contact: Contact::default(),
        said: parking_lot::Mutex::default(),
        diverged: AtomicBool::new(fenced.is_some()),
        doubt: parking_lot::Mutex::default(),
        timing: Timing::default(),
        changing: tokio::sync::Mutex::default(),
        stopping: AtomicBool::new(false),
        stop: stop.clone(),
        config,
    });
    if let Some(why) = fenced {
        tracing::error!(why, "this replica was fenced off and serves nothing; kontiki member heal replaces its data");
        fence::enforce(&replica);
    }
    let weak = Arc::downgrade(&replica);
    tokio::spawn(read_index::run(weak.clone(), Question::Confirm, confirm_queue, stop.clone()));
    tokio::spawn(read_index::run(weak.clone(), Question::Barrier, barrier_queue, stop.clone()));
    tokio::spawn(forward::run(weak, forward_queue, stop.clone()));
    world.serve(PeerServer::new(replica.clone()), stop);
    background::spawn(&replica, &*world);
    Ok(replica)
}

/// Raft, and why this replica is fenced off if it is. What was committed is applied before raft runs; a state that is
/// too damaged for that is fenced off, and its replica runs without having applied it, so that it can be told to begin
/// anew.
async fn start_raft(
    config: &NodeConfig,
    log: &LogStore,
    effects: &Arc<Effects>,
    factory: NetworkFactory,
) -> Result<(Option<String>, Raft), StoreError> {
    let raft_config = Arc::new(raft_config(config)?);
    let begin = || Raft::new(config.id, raft_config.clone(), factory.clone(), log.clone(), Machine(effects.clone()));
    let mut fenced = fence::of(&config.data_dir);
    if fenced.is_none() {
        let error = match begin().await {
            Ok(raft) => return Ok((None, raft)),
            Err(error) => error,
        };
        let Some(why) = fence::applies_no_more(config.id, effects) else {
            return Err(broken("starting raft")(error));
        };
        fence::write_down(&config.data_dir, &why);
        fenced = Some(why);
    }
    log.forget_committed();
    let raft = begin().await.map_err(broken("starting raft"))?;
    Ok((fenced, raft))
}

/// Refuses a configuration no replica can be started with.
pub(crate) fn check(config: &NodeConfig) -> Result<(), StoreError> {
    let timeout = &config.election_timeout;
    let why = if !valid_cluster_id(&config.cluster_id) {
        format!("cluster id {:?} is not a DNS label", config.cluster_id)
    } else if config.id == 0 {
        "node id 0 means no node".into()
    } else if timeout.end <= timeout.start || timeout.end < config.heartbeat * 5 {
        "the election timeout must be a range that ends at five heartbeats or later".into()
    } else {
        return Ok(());
    };
    Err(StoreError::Invalid(why))
}

fn raft_config(config: &NodeConfig) -> Result<Config, StoreError> {
    let millis = |duration: Duration| duration.as_millis() as u64;
    let timeout = election_timeout(config);
    let config = Config {
        cluster_name: config.cluster_id.clone(),
        // Also how long it waits for the answer to one; `timing::beat` sends them more often.
        heartbeat_interval: millis(timeout.end / 2),
        election_timeout_min: millis(timeout.start),
        election_timeout_max: millis(timeout.end),
        enable_pre_vote: Some(true),
        // A restarted leader stands for election like everyone.
        enable_leader_restore: Some(false),
        max_payload_entries: 2_048,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(config.snapshot_entries.max(1)),
        max_in_snapshot_log_to_keep: config.snapshot_entries / 2,
        purge_batch_size: (config.snapshot_entries / 16).max(1),
        replication_lag_threshold: config.snapshot_entries.saturating_mul(2).max(1_000),
        install_snapshot_timeout: 600_000,
        broadcast_submitted_on_append: Some(true),
        backoff: "50ms 100ms 200ms ...400ms".into(),
        ..Config::default()
    };
    config.validate().map_err(|error| StoreError::Invalid(format!("raft configuration: {error}")))
}

/// openraft waits for the leader's lease, which is its longest timeout, and then for a timeout; ours is
/// the whole silence before an election. So half of it is the lease. It wants its heartbeat, half a lease, and one of
/// its ticks to fit into the shortest timeout.
fn election_timeout(config: &NodeConfig) -> std::ops::Range<Duration> {
    let lease = config.election_timeout.end / 2;
    let shortest = config.election_timeout.start.saturating_sub(lease);
    shortest.max(lease * 5 / 8).min(lease.saturating_sub(Duration::from_millis(1)))..lease
}

fn open(config: &NodeConfig, incarnation: String, world: Arc<dyn World>) -> Result<Disk, StoreError> {
    let dir = &config.data_dir;
    let failed = |error: io::Error| StoreError::Fatal(format!("{}: {error}", dir.display()));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let log_disk = world.log_disk();
    let space = Arc::new(Space::open(dir, config.reserve_bytes, Box::new(move |dir| world.free_bytes(dir))));
    let identity = identity::claim(dir, config.id, &config.cluster_id, incarnation)?;
    let witness = witness::check(dir, &identity)?;
    let log = open_locked(dir, RaftLog::open)?;
    let state = open_locked(dir, |dir| StateMachine::open_holding(dir, config.held.blocks))?;
    let snapshots = Snapshots::open(&dir.join("snapshots")).map_err(failed)?;
    let log = LogStore::open(Arc::new(log), witness, log_disk, space.clone(), config.held.entries)?;
    let effects = Effects::new(Arc::new(state), snapshots, config.held.events)?;
    check_continuity(&log, &effects)?;
    Ok(Disk { space, log, effects, identity })
}

/// The log must go on where the state ends. (Entries are applied as soon as a quorum has them, perhaps before they are
/// durable here, so a crash may leave the state ahead of the log; raft then purges the log up to the state.)
fn check_continuity(log: &LogStore, effects: &Effects) -> Result<(), StoreError> {
    let (applied, _) = applied_state(&effects.engine)?;
    match applied < log.purged() {
        false => Ok(()),
        true => Err(StoreError::Fatal(
            "the state ends before the raft log begins. This replica must be replaced by a new one".into(),
        )),
    }
}

/// A replica restarted in one process may find its own locks for a moment longer.
fn open_locked<T>(dir: &Path, open: impl Fn(&Path) -> Result<T, StoreError>) -> Result<T, StoreError> {
    let started = std::time::Instant::now();
    loop {
        match open(dir) {
            Err(error)
                if error.to_string().contains("is using this data directory") && started.elapsed() < LOCK_PATIENCE =>
            {
                std::thread::sleep(Duration::from_millis(50));
            }
            result => return result,
        }
    }
}

impl Replica {
    /// Hands leadership over when there is somebody to take it.
    pub(crate) async fn hand_over(&self) {
        let Some(heir) = self.heir() else { return };
        tracing::info!(to = heir, "handing leadership over");
        if self.raft.trigger().transfer_leader(heir).await.is_ok() {
            self.leader_changed(Some(self.id()), self.config.election_timeout.end * 2).await;
        }
    }

    /// The voter that has the most of this leader's log, room for more, and data that is right.
    fn heir(&self) -> Option<NodeId> {
        let metrics = self.metrics();
        if metrics.current_leader != Some(self.id()) {
            return None;
        }
        let said = self.said.lock().clone();
        let unfit = |id: &NodeId| said.get(id).is_some_and(|said| !said.may_lead());
        let others = metrics.membership_config.voter_ids().filter(|id| *id != self.id());
        let voters: Vec<NodeId> = others.filter(|id| !unfit(id)).collect();
        let replication = metrics.replication?;
        replication
            .into_iter()
            .filter(|(id, _)| voters.contains(id))
            .max_by_key(|(_, matched)| *matched)
            .map(|(id, _)| id)
    }

    /// Stops without handing over: new requests are refused, watches end, connections close.
    pub(crate) async fn stop_now(&self) {
        self.stopping.store(true, Ordering::Release);
        self.effects.hub.close();
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(%error, "raft did not stop cleanly");
        }
        self.stop.cancel();
    }
}
