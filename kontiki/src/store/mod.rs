//! `kontiki store`: the replicated store by itself, for etcd's clients, without an API server.

mod config;
mod layout;
mod ready;
mod serve;
mod up;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::Failure;

/// Run the store by itself: a replicated key-value store that etcd's clients can use.
#[derive(Args, Debug)]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Subcommand, Debug)]
enum StoreCommand {
    Up(up::StoreUpArgs),
    /// Run one replica
    Serve {
        /// Configuration file (kind: StoreConfiguration); `kontiki store up` writes such files
        #[arg(long)]
        config: PathBuf,
    },
}

pub(crate) async fn run(args: StoreArgs) -> Result<(), Failure> {
    match args.command {
        StoreCommand::Up(args) => up::run(args).await,
        StoreCommand::Serve { config } => serve::run(&config).await,
    }
}
