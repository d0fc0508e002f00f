//! A whole run: one cluster, round after round, until the time is over.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::SeedableRng;
use rand::seq::SliceRandom;

use crate::Failure;
use crate::cluster::{self, Choice, Cluster, Options, START_PATIENCE, fabric};
use crate::faults::{self, Dice, Fault};
use crate::plant;
use crate::report;
use crate::round::{self, Plan, Round, Turn};

pub struct Wanted {
    pub kontiki: PathBuf,
    /// Histories and logs of a run that failed stay here.
    pub dir: PathBuf,
    pub time: Duration,
    pub seed: u64,
    pub replicas: usize,
    pub choice: Choice,
    /// Only these; all when empty.
    pub faults: Vec<String>,
    pub plan: Plan,
}

/// What a run came to.
pub struct Outcome {
    pub rounds: Vec<Round>,
    pub table: String,
    /// Bugs planted into the last good round that no checker found, and how many were planted.
    pub missed: (Vec<String>, usize),
}

impl Outcome {
    fn new(order: &[&str], rounds: Vec<Round>, skipped: &BTreeMap<&str, String>) -> Self {
        let good = rounds.iter().filter(|round| round.violations.is_empty());
        let missed = good.filter_map(|round| round.history.as_ref()).next_back().map(plant::missed);
        Self { table: report::table(order, &rounds, skipped), missed: missed.unwrap_or_default(), rounds }
    }

    pub fn is_good(&self) -> bool {
        !self.rounds.is_empty() && report::is_good(&self.rounds) && self.missed.0.is_empty()
    }

    /// The table, and whether the checkers can be believed.
    pub fn report(&self) -> String {
        let (missed, planted) = &self.missed;
        let found = planted - missed.len();
        let checkers =
            format!("checkers: {found} of {planted} bugs, planted into the last good round, found by their checker");
        match missed.is_empty() {
            true => format!("{}{checkers}", self.table),
            false => format!("{}{checkers}; NOT FOUND: {}", self.table, missed.join(", ")),
        }
    }
}

/// Runs on threads of its own: they live in another network namespace. `Ok(None)` with a word when this machine
/// cannot do it.
pub fn run(wanted: Wanted) -> Result<Option<Outcome>, Failure> {
    if let Some(why) = fabric::lacks() {
        println!("skipped: {why}");
        return Ok(None);
    }
    cluster::sweep()?;
    let thread = std::thread::spawn(move || -> Result<Outcome, Failure> {
        fabric::enter()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(whole(wanted))
    });
    thread.join().map_err(|_| "the run panicked")?.map(Some)
}

async fn whole(wanted: Wanted) -> Result<Outcome, Failure> {
    std::fs::create_dir_all(&wanted.dir)?;
    let Wanted { kontiki, dir, replicas, choice, .. } = &wanted;
    let mut faults = wanted_faults(&wanted.faults)?;
    let aged = faults.iter().any(|fault| faults::turns_clocks(fault.name()));
    let options = Options { kontiki: kontiki.clone(), replicas: *replicas, choice: *choice, aged, dir: dir.clone() };
    let started = Instant::now();
    let cluster = Cluster::start(&options).await?;
    let (kind, seconds) = (cluster.backend(), started.elapsed().as_secs_f64());
    println!("seed {}: {replicas} replicas in {kind}, started in {seconds:.1} s", wanted.seed);
    let outcome = rounds(&cluster, &wanted, &mut faults).await;
    cluster.end().await;
    outcome
}

async fn rounds(cluster: &Cluster, wanted: &Wanted, faults: &mut Vec<Box<dyn Fault>>) -> Result<Outcome, Failure> {
    let order: Vec<&str> = faults.iter().map(|fault| fault.name()).collect();
    let skipped = skip(cluster, faults).await;
    let replicas = cluster.replicas().len();
    let (mut larger, mut faults): (Vec<_>, Vec<_>) =
        faults.drain(..).partition(|fault| fault.least_replicas() > replicas);
    let kept = LARGER.saturating_mul(u32::try_from(larger.len())?);
    let dice = Dice::seed_from_u64(wanted.seed);
    let mut under_way = UnderWay { cluster, plan: &wanted.plan, dice, rounds: Vec::new(), started: Instant::now() };
    if under_way.cycles(&mut faults, wanted.time.saturating_sub(kept)).await {
        under_way.in_a_larger_cluster(&mut larger).await?;
    }
    Ok(Outcome::new(&order, under_way.rounds, &skipped))
}

/// Kept of a run's time for a fault that needs a larger cluster, with its share of making that.
const LARGER: Duration = Duration::from_secs(45);

/// The rounds of a run so far.
struct UnderWay<'a> {
    cluster: &'a Cluster,
    plan: &'a Plan,
    dice: Dice,
    rounds: Vec<Round>,
    started: Instant,
}

