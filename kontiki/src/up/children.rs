//! The processes `up` starts: watched, started again when they die, ended in order.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::Failure;

/// What to run, again and again.
#[derive(Clone)]
pub(super) struct Program {
    name: String,
    arguments: Vec<String>,
}

impl Program {
    pub(super) fn new(name: &str, arguments: &[&str], file: &Path) -> Self {
        let mut arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        arguments.push(file.display().to_string());
        Self { name: name.to_owned(), arguments }
    }
}

struct Running {
    program: Program,
    child: Option<Child>,
    started: Instant,
    /// Deaths in a row soon after the start.
    quick_deaths: u32,
    due: Instant,
}

pub(super) struct Children {
    dir: PathBuf,
    running: Vec<Running>,
}

/// Set for children: they end when this process does, however it ends.
pub(crate) const PARENT: &str = "KONTIKI_PARENT";
/// How often children are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The first start again comes quickly, then it takes longer, at most this long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A process that lived this long starts again quickly.
const HEALTHY: Duration = Duration::from_secs(30);
/// Agents end their pods, replicas hand over leadership; then they are killed.
const END_PATIENCE: Duration = Duration::from_secs(30);

impl Children {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, running: Vec::new() }
    }

    pub(super) fn start(&mut self, program: Program) -> Result<(), Failure> {
        let child = self.spawn(&program)?;
        let now = Instant::now();
        self.running.push(Running { program, child: Some(child), started: now, quick_deaths: 0, due: now });
        self.write_pids()
    }

    fn spawn(&self, program: &Program) -> Result<Child, Failure> {
        let logs = self.dir.join("logs");
        std::fs::create_dir_all(&logs)?;
        let path = logs.join(format!("{}.log", program.name));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        let child = Command::new(std::env::current_exe()?)
            .args(&program.arguments)
            .env(PARENT, std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in the terminal reaches this process only: it ends the others in order.
            .process_group(0)
            .spawn()?;
        Ok(child)
    }

    /// `NAME PID` a line.
    fn write_pids(&self) -> Result<(), Failure> {
        let line = |running: &Running| Some(format!("{} {}\n", running.program.name, running.child.as_ref()?.id()?));
        let text: String = self.running.iter().filter_map(line).collect();
        pki::write_public(&self.dir.join("pids"), &text)?;
        Ok(())
    }

    /// Starts again what dies, until stopped.
    pub(super) async fn watch(&mut self, stop: &CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            self.look();
        }
    }

    fn look(&mut self) {
        let now = Instant::now();
        let mut changed = false;
        for index in 0..self.running.len() {
            let running = &mut self.running[index];
            if let Some(child) = &mut running.child
                && let Ok(Some(status)) = child.try_wait()
            {
                running.child = None;
                running.quick_deaths = if now - running.started > HEALTHY { 0 } else { running.quick_deaths + 1 };
                let pause = FIRST_PAUSE.saturating_mul(1 << running.quick_deaths.min(5)).min(LONGEST_PAUSE);
                running.due = now + pause;
                println!(
                    "{} ended ({status}); it is started again in {:.1} s",
                    running.program.name,
                    pause.as_secs_f64()
                );
                changed = true;
            }
            if self.running[index].child.is_none() && now >= self.running[index].due {
                let program = self.running[index].program.clone();
                match self.spawn(&program) {
                    Ok(child) => {
                        self.running[index].child = Some(child);
                        self.running[index].started = now;
                    }
                    Err(error) => {
                        println!("cannot start {}: {error}", program.name);
                        self.running[index].due = now + LONGEST_PAUSE;
                    }
                }
                changed = true;
            }
        }
        if changed && let Err(error) = self.write_pids() {
            println!("cannot write the process ids: {error}");
        }
    }

    /// Ends agents first, so that they can still say goodbye to the API server, then the replicas.
    pub(super) async fn end(mut self) {
        let (mut agents, mut replicas): (Vec<_>, Vec<_>) =
            self.running.drain(..).partition(|running| !running.program.name.starts_with("replica"));
        end_all(&mut agents).await;
        end_all(&mut replicas).await;
        if let Err(error) = std::fs::remove_file(self.dir.join("pids")) {
            println!("cannot remove the file of process ids: {error}");
        }
    }
}

async fn end_all(group: &mut [Running]) {
    for running in group.iter() {
        if let Some(pid) = running.child.as_ref().and_then(Child::id) {
            // Gone already: nothing to end.
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM);
        }
    }
    let deadline = tokio::time::Instant::now() + END_PATIENCE;
    for running in group {
        let Some(child) = &mut running.child else { continue };
        if tokio::time::timeout_at(deadline, child.wait()).await.is_err() {
            println!("{} did not end in {} s: killed", running.program.name, END_PATIENCE.as_secs());
            let _ = child.kill().await;
        }
    }
}

/// For a child of `up`: ask the kernel to be ended with it.
pub(crate) fn end_with_parent() -> Result<(), Failure> {
    let Ok(parent) = std::env::var(PARENT) else { return Ok(()) };
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
    // The parent may have ended before the line above.
    if nix::unistd::getppid().as_raw().to_string() != parent {
        return Err("the process that started this one has ended".into());
    }
    Ok(())
}
