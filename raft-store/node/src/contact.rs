//! When a replica last knew that it is part of the cluster.

use std::sync::Arc;
use std::time::Duration;

use openraft::Instant as _;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::replica::Replica;

/// When the leader was last heard of.
#[derive(Clone, Default)]
pub(crate) struct Contact(Arc<Mutex<Option<Instant>>>);

impl Contact {
    pub(crate) fn heard(&self, at: Instant) {
        *self.0.lock() = Some(at);
    }

    pub(crate) fn age(&self, now: Instant) -> Option<Duration> {
        self.0.lock().map(|at| now.saturating_duration_since(at))
    }
}

/// Where a replica stands towards the others.
struct Standing {
    leader: Option<u64>,
    leads: bool,
    alone: bool,
    /// Since a quorum confirmed this leader, or since this follower heard of its leader.
    silence: Option<Duration>,
}

fn judge(standing: &Standing, limit: Duration) -> Result<(), String> {
    let Standing { leader, leads, alone, silence } = standing;
    let Some(leader) = leader else { return Err("no leader is known".into()) };
    let whom = if *leads { "a quorum".to_owned() } else { format!("leader {leader}") };
    match silence {
        _ if *leads && *alone => Ok(()),
        Some(silence) if *silence <= limit => Ok(()),
        Some(silence) => Err(format!("nothing was heard of {whom} for {:.1} s", silence.as_secs_f64())),
        None => Err(format!("nothing was heard of {whom} yet")),
    }
}

impl Replica {
    /// Why this replica should not be asked anything now: it stopped, its state is not to be trusted, or it lost
    /// contact with the others.
    pub(crate) fn health(&self) -> Result<(), String> {
        self.check_running().map_err(|error| error.to_string())?;
        let now = Instant::now();
        let metrics = self.metrics();
        let leads = metrics.current_leader == Some(self.id());
        let silence = match leads {
            true => metrics.last_quorum_acked.map(|at| at.elapsed()),
            false => self.contact.age(now),
        };
        let alone = metrics.membership_config.voter_ids().eq([self.id()]);
        judge(&Standing { leader: metrics.current_leader, leads, alone, silence }, self.config.election_timeout.end * 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_well_as_long_as_it_is_in_contact() {
        let limit = Duration::from_secs(2);
        let ask = |leader, leads, alone, silence: Option<u64>| {
            let silence = silence.map(Duration::from_millis);
            judge(&Standing { leader, leads, alone, silence }, limit).err().unwrap_or_default()
        };
        assert_eq!(ask(Some(1), false, false, Some(2_000)), "");
        assert_eq!(ask(Some(1), false, false, Some(2_100)), "nothing was heard of leader 1 for 2.1 s");
        assert_eq!(ask(Some(1), false, false, None), "nothing was heard of leader 1 yet");
        assert_eq!(ask(None, false, false, Some(0)), "no leader is known");
        assert_eq!(ask(Some(2), true, false, Some(300)), "");
        assert_eq!(ask(Some(2), true, false, Some(60_000)), "nothing was heard of a quorum for 60.0 s");
        assert_eq!(ask(Some(2), true, true, None), "");
    }
}
