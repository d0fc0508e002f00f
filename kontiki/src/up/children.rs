//! The processes `up` starts: watched, started again when they die, ended in order.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kubelet_agent::log_file;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::last_words::last_words;
use super::restart::Deaths;
use super::say::say;
use crate::Failure;

/// What to run, again and again.
#[derive(Clone)]
pub(crate) struct Program {
    name: String,
    arguments: Vec<String>,
}

impl Program {
    pub(crate) fn new(name: &str, arguments: &[&str], file: &Path) -> Self {
        let mut arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        arguments.push(file.display().to_string());
        Self { name: name.to_owned(), arguments }
    }
}

struct Running {
    program: Program,
    child: Option<Child>,
    started: Instant,
    deaths: Deaths,
    /// How it ended last, and what it said.
    end: String,
    due: Instant,
}

pub(crate) struct Children {
    dir: PathBuf,
    /// How many replicas share this machine's processors.
    replicas: u16,
    running: Vec<Running>,
    logs_measured: Instant,
}

/// Names of replicas begin with this.
pub(crate) const REPLICA: &str = "replica-";
/// Set for children: they end when this process does, however it ends.
pub(crate) const PARENT: &str = "KONTIKI_PARENT";
/// How many threads each of a process's tokio runtimes has: one a processor, where nobody says otherwise.
const WORKER_THREADS: &str = "TOKIO_WORKER_THREADS";
/// How often children are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Agents end their pods, replicas hand over leadership; then they are killed.
pub(super) const END_PATIENCE: Duration = Duration::from_secs(30);
/// How often logs are measured, and bytes kept of each (and as many of the part before).
const LOGS_EVERY: Duration = Duration::from_secs(10);
const LOG_BYTES: u64 = 16 << 20;

/// Of a replica beside others on one machine. Threads beyond the processors wake, steal from each other and find nothing.
fn worker_threads(processors: usize, replicas: u16) -> usize {
    (processors / usize::from(replicas.max(1))).max(1)
}

impl Children {
    pub(crate) fn new(dir: PathBuf, replicas: u16) -> Self {
        Self { dir, replicas, running: Vec::new(), logs_measured: Instant::now() }
    }

    pub(crate) fn start(&mut self, program: Program) -> Result<(), Failure> {
        let child = self.spawn(&program)?;
        let (now, deaths) = (Instant::now(), Deaths::default());
        let child = Some(child);
        self.running.push(Running { program, child, started: now, deaths, end: String::new(), due: now });
        self.write_pids()
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.log"))
    }

    fn spawn(&self, program: &Program) -> Result<Child, Failure> {
        std::fs::create_dir_all(self.dir.join("logs"))?;
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log(&program.name))?;
        let mut command = Command::new(std::env::current_exe()?);
        if program.name.starts_with(REPLICA) && std::env::var_os(WORKER_THREADS).is_none() {
            let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
            command.env(WORKER_THREADS, worker_threads(processors, self.replicas).to_string());
        }
        let child = command
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

    fn look(&mut self) {
        let now = Instant::now();
        let mut changed = false;
        for index in 0..self.running.len() {
            if let Some(status) = self.running[index].ended() {
                self.note_end(index, status, now);
                changed = true;
            }
            if self.running[index].child.is_none() && now >= self.running[index].due {
                self.start_again(index, now);
                changed = true;
            }
        }
        if changed && let Err(error) = self.write_pids() {
            say(format_args!("cannot write the process ids: {error}"));
        }
        if now - self.logs_measured > LOGS_EVERY {
            self.logs_measured = now;
            self.bound_logs();
        }
    }

    fn note_end(&mut self, index: usize, status: ExitStatus, now: Instant) {
        let said = last_words(&self.log(&self.running[index].program.name));
        let running = &mut self.running[index];
        let failed = status.code().is_some_and(|code| code != 0);
        running.child = None;
        running.end = if failed { format!("{status}, saying: {said}") } else { status.to_string() };
        let pause = running.deaths.note(now - running.started, failed);
        running.due = now + pause;
        let (name, seconds) = (&running.program.name, pause.as_secs_f64());
        // Once is enough of what it says each time.
        let how = if running.deaths.failing_again() { &status.to_string() } else { &running.end };
        say(format_args!("{name} ended ({how}); it is started again in {seconds:.1} s"));
    }

    fn start_again(&mut self, index: usize, now: Instant) {
        match self.spawn(&self.running[index].program) {
            Ok(child) => {
                self.running[index].child = Some(child);
                self.running[index].started = now;
            }
            Err(error) => {
                let pause = self.running[index].deaths.note(Duration::ZERO, true);
                self.running[index].end = error.to_string();
                self.running[index].due = now + pause;
                say(format_args!("cannot start {}: {error}", self.running[index].program.name));
            }
        }
    }

    fn bound_logs(&self) {
        for running in &self.running {
            if let Err(error) = log_file::bound(&self.log(&running.program.name), LOG_BYTES) {
                say(format_args!("cannot shorten the log of {}: {error}", running.program.name));
            }
        }
    }

    /// Of the processes whose names begin so: one that fails whenever it is started, and how.
    pub(crate) fn hopeless(&self, names: &str) -> Option<String> {
        let mut ours = self.running.iter().filter(|running| running.program.name.starts_with(names));
        let found = ours.find(|running| running.deaths.hopeless())?;
        Some(format!("{} fails whenever it is started ({})", found.program.name, found.end))
    }

    pub(super) fn runs(&self, name: &str) -> bool {
        self.running.iter().any(|running| running.program.name == name)
    }

    /// Ends one of them for good.
    pub(super) async fn remove(&mut self, name: &str, at_once: &CancellationToken) -> Result<(), Failure> {
        let is_it = |running: &mut Running| running.program.name == name;
        let mut removed: Vec<Running> = self.running.extract_if(.., is_it).collect();
        end_all(&mut removed, at_once).await;
        self.write_pids()
    }

    /// Ends agents first, so that they can still say goodbye to the API server, then the replicas.
    pub(crate) async fn end(&mut self, at_once: &CancellationToken) {
        let (mut replicas, mut agents): (Vec<_>, Vec<_>) =
            self.running.drain(..).partition(|running| running.program.name.starts_with(REPLICA));
        end_all(&mut agents, at_once).await;
        end_all(&mut replicas, at_once).await;
        match std::fs::remove_file(self.dir.join("pids")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                say(format_args!("cannot remove the file of process ids: {error}"));
            }
            _ => {}
        }
    }
}

impl Running {
    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }
}

/// Starts again what dies, for ever.
pub(crate) async fn watch(children: &Mutex<Children>) -> std::convert::Infallible {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        children.lock().await.look();
    }
}

async fn end_all(group: &mut [Running], at_once: &CancellationToken) {
    for running in group.iter() {
        if let Some(pid) = running.child.as_ref().and_then(Child::id) {
            // Gone already: nothing to end.
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM);
        }
    }
    let deadline = tokio::time::Instant::now() + END_PATIENCE;
    for running in group {
        let Some(child) = &mut running.child else { continue };
        tokio::select! {
            biased;
            _ = child.wait() => continue,
            () = at_once.cancelled() => {}
            () = tokio::time::sleep_until(deadline) => {
                say(format_args!("{} did not end in {} s: killed", running.program.name, END_PATIENCE.as_secs()));
            }
        }
        let _ = child.kill().await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_share_the_processors() {
        let of = |processors, replicas| worker_threads(processors, replicas);
        assert_eq!([of(2, 3), of(8, 3), of(9, 3), of(1, 1), of(4, 1), of(4, 0)], [1, 2, 3, 1, 4, 4]);
    }
}
