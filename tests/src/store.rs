//! A stand-alone store for a test: `kontiki store up` in a directory of its own, and etcdctl to talk to it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::binary;
use crate::servers::{Admin, Running, free_port};

const READY_PATIENCE: Duration = Duration::from_secs(120);
const END_PATIENCE: Duration = Duration::from_secs(60);

pub struct Store {
    pub dir: PathBuf,
    pub client_port_base: u16,
    _temporary: tempfile::TempDir,
    up: Child,
}

/// Far from the ports of clusters; tests of other processes differ by the process id.
fn next_port_base() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % 40).unwrap_or(0);
    22_000 + process * 200 + NEXT.fetch_add(20, Ordering::Relaxed)
}

impl Store {
    /// Waits until it says `ready`.
    pub fn up() -> Self {
        Self::up_in(&std::env::temp_dir())
    }

    /// With its data in a directory of its own in this one.
    pub fn up_in(parent: &Path) -> Self {
        Self::up_with(parent, 3)
    }

    /// And so many replicas.
    pub fn up_with(parent: &Path, replicas: u16) -> Self {
        let temporary = tempfile::Builder::new().prefix("kontiki-").tempdir_in(parent).expect("a temporary directory");
        let (dir, client_port_base) = (temporary.path().join("data"), next_port_base());
        let options = ["--replicas", &replicas.to_string(), "--client-port-base", &client_port_base.to_string()];
        let up = start(&dir, &options);
        Self { dir, client_port_base, _temporary: temporary, up: up.expect("the store becomes ready") }
    }

    /// Ends it in order and starts it again on the same data.
    pub fn restart(&mut self) {
        self.end();
        self.up = start(&self.dir, &[]).expect("the store becomes ready again");
    }

