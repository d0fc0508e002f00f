//! Real machines' way in: `server --init`, a token, `server --join`, and who is refused.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use system_tests::{binary, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    process: Child,
    dir: PathBuf,
    _temporary: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.dir.join("log")).unwrap_or_default());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Ports of one test process do not meet those of another.
fn port(offset: u16) -> u16 {
    let process = u16::try_from(std::process::id() % 100).unwrap_or(0);
    24_000 + process * 20 + offset
}

fn arguments(dir: &Path, number: u16, how: &[&str]) -> Vec<String> {
    let mut arguments: Vec<String> = ["server", "--advertise", "127.0.0.1"].map(str::to_owned).to_vec();
    arguments.extend([
        "--api-port".into(),
        port(number * 2).to_string(),
        "--peer-port".into(),
        port(number * 2 + 1).to_string(),
    ]);
    arguments.extend(["--data-dir".into(), dir.display().to_string()]);
    arguments.extend(how.iter().map(|one| (*one).to_owned()));
    arguments
}

fn start(number: u16, how: &[&str]) -> Server {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path().join("data");
    std::fs::create_dir(&dir).expect("a directory");
    let log = std::fs::File::create(dir.join("log")).expect("a log");
    let process = Command::new(binary())
        .args(arguments(&dir, number, how))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("the server starts");
    Server { process, dir, _temporary: temporary }
}

fn kontiki(arguments: &[&str], kubeconfig: &Path) -> Output {
    Command::new(binary()).args(arguments).arg("--kubeconfig").arg(kubeconfig).output().expect("kontiki runs")
}

fn replicas(kubeconfig: &Path) -> Option<Vec<Value>> {
    let output = kontiki(&["status", "-o", "json"], kubeconfig);
    let status: Value = serde_json::from_slice(&output.stdout).ok()?;
    let replicas = status["replicas"].as_array()?.clone();
    replicas.iter().all(|replica| replica["reachable"] == true).then_some(replicas)
}

#[test]
fn servers_join_with_a_token_and_strangers_do_not() {
    let first = start(0, &["--init"]);
    let admin = first.dir.join("admin.kubeconfig");
    eventually("the first replica serves", PATIENCE, || replicas(&admin).filter(|found| found.len() == 1));
    let token = eventually("a token", PATIENCE, || {
        let output = kontiki(&["token", "create", "--for", "server"], &admin);
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    });
    let url = format!("https://127.0.0.1:{}", port(0));
    let second = start(1, &["--join", &url, "--token", &token]);
    let third = start(2, &["--join", &url, "--token", &token]);
    let found = eventually("three replicas", PATIENCE, || replicas(&admin).filter(|found| found.len() == 3));
    let mut ids: Vec<u64> = found.iter().filter_map(|replica| replica["id"].as_u64()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3, "every replica has a number of its own: {found:?}");
    assert_eq!(found.iter().filter(|replica| replica["leader"] == true).count(), 1);
    let through_second =
        eventually("the second replica answers", PATIENCE, || replicas(&second.dir.join("admin.kubeconfig")));
    assert_eq!(through_second.len(), 3);

    let refused = |token: &str| {
        let dir = tempfile::tempdir().expect("a directory");
        let arguments = arguments(&dir.path().join("data"), 3, &["--join", &url, "--token", token]);
        let output = Command::new(binary()).args(arguments).output().expect("kontiki runs");
        assert!(!output.status.success(), "joined with {token}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let (bearer, hash) = token.split_once(':').expect("a token has a hash");
    assert!(refused(&format!("abcdef.0123456789abcdef:{hash}")).contains("401"), "an unknown token");
    let other = format!("{bearer}:sha256:{}", "0".repeat(64));
    assert!(refused(&other).contains("wrong server or wrong token"), "a server that is not the token's");
    assert!(refused("nonsense").contains("a join token looks like"), "not a token");
    let output = kontiki(&["token", "create", "--for", "agent"], &admin);
    let agents = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(refused(&agents).contains("may not bring in such a machine"), "a token for agents");
    println!("join: three replicas from one token; four strangers refused");
    // Not before: until the second one is a voter too, the third may be half of a quorum.
    drop(third);
}
