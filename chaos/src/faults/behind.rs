//! A follower that was away for so long that the leader has no log for it any more: it gets a snapshot, while
//! watchers that were with it all the time wait for what they missed.

use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::time::Instant;

use super::{Dice, Fault, Injected, follower, links};
use crate::Failure;
use crate::checkers::Violations;
use crate::cluster::{Cluster, probe};

#[derive(Default)]
pub(super) struct Behind {
    number: usize,
    installed: u64,
    found: Violations,
}

/// A snapshot is due after 256 MiB of log, and as much is kept besides; some more, so that nothing is left for the
/// follower.
const BYTES: usize = 640 << 20;
const OBJECT_BYTES: usize = 900 << 10;
/// Writers of them at the same time, and objects that they write to in turn.
const WRITERS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(10);
/// For all of it, after which the fault did not bite.
const ALL_PATIENCE: Duration = Duration::from_secs(150);
/// Until the follower says that it has the snapshot.
const INSTALLED: Duration = Duration::from_secs(60);
const METRIC: &str = "kontiki_raft_snapshots_installed_total";

#[async_trait]
impl Fault for Behind {
    fn name(&self) -> &'static str {
        "behind-the-log"
    }

    fn strikes(&self, _wanted: usize, _first: bool) -> usize {
        1
    }

    fn hold(&self) -> Duration {
        Duration::ZERO
    }

    async fn inject(&mut self, cluster: &Cluster, dice: &mut Dice) -> Result<Injected, Failure> {
        self.number = follower(cluster, dice).await?;
        self.installed = installed(cluster, self.number).await?;
        let at = Instant::now();
        for (from, to) in links(&cluster.replicas()) {
            if from.number == self.number || to.number == self.number {
                to.space.rule("filter", "INPUT", &format!("-s {} -j DROP", from.space.ip)).await?;
            }
        }
        let what = format!("replica {}, while {} MiB are written", self.number, BYTES >> 20);
        Ok(Injected { what, at, leader_lost: None })
    }

    /// It is away, and so much was written.
    async fn control(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        let others: Vec<_> = cluster.replicas().into_iter().filter(|replica| replica.number != self.number).collect();
        let away = cluster.replica(self.number);
        if probe::arriving(&others[0].space, &away.space, 3).await? > 0 {
            return Err("it is not cut off".into());
        }
        let api: Api<Secret> = Api::namespaced(others[0].client().await?, "default");
        let (each, deadline) = (BYTES / OBJECT_BYTES / WRITERS, Instant::now() + ALL_PATIENCE);
        let writers = (0..WRITERS).map(|writer| write_large(&api, writer, each, deadline));
        let written: usize = futures::future::join_all(writers).await.into_iter().sum();
        match written >= each * WRITERS {
            true => Ok(()),
            false => Err(format!("only {written} of {} large writes were made in time", each * WRITERS).into()),
        }
    }

    async fn heal(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        for replica in cluster.replicas() {
            replica.space.no_rules().await?;
        }
        let deadline = Instant::now() + INSTALLED;
        // It may be too busy to answer.
        while installed(cluster, self.number).await.is_ok_and(|installed| installed <= self.installed) {
            if Instant::now() > deadline {
                self.found.push(format!("void: replica {} got no snapshot", self.number));
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    fn found(&mut self) -> Violations {
        std::mem::take(&mut self.found)
    }
}

/// Large objects one after the other, `count` that are acknowledged or until the deadline; how many it were.
async fn write_large(api: &Api<Secret>, writer: usize, count: usize, deadline: Instant) -> usize {
    let name = format!("chaos-large-{writer}");
    let mut written = 0;
    for number in 0_u32.. {
        if written == count || Instant::now() > deadline {
            break;
        }
        let object = Secret {
            metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
            data: Some([("value".to_owned(), ByteString(vec![number.to_le_bytes()[0]; OBJECT_BYTES]))].into()),
            ..Secret::default()
        };
        let parameters = PostParams::default();
        let answer = tokio::time::timeout(PATIENCE, async {
            match api.replace(&name, &parameters, &object).await {
                Err(kube::Error::Api(status)) if status.code == 404 => api.create(&parameters, &object).await,
                other => other,
            }
        });
        written += usize::from(answer.await.is_ok_and(|answer| answer.is_ok()));
    }
    written
}

/// Snapshots that this replica got since its start.
async fn installed(cluster: &Cluster, number: usize) -> Result<u64, Failure> {
    Ok(parse(&cluster.replica(number).metrics(PATIENCE).await?))
}

/// A counter that was never raised is not there.
fn parse(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(METRIC)?.split_whitespace().last());
    line.and_then(|value| value.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found() {
        let text = "# TYPE kontiki_raft_snapshots_installed_total counter\nkontiki_raft_snapshots_installed_total 3\n";
        assert_eq!([parse(text), parse("x 1\n")], [3, 0]);
    }
}
