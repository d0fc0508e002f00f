//! `kontiki up`: a whole cluster on this machine, each part a process of its own.
//!
//! This process makes keys and configuration, starts the replicas and the node, starts again what
//! dies, and ends everything it started when it is asked to.

mod children;
mod layout;
mod sample;
mod wait;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio_util::sync::CancellationToken;

use crate::Failure;
use crate::client::Client;
use crate::config::RuntimeKind;
use crate::kubeconfig::Kubeconfig;
pub(crate) use children::end_with_parent;
use children::{Children, Program};
use layout::Layout;

/// Run a whole cluster on this machine: replicas, a node, a sample Deployment.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kontiki up
  kontiki up --data-dir /tmp/k --port-base 7443 --no-sample
  kontiki up --node none --hollow-nodes 200

It stays in the foreground; Ctrl-C ends everything it started. Run again on the same --data-dir it
continues with the data. DIR/admin.kubeconfig is for kubectl, DIR/logs holds what each process says.")]
pub(crate) struct UpArgs {
    /// Where everything is kept; $HOME/.kontiki by default
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Control-plane replicas
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    replicas: u16,
    /// API ports are PORT_BASE, PORT_BASE+1, ...; peer ports PORT_BASE+100, ...; the kubelet's PORT_BASE+3807
    #[arg(long, default_value_t = 6443, value_parser = clap::value_parser!(u16).range(1024..=60000))]
    port_base: u16,
    /// What the node runs containers with; containerd where it works, otherwise one hollow node
    #[arg(long, value_enum)]
    node: Option<NodeChoice>,
    /// Nodes whose containers only exist in memory, all in one process
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=2000))]
    hollow_nodes: u32,
    /// Leave the sample Deployment out
    #[arg(long)]
    no_sample: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NodeChoice {
    Containerd,
    None,
}

/// What was decided of nodes.
struct Nodes {
    containerd: bool,
    hollow: u32,
}

/// A cold start on a slow disk.
const START_PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn run(args: UpArgs) -> Result<(), Failure> {
    let started = std::time::Instant::now();
    let stop = CancellationToken::new();
    tokio::spawn(crate::server::stop_on_signal(stop.clone()));
    let layout = Layout::new(&args.data_dir()?, args.replicas, args.port_base)?;
    println!("kontiki up: data in {}", layout.dir.display());
    let _lock = layout.lock()?;
    let nodes = choose_nodes(&args)?;
    layout.write_servers()?;
    let agents = layout.write_agents(nodes.containerd, nodes.hollow)?;
    println!("  certificates and configuration are in place");
    let mut children = Children::new(layout.dir.clone());
    let result = start(&args, &layout, &agents, &mut children, &stop, started).await;
    if result.is_ok() {
        children.watch(&stop).await;
    }
    println!("ending everything that was started");
    children.end().await;
    result
}

impl UpArgs {
    fn data_dir(&self) -> Result<PathBuf, Failure> {
        if let Some(dir) = &self.data_dir {
            return Ok(std::path::absolute(dir)?);
        }
        let home = std::env::var_os("HOME").ok_or("HOME is not set: name a --data-dir")?;
        Ok(PathBuf::from(home).join(".kontiki"))
    }
}

fn choose_nodes(args: &UpArgs) -> Result<Nodes, Failure> {
    let usable = kubelet_agent::containerd::containerd_usable();
    match (args.node, usable) {
        (Some(NodeChoice::None), _) => Ok(Nodes { containerd: false, hollow: args.hollow_nodes }),
        (_, Ok(())) => Ok(Nodes { containerd: true, hollow: args.hollow_nodes }),
        (Some(NodeChoice::Containerd), Err(why)) => Err(format!("containerd cannot be used: {why}").into()),
        (None, Err(why)) => {
            println!("  no real node: {why}; a hollow node takes its place");
            Ok(Nodes { containerd: false, hollow: args.hollow_nodes.max(1) })
        }
    }
}

async fn start(
    args: &UpArgs,
    layout: &Layout,
    agents: &[(String, PathBuf)],
    children: &mut Children,
    stop: &CancellationToken,
    started: std::time::Instant,
) -> Result<(), Failure> {
    for number in 1..=args.replicas {
        let file = layout.server_file(number);
        children.start(Program::new(&format!("replica-{number}"), &["server", "--config"], &file))?;
    }
    let kubeconfig = Kubeconfig::read(&layout.dir.join("admin.kubeconfig"))?;
    let client = Client::new(&kubeconfig)?;
    let work = async {
        for number in 1..=args.replicas {
            wait::replica(&client.at(&layout.api_url(number)), START_PATIENCE).await?;
            println!("  replica {number} is ready at {}", layout.api_url(number));
        }
        for (name, file) in agents {
            children.start(Program::new(name, &["agent", "--config"], file))?;
        }
        let wished = layout.node_names(agents)?;
        wait::nodes(&client, &wished, START_PATIENCE).await?;
        let seconds = started.elapsed().as_secs_f64();
        println!("ready: {} replicas, {} nodes, after {seconds:.1} s", args.replicas, wished.len());
        if !args.no_sample && !wished.is_empty() {
            sample::deploy(&client, START_PATIENCE).await?;
            println!("  Deployment default/{} is Available", sample::NAME);
        }
        next_steps(layout);
        Ok(())
    };
    match stop.run_until_cancelled(work).await {
        Some(result) => result.map_err(|error: Failure| {
            format!("{error}; the logs in {} say more", layout.dir.join("logs").display()).into()
        }),
        None => Ok(()),
    }
}

fn next_steps(layout: &Layout) {
    let kubeconfig = layout.dir.join("admin.kubeconfig");
    println!();
    println!("Next, in another terminal:");
    println!("  export KUBECONFIG={}", kubeconfig.display());
    println!("  kubectl get nodes,pods -A -o wide");
    println!("  kontiki status");
    println!(
        "  kill -9 $(awk '/^replica-1 /{{print $2}}' {})   # and watch the others go on",
        layout.dir.join("pids").display()
    );
    println!("Ctrl-C here ends the cluster; run again to continue with its data.");
}

/// How the runtime of an agent is named in its configuration.
fn runtime(containerd: bool) -> RuntimeKind {
    if containerd { RuntimeKind::Containerd } else { RuntimeKind::Fake }
}
