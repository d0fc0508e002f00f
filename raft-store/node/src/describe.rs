//! The metrics of a replica: names, units, and those that are read off every second.

use std::sync::Once;
use std::sync::atomic::Ordering;

use metrics::{describe_counter, describe_gauge, describe_histogram, gauge};
use openraft::LogIdOptionExt;

use crate::replica::Replica;

static DESCRIBED: Once = Once::new();

/// Tells the recorder what the names mean, once.
pub(crate) fn describe() {
    DESCRIBED.call_once(|| {
        describe_gauge!("kontiki_raft_term", "Raft term of this replica");
        describe_gauge!("kontiki_raft_is_leader", "1 when this replica leads, else 0");
        describe_gauge!("kontiki_raft_has_leader", "1 when this replica knows a leader, else 0");
        describe_gauge!("kontiki_raft_last_log_index", "Index of the newest entry in the log");
        describe_gauge!("kontiki_raft_committed_index", "Index of the newest committed entry known here");
        describe_gauge!("kontiki_raft_applied_index", "Index of the newest applied entry");
        describe_gauge!("kontiki_raft_purged_index", "Index up to which the log was purged");
        describe_gauge!("kontiki_raft_snapshot_index", "Index of the newest snapshot");
        describe_gauge!("kontiki_raft_snapshot_bytes", "Size of the newest snapshot built here");
        describe_gauge!("kontiki_raft_replication_lag_entries", "Entries a peer does not have yet (leader only)");
        describe_gauge!("kontiki_raft_members", "Members of the cluster, by kind");
        describe_gauge!("kontiki_store_revision", "Newest revision applied here");
        describe_gauge!("kontiki_store_compacted_revision", "Revision up to which history was forgotten");
        describe_gauge!("kontiki_store_disk_bytes", "Bytes the store's files take");
        describe_gauge!("kontiki_store_disk_free_bytes", "Bytes free on the disk of the store");
        describe_gauge!("kontiki_store_diverged", "1 when the state differs from that of most replicas, else 0");
        describe_gauge!("kontiki_store_scrub_duration_seconds", "Hashing all that is kept, the last time");
        describe_gauge!(
            "kontiki_store_doubtful",
            "1 when replicas differ and it cannot be told which is wrong, else 0"
        );
        describe_gauge!("kontiki_raft_election_patience_seconds", "Silence of a leader before an election may begin");
        describe_gauge!("kontiki_store_watchers", "Open watches");
        describe_histogram!("kontiki_raft_log_fsync_duration_seconds", "Writing and syncing one group of entries");
        describe_histogram!("kontiki_raft_log_group_entries", "Entries that shared one fsync");
        describe_histogram!("kontiki_raft_peer_rtt_seconds", "Round trip to a peer, measured by heartbeats");
        describe_histogram!("kontiki_store_apply_duration_seconds", "Applying one group of entries");
        describe_counter!("kontiki_raft_read_index_rounds_total", "Confirmations of leadership for reads");
        describe_counter!("kontiki_raft_read_index_readers_total", "Reads that shared those confirmations");
        describe_counter!("kontiki_raft_snapshots_built_total", "Snapshots built here");
        describe_counter!("kontiki_raft_snapshots_sent_total", "Snapshots sent to peers");
        describe_counter!("kontiki_raft_snapshots_installed_total", "Snapshots of peers installed here");
        describe_counter!("kontiki_store_applied_entries_total", "Entries applied, by kind and by what they came to");
        describe_counter!("kontiki_store_proposals_total", "Writes that entered the cluster here");
        describe_counter!("kontiki_store_proposal_retries_total", "Writes tried again, because leadership moved");
        describe_counter!("kontiki_store_state_comparisons_total", "Comparisons with the states of peers, by result");
        describe_counter!("kontiki_store_leases_expired_total", "Leases this replica ended as leader");
    });
}

/// Reads off the gauges.
pub(crate) fn publish(replica: &Replica) {
    let raft = replica.metrics();
    let effects = &replica.effects;
    let flag = |on: bool| if on { 1.0 } else { 0.0 };
    gauge!("kontiki_raft_term").set(raft.current_term as f64);
    gauge!("kontiki_raft_is_leader").set(flag(raft.state.is_leader()));
    gauge!("kontiki_raft_has_leader").set(flag(raft.current_leader.is_some()));
    gauge!("kontiki_raft_last_log_index").set(raft.last_log_index.unwrap_or_default() as f64);
    gauge!("kontiki_raft_committed_index").set(raft.local_committed.index().unwrap_or_default() as f64);
    gauge!("kontiki_raft_applied_index").set(effects.applied.index() as f64);
    gauge!("kontiki_raft_purged_index").set(raft.purged.index().unwrap_or_default() as f64);
    gauge!("kontiki_raft_snapshot_index").set(raft.snapshot.index().unwrap_or_default() as f64);
    for (peer, matched) in raft.replication.iter().flatten() {
        let lag = raft.last_log_index.unwrap_or_default().saturating_sub(matched.index().unwrap_or_default());
        gauge!("kontiki_raft_replication_lag_entries", "peer" => peer.to_string()).set(lag as f64);
    }
    let members = raft.membership_config.nodes().count();
    let voters = raft.membership_config.voter_ids().count();
    gauge!("kontiki_raft_members", "kind" => "voter").set(voters as f64);
    gauge!("kontiki_raft_members", "kind" => "learner").set(members.saturating_sub(voters) as f64);
    gauge!("kontiki_store_revision").set(effects.applied.revision() as f64);
    gauge!("kontiki_store_compacted_revision").set(effects.engine.compacted() as f64);
    gauge!("kontiki_store_disk_bytes").set(replica.disk_bytes.load(Ordering::Relaxed) as f64);
    gauge!("kontiki_store_disk_free_bytes").set(replica.space.free() as f64);
    gauge!("kontiki_store_diverged").set(flag(replica.diverged.load(Ordering::Acquire)));
    gauge!("kontiki_store_doubtful").set(flag(replica.doubt.lock().is_some()));
    let patience = replica.timing.patience(replica.config.election_timeout.start);
    gauge!("kontiki_raft_election_patience_seconds").set(patience.as_secs_f64());
    gauge!("kontiki_store_watchers").set(effects.hub.watchers() as f64);
}
