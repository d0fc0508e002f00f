//! A wall clock that is wrong: by hours at once, by other hours every moment, or running three times too fast.
//! Nothing that is decided may hang on it.

use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use rand::seq::IndexedRandom;
use tokio::time::Instant;

use super::{Dice, Fault, Injected};
use crate::Failure;
use crate::cluster::{Cluster, START_PATIENCE, clock};

/// Seconds that the clock is wrong by.
const JUMPS: [i64; 4] = [3_600, -3_600, 7_200, -1_800];
/// In a cluster whose certificates are as young as the run: they are valid from five minutes before they were made.
const JUMPS_OF_YOUNG: [i64; 4] = [3_600, -240, 7_200, -120];
/// How often it jumps when it does so all the time. The library reads its file once a second.
const STROBE: Duration = Duration::from_millis(1_100);
const STROBES: usize = 4;
/// How much too fast it runs, and for how long.
const SPEED: i64 = 3;
const DRIFTS: Duration = Duration::from_secs(4);
/// Until the library has read its file again.
const NOTICED: Duration = Duration::from_millis(1_300);
/// Times of creation are in seconds, and a busy machine takes some to make an object.
const TOLERANCE_SECONDS: i64 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Jump,
    Strobe,
    Drift,
}

pub(super) struct Clock {
    manner: Manner,
    number: usize,
    offset: i64,
    jumps: [i64; 4],
    /// Of the same length as [`JUMPS`], from where the strobe begins.
    next: usize,
}

impl Clock {
    pub(super) fn new(manner: Manner) -> Self {
        Self { manner, number: 0, offset: 0, jumps: JUMPS, next: 0 }
    }
}

#[async_trait]
impl Fault for Clock {
    fn name(&self) -> &'static str {
        match self.manner {
            Manner::Jump => "clock-jump",
            Manner::Strobe => "clock-strobe",
            Manner::Drift => "clock-drift",
        }
    }

    async fn lacks(&self, _cluster: &Cluster) -> Option<String> {
        (!clock::can_be_had()).then(|| "there is no C compiler".to_owned())
    }

    fn hold(&self) -> Duration {
        Duration::from_secs(4)
    }

    async fn inject(&mut self, cluster: &Cluster, dice: &mut Dice) -> Result<Injected, Failure> {
        let numbers: Vec<usize> = cluster.replicas().iter().map(|replica| replica.number).collect();
        self.number = *numbers.choose(dice).ok_or("there is no replica")?;
        self.jumps = if cluster.is_aged() { JUMPS } else { JUMPS_OF_YOUNG };
        self.next = rand::Rng::random_range(dice, 0..self.jumps.len());
        self.offset = self.jumps[self.next];
        let replica = cluster.replica(self.number);
        let environment = clock::environment(&replica, 0).await?;
        cluster.stop(self.number).await?;
        cluster.restart(self.number, environment).await?;
        cluster.level(cluster.replicas().len(), START_PATIENCE).await?;
        let at = Instant::now();
        let what = match self.manner {
            Manner::Drift => format!("replica {} runs {SPEED} times too fast", self.number),
            Manner::Jump => format!("replica {} by {} s", self.number, self.offset),
            Manner::Strobe => format!("replica {} by {} s, and then others", self.number, self.offset),
        };
        match self.manner {
            Manner::Drift => clock::set(&replica, 0, SPEED)?,
            Manner::Jump | Manner::Strobe => clock::set(&replica, self.offset, 1)?,
        }
        Ok(Injected { what, at, leader_lost: None })
    }

    async fn control(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        tokio::time::sleep(NOTICED).await;
        match self.manner {
            Manner::Jump => self.is_wrong_by(cluster, self.offset).await,
            Manner::Strobe => self.strobe(cluster).await,
            Manner::Drift => self.drifts(cluster).await,
        }
    }

    async fn heal(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        clock::set(&cluster.replica(self.number), 0, 1)?;
        tokio::time::sleep(NOTICED).await;
        cluster.stop(self.number).await?;
        cluster.restart(self.number, Vec::new()).await
    }
}

impl Clock {
    /// Objects made through this replica and through another have times of creation that far apart.
    async fn is_wrong_by(&self, cluster: &Cluster, offset: i64) -> Result<(), Failure> {
        let apart = self.apart(cluster).await?;
        match (apart - offset).abs() < TOLERANCE_SECONDS {
            true => Ok(()),
            false => Err(format!("the clock is wrong by {apart} s, it should be {offset} s").into()),
        }
    }

    async fn strobe(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        self.is_wrong_by(cluster, self.offset).await?;
        for _ in 0..STROBES {
            self.next = (self.next + 1) % self.jumps.len();
            clock::set(&cluster.replica(self.number), self.jumps[self.next], 1)?;
            tokio::time::sleep(STROBE).await;
        }
        tokio::time::sleep(NOTICED).await;
        self.is_wrong_by(cluster, self.jumps[self.next]).await
    }

    async fn drifts(&self, cluster: &Cluster) -> Result<(), Failure> {
        let before = self.apart(cluster).await?;
        tokio::time::sleep(DRIFTS).await;
        let more = self.apart(cluster).await? - before;
        let least = i64::try_from(DRIFTS.as_secs())? * (SPEED - 1) / 2;
        match more >= least {
            true => Ok(()),
            false => Err(format!("the clock went wrong by {more} s, it should be {least} s at least").into()),
        }
    }

    /// Seconds from a creation through another replica to one through this.
    async fn apart(&self, cluster: &Cluster) -> Result<i64, Failure> {
        let replicas = cluster.replicas();
        let other = replicas.iter().find(|replica| replica.number != self.number).ok_or("there is no other replica")?;
        let right = created(other.client().await?).await?;
        Ok(created(cluster.replica(self.number).client().await?).await? - right)
    }
}

/// The second in which a new object was created, as the replica has it.
async fn created(client: kube::Client) -> Result<i64, Failure> {
    let api: Api<ConfigMap> = Api::namespaced(client, "default");
    let metadata = ObjectMeta { generate_name: Some("chaos-clock-".to_owned()), ..ObjectMeta::default() };
    let object = ConfigMap { metadata, ..ConfigMap::default() };
    let patience = Duration::from_secs(5);
    let made = tokio::time::timeout(patience, api.create(&PostParams::default(), &object)).await??;
    // What cannot be deleted now stays: nobody looks at it.
    let name = made.metadata.name.unwrap_or_default();
    let _ = tokio::time::timeout(patience, api.delete(&name, &DeleteParams::default())).await;
    Ok(made.metadata.creation_timestamp.ok_or("an object without a time of creation")?.0.as_second())
}
