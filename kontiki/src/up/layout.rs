//! The files of `kontiki up`: who has which port, key and configuration.
//!
//!     DIR/pki/                     CAs and service-account keys
//!     DIR/replica-N/server.yaml    configuration; certificates/ and store/ beside it
//!     DIR/admin.kubeconfig         first replica; admin-N.kubeconfig: replica N
//!     DIR/node-1/, DIR/hollow/     agents
//!     DIR/lock, DIR/pids, DIR/logs/  the processes

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use kubelet_agent::containerd::{ContainerdConfig, Footprint};
use pki::authority::{Authority, Request};

use super::shape::Shape;
use crate::Failure;
use crate::agent::real;
use crate::api_flags::ApiFlags;
use crate::config::{
    self, API_VERSION, AgentConfiguration, Endpoint, InitialMember, NodeConfiguration, RuntimeKind, ServerConfiguration,
};
use crate::kubeconfig::Kubeconfig;
use crate::server::identity::Authorities;
use crate::server::setup::{new_cluster_id, write_admin};

const PEER_OFFSET: u16 = 100;
const KUBELET_OFFSET: u16 = 3807;
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Days a node's certificate is valid; made anew at every start.
const NODE_DAYS: u32 = 365;
/// The node that runs real containers.
pub(super) const REAL: &str = "node-1";
/// The process of all hollow nodes.
pub(super) const HOLLOW: &str = "hollow";

pub(super) struct Layout {
    pub(super) dir: PathBuf,
    pub(super) shape: Shape,
    cluster_id: String,
    authorities: Authorities,
}

impl Layout {
    pub(super) fn new(dir: &Path, shape: Shape) -> Result<Self, Failure> {
        let authorities = Authorities::load_or_create(&dir.join("pki"), crate::now())?;
        // Made once, before replicas that share the directory could each make their own.
        pki::tokens::TokenIssuer::load_or_create(&dir.join("pki"), "", Vec::new())?;
        let file = dir.join("cluster-id");
        let cluster_id = match fs::read_to_string(&file) {
            Ok(id) => id.trim().to_owned(),
            Err(_) => {
                let id = new_cluster_id();
                pki::write_public(&file, &id)?;
                id
            }
        };
        Ok(Self { dir: dir.to_owned(), shape, cluster_id, authorities })
    }

    /// By number, from 1.
    pub(super) fn replicas(&self) -> std::ops::RangeInclusive<u16> {
        1..=self.shape.replicas
    }

    pub(super) fn api_urls(&self) -> Vec<String> {
        self.replicas().map(|number| self.api_url(number)).collect()
    }

    /// Every port the cluster listens on, and what for.
    pub(super) fn ports(&self, real_node: bool) -> Vec<(SocketAddr, String)> {
        let replica = |number: u16| {
            let api = SocketAddr::new(LOCALHOST, self.api_port(number));
            [
                (api, format!("the API of replica {number}")),
                (self.peer(number).listen, format!("the peers of replica {number}")),
            ]
        };
        let kubelet = SocketAddr::new(LOCALHOST, self.shape.port_base + KUBELET_OFFSET);
        let node = real_node.then(|| (kubelet, "the kubelet".to_owned()));
        self.replicas().flat_map(replica).chain(node).collect()
    }

    pub(super) fn api_url(&self, number: u16) -> String {
        format!("https://127.0.0.1:{}", self.api_port(number))
    }

    fn api_port(&self, number: u16) -> u16 {
        self.shape.port_base + number - 1
    }

    pub(super) fn server_file(&self, number: u16) -> PathBuf {
        self.dir.join(format!("replica-{number}")).join("server.yaml")
    }

    /// Configuration of every replica and kubeconfigs for the admin.
    pub(super) fn write_servers(&self, flags: &ApiFlags) -> Result<(), Failure> {
        let members: Vec<InitialMember> = self
            .replicas()
            .map(|number| InitialMember {
                id: number.into(),
                peer: self.peer(number).advertise,
                api: self.api_url(number),
            })
            .collect();
        for number in self.replicas() {
            let data_dir = self.dir.join(format!("replica-{number}"));
            let (pki_dir, api) = (self.dir.join("pki"), endpoint(self.api_port(number)));
            let (id, peer) = (number.into(), self.peer(number));
            let mut config = ServerConfiguration::new(id, &self.cluster_id, data_dir, pki_dir, api, peer);
            config.initial_members = members.clone();
            let file = self.server_file(number);
            if file.exists() {
                // A replica that was healed or recovered has become another member since.
                let made: ServerConfiguration = config::read(&file)?;
                (config.id, config.cluster_id) = (made.id, made.cluster_id);
                config.initial_members = made.initial_members;
            }
            flags.over(&mut config)?;
            config.audit = config.audit.of_replica(number);
            config::write(&self.server_file(number), &config)?;
            let name = format!("admin-{number}.kubeconfig");
            write_admin(&self.authorities.cluster, &self.api_url(number), &self.dir.join(name))?;
        }
        write_admin(&self.authorities.cluster, &self.api_url(1), &self.dir.join("admin.kubeconfig"))
    }

    fn peer(&self, number: u16) -> Endpoint {
        endpoint(self.shape.port_base + PEER_OFFSET + number - 1)
    }

    fn real_dir(&self) -> PathBuf {
        self.dir.join(REAL)
    }

    /// The real node's pod addresses at an earlier start: the Node object has them for ever.
    pub(super) fn pod_cidr_before(&self) -> Option<String> {
        let config: AgentConfiguration = config::read(&self.real_dir().join("agent.yaml")).ok()?;
        config.nodes.into_iter().next()?.pod_cidr
    }

