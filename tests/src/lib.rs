//! A cluster for a test: `kontiki up` in a directory of its own, ended when dropped.
//!
//! The binary is `KONTIKI_BIN`, or `kontiki` beside the test's own target directory.

pub mod bucket;
pub mod client;
pub mod disk;
pub mod figures;
pub mod issuer;
pub mod processes;
pub mod programs;
pub mod servers;
pub mod store;
pub mod watching;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long `kontiki up` may take to say `ready` on a busy machine of two cores.
const READY_PATIENCE: Duration = Duration::from_secs(180);
const END_PATIENCE: Duration = Duration::from_secs(90);

pub struct Cluster {
    pub dir: PathBuf,
    _temporary: tempfile::TempDir,
    up: Child,
    port_base: u16,
    arguments: Vec<String>,
}

/// Ports of clusters of one test process do not meet; those of other test processes differ by the process id.
fn next_port_base() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % 40).unwrap_or(0);
    12_000 + process * 200 + NEXT.fetch_add(10, Ordering::Relaxed)
}

/// Where the binary under test is; `None` (and a word) when it was not built.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("KONTIKI_BIN") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().expect("a test knows its own path");
    test.ancestors()
        .map(|dir| dir.join("kontiki"))
        .find(|path| path.is_file())
        .expect("the kontiki binary: build it first (cargo build --release -p kontiki), or name it in KONTIKI_BIN")
}

impl Cluster {
    /// Starts `kontiki up` with further arguments and waits until it says `ready`.
    pub fn up(arguments: &[&str]) -> Self {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let dir = temporary.path().join("data");
        let port_base = next_port_base();
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let up = start(&dir, port_base, &arguments);
        Self { dir, _temporary: temporary, up, port_base, arguments }
    }

    /// Ends `up` in order and starts it again on the same data.
    pub fn restart(&mut self) {
        self.end();
        self.up = start(&self.dir, self.port_base, &self.arguments);
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }

    /// Of one replica, counted from 1.
    pub fn kubeconfig_of(&self, replica: usize) -> PathBuf {
        self.dir.join(format!("admin-{replica}.kubeconfig"))
    }

    pub fn api_url(&self, replica: u16) -> String {
        format!("https://127.0.0.1:{}", self.port_base + replica - 1)
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

    /// What `kontiki status -o json` says.
    pub fn status(&self) -> Value {
        let mut command = Command::new(binary());
        command.args(["status", "-o", "json", "--kubeconfig"]).arg(self.kubeconfig());
        let output = command.output().expect("status runs");
        assert!(output.status.success(), "status: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("status prints JSON")
    }

    /// The id of the replica that leads, when one does.
    pub fn leader(&self) -> Option<u64> {
        let status = self.status();
        let replicas = status["replicas"].as_array().cloned().unwrap_or_default();
        replicas.iter().find(|replica| replica["leader"] == true)?["id"].as_u64()
    }

    /// The tail of every log, for a failure's message.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(self.dir.join("logs")).into_iter().flatten().flatten() {
            let content = std::fs::read_to_string(entry.path()).unwrap_or_else(|error| error.to_string());
            let lines: Vec<&str> = content.lines().collect();
            let tail = &lines[lines.len().saturating_sub(40)..];
            text.push_str(&format!("--- {}\n{}\n", entry.path().display(), tail.join("\n")));
        }
        text
    }

