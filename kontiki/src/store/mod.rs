//! `kontiki store`: the replicated store by itself, for etcd's clients, without an API server.

mod admin;
mod client;
mod config;
mod import;
mod layout;
mod ready;
mod serve;
mod setup;
mod up;

use clap::{Args, Subcommand};

use crate::Failure;
pub(crate) use client::{ClientArgs, issue as issue_client, write_client};
pub(crate) use config::StoreConfiguration;

/// Where etcd's clients connect, and where replicas reach each other, unless somebody says otherwise: etcd's ports.
pub(crate) const CLIENT_PORT: u16 = 2379;
pub(crate) const PEER_PORT: u16 = 2380;

/// Run the store by itself: a replicated key-value store that etcd's clients can use.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kontiki store up --data-dir /tmp/s                         a whole store on this machine
  kontiki store serve --init --advertise 10.0.0.1            the first replica of one on several machines
  kontiki member add --kubeconfig /var/lib/kontiki/admin.kubeconfig        says how the next one joins
  kontiki store import https://10.0.0.9:2379 --advertise 10.0.0.1          with the keys of a live etcd

kontiki member, status, backup, restore and recover are for it as for kontiki server.")]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Subcommand, Debug)]
enum StoreCommand {
    Up(up::StoreUpArgs),
    Serve(serve::ServeArgs),
    Import(import::ImportArgs),
}

pub(crate) async fn run(args: StoreArgs) -> Result<(), Failure> {
    match args.command {
        StoreCommand::Up(args) => up::run(args).await,
        StoreCommand::Serve(args) => serve::run(args).await,
        StoreCommand::Import(args) => import::run(args).await,
    }
}
