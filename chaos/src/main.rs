//! `chaos run`: faults against a cluster of real processes, and one table of what came of it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use chaos::Failure;
use chaos::cluster::Choice;
use chaos::round::Plan;
use chaos::run::{Wanted, run};
use chaos::sim::{Seeds, simulate};
use clap::{Args, Parser, Subcommand};

/// Break a cluster in every way there is, and check that it keeps its promises.
#[derive(Parser)]
#[command(name = "chaos", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(RunArgs),
    Sim(SimArgs),
    /// Name all faults
    Faults,
}

/// Run faults in turn against real processes, for some minutes; needs root
#[derive(Args)]
struct RunArgs {
    /// How long; the round under way is finished
    #[arg(long, default_value_t = 15.0)]
    minutes: f64,
    /// Everything random comes from it; another one each time unless given
    #[arg(long)]
    seed: Option<u64>,
    /// Only these faults
    #[arg(long, value_delimiter = ',')]
    faults: Vec<String>,
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// What replicas run in
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    within: Choice,
    /// Strikes of a fault in one round; the first time around most faults strike once
    #[arg(long, default_value_t = 3)]
    strikes: usize,
    /// How hard clients work; 1 is some 300 calls a second
    #[arg(long, default_value_t = 1.0)]
    load: f64,
    /// The program under test; beside this one unless given
    #[arg(long, env = "KONTIKI_BIN")]
    kontiki: Option<PathBuf>,
    /// Where histories and logs of a run that fails are kept
    #[arg(long, default_value = "target/chaos")]
    out: PathBuf,
}

/// Simulate whole clusters in one thread, by seed: virtual time, wire and disks
#[derive(Args)]
struct SimArgs {
    /// How many seeds, or "forever", as without a number; stops at the first that fails. 200 unless given, and one when
    /// `--seed` is
    #[arg(long, num_args = 0..=1, default_missing_value = "forever")]
    seeds: Option<Seeds>,
    /// The first seed; another one each time unless given
    #[arg(long)]
    seed: Option<u64>,
    /// Print everything that happens
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => chaos(args),
        Command::Sim(args) => sim(args),
        Command::Faults => {
            chaos::faults::all().iter().for_each(|fault| println!("{}", fault.name()));
            Ok(true)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::FAILURE
        }
    }
}

fn chaos(args: RunArgs) -> Result<bool, Failure> {
    let seed = args.seed.unwrap_or_else(new_seed);
    let beside = || Some(std::env::current_exe().ok()?.with_file_name("kontiki"));
    let kontiki = args.kontiki.or_else(beside).filter(|path| path.is_file());
    let kontiki = kontiki.ok_or("the kontiki binary is not there: build it, or name it with --kontiki")?;
    let dir = args.out.join(format!("run-{seed}"));
    let wanted = Wanted {
        kontiki,
        dir: dir.clone(),
        time: Duration::from_secs_f64(args.minutes * 60.0),
        seed,
        replicas: args.replicas,
        choice: args.within,
        faults: args.faults,
        plan: Plan { strikes: args.strikes, load: args.load, cycles: None },
    };
    let Some(outcome) = run(wanted)? else { return Ok(true) };
    println!("\n{}", outcome.report());
    let good = outcome.is_good();
    match good {
        true => std::fs::remove_dir_all(&dir)?,
        false => println!("seed {seed}; histories and logs are in {}", dir.display()),
    }
    Ok(good)
}

fn sim(args: SimArgs) -> Result<bool, Failure> {
    let usual = if args.seed.is_some() { 1 } else { 200 };
    simulate(args.seed.unwrap_or_else(new_seed), args.seeds.unwrap_or(Seeds::Some(usual)), args.trace)
}

#[expect(clippy::disallowed_methods, reason = "a shell: the seed is printed, everything else comes from it")]
fn new_seed() -> u64 {
    rand::random::<u32>().into()
}
