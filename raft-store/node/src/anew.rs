//! A cluster that begins anew with the data of another: from a backup, or from a survivor of one that lost its quorum.
//!
//! It has one replica, a new id and a new cluster id, so that nobody of the old cluster can have a voice in it or be
//! taken for a member. Its revision jumps ahead of any the old one can have given out, and its history begins there:
//! whoever watched the old cluster lists anew. What the state was made from stays untouched.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use openraft::EntryPayload;
use store_api::{NodeId, Revision, StoreError, Txn};
use store_core::{Command, Reply};
use store_engine::{ApplyEntry, ApplyPayload, RaftLog, StateMachine};

use crate::codec;
use crate::errors::broken;
use crate::identity;
use crate::snapshot::sync_dir;
use crate::state_machine::{applied_state, to_apply};
use crate::types::{Entry, LogId, MemberNode, Membership, Vote};
use crate::witness::Witness;

/// Bytes of log entries applied at a time.
const GROUP_BYTES: usize = 8 << 20;

/// The cluster that begins.
#[derive(Clone, Debug)]
pub struct Anew {
    /// Must not exist.
    pub data_dir: PathBuf,
    /// Never used before. A DNS label.
    pub cluster_id: String,
    /// Where its first replica will be reached.
    pub peer_addr: String,
    pub api_url: String,
    /// Revisions to jump ahead, at least 1.
    pub jump: u64,
}

/// What has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The first replica: an id the old cluster never gave out.
    pub id: NodeId,
    /// The newest revision of the old cluster that is in it.
    pub newest: Revision,
    /// Where the new one goes on.
    pub revision: Revision,
}

/// What a replica that does not run knows of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    pub id: NodeId,
    pub cluster_id: String,
    /// Term and index of the last entry of its log: of two survivors, the one with the larger pair knows more.
    pub last: (u64, u64),
    /// The newest index known to be on a quorum.
    pub committed: u64,
    /// Up to where its state has them; the log may hold more.
    pub applied: u64,
    /// After that one.
    pub revision: Revision,
    /// Id, API address (or where etcd's clients are served) and whether it votes, of the newest membership applied.
    pub members: Vec<(NodeId, String, bool)>,
    /// When something was last made durable in the log, about.
    pub last_write: Option<SystemTime>,
}

/// Begins a cluster with a state in a snapshot file. Takes as long as reading and writing it does. After an error,
/// and after a crash, nothing is at `data_dir`.
///
/// # Errors
/// `Invalid` when the file is damaged, or the directory is there.
pub fn restore(file: &Path, anew: &Anew, incarnation: String) -> Result<Begun, StoreError> {
    begin(anew, incarnation, |state| {
        state.install_snapshot(file)?;
        Ok(0)
    })
}

/// Begins a cluster with what these transactions write, until there are none. After an error, and after a crash, nothing
/// is at `data_dir`.
///
/// # Errors
/// That of the transactions' source, `Invalid` for one that no store can do or when the directory is there.
pub fn import(
    anew: &Anew,
    incarnation: String,
    mut next: impl FnMut() -> Result<Option<Txn>, StoreError>,
) -> Result<Begun, StoreError> {
    begin(anew, incarnation, |state| {
        while let Some(txn) = next()? {
            txn.check()?;
            let index = state.next_index();
            let log_id = codec::log_id_to_bytes(&position(1, 0, index));
            let payload = ApplyPayload::Command(Command::Txn(txn));
            let applied = state.apply(&[ApplyEntry { index, log_id, payload }])?;
            match applied.into_iter().next().map(|applied| applied.reply) {
                Some(Reply::Txn(_)) => {}
                other => return Err(StoreError::Fatal(format!("a transaction was applied, the answer is {other:?}"))),
            }
        }
        Ok(0)
    })
}

