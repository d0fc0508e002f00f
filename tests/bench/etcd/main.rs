//! `etcd-load`: the same load on Kontiki's store and on etcd, in turns, over etcd's API.
//!
//! Three replicas each, mutual TLS, one disk, and all of it beside the clients on one machine: what counts is the
//! ratio, and the load average that is printed with it. Bounded in time: every call has a limit, and a run that gets
//! no answers says so.

mod cost;
mod fleet;
mod large;
mod load;
mod report;
mod servers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::load::{Load, Work};
use crate::report::{Report, Run};
use crate::servers::Server;

/// Between two runs: what the one before left to do is done.
const PAUSE: Duration = Duration::from_millis(500);

/// The same load on Kontiki's store and on etcd, in turns
#[derive(Parser)]
#[command(name = "etcd-load", version, about)]
struct Args {
    /// How long one run is measured
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How often each run is made on each side; medians are compared
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// How many clients, each with one call at a time; for watches: how many watch
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100, 1000])]
    clients: Vec<usize>,
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Work::Put, Work::Get, Work::Range, Work::Watch])]
    work: Vec<Work>,
    /// Instead of that: so many keys in each store (a million is 1000000), and what they cost in memory, on disk and
    /// at a restart; then puts by 100 clients in peace, beside a compaction, beside a snapshot, and while a replica
    /// that stood still catches up
    #[arg(long, value_parser = clap::value_parser!(u64).range(10_000..))]
    keys: Option<u64>,
    /// etcd's program; without it only Kontiki is measured
    #[arg(long, env = "ETCD")]
    etcd: Option<PathBuf>,
    /// Where both keep their data while it runs: on a disk, not in memory
    #[arg(long)]
    dir: PathBuf,
}

/// What can go wrong: a sentence for people.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("etcd-load: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Failure> {
    std::fs::create_dir_all(&args.dir)?;
    let mut servers = vec![servers::kontiki(&args.dir)?];
    if let Some(etcd) = &args.etcd {
        servers.push(servers::etcd(etcd, &args.dir)?);
    }
    println!("{}", report::machine(&servers));
    if let Some(keys) = args.keys {
        return large::run(servers, keys, args.rounds, Duration::from_secs_f64(args.seconds)).await;
    }
    for server in &servers {
        load::fill(server).await.map_err(|error| format!("filling {}: {error}", server.name))?;
    }
    let mut report = Report::default();
    for load in loads(&args) {
        for _ in 0..args.rounds {
            for server in &servers {
                let run = one(server, &load).await.map_err(|error| format!("{}, {load}: {error}", server.name))?;
                println!("{}", report::line(server.name, &load, &run));
                report.add(server.name, &load, run);
            }
        }
    }
    println!("\n{}", report.table());
    Ok(())
}

/// Ranges are of a thousand keys: a thousand clients at once would ask for a million.
fn loads(args: &Args) -> Vec<Load> {
    let time = Duration::from_secs_f64(args.seconds);
    let all = args.work.iter().flat_map(|work| args.clients.iter().map(move |clients| (*work, *clients)));
    let sensible = all.filter(|(work, clients)| *work != Work::Range || *clients <= load::MOST_RANGING);
    sensible.map(|(work, clients)| Load { work, clients, time }).collect()
}

async fn one(server: &Server, load: &Load) -> Result<Run, Failure> {
    tokio::time::sleep(PAUSE).await;
    let fleet = fleet::Fleet::connect(server, load.clients).await?;
    let before = cost::sample(server)?;
    let tally = load::run(&fleet, load).await?;
    let after = cost::sample(server)?;
    Ok(Run { tally, cost: after.since(&before), load_average: cost::load_average()? })
}
