//! A wall clock that jumps by an hour, forth and back. Nothing that is decided may hang on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use rand::seq::IndexedRandom;
use tokio::time::Instant;

use super::{Dice, Fault, Injected};
use crate::Failure;
use crate::cluster::{Cluster, START_PATIENCE};

/// Debian's.
pub const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
/// Seconds that the clock is wrong by, one after the other.
const JUMPS: [i64; 4] = [3_600, -240, -3_600, 7_200];
/// Until the library has read its file again.
const NOTICED: Duration = Duration::from_millis(1_300);

#[derive(Default)]
pub struct Clock {
    number: usize,
    offset: i64,
}

fn file(cluster: &Cluster, number: usize) -> PathBuf {
    cluster.replica(number).disk.mount().join("clock")
}

fn set(file: &Path, offset: i64) -> Result<(), Failure> {
    Ok(std::fs::write(file, format!("{offset:+}\n"))?)
}

#[async_trait]
impl Fault for Clock {
    fn name(&self) -> &'static str {
        "clock-jump"
    }

    async fn lacks(&self, _cluster: &Cluster) -> Option<String> {
        (!Path::new(LIBRARY).is_file()).then(|| "libfaketime is not installed".to_owned())
    }

    fn hold(&self) -> Duration {
        Duration::from_secs(4)
    }

    async fn inject(&mut self, cluster: &Cluster, dice: &mut Dice) -> Result<Injected, Failure> {
        let numbers: Vec<usize> = cluster.replicas().iter().map(|replica| replica.number).collect();
        self.number = *numbers.choose(dice).ok_or("there is no replica")?;
        self.offset = *JUMPS.choose(dice).unwrap_or(&3_600);
        let clock = file(cluster, self.number);
        set(&clock, 0)?;
        let environment = [
            ("LD_PRELOAD", LIBRARY.to_owned()),
            ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            // Only the wall clock jumps: the kernel's other clocks never do.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        cluster.stop(self.number).await?;
        cluster.restart(self.number, environment).await?;
        cluster.level(cluster.replicas().len(), START_PATIENCE).await?;
        let at = Instant::now();
        set(&clock, self.offset)?;
        Ok(Injected { what: format!("replica {} by {} s", self.number, self.offset), at, leader_lost: None })
    }

    /// Objects made through this replica and through another have times of creation that far apart.
    async fn control(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        tokio::time::sleep(NOTICED).await;
        let replicas = cluster.replicas();
        let other = replicas.iter().find(|replica| replica.number != self.number).ok_or("there is no other replica")?;
        let right = created(other.client().await?).await?;
        let wrong = created(cluster.replica(self.number).client().await?).await?;
        let apart = wrong - right;
        match (apart - self.offset).abs() < 30 {
            true => Ok(()),
            false => Err(format!("the clock is wrong by {apart} s, it should be {} s", self.offset).into()),
        }
    }

    async fn heal(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        set(&file(cluster, self.number), 0)?;
        tokio::time::sleep(NOTICED).await;
        cluster.stop(self.number).await?;
        cluster.restart(self.number, Vec::new()).await
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