/// Begins a cluster with all that a replica has, which must not run: its state, and every entry of its log, also those
/// not known to be on a quorum: they may have been acknowledged.
///
/// # Errors
/// `Invalid` when the replica runs, `Fatal` when it is damaged.
pub fn recover(survivor: &Path, anew: &Anew, incarnation: String) -> Result<Begun, StoreError> {
    let (log, old) = open(survivor)?;
    let file = survivor.join("recovery.snap");
    old.build_snapshot(&file)?;
    let begun = begin(anew, incarnation, |state| {
        state.install_snapshot(&file)?;
        replay(&log, state)
    });
    fs::remove_file(&file).map_err(broken("removing a temporary snapshot"))?;
    begun
}

/// Looks at a replica that does not run, without changing it.
///
/// # Errors
/// `Invalid` when the replica runs or there is none, `Fatal` when it is damaged.
pub fn inspect(dir: &Path) -> Result<Survivor, StoreError> {
    let identity = identity::read(dir)?
        .ok_or_else(|| StoreError::Invalid(format!("{} holds no replica of a cluster", dir.display())))?;
    let (log, state) = open(dir)?;
    let (applied, membership) = applied_state(&state)?;
    let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
    let members = membership.nodes().map(|(id, node)| (*id, reached_at(node), voters.contains(id))).collect();
    let committed = log.committed()?.map(|bytes| codec::log_id_from_bytes(&bytes)).transpose();
    let committed = committed.map_err(broken("the committed log id"))?.max(applied);
    let last = last_of(&log, &state)?;
    Ok(Survivor {
        id: identity.node,
        cluster_id: identity.cluster,
        last: last.map_or((0, 0), |id| (id.committed_leader_id().term, id.index())),
        committed: committed.map_or(0, |id| id.index()),
        applied: applied.map_or(0, |id| id.index()),
        revision: state.revision(),
        members,
        last_write: fs::metadata(dir.join("log/MARK")).and_then(|found| found.modified()).ok(),
    })
}

/// A stand-alone store has no API.
fn reached_at(node: &MemberNode) -> String {
    match node.client_urls.first() {
        Some(url) if node.api_url.is_empty() => url.clone(),
        _ => node.api_url.clone(),
    }
}

fn open(dir: &Path) -> Result<(RaftLog, StateMachine), StoreError> {
    // The log first: when the replica runs, this says so, and nothing was touched.
    Ok((RaftLog::open(dir)?, StateMachine::open(dir)?))
}

/// The last entry of the log, or of what was applied, whichever is later.
fn last_of(log: &RaftLog, state: &StateMachine) -> Result<Option<LogId>, StoreError> {
    let (applied, _) = applied_state(state)?;
    let Some((_, last)) = log.bounds() else { return Ok(applied) };
    let newest = log.read(last..last + 1)?.into_iter().next().map(|(_, bytes)| codec::entry_from_bytes(bytes));
    let newest = newest.transpose().map_err(broken("the last entry of the log"))?;
    Ok(newest.map(|entry| entry.log_id).max(applied))
}

/// Applies what the log has beyond the state; answers the term of the last vote, which no later term may repeat.
fn replay(log: &RaftLog, state: &StateMachine) -> Result<u64, StoreError> {
    let Some((_, last)) = log.bounds() else { return last_vote(log) };
    while state.next_index() <= last {
        let next = state.next_index();
        let entries = log.read_some(next..last + 1, GROUP_BYTES)?;
        let entries: Vec<ApplyEntry> = entries.into_iter().map(decode).collect::<Result<_, _>>()?;
        if entries.is_empty() {
            return Err(StoreError::Fatal(format!("the log begins after entry {next}, which is applied next")));
        }
        state.apply(&entries)?;
    }
    last_vote(log)
}

fn decode((_, bytes): (u64, bytes::Bytes)) -> Result<ApplyEntry, StoreError> {
    let entry = codec::entry_from_bytes(bytes).map_err(broken("an entry of the log"))?;
    Ok(to_apply(entry).map_err(broken("an entry of the log"))?.0)
}