    /// kill -9 of everything, and a start on the same data: returns when its replicas run, not when they answer.
    pub fn start_again(&mut self) {
        // The replicas end with the process that started them; the next one waits for those that it finds.
        let before = self.pid("replica-3");
        self.up.kill().and_then(|()| self.up.wait()).expect("it can be killed");
        self.up = spawn(&self.dir, &[]).0;
        let deadline = Instant::now() + READY_PATIENCE;
        while self.pid("replica-3").is_none_or(|pid| Some(pid) == before) {
            let ended = self.up.try_wait().expect("it can be waited for");
            assert!(ended.is_none(), "the store did not start again: {ended:?}");
            assert!(Instant::now() < deadline, "the replicas were not started again");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What a start with other options on this directory says.
    pub fn start_otherwise(&self, options: &[&str]) -> String {
        start(&self.dir, options).expect_err("it is refused")
    }

    /// With the certificate that was made for clients.
    pub fn access(&self) -> Access {
        let file = |name: &str| self.dir.join(name);
        let endpoints = (1..=3).map(|replica| self.endpoint(replica)).collect();
        Access { endpoints, ca: file("ca.crt"), certificate: file("client.crt"), key: file("client.key") }
    }

    pub fn endpoint(&self, replica: u16) -> String {
        format!("https://127.0.0.1:{}", self.client_port_base + replica - 1)
    }

    /// With the admin's credentials.
    pub fn admin(&self) -> Admin {
        Admin { kubeconfig: self.dir.join("admin.kubeconfig") }
    }

    /// Process id by name, from the file `up` keeps.
    pub fn pid(&self, name: &str) -> Option<i32> {
        let text = std::fs::read_to_string(self.dir.join("pids")).ok()?;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// kill -9
    pub fn kill(&self, name: &str) {
        let pid = self.pid(name).unwrap_or_else(|| panic!("{name} runs"));
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("the process can be killed");
    }

    /// Sends SIGTERM and waits.
    pub fn end(&mut self) {
        // Ended already: nothing to signal.
        let _ = kill(Pid::from_raw(self.up.id().cast_signed()), Signal::SIGTERM);
        let deadline = Instant::now() + END_PATIENCE;
        while self.up.try_wait().expect("it can be waited for").is_none() {
            if Instant::now() > deadline {
                let _ = self.up.kill();
                panic!("kontiki store up did not end within {} s", END_PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn logs(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(self.dir.join("logs")).into_iter().flatten().flatten() {
            let content = std::fs::read_to_string(entry.path()).unwrap_or_else(|error| error.to_string());
            let lines: Vec<&str> = content.lines().collect();
            let tail = &lines[lines.len().saturating_sub(40)..];
            text.push_str(&format!("--- {}\n{}\n", entry.path().display(), tail.join("\n")));
        }
        text
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        self.end();
    }
}

/// `Err`: what it said on standard error when it ended instead of becoming ready.
fn start(dir: &Path, options: &[&str]) -> Result<Child, String> {
    let (up, lines) = spawn(dir, options);
    let deadline = Instant::now() + READY_PATIENCE;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if line.starts_with("ready") => return Ok(up),
            Ok(_) => {}
            Err(_) => {
                let _ = kill(Pid::from_raw(up.id().cast_signed()), Signal::SIGINT);
                let output = up.wait_with_output().expect("it ends");
                return Err(String::from_utf8_lossy(&output.stderr).into_owned());
            }
        }
    }
}

/// And the lines that it prints.
fn spawn(dir: &Path, options: &[&str]) -> (Child, mpsc::Receiver<String>) {
    let mut up = Command::new(binary())
        .args(["store", "up", "--data-dir"])
        .arg(dir)
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kontiki store up starts");
    let lines = lines_of(up.stdout.take().expect("piped"));
    (up, lines)
}

/// Lines as they come; reading goes on when nobody listens any more, so that the other side never blocks.
fn lines_of(output: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            eprintln!("said: {line}");
            let _ = sender.send(line);
        }
    });
    lines
}

/// One replica of a stand-alone store, started and stopped by itself.
pub struct Replica {
    pub dir: PathBuf,
    pub client_port: u16,
    pub peer_port: u16,
    /// How it is started: the configuration, or what makes one.
    arguments: Vec<String>,
    running: Option<Running>,
    _temporary: Option<tempfile::TempDir>,
}

impl Replica {
    /// With a directory and ports of its own; it does not run yet.
    pub fn new() -> Self {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let (dir, client_port, peer_port) = (temporary.path().join("data"), free_port(), free_port());
        let arguments = [
            ("--data-dir", dir.display().to_string()),
            ("--advertise", "127.0.0.1".to_owned()),
            ("--client-port", client_port.to_string()),
            ("--peer-port", peer_port.to_string()),
        ];
        let arguments = arguments.into_iter().flat_map(|(option, value)| [option.to_owned(), value]).collect();
        Self { dir, client_port, peer_port, arguments, running: None, _temporary: Some(temporary) }
    }

    /// One of those that `kontiki store up` has made, from 1, which runs no more.
    pub fn of(store: &Store, number: u16) -> Self {
        let dir = store.dir.join(format!("replica-{number}"));
        let arguments = vec!["--config".to_owned(), dir.join("store.yaml").display().to_string()];
        let client_port = store.client_port_base + number - 1;
        Self { dir, client_port, peer_port: client_port + 100, arguments, running: None, _temporary: None }
    }

    /// A further one, by the command that `kontiki member add` or `replace` printed.
    pub fn by(printed: &str, admin: &Admin) -> Self {
        let mut replica = Self::new();
        let command = printed.lines().find_map(|line| line.strip_prefix("kontiki store serve ")).expect("a command");
        let kubeconfig = admin.kubeconfig.display().to_string();
        // Its address is told by `start`.
        let words = command.split_whitespace().filter(|word| !["--advertise", "IP"].contains(word));
        let words: Vec<&str> = words.map(|word| if word == "admin.kubeconfig" { &kubeconfig } else { word }).collect();
        replica.start(&words);
        replica
    }

    /// Its command line, which `how` ends.
    pub fn command(&self, how: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(["store", "serve"]).args(&self.arguments).args(how);
        command
    }

    pub fn start(&mut self, how: &[&str]) {
        assert!(self.running.is_none(), "it runs");
        self.running = Some(Running::start(&mut self.command(how), self.dir.with_extension("log")));
    }

    /// kill -9
    pub fn kill(&mut self) {
        drop(self.running.take().expect("it runs"));
    }

    /// SIGTERM, and waits until it has ended.
    pub fn stop(&mut self) {
        self.running.take().expect("it runs").stop();
    }

    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("it runs").pid()
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.client_port)
    }

