//! One run: a cluster is founded, faults come, everything heals, and comes to rest.

mod admin;
mod callers;
mod faults;
mod phases;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use store_api::NodeId;
use tempfile::TempDir;

use crate::checkers::{self, Checker};
use crate::clients::{Client, Watcher};
use crate::disk::Disk;
use crate::facts::{CallId, Fact};
use crate::host::{Host, Settings};
use crate::jobs::Jobs;
use crate::nemesis::Nemesis;
use crate::net::Net;
use crate::plant::Plant;
use crate::process;
use crate::rng::Rng;
use crate::scratch;
use crate::shared::Shared;
use crate::trace::Trace;
use crate::truth::Truth;
use crate::view::View;

/// How a run differs from the usual.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A bug that must be found.
    pub plant: Option<Plant>,
    /// Every line of the trace is printed.
    pub loud: bool,
    /// Only the checkers whose names begin so.
    pub only: Option<&'static str>,
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub seed: u64,
    pub promise: String,
    pub why: String,
    /// Microseconds of virtual time.
    pub at: u64,
    /// The last lines of the trace.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "seed {}: {} is broken after {} ms: {}", self.seed, self.promise, self.at / 1_000, self.why)?;
        write!(f, "replay: cargo run --release -p chaos -- sim --seed {} --trace", self.seed)
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub seed: u64,
    pub failure: Option<Failure>,
    /// Of all that happened.
    pub hash: [u8; 32],
    pub entries: u64,
    pub acknowledged: u64,
    pub faults: BTreeMap<&'static str, u64>,
    /// Of virtual time.
    pub lasted: Duration,
}

/// Runs one seed.
///
/// # Errors
/// Only of the machine this runs on: it has no room for the simulated disks.
pub fn run(seed: u64, options: Options) -> io::Result<Report> {
    let mut run = Run::new(seed, options)?;
    let result = run.all_phases();
    let entries = run.view.truth.committed.len() as u64;
    let failure = result.err().map(|broken| Failure {
        seed,
        promise: broken.promise,
        why: broken.why,
        at: run.view.now,
        trace: run.trace.newest(),
    });
    run.stop_everything();
    let (hash, lasted) = (run.trace.hash(), Duration::from_micros(run.view.now));
    Ok(Report { seed, failure, hash, entries, acknowledged: run.acknowledged, faults: run.faults, lasted })
}

/// Watches that are open at a time.
const WATCHERS: u64 = 3;

struct Broken {
    promise: String,
    why: String,
}

type Checked = Result<(), Broken>;

impl Broken {
    fn new(promise: &str, why: impl fmt::Display) -> Self {
        Self { promise: promise.into(), why: why.to_string() }
    }
}

struct Run {
    plant: Option<Plant>,
    rng: Rng,
    shared: Arc<Shared>,
    view: View,
    hosts: BTreeMap<NodeId, Host>,
    checkers: Vec<Box<dyn Checker>>,
    trace: Trace,
    nemesis: Nemesis,
    jobs: Jobs,
    settings: Settings,
    clients: Vec<Client>,
    watchers: Vec<Watcher>,
    next_watcher: u64,
    calls: BTreeMap<CallId, (NodeId, Caller)>,
    next_call: u64,
    /// Replicas that are down, and when they are started, microseconds.
    starts: BTreeMap<NodeId, u64>,
    /// Replicas that accepted a write since everything healed.
    probed: BTreeSet<NodeId>,
    /// Those that are being asked to.
    probing: BTreeSet<NodeId>,
    /// Damaged replicas for which others are on their way.
    replacing: BTreeSet<NodeId>,
    /// The disks members came with.
    disks: BTreeMap<NodeId, String>,
    founded: bool,
    quiet: bool,
    acknowledged: u64,
    faults: BTreeMap<&'static str, u64>,
    dir: TempDir,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Client(usize),
    Job,
    Probe,
}

impl Run {
    fn new(seed: u64, options: Options) -> io::Result<Self> {
        let mut rng = Rng::new(seed);
        process::begin(rng.fork(), options.plant.and_then(Plant::bug));
        let shared = Shared::new(Net::new(rng.fork(), options.plant));
        let truth = Truth::new()?;
        let (hosts, shadows, lost) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let view = View { now: 0, hosts, shadows, lost, truth, skewed: false };
        let history = rng.once_in(2).then(|| Duration::from_millis(rng.number(1_500..6_000)));
        let settings = Settings { snapshot_entries: rng.number(16..200), history, reserve_bytes: 1 << 20 };
        let (nemesis, clients) = (Nemesis::new(rng.fork()), rng.number(2..6));
        Ok(Self {
            plant: options.plant,
            shared,
            view,
            hosts: BTreeMap::new(),
            checkers: checkers::all()
                .into_iter()
                .filter(|one| options.only.is_none_or(|only| one.name().starts_with(only)))
                .collect(),
            trace: Trace::new(options.loud),
            nemesis,
            jobs: Jobs::default(),
            settings,
            clients: (1..=clients).map(Client::new).collect(),
            watchers: (1..=WATCHERS).map(Watcher::new).collect(),
            next_watcher: WATCHERS,
            calls: BTreeMap::new(),
            next_call: 0,
            starts: BTreeMap::new(),
            probed: BTreeSet::new(),
            probing: BTreeSet::new(),
            replacing: BTreeSet::new(),
            disks: BTreeMap::new(),
            founded: false,
            quiet: true,
            acknowledged: 0,
            faults: BTreeMap::new(),
            dir: tempfile::tempdir_in(scratch())?,
            rng,
        })
    }

    fn line(&mut self, what: impl fmt::Display) {
        let line = self.without_paths(what);
        self.trace.line(self.view.now, line);
    }

    /// Where the disks are is another place in every run, and so are the checksums of RocksDB's files, which depend on
    /// names that it makes up.
    fn without_paths(&self, what: impl fmt::Display) -> String {
        let text = what.to_string().replace(&*self.dir.path().to_string_lossy(), "DIR");
        match text.split_once("orruption: ") {
            Some((before, _)) => format!("{before}orruption"),
            None => text,
        }
    }

    /// Something happened: the view knows of it, and every checker.
    fn fact(&mut self, fact: &Fact) -> Checked {
        self.view.see(fact);
        for checker in &mut self.checkers {
            checker.see(fact, &self.view).map_err(|why| Broken::new(checker.name(), why))?;
        }
        Ok(())
    }

    fn new_host(&mut self, id: NodeId) {
        let disk = Disk::new(
            id,
            &self.dir.path().join(format!("{id}/data")),
            self.shared.clone(),
            self.rng.fork(),
            self.plant,
        );
        process::mount(id, disk.clone());
        let host = Host::new(id, disk, self.shared.clone(), self.settings.clone());
        self.hosts.insert(id, host);
        self.view.hosts.insert(id, Default::default());
        self.starts.insert(id, self.view.now);
    }

    fn members(&self) -> Vec<NodeId> {
        let newest = self.view.truth.memberships.last();
        newest.map(|(_, membership)| membership.nodes.iter().map(|node| node.id).collect()).unwrap_or_default()
    }

    /// Members that can be asked something.
    fn askable(&self) -> Vec<NodeId> {
        let members = self.members();
        let able = |id: &NodeId| self.hosts.get(id).is_some_and(|host| host.store().is_some());
        members.into_iter().filter(able).collect()
    }

    fn stop_everything(&mut self) {
        for host in self.hosts.values_mut() {
            // What is left of its disk goes with the directory.
            let _ = host.end(false);
        }
    }
}
