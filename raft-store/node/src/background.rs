//! What a replica does by itself: ends leases, forgets history, collects garbage, publishes metrics,
//! watches over its certificates, and stops when it failed or was removed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::LogIdOptionExt;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal;
use store_api::NodeId;
use store_core::Command;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::blocking::blocking;
use crate::errors::die;
use crate::fence;
use crate::history::Marks;
use crate::identity;
use crate::replica::Replica;
use crate::types::StoredMembership;
use crate::world::World;

/// How often the leader looks for leases whose time is over.
const LEASE_TICK: Duration = Duration::from_millis(100);
/// Leases ended per tick, and by one log entry.
const LEASES_PER_TICK: usize = 4_096;
const LEASES_PER_COMMAND: usize = 256;
/// How often to look how large the log is.
const LOG_TICK: Duration = Duration::from_secs(1);
/// Keys of one garbage-collection step.
const GARBAGE_STEP_KEYS: usize = 512;
/// Between steps while there is more to do, and while there is not.
const GARBAGE_PAUSE: Duration = Duration::from_millis(10);
const GARBAGE_IDLE: Duration = Duration::from_secs(5);
const METRICS_TICK: Duration = Duration::from_secs(1);
/// Looking up the files' sizes walks directories.
const DISK_TICK: Duration = Duration::from_secs(10);
/// How often to look for a membership change that was left half-way.
const MEMBERSHIP_TICK: Duration = Duration::from_secs(1);

/// Starts everything; all of it ends with `replica.stop`.
pub(crate) fn spawn(replica: &Arc<Replica>, world: &dyn World) {
    start(replica, leases);
    start(replica, history);
    start(replica, log_size);
    start(replica, garbage);
    start(replica, publish_metrics);
    start(replica, crate::space::run);
    start(replica, crate::space::reclaim);
    start(replica, crate::exchange::run);
    start(replica, crate::scrub::run);
    start(replica, crate::timing::run);
    start(replica, crate::timing::beat);
    start(replica, crate::placement::run);
    start(replica, memberships);
    start(replica, stop_when_failed);
    start(replica, stop_when_removed);
    start(replica, stop_when_not_a_member);
    let tending = world.tend();
    start(replica, move |_| tending);
}

fn start<F>(replica: &Arc<Replica>, task: impl FnOnce(Arc<Replica>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let stop = replica.stop.clone();
    let task = task(replica.clone());
    tokio::spawn(async move {
        stop.run_until_cancelled(task).await;
    });
}

async fn leases(replica: Arc<Replica>) {
    let mut led_term = None;
    let mut tick = interval(LEASE_TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let metrics = replica.metrics();
        let term = metrics.state.is_leader().then_some(metrics.current_term);
        if term.is_some() && term != led_term {
            replica.effects.restart_leases();
        }
        led_term = term;
        if term.is_some() {
            end_leases(&replica).await;
        }
    }
}

async fn end_leases(replica: &Replica) {
    let expired = replica.effects.leases.lock().expired(Instant::now(), LEASES_PER_TICK);
    if expired.is_empty() {
        return;
    }
    let state = blocking(|| replica.effects.engine.lease_renewals(&expired));
    let ends = replica.effects.leases.lock().ends(&expired, &state, Instant::now());
    let proposals = ends.chunks(LEASES_PER_COMMAND).map(|leases| async {
        match replica.propose(Command::LeasesEnd { leases: leases.to_vec() }).await {
            Ok(_) => metrics::counter!("kontiki_store_leases_expired_total").increment(leases.len() as u64),
            Err(error) => tracing::warn!(%error, "leases could not be ended yet"),
        }
    });
    futures::future::join_all(proposals).await;
}

async fn history(replica: Arc<Replica>) {
    let Some(history) = replica.config.history else { return };
    let mut marks = Marks::new(history, replica.config.history_bytes);
    let mut tick = interval(marks.interval());
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let (revision, bytes) = (replica.effects.applied.revision(), replica.effects.hub.published_bytes());
        let old = marks.observe(Instant::now(), revision, bytes);
        let Some(revision) = old.filter(|old| *old > replica.effects.engine.compacted()) else { continue };
        if !replica.leads() {
            continue;
        }
        match replica.propose(Command::Compact { revision }).await {
            // A client was faster.
            Ok(_) | Err(store_api::StoreError::Compacted { .. }) => {}
            Err(error) => tracing::warn!(revision, %error, "old history could not be compacted"),
        }
    }
}

/// Raft takes snapshots and purges by the number of entries; a log of large ones must end before.
async fn log_size(replica: Arc<Replica>) {
    let limit = replica.config.log_bytes;
    loop {
        tokio::time::sleep(LOG_TICK).await;
        let metrics = replica.metrics();
        let snapshot = metrics.snapshot.index().unwrap_or_default();
        let trigger = replica.raft.trigger();
        let done = match replica.log.index_leaving(limit).filter(|upto| metrics.purged.index() < Some(*upto)) {
            // What is kept for replicas that are behind is in the snapshot.
            Some(upto) if upto <= snapshot => trigger.purge_log(upto).await,
            _ if replica.log.bytes_after(snapshot) > limit => trigger.snapshot().await,
            _ => continue,
        };
        if done.is_err() {
            return;
        }
    }
}

