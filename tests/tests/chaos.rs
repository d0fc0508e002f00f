//! A short chaos run: three faults on real processes, checked by everything that `make chaos` checks with. And
//! what a run leaves that is killed is taken away by the next one.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use chaos::cluster::{Choice, fabric};
use chaos::round::Plan;
use chaos::run::{Wanted, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const FAULTS: [&str; 3] = ["kill-leader", "pause-leader", "cut-leader-mute"];
/// Most bugs find a place in a history as short as this.
const LEAST_PLANTED: usize = 40;

/// One cluster at a time is enough for two cores, whatever runs the tests.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn three_faults_break_no_promise() {
    let _turn = TURN.lock();
    let temporary = tempfile::tempdir().expect("a directory");
    let seed = u64::from(std::process::id());
    let wanted = Wanted {
        kontiki: system_tests::binary(),
        dir: temporary.path().to_owned(),
        time: Duration::from_secs(150),
        seed,
        replicas: 3,
        choice: Choice::Auto,
        faults: FAULTS.map(str::to_owned).to_vec(),
        plan: Plan { strikes: 1, load: 0.7, cycles: Some(1) },
    };
    let Some(outcome) = run(wanted).expect("a run") else { return };
    println!("seed {seed}\n{}", outcome.report());
    let good = outcome.is_good() && outcome.rounds.len() == FAULTS.len();
    if !good {
        println!("histories and logs are in {}", temporary.keep().display());
    }
    assert!(good, "seed {seed}");
    let (missed, planted) = &outcome.missed;
    assert!(missed.is_empty() && *planted >= LEAST_PLANTED, "{planted} bugs were planted, not found: {missed:?}");
}

#[test]
fn what_a_killed_run_leaves_is_taken_away_by_the_next() {
    if let Some(why) = fabric::lacks() {
        return println!("skipped: {why}");
    }
    let _turn = TURN.lock();
    let kontiki = system_tests::binary();
    let temporary = tempfile::tempdir().expect("a directory");
    let mut chaos = Command::new(kontiki.with_file_name("chaos"))
        .args(["run", "--within", "namespaces", "--seed", "1", "--out"])
        .arg(temporary.path())
        .arg("--kontiki")
        .arg(&kontiki)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the chaos binary, built beside the program");
    let mut lines = BufReader::new(chaos.stdout.take().expect("piped")).lines();
    let started = lines.by_ref().map_while(Result::ok).any(|line| line.contains("started in"));
    assert!(started, "the run ended before its cluster had started");
    // It and its janitor, before either can do anything.
    let run = Pid::from_raw(chaos.id().cast_signed());
    let janitors: Vec<Pid> = children(run).into_iter().filter(|child| is_janitor(*child)).collect();
    for pid in [&janitors[..], &[run]].concat() {
        kill(pid, Signal::SIGSTOP).expect("it is there");
    }
    for pid in [&janitors[..], &[run]].concat() {
        kill(pid, Signal::SIGKILL).expect("it is there");
    }
    chaos.wait().expect("it is over");
    // Not before: it must not find its output closed.
    drop(lines);
    assert_eq!(janitors.len(), 1);
    let left = || (marked(run), mounts(temporary.path()));
    let (processes, mounted) = left();
    assert!(processes > 0, "a run that was killed leaves replicas");
    assert!(mounted == 3 || mounted == 0, "three disks, or none where there are no loop mounts");
    chaos::cluster::sweep().expect("everything can be taken away");
    assert_eq!(left(), (0, 0));
}

fn children(of: Pid) -> Vec<Pid> {
    let mut children = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{of}/task")).expect("it runs").flatten() {
        let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.extend(text.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw));
    }
    children
}

fn is_janitor(pid: Pid) -> bool {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command.split(|byte| *byte == 0).any(|word| word == b"janitor")
}

/// Processes that this run started.
fn marked(run: Pid) -> usize {
    let mark = format!("KONTIKI_CHAOS={run}-");
    let of_run = |environ: &[u8]| environ.split(|byte| *byte == 0).any(|one| one.starts_with(mark.as_bytes()));
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    all.filter(|entry| std::fs::read(entry.path().join("environ")).is_ok_and(|environ| of_run(&environ))).count()
}

fn mounts(below: &Path) -> usize {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    mounts.lines().filter(|line| line.contains(&below.display().to_string())).count()
}
