//! From processes to a cluster that is ready.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Mutex;

use super::admin::Admin;
use super::children::REPLICA;
use super::layout::{HOLLOW, REAL};
use super::say::say;
use super::wait::{Limit, Wait};
use super::{Children, Layout, Nodes, Program, Stop, UpArgs, sample};
use crate::Failure;

/// A cold start on a slow disk.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// How long a real node may take before a hollow one takes its place.
const REAL_PATIENCE: Duration = Duration::from_secs(60);
/// How long pods of an earlier run are waited for.
const PODS_PATIENCE: Duration = Duration::from_secs(30);

/// When this `up` began.
#[derive(Clone, Copy)]
pub(super) struct Begun {
    pub(super) at: Timestamp,
    pub(super) clock: Instant,
}

pub(super) struct Cluster<'a> {
    pub(super) args: &'a UpArgs,
    pub(super) layout: &'a Layout,
    pub(super) admin: &'a Admin,
    pub(super) children: &'a Mutex<Children>,
    pub(super) begun: Begun,
    pub(super) stop: &'a Stop,
}

/// Names of nodes.
type Names = Vec<String>;

impl Cluster<'_> {
    /// Starts everything, says `ready`, and stays until it is asked to end. `Err`: the cluster did not start.
    pub(super) async fn run(&self, nodes: &Nodes) -> Result<(), Failure> {
        if let Some(result) = self.stop.in_order.run_until_cancelled(self.start(nodes)).await {
            let logs = self.layout.dir.join("logs");
            let nodes = result.map_err(|error| format!("{error}; the logs in {} say more", logs.display()))?;
            self.stop.in_order.run_until_cancelled(self.finish(&nodes)).await;
            self.stop.in_order.cancelled().await;
        }
        Ok(())
    }

    fn wait(&self) -> Wait<'_> {
        Wait { admin: self.admin, children: self.children, start: self.begun.at }
    }

    /// Until `ready`.
    async fn start(&self, nodes: &Nodes) -> Result<Names, Failure> {
        for number in self.layout.replicas() {
            let file = self.layout.server_file(number);
            let program = Program::new(&format!("{REPLICA}{number}"), &["server", "--config"], &file);
            self.children.lock().await.start(program)?;
        }
        for number in self.layout.replicas() {
            self.wait().replica(number, Limit { patience: START_PATIENCE, needs: REPLICA }).await?;
            say(format_args!("  replica {number} is ready at {}", self.layout.api_url(number)));
        }
        let names = self.start_nodes(nodes).await?;
        let limit = Limit { patience: PODS_PATIENCE, needs: REPLICA };
        if let Err(error) = self.wait().pods(&names, limit).await {
            say(format_args!("  warning: {error}"));
        }
        let seconds = self.begun.clock.elapsed().as_secs_f64();
        let replicas = self.layout.shape.replicas;
        say(format_args!("ready: {replicas} replicas, {} nodes, after {seconds:.1} s", names.len()));
        Ok(names)
    }

    /// The nodes that were decided on; where that was left to us, hollow ones when the real one does not work.
    async fn start_nodes(&self, nodes: &Nodes) -> Result<Names, Failure> {
        let Some(range) = &nodes.real else { return self.start_agents(None, nodes.hollow).await };
        match self.start_agents(Some(&range.cidr), nodes.hollow).await {
            Err(error) if self.args.node.is_none() => {
                say(format_args!("  the node cannot run containers: {error}"));
                say("  a hollow node takes its place");
                self.children.lock().await.remove(REAL, &self.stop.at_once).await?;
                super::leave(self.layout).await;
                self.start_agents(None, nodes.hollow.max(1)).await
            }
            result => result,
        }
    }

    async fn start_agents(&self, pod_cidr: Option<&str>, hollow: u32) -> Result<Names, Failure> {
        let agents = self.layout.write_agents(pod_cidr, hollow)?;
        for (name, file) in &agents {
            self.start_agent(name, file.clone()).await?;
        }
        let wished = self.layout.node_names(&agents)?;
        let (needs, patience) = if pod_cidr.is_some() { (REAL, REAL_PATIENCE) } else { (HOLLOW, START_PATIENCE) };
        self.wait().nodes(&wished, Limit { patience, needs }).await?;
        Ok(wished)
    }

    async fn start_agent(&self, name: &str, file: PathBuf) -> Result<(), Failure> {
        let mut children = self.children.lock().await;
        if children.runs(name) { Ok(()) } else { children.start(Program::new(name, &["agent", "--config"], &file)) }
    }

    /// What comes after `ready`, and may fail without harm.
    async fn finish(&self, nodes: &Names) {
        if !self.args.no_sample && !nodes.is_empty() {
            match sample::deploy(&self.wait()).await {
                Ok(()) => say(format_args!("  Deployment default/{} is Available", sample::NAME)),
                Err(error) => say(format_args!("  warning: Deployment default/{}: {error}", sample::NAME)),
            }
        }
        next_steps(self.layout);
    }
}

fn next_steps(layout: &Layout) {
    let program = std::env::current_exe().map_or("kontiki".to_owned(), |path| path.display().to_string());
    say("");
    say("Next, in another terminal:");
    say(format_args!("  export KUBECONFIG={}", layout.dir.join("admin.kubeconfig").display()));
    say("  kubectl get nodes,pods -A -o wide");
    say(format_args!("  {program} status"));
    let pids = layout.dir.join("pids");
    say(format_args!("  kill -9 $(awk '/^replica-1 /{{print $2}}' {})   # and watch the others go on", pids.display()));
    say("Ctrl-C here ends the cluster; run again to continue with its data.");
}
