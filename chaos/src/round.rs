//! One round: all workloads run while one fault strikes some times; then everything they saw is checked.

mod summary;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::Rng;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Failure;
use crate::checkers::convergence::Sample;
use crate::checkers::growth::Counts;
use crate::checkers::{self, Violations};
use crate::cluster::Cluster;
use crate::faults::{Dice, Fault};
use crate::history::{
    CompactionLog, Event, Keyed, LeaseLog, LeaseVersion, Op, StoreWatch, TtlLog, Txn, TxnLog, WatchLog,
};
use crate::judge::judge;
use crate::strike::{self, Strike};
use crate::truth::Truth;
use crate::workloads::compaction::{self, Strip};
use crate::workloads::stage::{Stage, Store, Through};
use crate::workloads::{append, churn, fleet, growth, leases, mix, probe, register, replay, set, transactions, ttl};

/// Before the first strike, and after each.
const CALM: Duration = Duration::from_millis(2_000);
/// Writers of the set, and their pace.
const WRITERS: usize = 2;
const SET_PACE: Duration = Duration::from_millis(60);
/// Fewer acknowledged writes before the first strike are no load to test under. A slow machine takes longer for them.
const LEAST_WRITES: usize = 100;
const LOAD_PATIENCE: Duration = Duration::from_secs(60);
/// Until all replicas are at one revision with one hash, when all is over.
const CONVERGE: Duration = Duration::from_secs(20);

pub struct Plan {
    /// Strikes of one round.
    pub strikes: usize,
    /// Calls begin so much more often than the workloads' own pace.
    pub load: f64,
    /// All faults so often, and not until the time is over.
    pub cycles: Option<usize>,
}

/// Which round it is.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    pub number: usize,
    /// The fault's first round of the run.
    pub first: bool,
}

/// What became of a round.
pub struct Round {
    pub fault: &'static str,
    pub strikes: Vec<Strike>,
    pub ops: usize,
    pub acknowledged: usize,
    pub unknown: usize,
    pub events: usize,
    /// What was measured, for people.
    pub notes: Vec<String>,
    pub violations: Violations,
    /// Of the last good round and of bad ones, for whoever wants to look closer.
    pub history: Option<History>,
}

/// Everything that was seen in a round: kept when something is wrong.
#[derive(Clone, Serialize)]
pub struct History {
    pub fault: &'static str,
    /// Begins the name of every object.
    pub round: String,
    pub seed: u64,
    pub strikes: Vec<String>,
    pub ops: Vec<Op>,
    pub watches: Vec<WatchLog>,
    pub leases: LeaseLog,
    pub store: TxnLog,
    pub ttl: TtlLog,
    pub compaction: CompactionLog,
    /// From when to when faults struck and were recovered from.
    pub struck: Vec<(Duration, Duration)>,
    /// What replicas said of their logs.
    pub growth: Vec<Counts>,
    pub truth: Truth,
    /// What happened, as each replica tells it.
    pub told: Vec<(usize, Vec<Event>)>,
    /// How far replicas were, and with what state, again and again after the last fault.
    pub looks: Vec<Vec<Sample>>,
    /// What replicas wrote into their logs.
    #[serde(skip)]
    pub logs: Vec<(usize, String)>,
    pub violations: Violations,
}

/// The workloads of a round, running.
struct Running {
    ops: Vec<JoinHandle<Vec<Op>>>,
    leases: JoinHandle<(LeaseLog, Vec<Op>)>,
    fleet: JoinHandle<(Vec<WatchLog>, Vec<Op>)>,
    target: watch::Sender<Option<u64>>,
    store: OnStore,
    growth: JoinHandle<Vec<Counts>>,
}

/// Those of etcd's clients.
struct OnStore {
    txns: JoinHandle<Vec<Txn>>,
    watches: JoinHandle<Vec<StoreWatch>>,
    target: watch::Sender<Option<u64>>,
    ttl: JoinHandle<Result<(TtlLog, u64), Failure>>,
    compaction: JoinHandle<CompactionLog>,
}

fn start_on_store(stage: &Stage, from: u64, strip: Strip) -> OnStore {
    let (target, told) = watch::channel(None);
    OnStore {
        txns: tokio::spawn(transactions::run(stage.clone())),
        watches: tokio::spawn(transactions::watch(stage.clone(), from, told)),
        target,
        ttl: tokio::spawn(ttl::run(stage.clone(), from)),
        compaction: tokio::spawn(compaction::run(strip)),
    }
}

