//! `kontiki cert`: the certificates of a running control plane, or of a stand-alone store.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::Failure;
use crate::client::Client;
use crate::kubeconfig::{self, Kubeconfig};
use crate::{status, store};

/// List and renew the certificates of the control plane, or of a stand-alone store, and replace its CAs, while it runs.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kontiki cert list --kubeconfig /var/lib/kontiki/admin.kubeconfig
  kontiki cert renew --kubeconfig /var/lib/kontiki/admin.kubeconfig
  kontiki cert client app-1 --out /srv/app-1         of etcd's API; signed by the CA in /var/lib/kontiki
  kontiki cert rotate-ca --kubeconfig /var/lib/kontiki/admin.kubeconfig
  kontiki cert rotate-ca --finish --kubeconfig /var/lib/kontiki/admin.kubeconfig

After rotate-ca both CAs are trusted, and servers show certificates of the new one: other kubeconfigs than the given
one need it at once. Agents learn the new one within five minutes and renew their certificates;
other kubelets need it in their kubeconfig and clientCAFile. --finish ends the trust in the old one: whoever shows a
certificate of it is refused from then on.

A stand-alone store has the CAs cluster (of etcd's clients, admins, and what both are shown) and peer. Its replicas keep
ca.crt, client.crt and client.key in their data directories up to date by themselves; copies elsewhere are to be copied
again after rotate-ca, and before --finish.")]
pub(crate) struct CertArgs {
    #[command(subcommand)]
    command: CertCommand,
}

#[derive(Subcommand, Debug)]
enum CertCommand {
    /// Every certificate of every server, and when it ends
    List(Where),
    /// Make the certificates of every server anew, now
    Renew(Where),
    /// Make a certificate for one more of etcd's clients, on a machine of a replica
    Client(store::ClientArgs),
    /// Have a new CA take over on every server; may be broken off at any point and begun again
    RotateCa {
        #[command(flatten)]
        place: Where,
        /// Which CA
        #[arg(long, value_enum, default_value_t = Ca::Cluster)]
        ca: Ca,
        /// Stop trusting the CA that was replaced
        #[arg(long)]
        finish: bool,
    },
}

#[derive(Args, Debug)]
struct Where {
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Ca {
    /// Of API servers, kubelets and clients
    Cluster,
    /// Of the servers among themselves
    Peer,
    /// Of etcd's clients
    Etcd,
}

impl Ca {
    fn name(self) -> &'static str {
        match self {
            Ca::Cluster => "ca",
            Ca::Peer => "peer-ca",
            Ca::Etcd => "etcd-ca",
        }
    }
}

/// How long one server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Servers look at their files once a second, and at those of their peers' connections every few.
const TAKES_EFFECT: Duration = Duration::from_secs(10);

pub(crate) async fn run(args: CertArgs) -> Result<(), Failure> {
    match args.command {
        CertCommand::List(place) => list(&place.kubeconfig).await,
        CertCommand::Renew(place) => renew(&place.kubeconfig).await,
        CertCommand::Client(args) => store::issue_client(&args),
        CertCommand::RotateCa { place, ca, finish: false } => rotate(&place.kubeconfig, ca).await,
        CertCommand::RotateCa { place, ca, finish: true } => finish(&place.kubeconfig, ca).await,
    }
}

async fn list(kubeconfig: &Path) -> Result<(), Failure> {
    let client = client(kubeconfig)?;
    let report = status::collect(&client, kubeconfig).await?;
    print!("{}", table(&report, crate::now()));
    Ok(())
}

fn client(kubeconfig: &Path) -> Result<Client, Failure> {
    Ok(Client::new(&Kubeconfig::read(kubeconfig)?)?.timeout(PATIENCE))
}

fn table(report: &Value, now: jiff::Timestamp) -> String {
    let mut lines = vec![["SERVER", "CERTIFICATE", "EXPIRES", "LEFT"].map(str::to_owned)];
    for replica in report["replicas"].as_array().into_iter().flatten() {
        let server = replica["id"].to_string();
        for one in replica["certificates"].as_array().into_iter().flatten() {
            let text = |field: &str| one[field].as_str().unwrap_or("-").to_owned();
            let end = one["expires"].as_str().and_then(|end| end.parse::<jiff::Timestamp>().ok());
            let left = end.map_or("-".to_owned(), |end| status::days_left(end, now));
            lines.push([server.clone(), text("name"), text("expires"), left]);
        }
        if replica["reachable"] != true {
            lines.push([server, "unreachable".to_owned(), "-".to_owned(), "-".to_owned()]);
        }
    }
    let widths: Vec<usize> =
        (0..4).map(|column| lines.iter().map(|line| line[column].len()).max().unwrap_or(0)).collect();
    let line = |line: &[String; 4]| {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    lines.iter().map(line).collect()
}

/// A client for every server. All of them must answer: a server that misses a step would trust nobody afterwards.
async fn servers(kubeconfig: &Path) -> Result<Vec<(String, Client)>, Failure> {
    let client = client(kubeconfig)?;
    let report = status::collect(&client, kubeconfig).await?;
    let replicas = report["replicas"].as_array().into_iter().flatten();
    replicas
        .map(|replica| match (replica["reachable"] == true, replica["api"].as_str()) {
            (true, Some(api)) => Ok((format!("server {}", replica["id"]), client.at(api))),
            _ => Err(format!("server {} does not answer: every server must be there for this", replica["id"]).into()),
        })
        .collect()
}

async fn ask(server: &(String, Client), what: &str, body: &Value) -> Result<Value, Failure> {
    let answer = server.1.post(&format!("/kontiki/v1/certificates/{what}"), body).await.and_then(|answer| answer.ok());
    answer.map_err(|error| format!("{}: {error}", server.0).into())
}

async fn renew(kubeconfig: &Path) -> Result<(), Failure> {
    for server in servers(kubeconfig).await? {
        let answer = ask(&server, "renew", &json!({})).await?;
        let count = answer["certificates"].as_array().map_or(0, Vec::len);
        println!("{}: {count} certificates renewed", server.0);
    }
    Ok(())
}

async fn rotate(kubeconfig: &Path, ca: Ca) -> Result<(), Failure> {
    let servers = servers(kubeconfig).await?;
    let body = json!({"ca": ca.name()});
    let source = begun(&servers, &body).await?.unwrap_or(0);
    let source = servers.get(source).ok_or("the cluster has no servers")?;
    let made = ask(source, "ca/make", &body).await?;
    let trust = json!({"ca": ca.name(), "certificate": made["certificate"], "key": made["key"]});
    for server in &servers {
        ask(server, "ca/trust", &trust).await?;
        println!("{}: trusts the new CA", server.0);
    }
    if matches!(ca, Ca::Cluster) {
        let certificate = made["certificate"].as_str().ok_or("the server did not send the new CA")?;
        kubeconfig::trust_also(kubeconfig, certificate)?;
        println!("{}: trusts the new CA", kubeconfig.display());
    }
    tokio::time::sleep(TAKES_EFFECT).await;
    let servers = self::servers(kubeconfig).await?;
    for server in &servers {
        ask(server, "ca/sign", &body).await?;
        println!("{}: the new CA signs, certificates renewed", server.0);
    }
    println!("both CAs are trusted; when nodes and clients have certificates of the new one, end it with --finish");
    Ok(())
}

/// The server with the CA to come, where an earlier try got so far.
async fn begun(servers: &[(String, Client)], body: &Value) -> Result<Option<usize>, Failure> {
    let mut found = None;
    for (index, server) in servers.iter().enumerate() {
        let state = ask(server, "ca/state", body).await?;
        if found.is_none() && state["next"].is_string() {
            found = Some(index);
        }
    }
    Ok(found)
}

async fn finish(kubeconfig: &Path, ca: Ca) -> Result<(), Failure> {
    let servers = servers(kubeconfig).await?;
    let body = json!({"ca": ca.name()});
    let mut signing: Vec<Value> = Vec::new();
    for server in &servers {
        signing.push(ask(server, "ca/state", &body).await?["signing"].take());
    }
    if signing.iter().any(|own| *own != signing[0]) {
        return Err("not all servers sign with the same CA: run rotate-ca without --finish first".into());
    }
    for server in &servers {
        ask(server, "ca/drop", &body).await?;
        println!("{}: trusts the new CA only", server.0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_by_server() {
        let now: jiff::Timestamp = "2026-11-22T00:00:00Z".parse().expect("a time");
        let report = json!({"replicas": [
            {"id": 1, "reachable": true, "certificates": [
                {"name": "apiserver", "expires": "2027-11-22T00:00:00Z"}, {"name": "peer", "expires": "2026-11-21T00:00:00Z"}]},
            {"id": 2, "reachable": false},
        ]});
        assert_eq!(
            table(&report, now),
            "SERVER  CERTIFICATE  EXPIRES               LEFT\n\
             1       apiserver    2027-11-22T00:00:00Z  365d left\n\
             1       peer         2026-11-21T00:00:00Z  EXPIRED\n\
             2       unreachable  -                     -\n"
        );
    }
}
