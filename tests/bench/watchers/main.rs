//! `watch-load`: many clients watch many pods that change all the time. What is asked: is every change delivered to every
//! one of them, once and in order, how soon, and what does it cost in processor time and memory.
//!
//! The cluster is one that `kontiki up` or `upstream.sh` runs: a directory with a kubeconfig for each replica and the
//! process ids.

mod cluster;
mod marks;
mod pods;
mod watchers;

use std::convert::Infallible;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use system_tests::figures::{quantile, short};

use crate::cluster::{Cluster, Cost};
use crate::watchers::Watched;

/// Many clients watch many pods that change all the time
#[derive(Parser)]
#[command(name = "watch-load", version, about)]
struct Args {
    /// Of the cluster: with admin-1.kubeconfig and so on, and pids
    #[arg(long)]
    dir: PathBuf,
    /// Pods that are there, of 5 KB
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    pods: u32,
    /// Clients that watch all of them, each on a connection of its own
    #[arg(long, default_value_t = 500)]
    watchers: usize,
    /// Changes a second: times the watchers these are the events that are delivered
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    changes: u64,
    /// How long pods are changed
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Watch in protobuf, as client-go does, not in JSON
    #[arg(long)]
    protobuf: bool,
    /// What the line of figures is called
    #[arg(long, default_value = "kontiki")]
    name: String,
}

/// What can go wrong: a sentence for people.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// After the last change: what is still on its way arrives.
const LAST_ARRIVES: Duration = Duration::from_secs(20);
const ARRIVED_PAUSE: Duration = Duration::from_millis(100);
const PROGRESS: Duration = Duration::from_secs(60);

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("watch-load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything arrived once and in order.
async fn run(args: Args) -> Result<bool, Failure> {
    let cluster = Arc::new(Cluster::open(&args.dir)?);
    let (began, pods) = (Instant::now(), usize::try_from(args.pods)?);
    let revision = pods::fill(&cluster, pods).await?;
    eprintln!("{}: {} pods after {:.0} s", args.name, args.pods, began.elapsed().as_secs_f64());
    let watched = Watched::begin(&cluster, pods, args.watchers, &revision, args.protobuf).await?;
    eprintln!("{}: {} watchers are connected", args.name, args.watchers);
    let (started, before) = (Instant::now(), cluster.cost()?);
    let time = Duration::from_secs_f64(args.minutes * 60.0);
    let changing = pods::change(cluster.clone(), pods, args.changes, time, watched.clock());
    let changed = tokio::select! {
        changed = changing => changed?,
        never = tell(&args.name, &cluster, &watched) => match never? {},
    };
    let deadline = Instant::now() + LAST_ARRIVES;
    while watched.events() < changed.written.len() * args.watchers && Instant::now() < deadline {
        tokio::time::sleep(ARRIVED_PAUSE).await;
    }
    let cost = cluster.cost()?.since(&before);
    let arrived = watched.end(&changed.written);
    println!("{}", line(&args.name, &changed, &arrived, &cost, started.elapsed()));
    Ok(arrived.is_whole() && changed.failed == 0)
}

async fn tell(name: &str, cluster: &Cluster, watched: &Watched) -> Result<Infallible, Failure> {
    loop {
        tokio::time::sleep(PROGRESS).await;
        let resident = cluster.cost()?.resident_mib;
        eprintln!("{name}: {} events, {resident} MiB resident", watched.events());
    }
}

fn line(name: &str, changed: &pods::Changed, arrived: &watchers::Arrived, cost: &Cost, took: Duration) -> String {
    let millis = |micros: u32| short(f64::from(micros) / 1000.0);
    let of = |sorted: &[u32], wanted| millis(quantile(sorted, wanted));
    let events = arrived.took.len();
    let per_event = cost.processor.as_secs_f64() * 1e6 / events.max(1) as f64;
    format!(
        "{name}: {} changes ({} failed), {events} events in {:.0} s: {} lost, {} twice or late, {} watches ended\n\
         {name}: delivered after p50 {} p99 {} most {} ms; written after p50 {} p99 {} ms\n\
         {name}: {} us of processor time an event ({:.0} % of a core), {} MiB resident",
        changed.written.len(),
        changed.failed,
        took.as_secs_f64(),
        arrived.lost,
        arrived.disordered,
        arrived.ended,
        of(&arrived.took, 0.5),
        of(&arrived.took, 0.99),
        of(&arrived.took, 1.0),
        of(&changed.took, 0.5),
        of(&changed.took, 0.99),
        short(per_event),
        cost.processor.as_secs_f64() / took.as_secs_f64() * 100.0,
        cost.resident_mib,
    )
}