fn last_vote(log: &RaftLog) -> Result<u64, StoreError> {
    let vote = log.vote()?.map(|bytes| codec::vote_from_bytes(&bytes)).transpose().map_err(broken("the vote"))?;
    Ok(vote.map_or(0, |vote| vote.leader_id().term))
}

/// Makes the directory beside its place and moves it there when it is whole.
fn begin(
    anew: &Anew,
    incarnation: String,
    fill: impl FnOnce(&StateMachine) -> Result<u64, StoreError>,
) -> Result<Begun, StoreError> {
    let dir = &anew.data_dir;
    if dir.exists() {
        return Err(StoreError::Invalid(format!("{} is there already", dir.display())));
    }
    let failed = |error: std::io::Error| StoreError::Fatal(format!("{}: {error}", dir.display()));
    let making = dir.with_added_extension("new");
    if making.exists() {
        fs::remove_dir_all(&making).map_err(failed)?;
    }
    fs::create_dir_all(&making).map_err(failed)?;
    let (begun, identity) = make(&making, anew, incarnation, fill).inspect_err(|_| {
        // What stays is removed by the next try.
        let _ = fs::remove_dir_all(&making);
    })?;
    Witness::of(dir, &identity).write().map_err(failed)?;
    fs::rename(&making, dir).map_err(failed)?;
    sync_dir(dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))).map_err(failed)?;
    Ok(begun)
}

fn make(
    dir: &Path,
    anew: &Anew,
    incarnation: String,
    fill: impl FnOnce(&StateMachine) -> Result<u64, StoreError>,
) -> Result<(Begun, identity::Identity), StoreError> {
    let state = StateMachine::open(dir)?;
    let voted = fill(&state)?;
    let newest = state.revision();
    let (last, _) = applied_state(&state)?;
    let term = last.map_or(0, |id| id.committed_leader_id().term).max(voted) + 1;
    let id = new_id(&state, term)?;
    let node = MemberNode {
        peer_addr: anew.peer_addr.clone(),
        api_url: anew.api_url.clone(),
        incarnation: incarnation.clone(),
        ..MemberNode::default()
    };
    let membership = Membership::new(vec![BTreeSet::from([id])], BTreeMap::from([(id, node)]))
        .map_err(|error| StoreError::Fatal(error.to_string()))?;
    state.jump_to(newest.saturating_add(anew.jump.max(1)))?;
    let position = position(term, id, state.next_index());
    // After the jump: replicas compare what they had after an entry, and this is the first they may have in common.
    apply(&state, Entry { log_id: position, payload: EntryPayload::Membership(membership) })?;
    let begun = Begun { id, newest, revision: state.revision() };
    let identity = identity::claim(dir, id, &anew.cluster_id, incarnation)?;
    state.make_durable()?;
    // The log begins after the state, so that whoever joins gets the state first.
    let log = RaftLog::open(dir)?;
    log.purge(position.index(), &codec::log_id_to_bytes(&position))?;
    log.save_vote(&codec::vote_to_bytes(&Vote::new_committed(term, id)))?;
    Ok((begun, identity))
}

/// From the counter of the log, as every id.
fn new_id(state: &StateMachine, term: u64) -> Result<NodeId, StoreError> {
    let index = state.next_index();
    let log_id = codec::log_id_to_bytes(&position(term, 0, index));
    let payload = ApplyPayload::Command(Command::AllocateNodeId { request: None });
    let applied = state.apply(&[ApplyEntry { index, log_id, payload }])?;
    match applied.into_iter().next().map(|applied| applied.reply) {
        Some(Reply::NodeId(id)) => Ok(id),
        other => Err(StoreError::Fatal(format!("a node id was asked for, the answer is {other:?}"))),
    }
}

fn apply(state: &StateMachine, entry: Entry) -> Result<(), StoreError> {
    let (entry, _) = to_apply(entry).map_err(broken("the first membership"))?;
    state.apply(&[entry]).map(drop)
}

fn position(term: u64, node: NodeId, index: u64) -> LogId {
    codec::log_id_from_proto(kontiki_proto::log::LogId { term, node, index })
}
