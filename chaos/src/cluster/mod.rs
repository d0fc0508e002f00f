//! A cluster made for a run: replicas that can be killed, stopped, cut off and started again one by one.

pub(crate) mod backend;
pub(crate) mod clock;
pub(crate) mod command;
mod containers;
pub mod disk;
pub mod fabric;
mod image;
mod janitor;
mod namespaces;
pub mod probe;
mod replica;
mod run_id;
mod status;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use crate::Failure;
use backend::{Backend, Program};
use containers::Containers;
use disk::Disk;
use fabric::Space;
use janitor::Janitor;
use namespaces::Namespaces;
pub use replica::Replica;
pub(crate) use run_id::MARK;
use run_id::RunId;
pub use status::Status;

/// What replicas run in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// Containers where there is a Docker engine, network namespaces otherwise.
    #[default]
    Auto,
    Containers,
    Namespaces,
}

pub struct Options {
    pub kontiki: PathBuf,
    pub replicas: usize,
    pub choice: Choice,
    /// Its files are to be some hours old, so that clocks may go back.
    pub aged: bool,
    /// The run's own directory: disks, logs, histories.
    pub dir: PathBuf,
}

pub struct Cluster {
    pub dir: PathBuf,
    pub(crate) run: String,
    kontiki: PathBuf,
    backend: Box<dyn Backend>,
    replicas: RwLock<Vec<Arc<Replica>>>,
    /// Seconds that the clocks of new replicas are wrong by; 0 when the cluster has begun.
    past: AtomicI64,
    aged: AtomicBool,
    /// Dropped last: it takes away what the others left.
    _janitor: Janitor,
}

/// Clears up after runs that were killed. Every run does so when it begins.
pub fn sweep() -> Result<(), Failure> {
    janitor::sweep(containers::image_of)
}

/// So old are the files of an aged cluster, in seconds: certificates, above all.
const AGE: i64 = 3 * 3_600;

/// Until a replica answers after its start.
pub const START_PATIENCE: Duration = Duration::from_secs(90);

impl Cluster {
    /// Makes the network and the replicas. The calling thread must have entered the [`fabric`].
    pub async fn start(options: &Options) -> Result<Self, Failure> {
        let dir = options.dir.clone();
        for below in ["logs", "disks"] {
            std::fs::create_dir_all(dir.join(below))?;
        }
        let dir = dir.canonicalize()?;
        let run = RunId::new()?;
        let janitor = Janitor::hire(&run, &dir, &containers::image_of(&run))?;
        let backend = choose(options, &dir, &run).await?;
        let (kontiki, run) = (options.kontiki.clone(), run.to_string());
        let aged = options.aged && clock::can_be_had();
        let past = if aged { -AGE } else { 0 };
        let (replicas, past, aged) = (RwLock::default(), AtomicI64::new(past), AtomicBool::new(aged));
        let cluster = Self { dir, run, kontiki, backend, replicas, past, aged, _janitor: janitor };
        for _ in 0..options.replicas {
            cluster.add().await?;
        }
        cluster.level(options.replicas, START_PATIENCE).await?;
        cluster.arrive().await?;
        Ok(cluster)
    }

    /// Leaves the past, if that is where it began: all start again with the right time.
    async fn arrive(&self) -> Result<(), Failure> {
        if self.past.swap(0, Ordering::Relaxed) == 0 {
            return Ok(());
        }
        for replica in self.replicas() {
            self.stop(replica.number).await?;
            self.restart(replica.number, Vec::new()).await?;
        }
        self.level(self.replicas().len(), START_PATIENCE).await
    }

    /// Whether the files of all members are hours old.
    pub fn is_aged(&self) -> bool {
        self.aged.load(Ordering::Relaxed)
    }

