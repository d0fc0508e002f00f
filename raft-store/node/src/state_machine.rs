//! openraft's state machine over [`store_engine::StateMachine`].

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::Mutex;
use store_api::{NodeId, StoreError};
use store_core::Command;
use store_engine::planted::{Bug, is_planted};
use store_engine::{ApplyEntry, ApplyPayload, StateMachine};

use crate::answers::Answers;
use crate::applied::Applied;
use crate::blocking::{behind, beside, blocking};
use crate::codec;
use crate::errors::broken;
use crate::lease::LeaseClocks;
use crate::observed::Sender;
use crate::scrub::{self, Scrub};
use crate::snapshot::{SnapshotData, SnapshotFile, Snapshots};
use crate::tally::Tally;
use crate::types::{Answer, Entry, LogId, SnapshotMeta, StoredMembership, TypeConfig};
use crate::watch::WatchHub;

/// Entries applied in one batch at most.
const GROUP_ENTRIES: usize = 1_024;
/// Bytes of entries applied in one batch at most, unless one entry is larger.
const GROUP_BYTES: usize = 8 << 20;

/// A group that is applied without making room for other tasks: some milliseconds at most.
const SMALL_ENTRIES: usize = 256;
const SMALL_BYTES: usize = 1 << 20;

/// Before a snapshot that had no room is tried again.
const ROOM_PAUSE: Duration = Duration::from_secs(1);

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotData>;

/// What applied entries reach besides the engine.
pub(crate) struct Effects {
    pub(crate) engine: Arc<StateMachine>,
    pub(crate) hub: Arc<WatchHub>,
    pub(crate) applied: Applied,
    /// For writes that were forwarded from here.
    pub(crate) answers: Arc<Answers>,
    pub(crate) leases: Mutex<LeaseClocks>,
    pub(crate) snapshots: Arc<Snapshots>,
    /// The membership of the last applied entries: committed, unlike openraft's effective one.
    pub(crate) membership: Sender<StoredMembership>,
    /// Replicas that were members before it and are no more.
    pub(crate) removed: ArcSwap<BTreeSet<NodeId>>,
    /// Hashing all that is kept.
    pub(crate) scrub: Arc<Scrub>,
}

impl Effects {
    pub(crate) fn new(
        engine: Arc<StateMachine>,
        snapshots: Arc<Snapshots>,
        events: usize,
    ) -> Result<Arc<Self>, StoreError> {
        let (last, membership) = applied_state(&engine)?;
        if last.is_some() {
            match engine.make_durable() {
                // What was read at start is durable; how far that goes is written down the next time.
                Err(StoreError::NoSpace(why)) => tracing::warn!(why, "no room to write down how far the state goes"),
                durable => drop(durable?),
            }
            snapshots.mark(SnapshotMeta { last_log_id: last, last_membership: membership.clone() });
        }
        let applied = Applied::default();
        applied.advance(last.map_or(0, |id| id.index()), engine.revision());
        let hub = WatchHub::new(engine.clone(), events);
        let effects = Self {
            hub,
            applied,
            answers: Arc::default(),
            leases: Mutex::new(LeaseClocks::default()),
            snapshots,
            membership: Sender::new(membership),
            removed: ArcSwap::from_pointee(engine.removed_nodes()),
            scrub: Arc::default(),
            engine,
        };
        effects.restart_leases();
        Ok(Arc::new(effects))
    }

    fn change_membership(&self, membership: StoredMembership) {
        self.removed.store(Arc::new(self.engine.removed_nodes()));
        self.membership.modify(|committed| *committed = membership);
    }

    /// All leases begin anew.
    pub(crate) fn restart_leases(&self) {
        // The clocks stay locked meanwhile, so that no grant is applied in between and lost.
        let mut clocks = self.leases.lock();
        let leases = blocking(|| self.engine.lease_ttls());
        clocks.restart(&leases, tokio::time::Instant::now());
    }
}

/// The last applied log id and the membership, as the engine keeps them.
pub(crate) fn applied_state(engine: &StateMachine) -> Result<(Option<LogId>, StoredMembership), StoreError> {
    let (log_id, membership) = engine.last_applied()?;
    decode_state(log_id.as_deref(), membership.as_deref())
}