fn start(stage: &Stage, cluster: &Cluster, from: u64, strip: Strip) -> Running {
    let (target, told) = watch::channel(None);
    Running {
        ops: vec![
            tokio::spawn(register::run(stage.clone())),
            tokio::spawn(append::run(stage.clone())),
            tokio::spawn(set::run(stage.clone(), WRITERS, SET_PACE.div_f64(stage.load))),
            tokio::spawn(mix::run(stage.clone())),
            tokio::spawn(churn::run(stage.clone())),
            tokio::spawn(probe::run(stage.clone())),
        ],
        leases: tokio::spawn(leases::run(stage.clone())),
        fleet: tokio::spawn(fleet::run(stage.clone(), from, told)),
        target,
        store: start_on_store(stage, from, strip),
        growth: tokio::spawn(growth::run(stage.clone(), cluster.replicas())),
    }
}

/// Those that are members now.
async fn members(cluster: &Cluster) -> Result<Vec<Through>, Failure> {
    let numbers = cluster.replicas().into_iter().map(|replica| replica.number);
    Ok(numbers.zip(cluster.clients().await?).collect())
}

async fn stores(cluster: &Cluster) -> Result<Vec<Store>, Failure> {
    let numbers = cluster.replicas().into_iter().map(|replica| replica.number);
    Ok(numbers.zip(cluster.stores().await?).collect())
}

async fn stage(cluster: &Cluster, number: usize, plan: &Plan, dice: &mut Dice) -> Result<Stage, Failure> {
    Ok(Stage {
        clients: Arc::new(members(cluster).await?),
        stores: Arc::new(stores(cluster).await?),
        round: format!("r{number}"),
        started: Instant::now(),
        stop: CancellationToken::new(),
        seed: dice.random(),
        load: plan.load,
        acknowledged: Arc::default(),
    })
}

pub async fn run(
    cluster: &Cluster,
    fault: &mut dyn Fault,
    turn: Turn,
    plan: &Plan,
    dice: &mut Dice,
) -> Result<Round, Failure> {
    let Turn { number, first } = turn;
    let stage = stage(cluster, number, plan, dice).await?;
    // Whatever happens here, the workloads end.
    let _end = stage.stop.clone().drop_guard();
    let logged = log_lengths(cluster);
    let strip = compaction::prepare(&stage).await?;
    let from = replay::head(&stage.clients).await?;
    let running = start(&stage, cluster, from, strip);
    let (mut strikes, mut violations) = (Vec::new(), load(&stage).await);
    for _ in 0..fault.strikes(plan.strikes, first) {
        let (strike, found) = strike::once(cluster, fault, &stage, dice).await?;
        strikes.push(strike);
        violations.extend(found);
        tokio::time::sleep(CALM).await;
    }
    stage.stop.cancel();
    let mut history = gather(cluster, &stage, running, from).await?;
    history.fault = fault.name();
    history.strikes = strikes.iter().map(|strike| strike.what.clone()).collect();
    history.struck = strikes.iter().map(|strike| (strike.at, strike.over)).collect();
    history.logs = logs(cluster, &logged);
    violations.append(&mut history.violations);
    let (history, found) = tokio::task::spawn_blocking(move || {
        let found = judge(&history);
        (history, found)
    })
    .await?;
    violations.extend(found);
    let history = History { violations, ..history };
    if !history.violations.is_empty() {
        keep(&cluster.dir, number, &history)?;
    }
    Ok(summary::of(strikes, history))
}

/// Bytes in the log of each replica.
fn log_lengths(cluster: &Cluster) -> BTreeMap<usize, usize> {
    let length = |number| std::fs::metadata(cluster.log(number)).map_or(0, |log| log.len());
    let all = cluster.replicas().into_iter().map(|replica| replica.number);
    all.map(|number| (number, usize::try_from(length(number)).unwrap_or(0))).collect()
}

/// What replicas wrote since then.
fn logs(cluster: &Cluster, before: &BTreeMap<usize, usize>) -> Vec<(usize, String)> {
    let since = |(number, length): (&usize, &usize)| {
        let log = std::fs::read(cluster.log(*number)).unwrap_or_default();
        (*number, String::from_utf8_lossy(log.get(*length..).unwrap_or_default()).into_owned())
    };
    before.iter().map(since).collect()
}

