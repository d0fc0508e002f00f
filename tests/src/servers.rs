//! `kontiki server` and `kontiki agent` processes for a test, each with a directory of its own, started and stopped one
//! by one.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pki::authority::Authority;
use serde_json::Value;

use crate::client::{Client, Identity};
use crate::{binary, eventually};

const PATIENCE: Duration = Duration::from_secs(120);
const TOKEN_PATIENCE: Duration = Duration::from_secs(60);

/// A process that says what it says into a file; ended when dropped.
pub struct Running {
    process: Child,
    log: PathBuf,
}

impl Running {
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log");
        let command = command.stdin(Stdio::null()).stdout(file.try_clone().expect("a log")).stderr(file);
        Self { process: command.spawn().expect("it starts"), log }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// SIGTERM, and waits until it has ended.
    pub fn stop(mut self) {
        kill(Pid::from_raw(self.pid().cast_signed()), Signal::SIGTERM).expect("told");
        self.ended();
    }

    /// How it ended, which it is about to.
    pub fn ended(&mut self) -> ExitStatus {
        eventually("it ends", PATIENCE, || self.process.try_wait().expect("can be waited for"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- {}\n{}", self.log.display(), lines[lines.len().saturating_sub(60)..].join("\n"));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One server.
pub struct Server {
    pub dir: PathBuf,
    pub api_port: u16,
    pub peer_port: u16,
    running: Option<Running>,
    _temporary: tempfile::TempDir,
}

/// One node.
pub struct Agent {
    pub dir: PathBuf,
    _running: Running,
    _temporary: tempfile::TempDir,
}

impl Agent {
    pub fn start(how: &[&str]) -> Self {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let dir = temporary.path().join("data");
        let mut command = Command::new(binary());
        let running =
            Running::start(command.args(["agent", "--data-dir"]).arg(&dir).args(how), dir.with_extension("log"));
        Self { dir, _running: running, _temporary: temporary }
    }
}

/// A port nobody listens on at the moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

impl Server {
    /// Its directory and ports; it does not run yet.
    pub fn new() -> Self {
        Self::new_in(&std::env::temp_dir())
    }

    /// With its directory in this one.
    pub fn new_in(parent: &Path) -> Self {
        let temporary = tempfile::tempdir_in(parent).expect("a temporary directory");
        let dir = temporary.path().join("data");
        Self { dir, api_port: free_port(), peer_port: free_port(), running: None, _temporary: temporary }
    }

    /// The first of a new cluster, serving.
    pub fn init() -> Self {
        let mut server = Self::new();
        server.start(&["--init"]);
        server.wait(1);
        server
    }

    /// A further one, by the command that `kontiki member add` or `replace` printed.
    pub fn by(printed: &str) -> Self {
        let mut server = Self::new();
        let command = printed.lines().find_map(|line| line.strip_prefix("kontiki server ")).expect("a command");
        // Its address is told by `start`.
        let words: Vec<&str> =
            command.split_whitespace().filter(|word| !["--advertise", "IP"].contains(word)).collect();
        server.start(&words);
        server
    }

    /// Its command line, which `how` ends.
    pub fn command(&self, how: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(["server", "--advertise", "127.0.0.1", "--api-port", &self.api_port.to_string()])
            .args(["--peer-port", &self.peer_port.to_string(), "--data-dir"])
            .arg(&self.dir)
            .args(how);
        command
    }

    /// Starts it; what it says is kept beside its directory.
    pub fn start(&mut self, how: &[&str]) {
        assert!(self.running.is_none(), "it runs");
        self.running = Some(Running::start(&mut self.command(how), self.dir.with_extension("log")));
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.api_port)
    }

    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("it runs").pid()
    }

    /// kill -9
    pub fn kill(&mut self) {
        drop(self.running.take().expect("it runs"));
    }

    /// SIGTERM, and waits until it has ended.
    pub fn stop(&mut self) {
        self.running.take().expect("it runs").stop();
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }

    /// The cluster's CA, with its key: it signs clients, nodes and kubelets' serving certificates.
    pub fn authority(&self) -> Authority {
        let read = |name: &str| std::fs::read_to_string(self.dir.join("pki").join(name)).expect("the CA's file");
        Authority::from_pem(&read("ca.crt"), &read("ca.key")).expect("the cluster's CA")
    }

    /// Without credentials when there is no identity.
    pub fn client(&self, identity: Option<&Identity>) -> Client {
        Client::new((Ipv4Addr::LOCALHOST, self.api_port).into(), &self.dir.join("pki/ca.crt"), identity)
    }

    /// Until this one says that there are so many replicas, and all of them answer and are well.
    pub fn wait(&self, replicas: usize) -> Vec<Value> {
        self.admin().wait(replicas)
    }

    /// What `kontiki status` says of the replicas, once it reaches all of them.
    pub fn replicas(&self) -> Option<Vec<Value>> {
        let output = self.kontiki(&["status", "-o", "json"]);
        let status: Value = serde_json::from_slice(&output.stdout).ok()?;
        let replicas = status["replicas"].as_array()?.clone();
        replicas.iter().all(|replica| replica["reachable"] == true).then_some(replicas)
    }

    /// A new token, for a `server` or an `agent`.
    pub fn token(&self, purpose: &str) -> String {
        eventually("a token", TOKEN_PATIENCE, || {
            let output = self.kontiki(&["token", "create", "--for", purpose]);
            output.status.success().then(|| text(&output.stdout).trim().to_owned())
        })
    }

    /// What `kontiki member list -o json` says.
    pub fn members(&self) -> Option<Vec<Value>> {
        self.admin().members()
    }

    /// With this server's credentials.
    pub fn admin(&self) -> Admin {
        Admin { kubeconfig: self.kubeconfig() }
    }

    /// An admin command with this server's credentials.
    pub fn kontiki(&self, arguments: &[&str]) -> Output {
        self.admin().kontiki(arguments)
    }

    /// Standard output of one that must succeed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        self.admin().ok(arguments)
    }

    /// Standard error of one that must fail.
    pub fn refused(&self, arguments: &[&str]) -> String {
        self.admin().refused(arguments)
    }
}

/// Whoever has these credentials.
pub struct Admin {
    pub kubeconfig: PathBuf,
}

impl Admin {
    pub fn kontiki(&self, arguments: &[&str]) -> Output {
        kontiki_with(arguments, &self.kubeconfig)
    }

    /// Standard output of a command that must succeed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.kontiki(arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "kontiki {}: {}\n{out}{err}", arguments.join(" "), output.status);
        out
    }

    /// Standard error of a command that must fail.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.kontiki(arguments);
        assert!(!output.status.success(), "kontiki {} succeeded: {}", arguments.join(" "), text(&output.stdout));
        text(&output.stderr)
    }

    /// What `kontiki member list -o json` says.
    pub fn members(&self) -> Option<Vec<Value>> {
        let output = self.kontiki(&["member", "list", "-o", "json"]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
    }

    /// Until there are so many replicas, and all of them answer and are well.
    pub fn wait(&self, replicas: usize) -> Vec<Value> {
        eventually(&format!("{replicas} replicas"), PATIENCE, || {
            let found = self.members()?;
            let well = |member: &Value| member["reachable"] == true && member["health"].is_null();
            (found.len() == replicas && found.iter().all(well)).then_some(found)
        })
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

/// An admin command with the credentials in the environment.
pub fn kontiki_with(arguments: &[&str], kubeconfig: &Path) -> Output {
    let mut command = Command::new(binary());
    let command = command.args(arguments).env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
    command.output().expect("kontiki runs")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
