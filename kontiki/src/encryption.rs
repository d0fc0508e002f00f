//! `kontiki encryption`: what is encrypted at rest, encrypted anew.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::Failure;
use crate::client::Client;
use crate::kubeconfig::Kubeconfig;

/// Encrypt anew what is encrypted at rest.
#[derive(Args, Debug)]
#[command(after_help = "To change a key: add the new one to the EncryptionConfiguration of every server, second in its
list; put it first on every server; run kontiki encryption rotate; take the old one away, not before the history the
servers keep has passed (five minutes by default).")]
pub(crate) struct EncryptionArgs {
    #[command(subcommand)]
    command: EncryptionCommand,
}

#[derive(Subcommand, Debug)]
enum EncryptionCommand {
    /// Write every object again that is encrypted otherwise than the configuration says now; may be broken off at
    /// any point and begun again
    Rotate {
        #[arg(long, env = "KUBECONFIG")]
        kubeconfig: PathBuf,
    },
}

/// Unreadable objects that are named; more are only counted.
const NAMED: usize = 10;

pub(crate) async fn run(args: EncryptionArgs) -> Result<(), Failure> {
    let EncryptionCommand::Rotate { kubeconfig } = args.command;
    let client = Client::new(&Kubeconfig::read(&kubeconfig)?)?;
    let (mut after, mut looked_at, mut rewritten) = (String::new(), 0, 0);
    let mut unreadable: Vec<String> = Vec::new();
    loop {
        let answer = client.post("/kontiki/v1/encryption/rotate", &json!({"after": after})).await?.ok()?;
        looked_at += answer["lookedAt"].as_u64().ok_or("the server did not say what it looked at")?;
        rewritten += answer["rewritten"].as_u64().ok_or("the server did not say what it rewrote")?;
        let names = answer["unreadable"].as_array().into_iter().flatten();
        unreadable.extend(names.filter_map(|one| one.as_str().map(str::to_owned)));
        match answer["next"].as_str() {
            Some(next) if next > after.as_str() => after = next.to_owned(),
            Some(_) => return Err("the server does not get on".into()),
            None => break,
        }
    }
    println!("{looked_at} objects looked at, {rewritten} encrypted anew");
    if unreadable.is_empty() {
        return Ok(());
    }
    let named = unreadable.iter().take(NAMED).cloned().collect::<Vec<_>>().join("\n  ");
    Err(format!("{} objects cannot be read with any key of the configuration:\n  {named}", unreadable.len()).into())
}
