//! Configuration files: YAML with `apiVersion: kontiki.io/v1`. Unknown fields are refused.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::Failure;
use crate::access::Access;
use crate::admission::Admission;
use crate::server::audit::args::AuditConfiguration;
use crate::server::flow::FlowConfiguration;

pub(crate) const API_VERSION: &str = "kontiki.io/v1";

/// One control-plane replica (`kind: ServerConfiguration`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ServerConfiguration {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    /// Never given to another machine or data directory.
    pub(crate) id: u64,
    #[serde(rename = "clusterID")]
    pub(crate) cluster_id: String,
    pub(crate) data_dir: PathBuf,
    /// Holds the CAs and service-account keys; the replica's own certificates are made from them.
    pub(crate) pki_dir: PathBuf,
    pub(crate) api: Endpoint,
    pub(crate) peer: Endpoint,
    /// The replicas that make the cluster at its first start; the one with the lowest id initializes it.
    /// Empty for a replica that joins.
    #[serde(default)]
    pub(crate) initial_members: Vec<InitialMember>,
    #[serde(default = "service_cidr")]
    pub(crate) service_cidr: String,
    /// First and last.
    #[serde(default = "node_ports")]
    pub(crate) node_ports: (u16, u16),
    /// Whether containers may be privileged: network and storage plugins are.
    #[serde(default = "yes")]
    pub(crate) allow_privileged: bool,
    /// Seconds of history kept for watches and reads at a revision.
    #[serde(default = "history_seconds")]
    pub(crate) history_seconds: u64,
    /// Where etcd's clients are served; nowhere when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) etcd_listen: Option<SocketAddr>,
    /// An `EncryptionConfiguration`: what of the store is encrypted. The same on every replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) encryption_provider_config: Option<PathBuf>,
    /// Read that file again whenever it changes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) encryption_provider_config_automatic_reload: bool,
    /// Versions and resources that are served or not, as upstream's `--runtime-config`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) runtime_config: String,
    /// Features that are not as they are by default, as upstream's `--feature-gates`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) feature_gates: String,
    /// Controllers that run here when this replica leads, as upstream's `--controllers`. The same on every replica.
    #[serde(default = "all_controllers")]
    pub(crate) controllers: Vec<String>,
    /// Where this replica is: a data centre, a rack.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) zone: String,
    /// Zones whose replicas should lead, best first; anywhere when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) leader_zones: Vec<String>,
    /// Admission plugins besides, or instead of, those that are on by default.
    #[serde(default, skip_serializing_if = "Admission::is_default")]
    pub(crate) admission: Admission,
    /// Which requests are recorded, and where.
    #[serde(default, skip_serializing_if = "AuditConfiguration::is_empty")]
    pub(crate) audit: AuditConfiguration,
    /// How many requests are worked on at once, and in which order.
    #[serde(default, skip_serializing_if = "FlowConfiguration::is_empty")]
    pub(crate) flow_control: FlowConfiguration,
    /// Who is who and who may do what, beyond certificates, tokens of this cluster, Node and RBAC.
    #[serde(default, skip_serializing_if = "Access::is_default")]
    pub(crate) access: Access,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Endpoint {
    pub(crate) listen: SocketAddr,
    /// `host:port` others reach it by.
    pub(crate) advertise: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct InitialMember {
    pub(crate) id: u64,
    pub(crate) peer: String,
    pub(crate) api: String,
}

pub(crate) fn bridge() -> String {
    "kontiki0".to_owned()
}
fn service_cidr() -> String {
    "10.96.0.0/16".to_owned()
}
fn node_ports() -> (u16, u16) {
    (30000, 32767)
}
fn all_controllers() -> Vec<String> {
    vec!["*".to_owned()]
}
fn yes() -> bool {
    true
}
fn history_seconds() -> u64 {
    // Twice what an informer may be away between two bookmarks, and upstream's compaction interval.
    300
}

impl ServerConfiguration {
    pub(crate) const KIND: &'static str = "ServerConfiguration";

    /// A replica without initial members, with the defaults for everything that is not named here.
    pub(crate) fn new(
        id: u64,
        cluster_id: &str,
        data_dir: PathBuf,
        pki_dir: PathBuf,
        api: Endpoint,
        peer: Endpoint,
    ) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: Self::KIND.to_owned(),
            id,
            cluster_id: cluster_id.to_owned(),
            data_dir,
            pki_dir,
            api,
            peer,
            initial_members: Vec::new(),
            service_cidr: service_cidr(),
            node_ports: node_ports(),
            allow_privileged: yes(),
            history_seconds: history_seconds(),
            etcd_listen: None,
            encryption_provider_config: None,
            encryption_provider_config_automatic_reload: false,
            runtime_config: String::new(),
            feature_gates: String::new(),
            controllers: all_controllers(),
            zone: String::new(),
            leader_zones: Vec::new(),
            admission: Admission::default(),
            audit: AuditConfiguration::default(),
            flow_control: FlowConfiguration::default(),
            access: Access::default(),
        }
    }
}

