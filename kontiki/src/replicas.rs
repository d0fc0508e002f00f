//! The replicas of a cluster as the admin commands reach them: any that answers, or one in particular.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::Failure;
use crate::client::{Answer, Client};
use crate::kubeconfig::Kubeconfig;
use crate::status;

/// How long a replica may take with a change that needs a quorum.
const PATIENCE: Duration = Duration::from_secs(40);
/// While a leader is elected, replicas ask to come back.
const PAUSE: Duration = Duration::from_secs(1);
const TRIES: u32 = 15;

pub(crate) struct Replicas {
    client: Client,
    /// As `kontiki status -o json` has it.
    pub(crate) report: Value,
}

impl Replicas {
    /// Asks the server of the kubeconfig, or one beside it, for all the others.
    pub(crate) async fn find(kubeconfig: &Path) -> Result<Self, Failure> {
        let client = Client::new(&Kubeconfig::read(kubeconfig)?)?;
        let report = status::collect(&client.at(&client.server).timeout(status::PATIENCE), kubeconfig).await?;
        Ok(Self { client, report })
    }

    pub(crate) fn all(&self) -> &[Value] {
        self.report["replicas"].as_array().map_or(&[], Vec::as_slice)
    }

    pub(crate) fn get(&self, id: u64) -> Result<&Value, Failure> {
        let found = self.all().iter().find(|replica| replica["id"] == id);
        found.ok_or_else(|| {
            let ids: Vec<String> = self.all().iter().map(|replica| replica["id"].to_string()).collect();
            format!("there is no replica {id}; there are {}", ids.join(", ")).into()
        })
    }

    /// Those that answer, those that do not lead first.
    pub(crate) fn reachable(&self) -> Vec<&Value> {
        let mut found: Vec<&Value> = self.all().iter().filter(|replica| replica["reachable"] == true).collect();
        found.sort_by_key(|replica| replica["leader"] == true);
        found
    }

    pub(crate) fn client_of(&self, replica: &Value) -> Client {
        self.client.at(replica["api"].as_str().unwrap_or("")).timeout(PATIENCE)
    }

    /// Asks whichever replica answers, again while it asks to come back. What was asked for may be done already by a
    /// try whose answer was lost.
    pub(crate) async fn ask(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask_any(&self.reachable(), path, body).await
    }

    /// Asks the leader.
    pub(crate) async fn ask_leader(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let leader = self.all().iter().find(|replica| replica["leader"] == true);
        let leader = leader.ok_or("no replica leads at the moment: kontiki status shows which ones answer")?;
        self.ask_any(&[leader], path, body).await
    }

    async fn ask_any(&self, replicas: &[&Value], path: &str, body: &Value) -> Result<Value, Failure> {
        let mut last = Failure::from("no replica answers");
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            for replica in replicas {
                match self.client_of(replica).post(path, body).await {
                    Ok(answer) if is_final(&answer) => return answer.ok(),
                    Ok(answer) => last = answer.ok().err().unwrap_or(last),
                    Err(error) => last = error,
                }
            }
        }
        Err(last)
    }
}

/// Not a server's excuse.
fn is_final(answer: &Answer) -> bool {
    answer.status != 429 && answer.status < 500
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn those_that_answer_are_asked_and_the_leader_last() {
        let authority = pki::authority::Authority::create("ca", crate::now()).expect("ca");
        let client = Client::with_token("https://a", authority.certificate_pem(), "t").expect("client");
        let report = json!({"replicas": [
            {"id": 1, "reachable": true, "leader": true},
            {"id": 2, "reachable": false, "leader": false},
            {"id": 3, "reachable": true, "leader": false},
        ]});
        let replicas = Replicas { client, report };
        let ids: Vec<&Value> = replicas.reachable().iter().map(|replica| &replica["id"]).collect();
        assert_eq!(ids, [3, 1]);
        assert!(replicas.get(2).is_ok());
        let error = replicas.get(9).expect_err("none").to_string();
        assert_eq!(error, "there is no replica 9; there are 1, 2, 3");
    }
}
