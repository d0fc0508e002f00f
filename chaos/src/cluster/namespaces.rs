//! Replicas as processes of this machine, each in a network namespace of its own.

use std::fs::OpenOptions;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use tokio::process::{Child, Command};

use super::backend::{Backend, Program, Running};
use super::run_id::{MARK, RunId};
use crate::Failure;

/// Until a process that keeps a namespace has made it.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Namespaces {
    kontiki: PathBuf,
    run: String,
    holders: Mutex<Vec<Child>>,
}

impl Namespaces {
    pub(crate) fn new(kontiki: &Path, run: &RunId) -> Self {
        Self { kontiki: kontiki.to_owned(), run: run.to_string(), holders: Mutex::default() }
    }
}

fn id(child: &Child) -> Result<i32, Failure> {
    Ok(i32::try_from(child.id().ok_or("a process ended at once")?)?)
}

#[async_trait]
impl Backend for Namespaces {
    fn name(&self) -> &'static str {
        "namespaces"
    }

    async fn hold(&self, _number: usize) -> Result<i32, Failure> {
        let child = Command::new("unshare")
            .args(["--net", "sleep", "infinity"])
            .env(MARK, &self.run)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .process_group(0)
            .spawn()?;
        let holder = id(&child)?;
        self.holders.lock().push(child);
        let ours = std::fs::read_link("/proc/thread-self/ns/net")?;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while std::fs::read_link(format!("/proc/{holder}/ns/net"))? == ours {
            if tokio::time::Instant::now() > deadline {
                return Err("no network namespace was made".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(holder)
    }

    async fn start(&self, program: &Program) -> Result<Box<dyn Running>, Failure> {
        let log = OpenOptions::new().create(true).append(true).open(&program.log)?;
        let child = Command::new("nsenter")
            .arg(format!("--net=/proc/{}/ns/net", program.holder))
            .arg(&self.kontiki)
            .args(&program.arguments)
            .envs(program.environment.iter().cloned())
            .env(MARK, &self.run)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .process_group(0)
            .spawn()?;
        Ok(Box::new(Process { pid: id(&child)?, child }))
    }

    async fn end(&self) {
        self.holders.lock().clear();
    }
}

struct Process {
    pid: i32,
    child: Child,
}

#[async_trait]
impl Running for Process {
    fn pid(&self) -> i32 {
        self.pid
    }

    async fn ended(&mut self) -> Result<Option<String>, Failure> {
        Ok(self.child.try_wait()?.map(|status| status.to_string()))
    }
}