async fn garbage(replica: Arc<Replica>) {
    let mut collected = 0;
    loop {
        let compacted = replica.effects.engine.compacted();
        if compacted == collected {
            tokio::time::sleep(GARBAGE_IDLE).await;
            continue;
        }
        match blocking(|| replica.effects.engine.collect_garbage(GARBAGE_STEP_KEYS)) {
            Ok(true) => tokio::time::sleep(GARBAGE_PAUSE).await,
            Ok(false) => collected = compacted,
            Err(error) => die(&format!("cannot remove compacted versions: {error}")),
        }
    }
}

/// A change of the membership that nobody drives any more is completed by whoever leads.
async fn memberships(replica: Arc<Replica>) {
    loop {
        tokio::time::sleep(MEMBERSHIP_TICK).await;
        replica.complete_membership().await;
    }
}

async fn publish_metrics(replica: Arc<Replica>) {
    crate::describe::describe();
    let mut measured: Option<Instant> = None;
    let mut tick = interval(METRICS_TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tick.tick().await;
        if measured.is_none_or(|at| at.elapsed() >= DISK_TICK) {
            measured = Some(Instant::now());
            blocking(|| replica.measure_disk());
        }
        crate::describe::publish(&replica);
    }
}

async fn stop_when_failed(replica: Arc<Replica>) {
    // They end with raft; all its metrics would wake this at every entry.
    let mut rare = replica.raft.server_metrics();
    while rare.changed().await.is_ok() {}
    let state = replica.raft.metrics().borrow_watched().running_state.clone();
    match state {
        Ok(()) | Err(Fatal::Stopped) => {}
        Err(fatal) => {
            if let Some(why) = fence::applies_no_more(replica.id(), &replica.effects) {
                fence::off(&replica, &why).await;
            }
            // It has no voice any more, as if it had ended, and can still be told to begin anew. Ended and started again,
            // it would come to the same damage at once.
            match replica.diverged.load(Ordering::Acquire) {
                true => {
                    tracing::error!(%fatal, "this replica, which is fenced off, takes part no more; it waits to be healed")
                }
                false => die(&format!("raft: {fatal}")),
            }
        }
    }
}

/// A peer knows a committed membership without this replica. It counts when it is not older than what
/// this replica knows: an id that was removed never comes back.
async fn stop_when_removed(replica: Arc<Replica>) {
    loop {
        let index = replica.peers.removal_reported().await;
        let (newest, applied) = (replica.membership(), replica.effects.membership.borrow().clone());
        if is_removed(replica.id(), index, &newest, &applied) {
            return leave(&replica).await;
        }
    }
}

/// `reported`: the index of a committed membership without this replica. The newest this replica knows may be that
/// one, which the leader sent it and which it never learns to be committed: then it was a member by what it applied.
fn is_removed(me: NodeId, reported: u64, newest: &StoredMembership, applied: &StoredMembership) -> bool {
    let was_member = [newest, applied].iter().any(|known| known.membership().get_node(&me).is_some());
    was_member && reported >= newest.log_id().as_ref().map_or(0, |id| id.index())
}

/// This replica applied its own removal.
async fn stop_when_not_a_member(replica: Arc<Replica>) {
    let mut membership = replica.effects.membership.subscribe();
    let mut was_member = false;
    loop {
        let is_member = membership.borrow_and_update().membership().get_node(&replica.id()).is_some();
        if was_member && !is_member {
            // A leader that removed itself first lets the others know, and hands over.
            tokio::time::sleep(replica.config.election_timeout.end.min(Duration::from_secs(2))).await;
            return leave(&replica).await;
        }
        was_member |= is_member;
        if membership.changed().await.is_err() {
            return;
        }
    }
}

async fn leave(replica: &Arc<Replica>) {
    tracing::warn!(replica = replica.id(), "this replica was removed from the cluster, it stops");
    if let Err(error) = identity::mark_removed(&replica.config.data_dir, &replica.identity) {
        tracing::error!(%error, "cannot write down that this replica was removed");
    }
    // In a task of its own: stopping ends this one.
    let replica = replica.clone();
    tokio::spawn(async move { replica.stop_now().await });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::codec;
    use crate::types::{MemberNode, Membership};

    #[test]
    fn who_was_a_member_and_is_none_any_more_stops() {
        let of = |ids: &[NodeId], index| {
            let nodes: BTreeMap<_, _> = ids.iter().map(|id| (*id, MemberNode::default())).collect();
            let membership = Membership::new(vec![ids.iter().copied().collect()], nodes).expect("a membership");
            let at = codec::log_id_from_proto(kontiki_proto::log::LogId { term: 1, node: 1, index });
            StoredMembership::new(Some(at), membership)
        };
        let (with, without) = (of(&[1, 2, 3, 4], 10), of(&[1, 2, 3], 12));
        for (reported, newest, applied, removed, why) in [
            (12, &with, &with, true, "nobody sent it the removal"),
            (12, &without, &with, true, "the removal was sent to it, and not that it is committed"),
            (9, &with, &with, false, "what is older than its membership"),
            (11, &without, &with, false, "another change before its removal"),
            (12, &without, &without, false, "it never was a member"),
            (12, &StoredMembership::default(), &StoredMembership::default(), false, "it joins"),
        ] {
            assert_eq!(is_removed(4, reported, newest, applied), removed, "{why}");
        }
    }
}
