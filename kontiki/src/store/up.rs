//! `kontiki store up`: a whole store on this machine, each replica a process of its own.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::sync::Mutex;

use super::layout::{Layout, Shape, store_file};
use super::ready::Client;
use crate::Failure;
use crate::up::children::{self, Children, Program, REPLICA};
use crate::up::say::say;
use crate::up::stop::Stop;
use crate::up::{earlier, ports};

/// A cold start on a slow disk.
const START_PATIENCE: Duration = Duration::from_secs(120);
const ASK_PAUSE: Duration = Duration::from_millis(100);

/// Run a whole store on this machine: replicas that etcd's clients can use.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kontiki store up --data-dir /tmp/s
  etcdctl --endpoints https://127.0.0.1:2379 --cacert /tmp/s/ca.crt --cert /tmp/s/client.crt \\
    --key /tmp/s/client.key put hello world

It stays in the foreground; Ctrl-C ends everything it started. Run again on the same --data-dir it continues
with the data. DIR/logs holds what each replica says.")]
pub(crate) struct StoreUpArgs {
    /// Where everything is kept; $HOME/.kontiki-store by default
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Replicas; 3 by default, or as many as the data directory has
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=9))]
    replicas: Option<u16>,
    /// Client ports are CLIENT_PORT_BASE, CLIENT_PORT_BASE+1, ...; peer ports CLIENT_PORT_BASE+100, .... 2379 by
    /// default, or what the data directory has
    #[arg(long, value_parser = clap::value_parser!(u16).range(1024..=60000))]
    client_port_base: Option<u16>,
}

pub(super) async fn run(args: StoreUpArgs) -> Result<(), Failure> {
    let started = Instant::now();
    let stop = Stop::on_signals()?;
    let dir = args.data_dir()?;
    let _lock = crate::lock::exclusive(&dir, "kontiki store up").await?;
    say(format_args!("kontiki store up: data in {}", dir.display()));
    earlier::end(&dir).await;
    let layout = Layout::new(&dir, Shape::decide(args.replicas, args.client_port_base, Shape::of(&dir)?)?)?;
    ports::probe(&layout.ports(), "--client-port-base")?;
    layout.write()?;
    let children = Mutex::new(Children::new(dir, layout.shape.replicas));
    // One after the other in this task: children end with the thread that started them.
    let result = tokio::select! {
        result = stay(&layout, &children, &stop, started) => result,
        never = children::watch(&children) => match never {},
    };
    say("ending everything that was started");
    children.lock().await.end(&stop.at_once).await;
    result
}

impl StoreUpArgs {
    fn data_dir(&self) -> Result<PathBuf, Failure> {
        if let Some(dir) = &self.data_dir {
            return Ok(std::path::absolute(dir)?);
        }
        let home = std::env::var_os("HOME").ok_or("HOME is not set: name a --data-dir")?;
        Ok(PathBuf::from(home).join(".kontiki-store"))
    }
}

/// Starts everything, says `ready`, and stays until it is asked to end.
async fn stay(layout: &Layout, children: &Mutex<Children>, stop: &Stop, started: Instant) -> Result<(), Failure> {
    let Some(begun) = stop.in_order.run_until_cancelled(start(layout, children)).await else { return Ok(()) };
    let logs = layout.dir.join("logs");
    begun.map_err(|error| format!("{error}; the logs in {} say more", logs.display()))?;
    let seconds = started.elapsed().as_secs_f64();
    say(format_args!("ready: {} replicas, after {seconds:.1} s", layout.shape.replicas));
    next_steps(layout);
    stop.in_order.cancelled().await;
    Ok(())
}

async fn start(layout: &Layout, children: &Mutex<Children>) -> Result<(), Failure> {
    for number in layout.replicas() {
        let file = store_file(&layout.dir, number);
        let program = Program::new(&format!("{REPLICA}{number}"), &["store", "serve", "--config"], &file);
        children.lock().await.start(program)?;
    }
    let client = Client::new(&layout.dir)?;
    for number in layout.replicas() {
        let url = layout.client_url(number);
        wait(&client, &url, children).await?;
        say(format_args!("  replica {number} is ready at {url}"));
    }
    Ok(())
}

async fn wait(client: &Client, url: &str, children: &Mutex<Children>) -> Result<(), Failure> {
    let deadline = tokio::time::Instant::now() + START_PATIENCE;
    while let Err(error) = client.reads(url).await {
        if let Some(why) = children.lock().await.hopeless(REPLICA) {
            return Err(why.into());
        }
        if tokio::time::Instant::now() > deadline {
            return Err(format!("{url} was not ready within {} s: {error}", START_PATIENCE.as_secs()).into());
        }
        tokio::time::sleep(ASK_PAUSE).await;
    }
    Ok(())
}

fn next_steps(layout: &Layout) {
    let dir = layout.dir.display();
    let urls: Vec<String> = layout.replicas().map(|number| layout.client_url(number)).collect();
    say("");
    say("Next, in another terminal:");
    say(format_args!("  export ETCDCTL_API=3 ETCDCTL_ENDPOINTS={}", urls.join(",")));
    say(format_args!(
        "  export ETCDCTL_CACERT={dir}/ca.crt ETCDCTL_CERT={dir}/client.crt ETCDCTL_KEY={dir}/client.key"
    ));
    say("  etcdctl put hello world");
    say("  etcdctl endpoint status -w table");
    say(format_args!("  kontiki member list --kubeconfig {dir}/admin.kubeconfig"));
    say("Ctrl-C here ends the store; run again to continue with its data.");
}
