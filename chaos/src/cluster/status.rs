//! What replicas say of themselves, and waiting until they agree.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{Cluster, Replica};
use crate::Failure;
use crate::checkers::convergence::Sample;

/// Until a replica has said how it is.
const PATIENCE: Duration = Duration::from_millis(800);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Revisions that a replica may be behind and count as level, while writes go on.
const MAX_LAG: u64 = 300;

/// `/kontiki/v1/status` of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub id: u64,
    pub leads: bool,
    pub leader: Option<u64>,
    pub term: u64,
    pub revision: u64,
    pub hash: String,
    pub voters: usize,
}

impl Status {
    fn parse(value: &Value) -> Option<Self> {
        let voters = value["members"].as_array()?.iter().filter(|member| member["voter"] == true).count();
        Some(Self {
            id: value["id"].as_u64()?,
            leads: value["leader"].as_bool()?,
            leader: value["leaderID"].as_u64(),
            term: value["term"].as_u64()?,
            revision: value["revision"].as_u64()?,
            hash: value["stateHash"].as_str()?.to_owned(),
            voters,
        })
    }
}

impl Replica {
    pub async fn status(&self) -> Result<Status, Failure> {
        let request = http::Request::get("/kontiki/v1/status").body(Vec::new())?;
        let client = self.client().await?;
        let value: Value = tokio::time::timeout(PATIENCE, client.request(request)).await??;
        Status::parse(&value).ok_or_else(|| format!("a status that is not understood: {value}").into())
    }

    pub async fn sample(&self) -> Option<Sample> {
        let status = self.status().await.ok()?;
        Some(Sample { replica: self.number, revision: status.revision, hash: status.hash })
    }

    /// Whether it says that it is ready for clients.
    pub async fn is_ready(&self) -> bool {
        let ask = async {
            let request = http::Request::get("/readyz").body(Vec::new()).ok()?;
            self.client().await.ok()?.request_text(request).await.ok()
        };
        tokio::time::timeout(PATIENCE, ask).await.is_ok_and(|answer| answer.is_some())
    }
}

impl Cluster {
    /// What those replicas say that answer.
    pub async fn statuses(&self) -> Vec<(usize, Status)> {
        let replicas = self.replicas();
        let asked = replicas.iter().map(|replica| async { Some((replica.number, replica.status().await.ok()?)) });
        futures::future::join_all(asked).await.into_iter().flatten().collect()
    }

    /// Number of the replica that leads in the newest term.
    pub async fn leader(&self) -> Result<usize, Failure> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let statuses = self.statuses().await;
            let leader = statuses.iter().filter(|(_, status)| status.leads).max_by_key(|(_, status)| status.term);
            if let Some((number, _)) = leader {
                return Ok(*number);
            }
            if Instant::now() > deadline {
                return Err(format!("nobody leads: {statuses:?}").into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The newest that anybody knows.
    pub async fn term(&self) -> u64 {
        self.statuses().await.iter().map(|(_, status)| status.term).max().unwrap_or(0)
    }

    /// Waits until all replicas follow one leader, are about level and ready.
    pub async fn level(&self, voters: usize, patience: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + patience;
        loop {
            let Err(why) = self.look(voters).await else { return Ok(()) };
            if Instant::now() > deadline {
                return Err(format!("not level after {} s: {why}", patience.as_secs()).into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&self, voters: usize) -> Result<(), String> {
        let replicas = self.replicas();
        let statuses = self.statuses().await;
        is_level(&statuses, replicas.len(), voters)?;
        for replica in replicas {
            if !replica.is_ready().await {
                return Err(format!("replica {} is not ready", replica.number));
            }
        }
        Ok(())
    }
}

fn is_level(statuses: &[(usize, Status)], replicas: usize, voters: usize) -> Result<(), String> {
    let all = || statuses.iter().map(|(_, status)| status);
    let newest = all().map(|status| status.revision).max().unwrap_or(0);
    let leader = all().find(|status| status.leads).map(|status| status.id);
    if statuses.len() < replicas {
        return Err(format!("only {} of {replicas} answer", statuses.len()));
    }
    if leader.is_none() || all().any(|status| status.leader != leader) {
        return Err(format!("they do not agree who leads: {statuses:?}"));
    }
    if all().any(|status| status.voters != voters) {
        return Err(format!("there are not {voters} voters: {statuses:?}"));
    }
    match all().find(|status| newest - status.revision > MAX_LAG) {
        Some(behind) => Err(format!("replica {} is {} revisions behind", behind.id, newest - behind.revision)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_is_one_leader_all_voters_and_little_lag() {
        let one = |id: u64, leader, revision| {
            let hash = String::new();
            let status = Status { id, leads: leader == Some(id), leader, term: 2, revision, hash, voters: 3 };
            (usize::try_from(id).expect("small"), status)
        };
        let good = [one(1, Some(2), 400), one(2, Some(2), 410), one(3, Some(2), 409)];
        assert_eq!(is_level(&good, 3, 3), Ok(()));
        assert!(is_level(&good[..2], 3, 3).is_err(), "one does not answer");
        assert!(is_level(&good, 3, 4).is_err(), "one is not a voter yet");
        assert!(is_level(&[good[0].clone(), good[1].clone(), one(3, Some(3), 409)], 3, 3).is_err(), "two leaders");
        assert!(is_level(&[one(1, None, 1), one(2, None, 1), one(3, None, 1)], 3, 3).is_err(), "no leader");
        assert!(is_level(&[good[0].clone(), good[1].clone(), one(3, Some(2), 9)], 3, 3).is_err(), "far behind");
    }
}