    /// Names of this cluster's node among those of the whole machine: bridge and cgroup.
    fn machine_names(&self) -> (String, String) {
        let port = self.shape.port_base;
        (format!("kontiki-{port}"), format!("/kontiki-{port}-{}", self.cluster_id))
    }

    /// What the real node leaves on the machine besides its files.
    pub(super) fn footprint(&self) -> Footprint {
        let (bridge, cgroup_root) = self.machine_names();
        let data_dir = self.real_dir();
        Footprint { containerd: real::containerd_dir(&data_dir), data_dir, bridge, cgroup_root }
    }

    /// Whether the real node's containerd can have its sockets below the directory.
    pub(super) fn check_socket(&self) -> Result<(), String> {
        let (bridge, _) = self.machine_names();
        ContainerdConfig { dir: real::containerd_dir(&self.real_dir()), pod_cidr: None, bridge }.check_socket()
    }

    /// Configuration of the real node, where it has pod addresses, and of the hollow ones: process name and
    /// file of each agent.
    pub(super) fn write_agents(&self, pod_cidr: Option<&str>, hollow: u32) -> Result<Vec<(String, PathBuf)>, Failure> {
        let mut agents = Vec::new();
        if let Some(pod_cidr) = pod_cidr {
            let dir = self.real_dir();
            let mut node = self.node(&dir, REAL, pod_cidr.to_owned())?;
            let (bridge, cgroup_root) = self.machine_names();
            node.bridge = bridge;
            node.cgroup_root = Some(cgroup_root);
            node.port = self.shape.port_base + KUBELET_OFFSET;
            node.serving_certificate = Some(dir.join("serving.crt"));
            node.serving_key = Some(dir.join("serving.key"));
            node.client_ca = Some(self.dir.join("pki").join("ca.crt"));
            self.issue(&serving(&node.name))?.write(&dir, "serving")?;
            agents.push((REAL.to_owned(), self.write_agent(&dir, RuntimeKind::Containerd, vec![node])?));
        }
        if hollow > 0 {
            let dir = self.dir.join(HOLLOW);
            let nodes = (1..=hollow).map(|number| self.node(&dir, &format!("hollow-{number}"), hollow_cidr(number)));
            let file = self.write_agent(&dir, RuntimeKind::Fake, nodes.collect::<Result<_, _>>()?)?;
            agents.push((HOLLOW.to_owned(), file));
        }
        Ok(agents)
    }

    fn issue(&self, request: &Request) -> Result<pki::authority::CertifiedKey, Failure> {
        let authority: &Authority = &self.authorities.cluster;
        Ok(authority.issue(request, crate::now())?)
    }

    fn node(&self, dir: &Path, name: &str, pod_cidr: String) -> Result<NodeConfiguration, Failure> {
        let request = Request {
            common_name: format!("system:node:{name}"),
            organizations: vec!["system:nodes".into()],
            client: true,
            days: NODE_DAYS,
            ..Request::default()
        };
        let issued = self.issue(&request)?;
        let kubeconfig = dir.join(format!("{name}.kubeconfig"));
        let identity = Kubeconfig {
            server: self.api_url(1),
            ca_pem: self.authorities.cluster.certificate_pem().to_owned(),
            certificate_pem: issued.certificate_pem,
            key_pem: issued.key_pem,
        };
        identity.write(&kubeconfig, &request.common_name)?;
        Ok(NodeConfiguration {
            name: name.to_owned(),
            ip: LOCALHOST,
            port: 0,
            pod_cidr: Some(pod_cidr),
            bridge: config::bridge(),
            cgroup_root: None,
            kubeconfig,
            serving_certificate: None,
            serving_key: None,
            client_ca: None,
        })
    }

    fn write_agent(&self, dir: &Path, runtime: RuntimeKind, nodes: Vec<NodeConfiguration>) -> Result<PathBuf, Failure> {
        let config = AgentConfiguration {
            api_version: API_VERSION.to_owned(),
            kind: AgentConfiguration::KIND.to_owned(),
            data_dir: dir.to_owned(),
            nodes,
            servers: self.api_urls(),
            runtime,
            runtime_socket: None,
            stop_pods_on_exit: true,
        };
        let file = dir.join("agent.yaml");
        config::write(&file, &config)?;
        Ok(file)
    }

    /// Of every node the agents bring.
    pub(super) fn node_names(&self, agents: &[(String, PathBuf)]) -> Result<Vec<String>, Failure> {
        let mut names = Vec::new();
        for (_, file) in agents {
            let config: AgentConfiguration = config::read(file)?;
            names.extend(config.nodes.into_iter().map(|node| node.name));
        }
        Ok(names)
    }
}

/// 10.245.0.0 and up: one /24 a node, none of them a real one's.
fn hollow_cidr(number: u32) -> String {
    format!("10.{}.{}.0/24", 245 + number / 256, number % 256)
}

fn endpoint(port: u16) -> Endpoint {
    let listen = SocketAddr::new(LOCALHOST, port);
    Endpoint { listen, advertise: listen.to_string() }
}

fn serving(name: &str) -> Request {
    Request {
        common_name: format!("system:node:{name}"),
        organizations: vec!["system:nodes".into()],
        dns_names: vec![name.to_owned()],
        ips: vec![LOCALHOST],
        server: true,
        days: NODE_DAYS,
        ..Request::default()
    }
}