    fn end(&mut self) {
        let pid = Pid::from_raw(self.up.id().cast_signed());
        // Ended already: nothing to signal.
        let _ = kill(pid, Signal::SIGINT);
        let deadline = Instant::now() + END_PATIENCE;
        while self.up.try_wait().expect("up can be waited for").is_none() {
            if Instant::now() > deadline {
                let _ = self.up.kill();
                panic!("kontiki up did not end within {} s", END_PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        self.end();
    }
}

fn start(dir: &Path, port_base: u16, arguments: &[String]) -> Child {
    let mut up = Command::new(binary())
        .args(["up", "--port-base", &port_base.to_string(), "--data-dir"])
        .arg(dir)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kontiki up starts");
    let (sender, lines) = mpsc::channel();
    let output = up.stdout.take().expect("piped");
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            eprintln!("up: {line}");
            // The test stops listening after `ready`; reading goes on so that `up` never blocks.
            let _ = sender.send(line);
        }
    });
    let deadline = Instant::now() + READY_PATIENCE;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if line.starts_with("ready") => return up,
            Ok(_) => {}
            Err(error) => {
                let _ = kill(Pid::from_raw(up.id().cast_signed()), Signal::SIGINT);
                let _ = up.wait();
                panic!("kontiki up did not become ready: {error}");
            }
        }
    }
}

/// Waits until `look` answers something; panics with `what` when it takes too long.
pub fn eventually<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {} s", patience.as_secs());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The real kubectl, when there is one.
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// `None` with a clear word where `KUBECTL` names no program.
    pub fn find(kubeconfig: PathBuf) -> Option<Self> {
        Self::named_in("KUBECTL", kubeconfig)
    }

    /// The one that a variable names.
    pub fn named_in(variable: &str, kubeconfig: PathBuf) -> Option<Self> {
        Some(Self { program: programs::named(variable)?, kubeconfig })
    }

    pub fn at(&self, kubeconfig: PathBuf) -> Self {
        Self { program: self.program.clone(), kubeconfig }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments);
        command
    }

    pub fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().expect("kubectl runs")
    }

    /// Standard output of a call that must succeed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "kubectl {}: {}\n{out}{err}", arguments.join(" "), output.status);
        out
    }

    /// Standard error of a call that must fail.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(!output.status.success(), "kubectl {} succeeded: {}", arguments.join(" "), text(&output.stdout));
        text(&output.stderr)
    }

    /// With something on standard input; standard output of a call that must succeed.
    pub fn with_input(&self, arguments: &[&str], input: &str) -> String {
        let (status, out, err) = self.fed(arguments, input);
        assert!(status.success(), "kubectl {}: {status}\n{out}{err}", arguments.join(" "));
        out
    }

    /// With something on standard input; standard error of a call that must fail.
    pub fn refused_input(&self, arguments: &[&str], input: &str) -> String {
        let (status, out, err) = self.fed(arguments, input);
        assert!(!status.success(), "kubectl {} succeeded: {out}", arguments.join(" "));
        err
    }

    /// With something on standard input; how it ended, and both outputs.
    pub fn fed(&self, arguments: &[&str], input: &str) -> (ExitStatus, String, String) {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl runs");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(input.as_bytes()).expect("kubectl reads");
        drop(stdin);
        let (mut out, mut err) = (String::new(), String::new());
        child.stdout.take().expect("piped").read_to_string(&mut out).expect("UTF-8");
        child.stderr.take().expect("piped").read_to_string(&mut err).expect("UTF-8");
        (child.wait().expect("kubectl ends"), out, err)
    }

    /// What a web server answers through `kubectl port-forward` to its port, asked so many times in turn.
    pub fn forwarded(&self, target: &str, port: u16, times: usize) -> Vec<String> {
        let mut command = self.command(&["port-forward", target, &format!(":{port}")]);
        let mut forward = command.stdout(Stdio::piped()).spawn().expect("kubectl runs");
        let mut lines = BufReader::new(forward.stdout.take().expect("piped")).lines();
        let line = lines.next().expect("a line").expect("UTF-8");
        let port = line.split([':', ' ']).find_map(|word| word.parse::<u16>().ok()).expect("a port");
        let ask = |_| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("writes");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("reads");
            answer
        };
        let answers = (0..times).map(ask).collect();
        forward.kill().expect("ends");
        forward.wait().expect("ended");
        answers
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.extend(["-o", "json"]);
        serde_json::from_str(&self.ok(&arguments)).expect("kubectl prints JSON")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
