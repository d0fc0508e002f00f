//! Disks without space, in two degrees.
//!
//! `short-disks`: a majority has little room left. Writes are turned away with a word, nobody ends, and all goes
//! on when there is room again. `full-disk`: something takes one replica's disk to the last byte, while others
//! keep it busy. It cannot write any more what it would have to acknowledge, so it may end; the others go on,
//! and it comes back when there is room.

use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use rand::seq::SliceRandom;
use tokio::time::Instant;

use super::{Dice, Fault, Injected, anyone, say};
use crate::Failure;
use crate::cluster::{Cluster, START_PATIENCE};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Degree {
    Short,
    Full,
}

pub(super) struct FullDisk {
    degree: Degree,
    numbers: Vec<usize>,
    /// Length of the first one's log before.
    logged: u64,
}

/// What is left on a disk that is short. A store keeps more than this for itself.
const LEFT: u64 = 96 << 20;
/// What a replica had set aside before is used up by writes of this size, for this long.
const LARGE_BYTES: usize = 700_000;
const PRESS: Duration = Duration::from_secs(15);
/// Writes until the last of several replicas has seen how little is left.
const SMALL_WRITES: usize = 100;
const SMALL_PAUSE: Duration = Duration::from_millis(100);
/// Refused writes after which it is no use to try more.
const ENOUGH: usize = 5;
const PATIENCE: Duration = Duration::from_secs(3);

impl FullDisk {
    pub(super) fn new(degree: Degree) -> Self {
        Self { degree, numbers: Vec::new(), logged: 0 }
    }

    fn left(&self) -> u64 {
        match self.degree {
            Degree::Short => LEFT,
            Degree::Full => 0,
        }
    }

    /// Takes all space but that again: a replica gives some back now and then.
    async fn fill(&self, cluster: &Cluster) -> Result<(), Failure> {
        for number in &self.numbers {
            let (replica, left) = (cluster.replica(*number), self.left());
            tokio::task::spawn_blocking(move || replica.disk.fill(left)).await??;
        }
        Ok(())
    }
}

#[async_trait]
impl Fault for FullDisk {
    fn name(&self) -> &'static str {
        match self.degree {
            Degree::Short => "short-disks",
            Degree::Full => "full-disk",
        }
    }

    async fn lacks(&self, cluster: &Cluster) -> Option<String> {
        cluster.replicas().iter().find_map(|replica| replica.disk.plain.clone())
    }

    fn hold(&self) -> Duration {
        Duration::from_secs(6)
    }

    async fn inject(&mut self, cluster: &Cluster, dice: &mut Dice) -> Result<Injected, Failure> {
        let what = match self.degree {
            Degree::Short => {
                self.numbers = cluster.replicas().iter().map(|replica| replica.number).collect();
                self.numbers.shuffle(dice);
                self.numbers.truncate(self.numbers.len() / 2 + 1);
                format!("{} MiB are left to {}", LEFT >> 20, say(&self.numbers))
            }
            Degree::Full => {
                let (number, role) = anyone(cluster, dice).await?;
                self.numbers = vec![number];
                format!("replica {number} ({role})")
            }
        };
        self.logged = std::fs::metadata(cluster.log(self.numbers[0])).map_or(0, |log| log.len());
        let at = Instant::now();
        self.fill(cluster).await?;
        Ok(Injected { what, at, leader_lost: None })
    }

    async fn control(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        match self.degree {
            Degree::Short => self.is_turned_away(cluster).await,
            Degree::Full => self.is_noticed(cluster).await,
        }
    }

    async fn heal(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        for number in std::mem::take(&mut self.numbers) {
            let replica = cluster.replica(number);
            replica.disk.free()?;
            if self.degree == Degree::Full && replica.ended_by_itself().await?.is_some() {
                cluster.restart(number, Vec::new()).await?;
            }
        }
        // A store looks at its disk now and then.
        let deadline = Instant::now() + START_PATIENCE;
        while let Some(why) = write(cluster, 0, 1).await? {
            if Instant::now() > deadline {
                return Err(format!("writes are still turned away: {why}").into());
            }
            tokio::time::sleep(SMALL_PAUSE).await;
        }
        Ok(())
    }
}

impl FullDisk {
    /// Writes are refused for want of space, whichever replica is asked.
    async fn is_turned_away(&self, cluster: &Cluster) -> Result<(), Failure> {
        let (mut refused, mut other) = (0, None);
        for number in 0..SMALL_WRITES {
            self.fill(cluster).await?;
            match write(cluster, number, 1).await? {
                Some(why) if says_full(&why) => refused += 1,
                answer => other = Some(answer),
            }
            if refused >= ENOUGH {
                return Ok(());
            }
            tokio::time::sleep(SMALL_PAUSE).await;
        }
        Err(format!("only {refused} writes were turned away; the last other answer is {other:?}").into())
    }

    /// Nothing can be written there any more, and the replica found that out: it says so, to clients or in its
    /// log.
    async fn is_noticed(&self, cluster: &Cluster) -> Result<(), Failure> {
        let (mut refused, mut written, mut other) = (0, 0, None);
        let deadline = Instant::now() + PRESS;
        for number in 0.. {
            self.fill(cluster).await?;
            if !cluster.replica(self.numbers[0]).disk.is_full() {
                return Err("there is still space".into());
            }
            match write(cluster, number, LARGE_BYTES).await? {
                Some(why) if says_full(&why) => refused += 1,
                Some(why) => other = Some(why),
                None => written += 1,
            }
            let gone = cluster.replica(self.numbers[0]).state().await.is_err();
            if refused >= ENOUGH || gone || Instant::now() > deadline {
                break;
            }
        }
        let log = std::fs::read(cluster.log(self.numbers[0]))?;
        let since = log.get(usize::try_from(self.logged)?..).unwrap_or_default();
        match refused > 0 || (written > 0 && says_full(&String::from_utf8_lossy(since))) {
            true => Ok(()),
            false => Err(format!("nobody notices it, after {written} large writes ({other:?})").into()),
        }
    }
}

/// Wherever it is said: in an answer, in a log.
fn says_full(text: &str) -> bool {
    let text = text.to_lowercase();
    ["no space", "nospace", "disk is nearly full", "storagefull", "short=true"].iter().any(|word| text.contains(word))
}

/// Writes an object of this size through one replica or another; why it failed, when it did. Not a part of any
/// workload, and of a resource that no workload watches.
async fn write(cluster: &Cluster, number: usize, bytes: usize) -> Result<Option<String>, Failure> {
    let clients = cluster.clients().await?;
    let api: Api<Secret> = Api::namespaced(clients[number % clients.len()].clone(), "default");
    let name = "chaos-large";
    let object = Secret {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some([("value".to_owned(), ByteString(vec![b'a' + (number % 26) as u8; bytes]))].into()),
        ..Secret::default()
    };
    let parameters = PostParams::default();
    let written = tokio::time::timeout(PATIENCE, async {
        match api.replace(name, &parameters, &object).await {
            Err(kube::Error::Api(status)) if status.code == 404 => api.create(&parameters, &object).await,
            other => other,
        }
    });
    let answer = written.await.map_err(|_| "no answer".to_owned());
    Ok(answer.and_then(|answer| answer.map_err(|error| error.to_string())).err())
}
