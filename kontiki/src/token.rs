//! `kontiki token`: bootstrap tokens for servers and agents to join with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use pki::join::JoinToken;
use serde_json::json;

use crate::Failure;
use crate::client::Client;
use crate::kubeconfig::Kubeconfig;
use crate::server;

/// How long a server that has only just started is waited for.
const READY_PATIENCE: Duration = Duration::from_secs(5);
const READY_PAUSE: Duration = Duration::from_millis(100);

/// Make join tokens.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  kontiki token create --for agent --hours 2 --kubeconfig /var/lib/kontiki/admin.kubeconfig")]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Subcommand, Debug)]
enum TokenCommand {
    /// Print a new token; it is kept as a Secret in kube-system until it expires
    Create {
        #[arg(long, env = "KUBECONFIG")]
        kubeconfig: PathBuf,
        /// What may join with it
        #[arg(long = "for", value_enum, default_value_t = Purpose::Any)]
        purpose: Purpose,
        /// How long it is good for
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(i64).range(1..=8760))]
        hours: i64,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Purpose {
    Server,
    Agent,
    Any,
}

pub(crate) async fn run(args: TokenArgs) -> Result<(), Failure> {
    let TokenCommand::Create { kubeconfig, purpose, hours } = args.command;
    let groups = match purpose {
        Purpose::Server => server::SERVERS.to_owned(),
        Purpose::Agent => server::AGENTS.to_owned(),
        Purpose::Any => format!("{},{}", server::SERVERS, server::AGENTS),
    };
    let server = Kubeconfig::read(&kubeconfig)?.server;
    println!("{}", create(&kubeconfig, &server, &groups, hours).await?);
    Ok(())
}

/// A new token for these groups, made through one server.
pub(crate) async fn create(kubeconfig: &Path, server: &str, groups: &str, hours: i64) -> Result<JoinToken, Failure> {
    let kubeconfig = Kubeconfig::read(kubeconfig)?;
    let client = Client::new(&kubeconfig)?.at(server);
    wait_until_ready(&client).await?;
    let token = JoinToken::generate(&pki::authority::public_key_hash(&kubeconfig.ca_pem)?);
    let expiration = crate::now() + jiff::SignedDuration::from_hours(hours);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": format!("bootstrap-token-{}", token.id), "namespace": "kube-system"},
        "stringData": {
            "token-id": token.id, "token-secret": token.secret, "auth-extra-groups": groups,
            "expiration": api_machinery::time::seconds(expiration),
            "usage-bootstrap-authentication": "true", "usage-bootstrap-signing": "true", "description": "kontiki token create",
        },
    });
    client.post("/api/v1/namespaces/kube-system/secrets", &secret).await?.ok()?;
    Ok(token)
}

/// Before a cluster's first objects are there, a token is good for nothing: what its groups may do is among them.
async fn wait_until_ready(client: &Client) -> Result<(), Failure> {
    let deadline = tokio::time::Instant::now() + READY_PATIENCE;
    loop {
        match client.get("/readyz").await?.ok() {
            Ok(_) => return Ok(()),
            Err(error) if tokio::time::Instant::now() > deadline => {
                return Err(format!("the server is not ready yet, try again in a moment: {error}").into());
            }
            Err(_) => tokio::time::sleep(READY_PAUSE).await,
        }
    }
}
