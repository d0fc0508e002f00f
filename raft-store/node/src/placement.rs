//! Where leadership should be: near those who write most, say, or where the machines are best.
//!
//! Every replica says which zone it is in. A leader in a zone that is not among the preferred ones, or farther down in
//! their order, hands over to a voter in a better one, as long as that one is well and keeps up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::LogIdOptionExt;
use store_api::NodeId;
use tokio::time::Instant;

use crate::exchange::Said;
use crate::replica::Replica;

/// How often a leader looks whether another should lead.
const TICK: Duration = Duration::from_secs(2);
/// A leader stays at least so long, and so does one whose handing over failed.
const STAY: Duration = Duration::from_secs(20);
/// Entries a voter may be behind that is to lead.
const MAX_BEHIND: u64 = 1_000;

/// Where a replica is, and where leadership should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Empty: nowhere in particular.
    pub zone: String,
    /// Best first; empty: anywhere. The same on all replicas, unless somebody is changing it.
    pub leader_zones: Vec<String>,
}

/// A voter that could lead.
struct Candidate<'a> {
    id: NodeId,
    zone: &'a str,
    /// Entries it does not have.
    behind: u64,
}

impl Placement {
    /// The lower, the better.
    fn rank(&self, zone: &str) -> usize {
        self.leader_zones.iter().position(|preferred| preferred == zone).unwrap_or(self.leader_zones.len())
    }

    /// Who should lead instead of a leader that is here.
    fn better<'a>(&self, candidates: impl Iterator<Item = Candidate<'a>>) -> Option<NodeId> {
        let mine = self.rank(&self.zone);
        let better = candidates.filter(|one| self.rank(one.zone) < mine && one.behind <= MAX_BEHIND);
        better.min_by_key(|one| (self.rank(one.zone), one.behind)).map(|one| one.id)
    }
}

/// Runs until the replica stops.
pub(crate) async fn run(replica: Arc<Replica>) {
    if replica.config.placement.leader_zones.is_empty() {
        return;
    }
    let mut since: Option<Instant> = None;
    loop {
        tokio::time::sleep(TICK).await;
        if !replica.leads() {
            since = None;
            continue;
        }
        let led_since = *since.get_or_insert_with(Instant::now);
        if led_since.elapsed() < STAY {
            continue;
        }
        if let Some(heir) = replica.better_placed() {
            since = Some(Instant::now());
            tracing::info!(to = heir, "handing leadership over to a preferred zone");
            if let Err(error) = replica.raft.trigger().transfer_leader(heir).await {
                tracing::warn!(%error, "leadership cannot be handed over");
            }
        }
    }
}

impl Replica {
    fn better_placed(&self) -> Option<NodeId> {
        let metrics = self.metrics();
        let said: BTreeMap<NodeId, Said> = self.said.lock().clone();
        let replication = metrics.replication?;
        let last = metrics.last_log_index.unwrap_or_default();
        let voters = metrics.membership_config.voter_ids().filter(|id| *id != self.id());
        let candidates = voters.filter_map(|id| {
            let said = said.get(&id).filter(|said| said.may_lead())?;
            let matched = replication.get(&id)?.index().unwrap_or_default();
            Some(Candidate { id, zone: &said.zone, behind: last.saturating_sub(matched) })
        });
        self.config.placement.better(candidates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_zone_that_keeps_up_leads() {
        let placement = |zone: &str, leader_zones: &[&str]| Placement {
            zone: zone.into(),
            leader_zones: leader_zones.iter().map(|zone| (*zone).to_owned()).collect(),
        };
        let ask = |mine: &Placement, others: &[(NodeId, &'static str, u64)]| {
            mine.better(others.iter().map(|(id, zone, behind)| Candidate { id: *id, zone, behind: *behind }))
        };
        let others = [(2, "b", 0), (3, "c", 0)];
        assert_eq!(ask(&placement("a", &["b"]), &others), Some(2));
        assert_eq!(ask(&placement("a", &["c", "b"]), &others), Some(3), "in their order");
        assert_eq!(ask(&placement("b", &["b"]), &others), None, "it is there");
        assert_eq!(ask(&placement("b", &["c", "b"]), &others), Some(3), "there is a better one");
        assert_eq!(ask(&placement("a", &["d"]), &others), None, "nobody is there");
        assert_eq!(ask(&placement("a", &["b"]), &[(2, "b", MAX_BEHIND + 1)]), None, "it is behind");
        assert_eq!(ask(&placement("a", &["b"]), &[(2, "b", 9), (4, "b", 3)]), Some(4), "the one that has most");
    }
}