    pub fn backend(&self) -> &'static str {
        self.backend.name()
    }

    /// Those that are members; a replica that was replaced is not among them any more.
    pub fn replicas(&self) -> Vec<Arc<Replica>> {
        self.replicas.read().iter().filter(|replica| !replica.is_retired()).cloned().collect()
    }

    pub fn replica(&self, number: usize) -> Arc<Replica> {
        self.replicas.read()[number - 1].clone()
    }

    /// A new replica: the first makes the cluster, the others join it.
    pub async fn add(&self) -> Result<Arc<Replica>, Failure> {
        self.new_replica(&[]).await
    }

    /// A new replica in the place of the member with this id, which is lost.
    pub async fn replace(&self, id: u64) -> Result<Arc<Replica>, Failure> {
        self.new_replica(&["--replace".to_owned(), id.to_string()]).await
    }

    async fn new_replica(&self, more: &[String]) -> Result<Arc<Replica>, Failure> {
        let number = self.replicas.read().len() + 1;
        let holder = self.backend.hold(number).await?;
        let space = Space::attach(number, holder).await?;
        let disk = Disk::make(&self.dir.join("disks"), &format!("replica-{number}")).await?;
        let replica = Arc::new(Replica::new(number, holder, space, disk));
        let how = match number {
            1 => vec!["--init".to_owned()],
            _ => self.join().await?,
        };
        let mut arguments = vec!["--advertise".to_owned(), replica.space.ip.to_string()];
        arguments.extend(how);
        arguments.extend_from_slice(more);
        let environment = match self.past.load(Ordering::Relaxed) {
            0 => {
                self.aged.store(false, Ordering::Relaxed);
                Vec::new()
            }
            past => clock::environment(&replica, past).await?,
        };
        self.launch(&replica, arguments, environment).await?;
        self.replicas.write().push(replica.clone());
        replica.wait_until_ready(START_PATIENCE).await?;
        Ok(replica)
    }

    async fn join(&self) -> Result<Vec<String>, Failure> {
        let member = self.replicas().into_iter().next().ok_or("nobody to join")?;
        let kubeconfig = member.kubeconfig().display().to_string();
        let token = self.kontiki(&["token", "create", "--for", "server", "--kubeconfig", &kubeconfig]).await?;
        let url = format!("https://{}:6443", member.space.ip);
        Ok(["--join", &url, "--token", token.trim()].map(str::to_owned).to_vec())
    }

    /// Standard output of a command of the product, run where clients are.
    pub async fn kontiki(&self, arguments: &[&str]) -> Result<String, Failure> {
        command::run(&self.kontiki.display().to_string(), arguments).await
    }

    async fn launch(&self, replica: &Replica, more: Vec<String>, environment: Env) -> Result<(), Failure> {
        let data = replica.disk.data().display().to_string();
        let etcd = format!("{}:{}", replica.space.ip, replica::ETCD_PORT);
        let mut arguments = ["server", "--data-dir", &data, "--etcd-listen", &etcd].map(str::to_owned).to_vec();
        arguments.extend(more);
        let program = Program {
            number: replica.number,
            holder: replica.holder,
            arguments,
            environment,
            disk: replica.disk.mount().to_owned(),
            log: self.log(replica.number),
        };
        replica.runs(self.backend.start(&program).await?).await;
        Ok(())
    }

    pub fn log(&self, number: usize) -> PathBuf {
        self.dir.join("logs").join(format!("replica-{number}.log"))
    }

    /// Starts a replica again on its data.
    pub async fn restart(&self, number: usize, environment: Env) -> Result<(), Failure> {
        self.launch(&self.replica(number), Vec::new(), environment).await
    }

    /// kill -9, and waits until it is gone.
    pub async fn kill(&self, number: usize) -> Result<(), Failure> {
        self.replica(number).kill().await
    }

    /// SIGTERM, and waits until it has ended in order.
    pub async fn stop(&self, number: usize) -> Result<String, Failure> {
        self.replica(number).stop().await
    }

    /// Starts all that do not run; answers those that had ended although nobody ended them.
    pub async fn revive(&self) -> Result<Vec<String>, Failure> {
        let mut surprises = Vec::new();
        for replica in self.replicas() {
            if let Some(how) = replica.ended_by_itself().await? {
                surprises.push(format!("replica {} ended by itself ({how})", replica.number));
            }
            if !replica.is_running().await {
                self.restart(replica.number, Vec::new()).await?;
            }
        }
        Ok(surprises)
    }

    /// One client a replica, in the order of their numbers.
    pub async fn clients(&self) -> Result<Vec<kube::Client>, Failure> {
        let mut clients = Vec::new();
        for replica in self.replicas() {
            clients.push(replica.client().await?);
        }
        Ok(clients)
    }

    /// One of etcd's clients a replica, in the order of their numbers.
    pub async fn stores(&self) -> Result<Vec<etcd_client::Client>, Failure> {
        let mut stores = Vec::new();
        for replica in self.replicas() {
            stores.push(replica.store().await?);
        }
        Ok(stores)
    }

    /// Ends everything.
    pub async fn end(self) {
        let replicas = self.replicas.read().clone();
        for replica in replicas {
            // It may have ended already.
            let _ = replica.kill().await;
        }
        self.backend.end().await;
    }
}

/// Environment variables.
pub type Env = Vec<(String, String)>;

async fn choose(options: &Options, dir: &Path, run: &RunId) -> Result<Box<dyn Backend>, Failure> {
    if options.choice == Choice::Namespaces {
        return Ok(Box::new(Namespaces::new(&options.kontiki, run)));
    }
    match Containers::new(&options.kontiki, dir, run).await {
        Ok(containers) => Ok(Box::new(containers)),
        Err(error) if options.choice == Choice::Containers => Err(error),
        Err(error) => {
            println!("replicas in containers are skipped, network namespaces are used instead: {error}");
            Ok(Box::new(Namespaces::new(&options.kontiki, run)))
        }
    }
}