/// Waits until clients work.
async fn load(stage: &Stage) -> Violations {
    tokio::time::sleep(CALM).await;
    let deadline = Instant::now() + LOAD_PATIENCE;
    loop {
        let written = stage.acknowledged.load(Ordering::Relaxed);
        if written >= LEAST_WRITES {
            return Violations::new();
        }
        if Instant::now() > deadline {
            return vec![format!("void: only {written} writes were acknowledged before the first strike")];
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Lets everyone see everything, and asks every replica what happened.
async fn gather(cluster: &Cluster, stage: &Stage, running: Running, from: u64) -> Result<History, Failure> {
    let mut ops = Vec::new();
    for workload in running.ops {
        ops.extend(workload.await?);
    }
    let (mut leases, more) = running.leases.await?;
    ops.extend(more);
    // One may have been replaced since the round began.
    let members = members(cluster).await?;
    let stage = Stage { clients: Arc::new(members), stores: Arc::new(stores(cluster).await?), ..stage.clone() };
    running.target.send_replace(Some(replay::head(&stage.clients).await?));
    let (mut watches, more) = running.fleet.await?;
    ops.extend(more);
    let mut violations = Violations::new();
    let (store, ttl, mut compaction) = gather_from_store(&stage, running.store, from, &mut violations).await?;
    let looks = converge(cluster).await;
    let upto = replay::head(&stage.clients).await?;
    let mut told: Vec<(usize, Vec<Event>)> = Vec::new();
    for through in stage.clients.iter() {
        match replay::objects(&stage, through, from, upto).await {
            Ok(events) => told.push((through.0, events)),
            Err(error) => violations.push(error.to_string()),
        }
    }
    // Where they differ is found again when all is judged.
    let (truth, _) = checkers::merge::merge(from, upto, &told);
    leases.versions = lease_versions(&stage, from, upto, &mut violations).await;
    // Last: now nobody asks for all of the round's history any more.
    match compaction::close(&stage, &truth, lists(&store), &mut compaction).await {
        Ok((watched, more)) => {
            watches.push(watched);
            ops.extend(more);
        }
        Err(error) => violations.push(error.to_string()),
    }
    Ok(History {
        fault: "",
        round: stage.round.clone(),
        seed: stage.seed,
        strikes: Vec::new(),
        ops,
        watches,
        leases,
        store,
        ttl,
        compaction,
        struck: Vec::new(),
        growth: running.growth.await?,
        truth,
        told,
        looks,
        logs: Vec::new(),
        violations,
    })
}

/// What happened to transactions' lists, as keys.
fn lists(store: &TxnLog) -> Vec<Keyed> {
    let told = store.told.first().map_or(&[][..], |(_, told)| told);
    let keyed = |one: &crate::history::Stored| Keyed {
        revision: one.revision,
        key: one.key.clone(),
        value: Some(one.value.clone()),
        lease: 0,
    };
    told.iter().map(keyed).collect()
}

/// Ends what etcd's clients do with a last write, and asks every replica what happened up to that.
async fn gather_from_store(
    stage: &Stage,
    running: OnStore,
    from: u64,
    violations: &mut Violations,
) -> Result<(TxnLog, TtlLog, CompactionLog), Failure> {
    let mut log = TxnLog { txns: running.txns.await?, ..TxnLog::default() };
    let upto = transactions::conclude(stage, &stage.stores, &mut log.txns).await?;
    running.target.send_replace(Some(upto));
    log.watches = running.watches.await?;
    let (mut ttl, ttl_upto) = running.ttl.await??;
    for member in stage.stores.iter() {
        match transactions::told(member, &stage.round, from, upto).await {
            Ok(told) => log.told.push((member.0, told)),
            Err(error) => violations.push(error.to_string()),
        }
        match ttl::told(member, &stage.round, from, ttl_upto).await {
            Ok(told) => ttl.told.push((member.0, told)),
            Err(error) => violations.push(error.to_string()),
        }
    }
    Ok((log, ttl, running.compaction.await?))
}

/// As the first replica tells them that does.
async fn lease_versions(stage: &Stage, from: u64, upto: u64, violations: &mut Violations) -> Vec<LeaseVersion> {
    for through in stage.clients.iter() {
        match replay::lease(stage, through, from, upto).await {
            Ok(versions) => return versions,
            Err(error) => violations.push(error.to_string()),
        }
    }
    Vec::new()
}

async fn converge(cluster: &Cluster) -> Vec<Vec<Sample>> {
    let replicas = cluster.replicas();
    let deadline = tokio::time::Instant::now() + CONVERGE;
    let mut looks = Vec::new();
    loop {
        let samples = futures::future::join_all(replicas.iter().map(|replica| replica.sample())).await;
        looks.push(samples.into_iter().flatten().collect());
        let level = looks.last().is_some_and(|last: &Vec<_>| checkers::convergence::is_level(last, replicas.len()));
        if level || tokio::time::Instant::now() > deadline {
            return looks;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn keep(dir: &Path, number: usize, history: &History) -> Result<(), Failure> {
    let file = dir.join(format!("round-{number}-{}.json", history.fault));
    std::fs::write(&file, serde_json::to_vec(history)?)?;
    println!("  kept: {}", file.display());
    Ok(())
}

impl Round {
    /// One that could not be finished, which is nobody's success.
    pub fn failed(fault: &'static str, why: String) -> Self {
        let (strikes, violations) = (Vec::new(), vec![why]);
        let notes = Vec::new();
        Self { fault, strikes, ops: 0, acknowledged: 0, unknown: 0, events: 0, notes, violations, history: None }
    }
}