fn decode_state(
    log_id: Option<&[u8]>,
    membership: Option<&[u8]>,
) -> Result<(Option<LogId>, StoredMembership), StoreError> {
    let log_id = log_id.map(codec::log_id_from_bytes).transpose().map_err(broken("the last applied log id"))?;
    let membership = membership.map(codec::stored_membership_from_bytes).transpose();
    Ok((log_id, membership.map_err(broken("the applied membership"))?.unwrap_or_default()))
}

/// One replica's state machine, as openraft drives it.
pub(crate) struct Machine(pub(crate) Arc<Effects>);

/// Entries that are applied in one batch.
#[derive(Default)]
struct Group {
    entries: Vec<ApplyEntry>,
    responders: Vec<Option<ApplyResponder<TypeConfig>>>,
    bytes: usize,
    last: Option<LogId>,
    membership: Option<StoredMembership>,
}

impl Group {
    /// Answers the index of an entry after which nothing else may be in the group.
    fn push(&mut self, entry: Entry, responder: Option<ApplyResponder<TypeConfig>>) -> Result<Option<u64>, io::Error> {
        self.bytes += codec::entry_size(&entry);
        self.last = Some(entry.log_id);
        let (entry, membership) = to_apply(entry)?;
        self.membership = membership.or(self.membership.take());
        let is_mark = matches!(&entry.payload, ApplyPayload::Command(command) if scrub::is_mark(command));
        let mark = is_mark.then_some(entry.index);
        self.entries.push(entry);
        self.responders.push(responder);
        Ok(mark)
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= GROUP_ENTRIES || self.bytes >= GROUP_BYTES
    }

    fn commands(&self) -> impl Iterator<Item = Option<&Command>> {
        self.entries.iter().map(|entry| match &entry.payload {
            ApplyPayload::Command(command) => Some(command),
            _ => None,
        })
    }
}

/// An entry as the engine takes it, and the membership in it.
pub(crate) fn to_apply(entry: Entry) -> Result<(ApplyEntry, Option<StoredMembership>), io::Error> {
    let mut membership = None;
    let payload = match entry.payload {
        EntryPayload::Blank => ApplyPayload::Blank,
        EntryPayload::Normal(command) => {
            ApplyPayload::Command(codec::command_from_bytes(command.0).map_err(io::Error::other)?)
        }
        EntryPayload::Membership(found) => {
            let stored = membership.insert(StoredMembership::new(Some(entry.log_id), found));
            let members = stored.nodes().map(|(id, _)| *id).collect();
            ApplyPayload::Membership { membership: codec::stored_membership_to_bytes(stored), members }
        }
    };
    let (index, log_id) = (entry.log_id.index(), codec::log_id_to_bytes(&entry.log_id));
    Ok((ApplyEntry { index, log_id, payload }, membership))
}

impl Machine {
    fn apply_group(&self, group: Group) -> Result<(), io::Error> {
        let Some(last) = group.last else { return Ok(()) };
        let started = Instant::now();
        let now = tokio::time::Instant::now();
        let mut clocks = self.0.leases.lock();
        group.commands().flatten().for_each(|command| clocks.before(command, now));
        drop(clocks);
        let apply = || self.0.engine.apply(&group.entries);
        // Moving the other tasks of this thread elsewhere costs more than a small group.
        let small = group.entries.len() <= SMALL_ENTRIES && group.bytes <= SMALL_BYTES;
        let applied = if small { apply() } else { blocking(apply) }.map_err(io::Error::other)?;
        if applied.len() != group.entries.len() {
            return Err(io::Error::other("the engine did not answer every entry"));
        }
        let mut clocks = self.0.leases.lock();
        for (command, applied) in group.commands().zip(&applied) {
            if let Some(command) = command {
                clocks.after(command, &applied.reply, now);
            }
        }
        drop(clocks);
        self.0.answers.offer(group.entries.iter().zip(&applied).map(|(entry, applied)| {
            let request = match &entry.payload {
                ApplyPayload::Command(command) => command.request(),
                _ => None,
            };
            (entry.index, request, &applied.reply)
        }));
        metrics::histogram!("kontiki_store_apply_duration_seconds").record(started.elapsed().as_secs_f64());
        Tally::of(group.entries.iter().zip(&applied)).publish();
        self.tell(group, applied, last);
        Ok(())
    }