/// A worker node, or many hollow ones in one process (`kind: AgentConfiguration`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AgentConfiguration {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) nodes: Vec<NodeConfiguration>,
    /// `https://host:port` of every replica.
    pub(crate) servers: Vec<String>,
    pub(crate) runtime: RuntimeKind,
    /// With `runtime: socket`.
    #[serde(default)]
    pub(crate) runtime_socket: Option<PathBuf>,
    /// End all pods of the node when the agent ends.
    #[serde(default)]
    pub(crate) stop_pods_on_exit: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NodeConfiguration {
    pub(crate) name: String,
    pub(crate) ip: IpAddr,
    /// The kubelet's HTTPS port; 0 for none.
    pub(crate) port: u16,
    /// Addresses of pods; given by the control plane where absent.
    #[serde(default, rename = "podCIDR", skip_serializing_if = "Option::is_none")]
    pub(crate) pod_cidr: Option<String>,
    /// The bridge pods hang on, and the name of their network: one of each on a machine.
    #[serde(default = "bridge")]
    pub(crate) bridge: String,
    /// Below which pods are in the cgroup tree; `/kontiki-NAME` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cgroup_root: Option<String>,
    pub(crate) kubeconfig: PathBuf,
    #[serde(default)]
    pub(crate) serving_certificate: Option<PathBuf>,
    #[serde(default)]
    pub(crate) serving_key: Option<PathBuf>,
    #[serde(default, rename = "clientCA")]
    pub(crate) client_ca: Option<PathBuf>,
}

impl NodeConfiguration {
    pub(crate) fn cgroup_root(&self) -> String {
        self.cgroup_root.clone().unwrap_or_else(|| format!("/kontiki-{}", self.name))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum RuntimeKind {
    /// A containerd of our own below the data directory.
    Containerd,
    /// A CRI socket that is there already.
    Socket,
    /// Containers that only exist in memory.
    Fake,
}

impl AgentConfiguration {
    pub(crate) const KIND: &'static str = "AgentConfiguration";
}

pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    serde_saphyr::from_str(&text).map_err(|error| format!("{}: {error}", path.display()).into())
}

pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), Failure> {
    let text = serde_saphyr::to_string(value)?;
    pki::write_private(path, &text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_in_deploy_are_read_as_they_are() {
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
        let server: ServerConfiguration = read(&deploy.join("server.yaml")).expect("a server's");
        let agent: AgentConfiguration = read(&deploy.join("agent.yaml")).expect("an agent's");
        assert_eq!((server.kind.as_str(), agent.kind.as_str()), (ServerConfiguration::KIND, AgentConfiguration::KIND));
        assert_eq!(agent.nodes[0].cgroup_root(), "/kontiki-worker-1");
        assert_eq!(agent.nodes[0].pod_cidr, None, "the control plane decides");
    }

    #[test]
    fn what_is_written_is_read_back_and_typos_are_refused() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("server.yaml");
        let endpoint = Endpoint { listen: "127.0.0.1:6443".parse().expect("address"), advertise: "a:6443".into() };
        let mut config = ServerConfiguration::new(1, "c", "/d".into(), "/p".into(), endpoint.clone(), endpoint);
        config.initial_members = vec![InitialMember { id: 1, peer: "a:1".into(), api: "https://a:6443".into() }];
        write(&path, &config).expect("writes");
        let again: ServerConfiguration = read(&path).expect("reads");
        assert_eq!(format!("{again:?}"), format!("{config:?}"));
        let text = std::fs::read_to_string(&path).expect("text").replace("serviceCidr", "serviceCider");
        std::fs::write(&path, text).expect("writes");
        assert!(read::<ServerConfiguration>(&path).is_err());
    }
}
