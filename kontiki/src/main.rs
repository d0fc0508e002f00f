//! `kontiki`: the one binary.
//!
//!     kontiki server    a control-plane replica
//!     kontiki agent     a worker node
//!     kontiki up        everything on this machine
//!     kontiki store     the store by itself, for etcd's clients
//!     kontiki status    replicas, leader, revision, lag, disk, certificates
//!     kontiki token     make a join token
//!     kontiki cert      list and renew certificates, replace CAs
//!     kontiki encryption   encrypt anew what is encrypted at rest
//!     kontiki member    list, add, replace, heal and remove replicas
//!     kontiki backup    copy the cluster's data to a file, verify such a file
//!     kontiki restore   begin a new cluster with a backup
//!     kontiki recover   begin a new cluster with what a survivor has, when the quorum is lost

mod access;
mod admission;
mod agent;
mod api_flags;
mod backup;
mod cert;
mod client;
mod config;
mod encryption;
mod exchange;
mod installed;
mod known;
mod kubeconfig;
mod lock;
mod logging;
mod member;
mod overlay;
mod progress;
mod prometheus;
mod raft;
mod recover;
mod replicas;
mod restore;
mod server;
mod status;
mod store;
mod token;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A sixth less processor time for a write than with glibc's, when a thousand clients write.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A Kubernetes v1.36 control plane without etcd: replicas embed a Raft-replicated store.
#[derive(Parser)]
#[command(
    name = "kontiki",
    version,
    about,
    after_help = "Examples:
  kontiki up                                   a whole cluster on this machine
  kontiki status --kubeconfig DIR/admin.kubeconfig
  kontiki store up                             only the store, for etcd's clients
  kontiki server --init --advertise 10.0.0.1   the first replica of a real cluster
  kontiki token create --kubeconfig F          a token for further servers and agents
  kontiki server --join https://10.0.0.1:6443 --token T --advertise 10.0.0.2
  kontiki agent --join https://10.0.0.1:6443 --token T
  kontiki member list --kubeconfig F           replicas and how they are; add, replace, heal, remove
  kontiki backup FILE --kubeconfig F           a copy of everything, verified; restore makes a cluster of it

Environment:
  KONTIKI_LOG          what server and agent log: info (default), debug, info,store_node=debug, ...
  KONTIKI_LOG_FORMAT   json for one JSON object a line; text by default
  KUBECONFIG           for status, token, member and backup, instead of --kubeconfig"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Server(Box<server::args::ServerArgs>),
    Agent(agent::AgentArgs),
    Up(Box<up::UpArgs>),
    Status(status::StatusArgs),
    Store(store::StoreArgs),
    Token(token::TokenArgs),
    Cert(cert::CertArgs),
    Encryption(encryption::EncryptionArgs),
    Member(member::MemberArgs),
    Backup(backup::BackupArgs),
    Restore(restore::RestoreArgs),
    Recover(recover::RecoverArgs),
}

/// What any command can fail with: a sentence for the operator, with the cause and the next step.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = up::end_with_parent() {
        eprintln!("kontiki: {error}");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("kontiki: cannot start the async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Server(args) => server::run(*args).await,
            Command::Agent(args) => agent::run(args).await,
            Command::Up(args) => up::run(*args).await,
            Command::Status(args) => status::run(args).await,
            Command::Store(args) => store::run(args).await,
            Command::Token(args) => token::run(args).await,
            Command::Cert(args) => cert::run(args).await,
            Command::Encryption(args) => encryption::run(args).await,
            Command::Member(args) => member::run(args).await,
            Command::Backup(args) => backup::run(args).await,
            Command::Restore(args) => restore::run(args).await,
            Command::Recover(args) => recover::run(args).await,
        }
    });
    // A task that hangs in a blocking call must not keep an ended command alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kontiki: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

/// The wall clock, for the shells of this binary; everything that decides takes the time as an argument.
#[expect(clippy::disallowed_methods, reason = "the one place where this binary reads the clock")]
pub(crate) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