    /// Watchers first, then whoever waits for this index, then whoever proposed the entries: an
    /// answered write is visible in every way.
    fn tell(&self, group: Group, applied: Vec<store_engine::Applied>, last: LogId) {
        let revision = applied.last().map_or(0, |applied| applied.revision);
        let (mut events, mut replies) = (Vec::new(), Vec::new());
        for applied in applied {
            if !applied.events.is_empty() {
                events.push((applied.revision, applied.events));
            }
            replies.push(applied.reply);
        }
        self.0.hub.publish(events, revision);
        if let Some(membership) = group.membership {
            self.0.change_membership(membership);
        }
        self.0.applied.advance(last.index(), revision);
        for (responder, reply) in group.responders.into_iter().zip(replies) {
            if let Some(responder) = responder {
                responder.send(Answer(reply));
            }
        }
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        applied_state(&self.0.engine).map_err(io::Error::other)
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut group = Group::default();
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let mark = group.push(entry, responder)?;
            if group.is_full() || mark.is_some() {
                self.apply_group(std::mem::take(&mut group))?;
            }
            if let Some(index) = mark {
                scrub::scan(&self.0, index).await;
            }
        }
        self.apply_group(group)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder(self.0.clone())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: SnapshotData) -> Result<(), io::Error> {
        let SnapshotData::File(file) = data else {
            return Err(io::Error::other("the snapshot to install is this replica's own state"));
        };
        let effects = self.0.clone();
        let meta = meta.clone();
        behind(move || effects.install(&meta, &file)).await?
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let current = self.0.snapshots.current();
        Ok(current.map(|meta| Snapshot { meta, snapshot: SnapshotData::State }))
    }
}

impl Effects {
    fn install(&self, meta: &SnapshotMeta, file: &SnapshotFile) -> Result<(), io::Error> {
        let info = self.engine.install_snapshot(&file.path).map_err(io::Error::other)?;
        if meta_of(info.log_id.as_deref(), info.membership.as_deref())? != *meta {
            return Err(io::Error::other(format!("the snapshot holds another state than {meta}")));
        }
        self.snapshots.mark(meta.clone());
        match is_planted(Bug::WatchOverSnapshot) {
            false => self.hub.reset(self.engine.revision()),
            true => self.hub.publish([], self.engine.revision()),
        }
        self.restart_leases();
        self.change_membership(meta.last_membership.clone());
        self.applied.advance(meta.last_log_id.map_or(0, |id| id.index()), self.engine.revision());
        metrics::counter!("kontiki_raft_snapshots_installed_total").increment(1);
        Ok(())
    }

    /// Makes the state durable, and answers up to where it is.
    pub(crate) fn mark(&self) -> Result<SnapshotMeta, io::Error> {
        let durable = self.engine.make_durable().map_err(engine_failed)?;
        let meta = meta_of(durable.log_id.as_deref(), durable.membership.as_deref())?;
        metrics::counter!("kontiki_raft_snapshots_built_total").increment(1);
        Ok(self.snapshots.mark(meta))
    }

    /// A file of the state, for a peer, that reaches as far as `meta` or farther.
    pub(crate) fn outgoing(&self, meta: &SnapshotMeta) -> Result<Arc<SnapshotFile>, io::Error> {
        self.snapshots.outgoing(meta, || {
            let info = self.engine.build_snapshot(&self.snapshots.unfinished()).map_err(engine_failed)?;
            let meta = meta_of(info.log_id.as_deref(), info.membership.as_deref())?;
            metrics::gauge!("kontiki_raft_snapshot_bytes").set(info.bytes as f64);
            self.snapshots.finished(info.file, meta)
        })
    }

    /// A receiver found this file damaged. If it is so already here, on disk, nobody else gets it.
    pub(crate) fn discard_if_damaged(&self, file: &Arc<SnapshotFile>) {
        if let Err(error) = file.verify() {
            tracing::error!(%error, path = %file.path.display(), "a snapshot was damaged on disk before it was sent");
            self.snapshots.discard(file);
        }
    }
}

