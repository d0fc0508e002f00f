//! What an agent keeps fresh of its identity while it runs: its nodes' certificates, and where the servers are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use kubelet_agent::Servers;
use pki::authority::{Request, expiry, new_csr};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::bootstrap;
use crate::Failure;
use crate::client::Client;
use crate::config::{self, AgentConfiguration, NodeConfiguration};
use crate::kubeconfig::Kubeconfig;

/// How often both are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(300);
/// A certificate is renewed when less than this is left: a fifth of the year it is valid.
const RENEW_SECONDS: i64 = 73 * 86_400;

/// Until stopped. `file` is where the configuration is kept, for the next start.
pub(super) async fn keep(mut config: AgentConfiguration, file: PathBuf, servers: Servers, stop: CancellationToken) {
    loop {
        let looked = stop.run_until_cancelled(look(&mut config, &file, &servers)).await;
        if let Some(Err(error)) = looked {
            tracing::warn!(%error, "cannot renew what this agent knows of its cluster; it will try again");
        }
        if stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
            return;
        }
    }
}

async fn look(config: &mut AgentConfiguration, file: &Path, servers: &Servers) -> Result<(), Failure> {
    for node in &config.nodes {
        if is_due(node, crate::now()) {
            renew(node, &config.servers).await?;
            tracing::info!(node = node.name, "certificates renewed");
        }
    }
    let Some(node) = config.nodes.first() else { return Ok(()) };
    let answer = ask(node, &config.servers, "/kontiki/v1/node/servers", &json!({})).await?;
    if let Some(ca) = answer["ca"].as_str() {
        for node in &config.nodes {
            follow_ca(node, &config.servers, ca).await?;
        }
    }
    if let Some(found) = changed(&config.servers, &answer) {
        tracing::info!(servers = ?found, "the cluster's servers have changed");
        servers.set(found.clone());
        config.servers = found;
        config::write(file, config)?;
    }
    Ok(())
}

/// The servers of an answer, when they are others than before.
fn changed(before: &[String], answer: &Value) -> Option<Vec<String>> {
    let urls = answer["servers"].as_array()?.iter().filter_map(Value::as_str);
    let mut found: Vec<String> = urls.filter(|url| url.starts_with("https://")).map(str::to_owned).collect();
    found.sort();
    let mut known = before.to_vec();
    known.sort();
    (!found.is_empty() && found != known).then_some(found)
}

/// Whether one of the node's certificates soon ends, or cannot be read.
fn is_due(node: &NodeConfiguration, now: Timestamp) -> bool {
    let client = Kubeconfig::read(&node.kubeconfig).map(|kubeconfig| kubeconfig.certificate_pem);
    let serving = node.serving_certificate.as_ref().map(|path| Ok(std::fs::read_to_string(path)?));
    std::iter::once(client).chain(serving).any(|pem| pem.map_or(true, |pem| ends_soon(&pem, now)))
}

fn ends_soon(pem: &str, now: Timestamp) -> bool {
    expiry(pem).map_or(true, |end| end.as_second() - now.as_second() < RENEW_SECONDS)
}

/// Takes over the CAs that the cluster trusts now, and certificates of the one that signs.
async fn follow_ca(node: &NodeConfiguration, servers: &[String], ca: &str) -> Result<(), Failure> {
    let mut kubeconfig = Kubeconfig::read(&node.kubeconfig)?;
    if kubeconfig.ca_pem == ca {
        return Ok(());
    }
    pki::authority::certificates(ca)?;
    tracing::info!(node = node.name, "the cluster's CA has changed");
    // While both are trusted: certificates first, so that a failure is tried again.
    renew(node, servers).await?;
    if let Some(file) = &node.client_ca {
        pki::write_public(file, ca)?;
    }
    (kubeconfig.certificate_pem, kubeconfig.key_pem) = {
        let renewed = Kubeconfig::read(&node.kubeconfig)?;
        (renewed.certificate_pem, renewed.key_pem)
    };
    kubeconfig.ca_pem = ca.to_owned();
    kubeconfig.write(&node.kubeconfig, &format!("system:node:{}", node.name))
}

/// New keys, signed by the cluster for whom the present ones show us to be: the client's by the API, as any kubelet
/// rotates its own. Both connections and the kubelet's port read the files again by themselves.
async fn renew(node: &NodeConfiguration, servers: &[String]) -> Result<(), Failure> {
    let name = format!("system:node:{}", node.name);
    if let Some((certificate, key)) = node.serving_certificate.as_ref().zip(node.serving_key.as_ref()) {
        let (serving_key, csr) = new_csr(&Request { common_name: name.clone(), ..Request::default() }, crate::now())?;
        let body = json!({"servingCSR": csr, "nodeIP": node.ip.to_string()});
        let answer = ask(node, servers, "/kontiki/v1/node/certificates", &body).await?;
        let issued = answer["servingCertificate"].as_str().ok_or("the server sent no servingCertificate")?;
        pki::write_private(key, &serving_key)?;
        pki::write_public(certificate, issued)?;
    }
    let mut kubeconfig = Kubeconfig::read(&node.kubeconfig)?;
    (kubeconfig.key_pem, kubeconfig.certificate_pem) = renewed(&kubeconfig, node, servers).await?;
    kubeconfig.write(&node.kubeconfig, &name)
}

/// Key and certificate, from the first server that answers.
async fn renewed(
    kubeconfig: &Kubeconfig,
    node: &NodeConfiguration,
    servers: &[String],
) -> Result<(String, String), Failure> {
    let client = Client::new(kubeconfig)?;
    let mut failure = Failure::from("no server is known");
    for server in std::iter::once(&kubeconfig.server).chain(servers) {
        match bootstrap::client_certificate(&client.at(server), &node.name).await {
            Ok(renewed) => return Ok(renewed),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Asks one server after the other, as the node.
async fn ask(node: &NodeConfiguration, servers: &[String], path: &str, body: &Value) -> Result<Value, Failure> {
    let kubeconfig = Kubeconfig::read(&node.kubeconfig)?;
    let client = Client::new(&kubeconfig)?;
    let mut failure = Failure::from("no server is known");
    for server in std::iter::once(&kubeconfig.server).chain(servers) {
        match client.at(server).post(path, body).await.and_then(|answer| answer.ok()) {
            Ok(answer) => return Ok(answer),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_renewed_in_their_last_fifth() {
        let made: Timestamp = "2026-11-22T00:00:00Z".parse().expect("time");
        let authority = pki::authority::Authority::create("ca", made).expect("ca");
        let request = Request { common_name: "system:node:a".into(), client: true, days: 365, ..Request::default() };
        let pem = authority.issue(&request, made).expect("issues").certificate_pem;
        let after = |days: i64| made + jiff::SignedDuration::from_hours(days * 24);
        assert!(!ends_soon(&pem, after(291)));
        assert!(ends_soon(&pem, after(293)));
        assert!(ends_soon("nonsense", made));
    }

    #[test]
    fn notices_other_servers_and_nothing_else() {
        let before = ["https://b:6443", "https://a:6443"].map(str::to_owned);
        let changed = |servers: Value| changed(&before, &json!({"servers": servers}));
        assert_eq!(changed(json!(["https://a:6443", "https://b:6443"])), None);
        assert_eq!(changed(json!([])), None, "never nobody");
        assert_eq!(changed(json!(["ftp://c"])), None);
        let found = changed(json!(["https://c:6443", "https://a:6443"]));
        assert_eq!(found, Some(vec!["https://a:6443".to_owned(), "https://c:6443".to_owned()]));
    }
}