impl UnderWay<'_> {
    /// Every fault once, in another order each time, until the time is over. Whether the cluster is well.
    async fn cycles(&mut self, faults: &mut [Box<dyn Fault>], time: Duration) -> bool {
        for cycle in 0.. {
            let enough = self.plan.cycles.is_some_and(|cycles| cycle >= cycles);
            if faults.is_empty() || enough || self.started.elapsed() >= time {
                break;
            }
            faults.shuffle(&mut self.dice);
            faults.sort_by_key(|fault| fault.leaves_others());
            for fault in &mut *faults {
                if !self.round(fault.as_mut(), cycle == 0).await {
                    return false;
                }
                if self.started.elapsed() >= time {
                    break;
                }
            }
        }
        true
    }

    /// Once each, when all others are done: what they need beside the others stays.
    async fn in_a_larger_cluster(&mut self, faults: &mut [Box<dyn Fault>]) -> Result<(), Failure> {
        for fault in faults {
            while self.cluster.replicas().len() < fault.least_replicas() {
                self.cluster.add().await?;
            }
            self.cluster.level(self.cluster.replicas().len(), START_PATIENCE).await?;
            if !self.round(fault.as_mut(), true).await {
                break;
            }
        }
        Ok(())
    }

    /// Whether the cluster is well after it.
    async fn round(&mut self, fault: &mut dyn Fault, first: bool) -> bool {
        let turn = Turn { number: self.rounds.len() + 1, first };
        let round = match round::run(self.cluster, fault, turn, self.plan, &mut self.dice).await {
            Ok(round) => round,
            Err(error) => Round::failed(fault.name(), format!("the round failed: {error}")),
        };
        say(turn.number, &round, self.started);
        let failed = round.history.is_none();
        // One good history is enough to try the checkers on.
        if round.violations.is_empty() {
            self.rounds.iter_mut().for_each(|round| round.history = None);
        }
        self.rounds.push(round);
        if !failed || mended(self.cluster).await {
            return true;
        }
        self.rounds.push(Round::failed(fault.name(), "the cluster cannot be mended; the run ends".to_owned()));
        false
    }
}

/// After a round that failed half-way: whether all is well again.
async fn mended(cluster: &Cluster) -> bool {
    for replica in cluster.replicas() {
        // What is wrong with it shows below.
        let _ = replica.space.no_rules().await;
        let _ = replica.disk.free();
        let _ = replica.signal(Signal::SIGCONT).await;
        if replica.disk.plain.is_none() && replica.disk.is_dead() {
            let _ = cluster.kill(replica.number).await;
            let _ = replica.disk.repair().await;
        }
    }
    cluster.revive().await.is_ok() && cluster.level(cluster.replicas().len(), START_PATIENCE).await.is_ok()
}

fn wanted_faults(names: &[String]) -> Result<Vec<Box<dyn Fault>>, Failure> {
    let all = faults::all();
    let known: Vec<&str> = all.iter().map(|fault| fault.name()).collect();
    if let Some(stranger) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("there is no fault {stranger}; there are {}", known.join(", ")).into());
    }
    Ok(all.into_iter().filter(|fault| names.is_empty() || names.iter().any(|name| name == fault.name())).collect())
}

/// Takes away what cannot be done here, with the reason.
async fn skip(cluster: &Cluster, faults: &mut Vec<Box<dyn Fault>>) -> BTreeMap<&'static str, String> {
    let mut skipped = BTreeMap::new();
    for fault in faults.iter() {
        if let Some(why) = fault.lacks(cluster).await {
            println!("skipped: {}: {why}", fault.name());
            skipped.insert(fault.name(), why);
        }
    }
    faults.retain(|fault| !skipped.contains_key(fault.name()));
    skipped
}

/// One line a strike, and what is wrong.
fn say(number: usize, round: &Round, started: Instant) {
    println!(
        "{:>4} s  round {number}: {}, {} operations, {} events",
        started.elapsed().as_secs(),
        round.fault,
        round.ops,
        round.events
    );
    for strike in &round.strikes {
        let ms = |time: Option<Duration>| time.map_or("-".to_owned(), |time| time.as_millis().to_string());
        println!(
            "        {}: down {} ms, new leader {} ms, first write {} ms, recovered in {} ms",
            strike.what,
            strike.unavailable.as_millis(),
            ms(strike.new_leader),
            ms(strike.first_write),
            strike.recovered.as_millis()
        );
        for note in &strike.notes {
            println!("          {note}");
        }
        if let Some(why) = &strike.toothless {
            println!("        CONTROL FAILED: {why}");
        }
    }
    for note in &round.notes {
        println!("        {note}");
    }
    for violation in round.violations.iter().take(SHOWN) {
        println!("        VIOLATION: {}", violation.chars().take(LINE).collect::<String>());
    }
    if round.violations.len() > SHOWN {
        println!("        and {} more", round.violations.len() - SHOWN);
    }
}

/// Violations shown of one round, and how much of each.
const SHOWN: usize = 8;
const LINE: usize = 600;