/// A full disk stays recognisable.
fn engine_failed(error: StoreError) -> io::Error {
    let kind = match &error {
        StoreError::NoSpace(_) => io::ErrorKind::StorageFull,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

impl SnapshotFile {
    /// Reads the whole file: it is undamaged and holds what its meta says.
    pub(crate) fn verify(&self) -> Result<(), io::Error> {
        let info = store_engine::verify_snapshot(&self.path).map_err(io::Error::other)?;
        match meta_of(info.log_id.as_deref(), info.membership.as_deref())? == self.meta {
            true => Ok(()),
            false => Err(io::Error::other(format!("the snapshot holds another state than {}", self.meta))),
        }
    }
}

fn meta_of(log_id: Option<&[u8]>, membership: Option<&[u8]>) -> Result<SnapshotMeta, io::Error> {
    let (last_log_id, last_membership) = decode_state(log_id, membership).map_err(io::Error::other)?;
    Ok(SnapshotMeta { last_log_id, last_membership })
}

/// Makes the state durable beside the running state machine.
pub(crate) struct SnapshotBuilder(Arc<Effects>);

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        loop {
            let effects = self.0.clone();
            let marked = beside(move || effects.mark()).await?;
            match marked {
                Ok(meta) => return Ok(Snapshot { meta, snapshot: SnapshotData::State }),
                // An error would end the replica, and all it lacks is room.
                Err(error) if error.kind() == io::ErrorKind::StorageFull && !self.0.hub.is_closed() => {
                    tracing::warn!(%error, "no room for a snapshot, trying again");
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(ROOM_PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(index: u64) -> ApplyEntry {
        let payload = ApplyPayload::Command(Command::Txn(store_api::Txn::put("a", vec![b'v'; 3 << 20])));
        let id = kontiki_proto::log::LogId { term: 1, node: 1, index };
        ApplyEntry { index, log_id: codec::log_id_to_bytes(&codec::log_id_from_proto(id)), payload }
    }

    fn effects(dir: &std::path::Path) -> Arc<Effects> {
        let state = StateMachine::open(dir).expect("a state");
        state.apply(&[put(0)]).expect("applied");
        let snapshots = Snapshots::open(&dir.join("snapshots")).expect("snapshots");
        Effects::new(Arc::new(state), snapshots, 1 << 20).expect("effects")
    }

    /// The error would end the replica, which could not even be started again then.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_snapshot_waits_for_room() {
        let dir = tempfile::tempdir().expect("a directory");
        let effects = effects(dir.path());
        effects.engine.apply(&[put(1)]).expect("applied");
        let full = dir.path().join("state/CURRENT.tmp");
        std::os::unix::fs::symlink("/dev/full", &full).expect("linked");
        let building = tokio::spawn(async move { SnapshotBuilder(effects.clone()).build_snapshot().await });
        tokio::time::sleep(ROOM_PAUSE / 2).await;
        assert!(!building.is_finished());
        std::fs::remove_file(&full).expect("room at last");
        let built = building.await.expect("no panic").expect("built in the end");
        assert_eq!(built.meta.last_log_id.map(|id| id.index()), Some(1));
    }

    #[test]
    fn a_snapshot_that_is_damaged_is_taken_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let effects = effects(dir.path());
        let meta = effects.mark().expect("durable");
        let first = effects.outgoing(&meta).expect("built");
        effects.discard_if_damaged(&first);
        assert!(Arc::ptr_eq(&first, &effects.outgoing(&meta).expect("kept")));
        let mut content = std::fs::read(&first.path).expect("read");
        content[2_000_000] ^= 1;
        std::fs::write(&first.path, content).expect("written");
        effects.discard_if_damaged(&first);
        let second = effects.outgoing(&meta).expect("built anew");
        assert!(second.path != first.path && second.verify().is_ok());
        assert_eq!(second.meta, first.meta);
        effects.discard_if_damaged(&first);
        assert!(Arc::ptr_eq(&second, &effects.outgoing(&meta).expect("kept")), "only the damaged one is discarded");
    }
}
