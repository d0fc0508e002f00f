//! How a data directory becomes a node: keys made here, certificates signed by the cluster. The client certificate
//! comes as any kubelet's does.

use std::net::IpAddr;
use std::path::Path;

use pki::authority::{Request, new_csr};
use pki::join::JoinToken;
use serde_json::json;

use super::{AgentArgs, bootstrap};
use crate::Failure;
use crate::client::Client;
use crate::config::{self, API_VERSION, AgentConfiguration, NodeConfiguration, RuntimeKind};
use crate::kubeconfig::Kubeconfig;

/// The kubelet's port, upstream's.
const KUBELET_PORT: u16 = 10250;

pub(super) async fn join(args: &AgentArgs, file: &Path) -> Result<(), Failure> {
    let Some(url) = &args.join else {
        return Err(format!("{} does not exist: join a cluster with --join URL --token T", file.display()).into());
    };
    let token = JoinToken::parse(args.token.as_deref().unwrap_or(""))?;
    let name = match &args.node_name {
        Some(name) => name.clone(),
        None => nix::unistd::gethostname()?.to_string_lossy().to_lowercase(),
    };
    let ip = match args.node_ip {
        Some(ip) => ip,
        None => outgoing_address(url).await?,
    };
    let (client, ca) = bootstrap::trusted(url, &token).await?;
    let (key_pem, certificate_pem) = bootstrap::client_certificate(&client, &name).await?;
    let identity = Kubeconfig { server: url.clone(), ca_pem: ca.clone(), certificate_pem, key_pem };
    // From here on it is the node that asks.
    let client = Client::new(&identity)?;
    let (serving_key, serving_csr) =
        new_csr(&Request { common_name: format!("system:node:{name}"), ..Request::default() }, crate::now())?;
    let body = json!({"nodeIP": ip.to_string(), "servingCSR": serving_csr});
    let answer = client.post("/kontiki/v1/node/certificates", &body).await?.ok()?;
    let text =
        |field: &str| answer[field].as_str().map(str::to_owned).ok_or_else(|| format!("the server sent no {field}"));
    let dir = &args.data_dir;
    let paths = ["node.kubeconfig", "serving.crt", "serving.key", "ca.crt"].map(|name| dir.join(name));
    let [kubeconfig, serving_certificate, serving_key_file, ca_file] = paths;
    identity.write(&kubeconfig, &format!("system:node:{name}"))?;
    pki::write_public(&serving_certificate, &text("servingCertificate")?)?;
    pki::write_private(&serving_key_file, &serving_key)?;
    pki::write_public(&ca_file, &ca)?;
    let servers = answer["servers"].as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned));
    let node = NodeConfiguration {
        name,
        ip,
        port: KUBELET_PORT,
        pod_cidr: args.pod_cidr.clone(),
        bridge: config::bridge(),
        cgroup_root: None,
        kubeconfig,
        serving_certificate: Some(serving_certificate),
        serving_key: Some(serving_key_file),
        client_ca: Some(ca_file),
    };
    let configuration = AgentConfiguration {
        api_version: API_VERSION.to_owned(),
        kind: AgentConfiguration::KIND.to_owned(),
        data_dir: dir.clone(),
        nodes: vec![node],
        servers: servers.collect(),
        runtime: if args.runtime_socket.is_some() { RuntimeKind::Socket } else { RuntimeKind::Containerd },
        runtime_socket: args.runtime_socket.clone(),
        stop_pods_on_exit: false,
    };
    config::write(file, &configuration)
}

/// The address of this machine that packets to the server leave from.
async fn outgoing_address(url: &str) -> Result<IpAddr, Failure> {
    let uri: http::Uri = url.parse()?;
    let host = uri.host().ok_or("the server address has no host")?;
    let socket = tokio::net::UdpSocket::bind("0.0.0.0:0").await?;
    socket.connect((host, uri.port_u16().unwrap_or(6443))).await?;
    Ok(socket.local_addr()?.ip())
}
