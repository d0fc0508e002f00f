//! One replica: its network, its disk, its process.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

use super::backend::{Running, end_of};
use super::disk::Disk;
use super::fabric::Space;
use crate::Failure;

/// Where etcd's clients are served.
pub(super) const ETCD_PORT: u16 = 2379;
/// Until a killed process is gone.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// Until a process that was asked to stop has ended.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

pub struct Replica {
    /// Counted from 1, as this run made them. The cluster may have given it another id.
    pub number: usize,
    pub space: Space,
    pub disk: Disk,
    pub(super) holder: i32,
    running: Mutex<Option<Box<dyn Running>>>,
    client: OnceCell<kube::Client>,
    store: OnceCell<etcd_client::Client>,
    retired: AtomicBool,
}

impl Replica {
    pub(super) fn new(number: usize, holder: i32, space: Space, disk: Disk) -> Self {
        let (client, store) = (OnceCell::new(), OnceCell::new());
        let (running, retired) = (Mutex::default(), AtomicBool::new(false));
        Self { number, space, disk, holder, running, client, store, retired }
    }

    pub fn name(&self) -> String {
        format!("replica-{}", self.number)
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.disk.data().join("admin.kubeconfig")
    }

    /// A client of this replica only.
    pub async fn client(&self) -> Result<kube::Client, Failure> {
        self.client.get_or_try_init(|| async { crate::client(&self.kubeconfig()).await }).await.cloned()
    }

    /// What it tells of itself in numbers, if it answers by then.
    pub async fn metrics(&self, patience: Duration) -> Result<String, Failure> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let client = self.client().await?;
        Ok(tokio::time::timeout(patience, client.request_text(request)).await??)
    }

    /// A client of this replica's port for etcd's clients.
    pub async fn store(&self) -> Result<etcd_client::Client, Failure> {
        let endpoint = format!("https://{}:{ETCD_PORT}", self.space.ip);
        let connect = || async { crate::etcd_client(&self.disk.data(), endpoint).await };
        self.store.get_or_try_init(connect).await.cloned()
    }

    /// It was removed from the cluster and stays away.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    pub(super) async fn runs(&self, running: Box<dyn Running>) {
        *self.running.lock().await = Some(running);
    }

    pub async fn is_running(&self) -> bool {
        self.running.lock().await.is_some()
    }

    pub async fn pid(&self) -> Result<i32, Failure> {
        let running = self.running.lock().await;
        Ok(running.as_ref().ok_or_else(|| format!("replica {} does not run", self.number))?.pid())
    }

    pub async fn signal(&self, signal: Signal) -> Result<(), Failure> {
        Ok(kill(Pid::from_raw(self.pid().await?), signal)?)
    }

    /// `State` of the process: `T` when it is stopped.
    pub async fn state(&self) -> Result<char, Failure> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid().await?))?;
        stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).ok_or_else(|| "no state in /proc".into())
    }

    pub(super) async fn kill(&self) -> Result<(), Failure> {
        self.end(Signal::SIGKILL, KILL_PATIENCE).await.map(drop)
    }

    pub(super) async fn stop(&self) -> Result<String, Failure> {
        self.end(Signal::SIGTERM, STOP_PATIENCE).await
    }

    async fn end(&self, signal: Signal, patience: Duration) -> Result<String, Failure> {
        let mut running = self.running.lock().await;
        let Some(process) = running.as_mut() else { return Ok("not running".to_owned()) };
        // It may have ended by itself at this moment.
        let _ = kill(Pid::from_raw(process.pid()), signal);
        let how = end_of(process.as_mut(), patience).await?;
        if let Some(process) = running.take() {
            process.clear().await;
        }
        Ok(how)
    }

    /// How it ended although nobody ended it, if so. After that it counts as not running.
    pub async fn ended_by_itself(&self) -> Result<Option<String>, Failure> {
        let mut running = self.running.lock().await;
        let how = match running.as_mut() {
            Some(process) => process.ended().await?,
            None => None,
        };
        if how.is_some()
            && let Some(process) = running.take()
        {
            process.clear().await;
        }
        Ok(how)
    }

    pub(super) async fn wait_until_ready(&self, patience: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + patience;
        loop {
            // Its credentials are the first thing that it makes.
            if self.kubeconfig().exists() && self.is_ready().await {
                return Ok(());
            }
            if let Some(how) = self.ended_by_itself().await? {
                return Err(format!("replica {} ended at its start ({how})", self.number).into());
            }
            if Instant::now() > deadline {
                return Err(format!("replica {} is not ready after {} s", self.number, patience.as_secs()).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
