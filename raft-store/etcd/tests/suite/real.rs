//! Debian's etcd, started for the test and ended with it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use etcd_client::{Client, ConnectOptions};

use crate::transcript::{PATIENCE, PROGRESS_INTERVAL};

pub(crate) struct Etcd {
    process: Child,
    endpoint: String,
    _dir: tempfile::TempDir,
}

/// `ETCD`, or what is found in the PATH.
fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("ETCD") {
        return Some(PathBuf::from(named)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("etcd")).find(|path| path.is_file())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

impl Etcd {
    pub(crate) fn start() -> Option<Self> {
        let program = program()?;
        let dir = tempfile::tempdir().expect("a directory");
        let (client, peer) = (free_port(), free_port());
        let endpoint = format!("http://127.0.0.1:{client}");
        let process = launch(&program, dir.path(), &endpoint, &format!("http://127.0.0.1:{peer}"));
        println!("etcd: {} at {endpoint}", program.display());
        Some(Self { process, endpoint, _dir: dir })
    }

    pub(crate) async fn client(&self) -> Client {
        let options = ConnectOptions::new().with_require_leader(true);
        let connected = async {
            loop {
                if let Ok(mut client) = Client::connect([&self.endpoint], Some(options.clone())).await
                    && client.get("x", None).await.is_ok()
                {
                    return client;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, connected).await.expect("etcd answers in time")
    }
}

fn launch(program: &Path, dir: &Path, client: &str, peer: &str) -> Child {
    Command::new(program)
        .args(["--name", "real", "--data-dir"])
        .arg(dir.join("data"))
        .args(["--listen-client-urls", client, "--advertise-client-urls", client])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--initial-cluster", &format!("real={peer}")])
        .args(["--experimental-watch-progress-notify-interval", &format!("{}ms", PROGRESS_INTERVAL.as_millis())])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd starts")
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
