//! How long nothing answers: reads, consistent ones, from whichever replica lives.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use tokio_util::sync::CancellationToken;

/// One probe each.
const EVERY: Duration = Duration::from_millis(20);
/// A probe that takes longer failed; the next replica is asked.
const PATIENCE: Duration = Duration::from_millis(400);

/// The longest time between two consistent reads that succeeded on any replica, and when it began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outage {
    pub longest: Duration,
    pub began: Duration,
    pub probes: usize,
}

/// Probes until stopped. The replicas are asked in turn, the one that answered last first.
pub async fn run(clients: Vec<kube::Client>, started: Instant, stop: CancellationToken) -> Outage {
    let mut outage = Outage::default();
    let mut last = started.elapsed();
    let mut replica = 0;
    while !stop.is_cancelled() {
        let api: Api<Namespace> = Api::all(clients[replica % clients.len()].clone());
        match tokio::time::timeout(PATIENCE, api.get("default")).await {
            Ok(Ok(_)) => {
                let now = started.elapsed();
                if now - last > outage.longest {
                    outage.longest = now - last;
                    outage.began = last;
                }
                last = now;
                outage.probes += 1;
                tokio::time::sleep(EVERY).await;
            }
            _ => {
                replica += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    outage
}
