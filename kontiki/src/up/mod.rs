//! `kontiki up`: a whole cluster on this machine, each part a process of its own.
//!
//! This process makes keys and configuration, starts the replicas and the node, starts again what
//! dies, and ends everything it started when it is asked to.

mod admin;
pub(crate) mod children;
pub(crate) mod earlier;
mod fresh;
mod last_words;
mod layout;
mod pod_range;
pub(crate) mod ports;
mod restart;
mod sample;
pub(crate) mod say;
mod shape;
mod start;
pub(crate) mod stop;
mod wait;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use tokio::sync::Mutex;

use crate::Failure;
use crate::api_flags::ApiFlags;
use crate::kubeconfig::Kubeconfig;
pub(crate) use children::end_with_parent;
use children::{Children, Program};
use layout::Layout;
use pod_range::PodRange;
use say::say;
use shape::Shape;
use start::Begun;
use stop::Stop;

/// Run a whole cluster on this machine: replicas, a node, a sample Deployment.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kontiki up
  kontiki up --data-dir /tmp/k --port-base 7443 --no-sample
  kontiki up --node none --hollow-nodes 200

It stays in the foreground; Ctrl-C ends everything it started, in order, and a second one at once. Run again
on the same --data-dir it continues with the data. DIR/admin.kubeconfig is for kubectl, DIR/logs holds what
each process says.")]
pub(crate) struct UpArgs {
    /// Where everything is kept; $HOME/.kontiki by default
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Control-plane replicas; 3 by default, or as many as the data directory has
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=9))]
    replicas: Option<u16>,
    /// API ports are PORT_BASE, PORT_BASE+1, ...; peer ports PORT_BASE+100, ...; the kubelet's PORT_BASE+3807.
    /// 6443 by default, or what the data directory has
    #[arg(long, value_parser = clap::value_parser!(u16).range(1024..=60000))]
    port_base: Option<u16>,
    /// What the node runs containers with; containerd where it works, otherwise one hollow node
    #[arg(long, value_enum)]
    node: Option<NodeChoice>,
    /// Nodes whose containers only exist in memory, all in one process
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=2000))]
    hollow_nodes: u32,
    /// Leave the sample Deployment out
    #[arg(long)]
    no_sample: bool,
    #[command(flatten)]
    api: ApiFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NodeChoice {
    Containerd,
    None,
}

/// What was decided of nodes.
struct Nodes {
    /// Pod addresses of the real node, when there is to be one.
    real: Option<PodRange>,
    hollow: u32,
}

pub(crate) async fn run(args: UpArgs) -> Result<(), Failure> {
    let begun = Begun { at: crate::now(), clock: std::time::Instant::now() };
    let stop = Stop::on_signals()?;
    let dir = args.data_dir()?;
    let _lock = crate::lock::exclusive(&dir, "kontiki up").await?;
    say(format_args!("kontiki up: data in {}", dir.display()));
    let (layout, nodes) = prepare(&args, &dir).await?;
    let client = crate::client::Client::new(&Kubeconfig::read(&dir.join("admin.kubeconfig"))?)?;
    let admin = admin::Admin::new(client, &layout.api_urls());
    let children = Mutex::new(Children::new(dir, layout.shape.replicas));
    let cluster =
        start::Cluster { args: &args, layout: &layout, admin: &admin, children: &children, begun, stop: &stop };
    // One after the other in this task: children end with the thread that started them.
    let result = tokio::select! {
        result = cluster.run(&nodes) => result,
        never = children::watch(&children) => match never {},
    };
    say("ending everything that was started");
    children.lock().await.end(&stop.at_once).await;
    leave(&layout).await;
    result
}

/// Everything before the first process. What an earlier run left is ended first: it has the ports.
async fn prepare(args: &UpArgs, dir: &Path) -> Result<(Layout, Nodes), Failure> {
    args.api.check()?;
    earlier::end(dir).await;
    let shape = Shape::decide(args.replicas, args.port_base, Shape::of(dir)?)?;
    let layout = Layout::new(dir, shape)?;
    leave(&layout).await;
    let nodes = choose_nodes(args, &layout)?;
    ports::probe(&layout.ports(nodes.real.is_some()), "--port-base")?;
    layout.write_servers(&args.api)?;
    say("  certificates and configuration are in place");
    Ok((layout, nodes))
}

impl UpArgs {
    fn data_dir(&self) -> Result<PathBuf, Failure> {
        if let Some(dir) = &self.data_dir {
            return Ok(std::path::absolute(dir)?);
        }
        let home = std::env::var_os("HOME").ok_or("HOME is not set: name a --data-dir")?;
        Ok(Path::new(&home).join(".kontiki"))
    }
}

fn choose_nodes(args: &UpArgs, layout: &Layout) -> Result<Nodes, Failure> {
    let hollow = args.hollow_nodes;
    if args.node == Some(NodeChoice::None) {
        return Ok(Nodes { real: None, hollow });
    }
    let usable = kubelet_agent::containerd::containerd_usable().and_then(|()| layout.check_socket());
    match (args.node, usable) {
        (_, Ok(())) => {
            let range = PodRange::reserve(layout.shape.port_base, layout.pod_cidr_before().as_deref())?;
            Ok(Nodes { real: Some(range), hollow })
        }
        (Some(_), Err(why)) => Err(format!("containerd cannot be used: {why}").into()),
        (None, Err(why)) => {
            say(format_args!("  no real node: {why}; a hollow node takes its place"));
            Ok(Nodes { real: None, hollow: hollow.max(1) })
        }
    }
}

/// Takes away what a real node left on the machine: one that was killed, or one that could not end in order.
async fn leave(layout: &Layout) {
    let footprint = layout.footprint();
    if !footprint.data_dir.exists() || !nix::unistd::geteuid().is_root() {
        return;
    }
    let left = tokio::task::spawn_blocking(move || footprint.remove()).await;
    for what in left.unwrap_or_else(|error| vec![error.to_string()]) {
        say(format_args!("something of the node is left on this machine: {what}"));
    }
}