    /// With the credentials that its directory has.
    pub fn admin(&self) -> Admin {
        Admin { kubeconfig: self.dir.join("admin.kubeconfig") }
    }

    /// With the certificate that was made for clients.
    pub fn access(&self) -> Access {
        let file = |name: &str| self.dir.join(name);
        Access {
            endpoints: vec![self.url()],
            ca: file("ca.crt"),
            certificate: file("client.crt"),
            key: file("client.key"),
        }
    }
}

impl Default for Replica {
    fn default() -> Self {
        Self::new()
    }
}

/// Where a store is, and what its clients show.
pub struct Access {
    pub endpoints: Vec<String>,
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// The real etcdctl, when there is one.
pub struct Etcdctl {
    program: PathBuf,
    arguments: Vec<String>,
}

impl Etcdctl {
    /// Every etcdctl there is: those that `ETCDCTL` names (separated by colons), or the one in the PATH.
    pub fn all(access: &Access) -> Vec<Self> {
        let named = std::env::var_os("ETCDCTL").map(|paths| std::env::split_paths(&paths).collect::<Vec<_>>());
        let in_path = || {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).map(|dir| dir.join("etcdctl")).take(1).collect()
        };
        let programs = named.unwrap_or_else(in_path).into_iter().filter(|path| path.is_file());
        let all: Vec<Self> = programs.map(|program| Self::new(program, access)).collect();
        if all.is_empty() {
            println!("skipped: there is no etcdctl here (apt install etcd-client, or name one in ETCDCTL)");
        }
        all
    }

    fn new(program: PathBuf, access: &Access) -> Self {
        let arguments = [
            ("--endpoints", access.endpoints.join(",")),
            ("--cacert", access.ca.display().to_string()),
            ("--cert", access.certificate.display().to_string()),
            ("--key", access.key.display().to_string()),
        ];
        let arguments = arguments.into_iter().flat_map(|(option, value)| [option.to_owned(), value]).collect();
        Self { program, arguments }
    }

    /// Of an etcd that asks for no certificate.
    pub fn without_tls(self) -> Self {
        Self { arguments: self.arguments.into_iter().take(2).collect(), program: self.program }
    }

    /// At these endpoints only.
    pub fn at(&self, endpoint: &str) -> Self {
        let mut arguments = self.arguments.clone();
        arguments[1] = endpoint.to_owned();
        Self { program: self.program.clone(), arguments }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env("ETCDCTL_API", "3").args(&self.arguments).args(arguments);
        command
    }

    pub fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().expect("etcdctl runs")
    }

    /// Standard output of a call that must succeed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "etcdctl {}: {}\n{out}{err}", arguments.join(" "), output.status);
        out
    }

    /// Standard error of a call that must fail.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(!output.status.success(), "etcdctl {} succeeded: {}", arguments.join(" "), text(&output.stdout));
        text(&output.stderr)
    }

    /// With something on standard input.
    pub fn with_input(&self, arguments: &[&str], input: &str) -> String {
        let command = &mut self.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("etcdctl runs");
        let mut stdin = child.stdin.take().expect("piped");
        std::io::Write::write_all(&mut stdin, input.as_bytes()).expect("etcdctl reads");
        drop(stdin);
        let output = child.wait_with_output().expect("etcdctl ends");
        assert!(output.status.success(), "etcdctl {}: {}", arguments.join(" "), text(&output.stderr));
        text(&output.stdout)
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.extend(["-w", "json"]);
        serde_json::from_str(&self.ok(&arguments)).expect("etcdctl prints JSON")
    }

    /// Runs in the background; what it prints, line by line.
    pub fn follow(&self, arguments: &[&str]) -> Following {
        let command = &mut self.command(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("etcdctl runs");
        let lines = lines_of(child.stdout.take().expect("piped"));
        Following { child, lines }
    }
}

/// An etcdctl that goes on.
pub struct Following {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Following {
    /// The next so many lines.
    pub fn lines(&self, count: usize) -> Vec<String> {
        let next = |_| self.lines.recv_timeout(Duration::from_secs(20)).expect("another line in time");
        (0..count).map(next).collect()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
