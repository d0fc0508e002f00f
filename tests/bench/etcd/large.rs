//! A store of very many keys: what it costs, how long a restart takes, and whether writes go on as fast while a
//! replica has other things to do.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kontiki_proto::etcd as pb;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pb::kv_client::KvClient;
use pb::maintenance_client::MaintenanceClient;
use system_tests::figures::{median, quantile, short};
use tokio::time::timeout;

use crate::fleet::{self, Fleet};
use crate::load::{self, Load, Tally, Work};
use crate::servers::Server;
use crate::{Failure, cost};

const CLIENTS: usize = 100;
/// After the keys are written: what is done behind the writers' back is done.
const SETTLE: Duration = Duration::from_secs(5);
/// Until a store that was killed answers again.
const RESTART_PATIENCE: Duration = Duration::from_secs(120);
const ASK_PAUSE: Duration = Duration::from_millis(10);
/// One question to a store that starts.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a replica stands still, in runs: what it misses is more than a moment's.
const STANDS_STILL_RUNS: u32 = 2;

/// What goes on beside the puts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nothing,
    Compaction,
    Snapshot,
    CatchUp,
}

const ALL: [Beside; 4] = [Beside::Nothing, Beside::Compaction, Beside::Snapshot, Beside::CatchUp];

impl Beside {
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "in peace",
            Self::Compaction => "beside a compaction",
            Self::Snapshot => "beside a snapshot",
            Self::CatchUp => "while one catches up",
        }
    }
}

pub(crate) async fn run(mut servers: Vec<Server>, keys: u64, rounds: u16, time: Duration) -> Result<(), Failure> {
    for server in &servers {
        println!("{}", filled(server, keys).await.map_err(named(server))?);
    }
    for beside in ALL {
        for server in &servers {
            println!("{}", puts(server, beside, rounds, time).await.map_err(named(server))?);
        }
    }
    for server in &mut servers {
        let took = restart(server).await.map_err(named(server))?;
        println!("{:8} answers on every replica {} s after a kill -9 of all", server.name, short(took.as_secs_f64()));
    }
    Ok(())
}

fn named(server: &Server) -> impl FnOnce(Failure) -> Failure {
    let name = server.name;
    move |error| format!("{name}: {error}").into()
}

async fn filled(server: &Server, keys: u64) -> Result<String, Failure> {
    let (before, started) = (cost::sample(server)?, Instant::now());
    load::fill_many(server, keys).await?;
    let took = started.elapsed();
    tokio::time::sleep(SETTLE).await;
    let cost = cost::sample(server)?.since(&before);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    Ok(format!(
        "{:8} {keys} keys in {} s: {} MiB resident, {} MiB on disk, {} MiB written, {} s of processor time",
        server.name,
        short(took.as_secs_f64()),
        short(mib(cost.resident_bytes)),
        short(mib(disk_bytes(&server.dir)?)),
        short(mib(cost.written_bytes)),
        short(cost.processor.as_secs_f64()),
    ))
}

/// Of all files below.
fn disk_bytes(dir: &Path) -> Result<u64, Failure> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        // A file may go while this looks.
        let entry = entry?;
        let Ok(data) = entry.metadata() else { continue };
        bytes += if data.is_dir() { disk_bytes(&entry.path())? } else { data.blocks() * 512 };
    }
    Ok(bytes)
}

/// Medians of the rounds.
async fn puts(server: &Server, beside: Beside, rounds: u16, time: Duration) -> Result<String, Failure> {
    let (mut rates, mut slow, mut failed) = (Vec::new(), Vec::new(), 0);
    for _ in 0..rounds {
        let mut tally = round(server, beside, time).await?;
        tally.latencies.sort_unstable();
        rates.push(tally.latencies.len() as f64 / tally.elapsed.as_secs_f64());
        slow.push(f64::from(quantile(&tally.latencies, 0.99)) / 1000.0);
        failed += tally.failed;
    }
    let failed = if failed > 0 { format!(", {failed} FAILED") } else { String::new() };
    let resident = cost::sample(server)?.resident_bytes / (1 << 20);
    let (name, rate, slow) = (server.name, short(median(rates)), short(median(slow)));
    Ok(format!("{name:8} {rate:>7} puts/s {:20} p99 {slow} ms, {resident} MiB{failed}", beside.name()))
}

