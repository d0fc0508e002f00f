//! How fast the store is: three replicas in one process, real disks, real TLS.
//!
//! `cargo run --release -p store-node --features test-support --example store_bench [SECONDS [REPLICAS]]`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use store_api::{ReadAt, Store, Txn};
use store_node::RaftStore;
use store_node::test_support::Cluster;

const VALUE_BYTES: usize = 1_000;

fn key(n: u64) -> Bytes {
    Bytes::from(format!("/registry/pods/default/pod-{}", n % 10_000))
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn report(what: &str, mut latencies: Vec<Duration>, elapsed: Duration, cpu_before: Duration) {
    latencies.sort();
    let rate = latencies.len() as f64 / elapsed.as_secs_f64();
    let cpu = cpu_time().saturating_sub(cpu_before).as_secs_f64() * 1e6 / latencies.len().max(1) as f64;
    println!(
        "{what:<44} {rate:>9.0}/s   p50 {:>9.3?}   p99 {:>9.3?}   max {:>9.3?}   processor {cpu:>5.0} us each",
        percentile(&latencies, 50),
        percentile(&latencies, 99),
        latencies.last().copied().unwrap_or_default()
    );
}

async fn write(store: &RaftStore, n: u64) {
    store.txn(Txn::put(key(n), vec![b'x'; VALUE_BYTES])).await.expect("written");
}

async fn sequential(what: &str, store: &RaftStore, time: Duration, read: bool) {
    let (started, cpu) = (Instant::now(), cpu_time());
    let mut latencies = Vec::new();
    while started.elapsed() < time {
        let one = Instant::now();
        match read {
            true => drop(store.get(&key(latencies.len() as u64), ReadAt::Linearizable).await.expect("read")),
            false => write(store, latencies.len() as u64).await,
        }
        latencies.push(one.elapsed());
    }
    report(what, latencies, started.elapsed(), cpu);
}

async fn concurrent(what: &str, store: Arc<RaftStore>, clients: u64, time: Duration, read: bool) {
    let (started, cpu) = (Instant::now(), cpu_time());
    let next = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let (store, next) = (store.clone(), next.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while started.elapsed() < time {
                    let (one, n) = (Instant::now(), next.fetch_add(1, Ordering::Relaxed));
                    match read {
                        true => drop(store.get(&key(n), ReadAt::Linearizable).await.expect("read")),
                        false => write(&store, n).await,
                    }
                    latencies.push(one.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("ran"));
    }
    report(&format!("{what}, {clients} clients"), latencies, started.elapsed(), cpu);
}

/// Processor time of all threads of this process so far.
fn cpu_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanos = threads.filter_map(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

async fn idle(time: Duration) {
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = cpu_time();
    tokio::time::sleep(time).await;
    let percent = 100.0 * cpu_time().saturating_sub(before).as_secs_f64() / time.as_secs_f64();
    println!("{:<44} {percent:>8.1} % of one processor", "idle");
}

#[tokio::main]
async fn main() {
    let seconds = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(3);
    let time = Duration::from_secs(seconds);
    let only = std::env::args().nth(2).and_then(|arg| arg.parse().ok());
    for replicas in [1, 3].into_iter().filter(|replicas| only.is_none_or(|only: u64| only == *replicas)) {
        println!("{replicas} replica(s), values of {VALUE_BYTES} bytes, {seconds} s each");
        let cluster = Cluster::start(replicas).await;
        let leader = cluster.store(cluster.leader().await);
        idle(time).await;
        sequential("sequential writes", &leader, time, false).await;
        sequential("sequential linearizable reads", &leader, time, true).await;
        for clients in [64, 256, 1_024] {
            concurrent("writes", leader.clone(), clients, time, false).await;
        }
        concurrent("linearizable reads", leader.clone(), 256, time, true).await;
        if replicas > 1 {
            let follower = cluster.store(cluster.follower().await);
            sequential("sequential writes through a follower", &follower, time, false).await;
            sequential("sequential reads on a follower", &follower, time, true).await;
            for clients in [64, 1_024] {
                concurrent("writes through a follower", follower.clone(), clients, time, false).await;
            }
            concurrent("linearizable reads on a follower", follower, 256, time, true).await;
        }
        cluster.converge().await;
    }
}