async fn round(server: &Server, beside: Beside, time: Duration) -> Result<Tally, Failure> {
    tokio::time::sleep(crate::PAUSE).await;
    let url = server.endpoints.first().ok_or("no endpoints")?;
    let load = Load { work: Work::Put, clients: CLIENTS, time };
    match beside {
        Beside::Nothing => load::run(&Fleet::connect(server, CLIENTS).await?, &load).await,
        Beside::Compaction => {
            let fleet = Fleet::connect(server, CLIENTS).await?;
            let (tally, compacted) = tokio::join!(load::run(&fleet, &load), compact(server, url));
            compacted?;
            tally
        }
        Beside::Snapshot => {
            let fleet = Fleet::connect(server, CLIENTS).await?;
            let (tally, read) = tokio::join!(load::run(&fleet, &load), snapshot(server, url));
            read?;
            tally
        }
        Beside::CatchUp => catch_up(server, &load).await,
    }
}

/// Everything that is not the newest goes.
async fn compact(server: &Server, url: &str) -> Result<(), Failure> {
    let mut kv = KvClient::new(fleet::connect(server, url).await?);
    let revision = revision(&mut kv).await?;
    kv.compact(pb::CompactionRequest { revision, physical: true }).await?;
    Ok(())
}

/// Read to its end, and thrown away.
async fn snapshot(server: &Server, url: &str) -> Result<(), Failure> {
    let mut maintenance = MaintenanceClient::new(fleet::connect(server, url).await?);
    let mut stream = maintenance.snapshot(pb::SnapshotRequest {}).await?.into_inner();
    let mut bytes = 0;
    while let Some(part) = stream.message().await? {
        bytes += part.blob.len();
    }
    if bytes == 0 { Err("an empty snapshot".into()) } else { Ok(()) }
}

/// A follower is stopped for some time under load, and goes on when the measured time begins.
async fn catch_up(server: &Server, load: &Load) -> Result<Tally, Failure> {
    let follower = follower(server).await?;
    let pid = server.pids.get(follower).ok_or("no such replica")?;
    let others = server.endpoints.iter().enumerate().filter(|(at, _)| *at != follower).map(|(_, url)| url);
    let fleet = Fleet::connect_to(server, others, CLIENTS).await?;
    let stopped = Stopped::stop(Pid::from_raw(i32::try_from(*pid)?))?;
    load::run(&fleet, &Load { time: load.time * STANDS_STILL_RUNS, ..*load }).await?;
    drop(stopped);
    load::run(&fleet, load).await
}

/// A process that stands still until this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn stop(pid: Pid) -> Result<Self, Failure> {
        kill(pid, Signal::SIGSTOP)?;
        Ok(Self(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Err(error) = kill(self.0, Signal::SIGCONT) {
            eprintln!("etcd-load: process {} cannot go on: {error}", self.0);
        }
    }
}

/// The first replica that does not lead.
async fn follower(server: &Server) -> Result<usize, Failure> {
    for (at, url) in server.endpoints.iter().enumerate() {
        let mut maintenance = MaintenanceClient::new(fleet::connect(server, url).await?);
        let status = maintenance.status(pb::StatusRequest {}).await?.into_inner();
        if status.header.is_some_and(|header| header.member_id != status.leader) {
            return Ok(at);
        }
    }
    Err("every replica leads".into())
}

async fn revision(kv: &mut KvClient<tonic::transport::Channel>) -> Result<i64, Failure> {
    let one = pb::RangeRequest { key: Bytes::from_static(b"a"), ..Default::default() };
    Ok(kv.range(one).await?.into_inner().header.ok_or("an answer without a header")?.revision)
}

/// From kill -9 of all until every replica has answered a linearizable read.
async fn restart(server: &mut Server) -> Result<Duration, Failure> {
    let started = Instant::now();
    server.start_again()?;
    for url in &server.endpoints {
        while !timeout(ASK_TIMEOUT, ask(server, url)).await.is_ok_and(|answer| answer.is_ok()) {
            if started.elapsed() > RESTART_PATIENCE {
                return Err(format!("{url} does not answer {} s after a restart", RESTART_PATIENCE.as_secs()).into());
            }
            tokio::time::sleep(ASK_PAUSE).await;
        }
    }
    Ok(started.elapsed())
}

async fn ask(server: &Server, url: &str) -> Result<i64, Failure> {
    revision(&mut KvClient::new(fleet::connect(server, url).await?)).await
}
