//! The files of `kontiki up`: who has which port, key and configuration.
//!
//!     DIR/pki/                     CAs and service-account keys
//!     DIR/replica-N/server.yaml    configuration; certificates/ and store/ beside it
//!     DIR/admin.kubeconfig         first replica; admin-N.kubeconfig: replica N
//!     DIR/node-1/, DIR/hollow/     agents
//!     DIR/pids, DIR/logs/          the processes

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use pki::authority::{Authority, Request};

use crate::Failure;
use crate::config::{
    self, API_VERSION, AgentConfiguration, Endpoint, InitialMember, NodeConfiguration, ServerConfiguration,
};
use crate::kubeconfig::Kubeconfig;
use crate::server::identity::Authorities;
use crate::server::setup::{new_cluster_id, write_admin};

const PEER_OFFSET: u16 = 100;
const KUBELET_OFFSET: u16 = 3807;
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Days a node's certificate is valid; made anew at every start.
const NODE_DAYS: u32 = 365;

pub(super) struct Layout {
    pub(super) dir: PathBuf,
    replicas: u16,
    port_base: u16,
    cluster_id: String,
    authorities: Authorities,
}

impl Layout {
    pub(super) fn new(dir: &Path, replicas: u16, port_base: u16) -> Result<Self, Failure> {
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
        Ok(Self { dir: dir.to_owned(), replicas, port_base, cluster_id, authorities })
    }

    /// One `up` per directory.
    pub(super) fn lock(&self) -> Result<nix::fcntl::Flock<fs::File>, Failure> {
        let file = fs::File::create(self.dir.join("lock"))?;
        nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock)
            .map_err(|_| format!("another kontiki up runs on {}", self.dir.display()).into())
    }

    pub(super) fn api_url(&self, number: u16) -> String {
        format!("https://127.0.0.1:{}", self.api_port(number))
    }

    fn api_port(&self, number: u16) -> u16 {
        self.port_base + number - 1
    }

    pub(super) fn server_file(&self, number: u16) -> PathBuf {
        self.dir.join(format!("replica-{number}")).join("server.yaml")
    }

    /// Configuration of every replica and kubeconfigs for the admin.
    pub(super) fn write_servers(&self) -> Result<(), Failure> {
        let members: Vec<InitialMember> = (1..=self.replicas)
            .map(|number| InitialMember {
                id: number.into(),
                peer: self.peer(number).advertise,
                api: self.api_url(number),
            })
            .collect();
        for number in 1..=self.replicas {
            let data_dir = self.dir.join(format!("replica-{number}"));
            let (pki_dir, api) = (self.dir.join("pki"), endpoint(self.api_port(number)));
            let (id, peer) = (number.into(), self.peer(number));
            let mut config = ServerConfiguration::new(id, &self.cluster_id, data_dir, pki_dir, api, peer);
            config.initial_members = members.clone();
            config::write(&self.server_file(number), &config)?;
            let name = format!("admin-{number}.kubeconfig");
            write_admin(&self.authorities.cluster, &self.api_url(number), &self.dir.join(name))?;
        }
        write_admin(&self.authorities.cluster, &self.api_url(1), &self.dir.join("admin.kubeconfig"))
    }

    fn peer(&self, number: u16) -> Endpoint {
        endpoint(self.port_base + PEER_OFFSET + number - 1)
    }

    /// Configuration of the real node and of the hollow ones: process name and file of each agent.
    pub(super) fn write_agents(&self, containerd: bool, hollow: u32) -> Result<Vec<(String, PathBuf)>, Failure> {
        let mut agents = Vec::new();
        if containerd {
            let dir = self.dir.join("node-1");
            let mut node = self.node(&dir, "node-1", 0)?;
            node.port = self.port_base + KUBELET_OFFSET;
            node.serving_certificate = Some(dir.join("serving.crt"));
            node.serving_key = Some(dir.join("serving.key"));
            node.client_ca = Some(self.dir.join("pki").join("ca.crt"));
            self.issue(&serving(&node.name))?.write(&dir, "serving")?;
            agents.push(("node-1".to_owned(), self.write_agent(&dir, true, vec![node])?));
        }
        if hollow > 0 {
            let dir = self.dir.join("hollow");
            // 10.245.0.0 and up: one /24 a node.
            let nodes = (1..=hollow).map(|number| self.node(&dir, &format!("hollow-{number}"), 256 + number));
            let file = self.write_agent(&dir, false, nodes.collect::<Result<_, _>>()?)?;
            agents.push(("hollow".to_owned(), file));
        }
        Ok(agents)
    }

    fn issue(&self, request: &Request) -> Result<pki::authority::CertifiedKey, Failure> {
        let authority: &Authority = &self.authorities.cluster;
        Ok(authority.issue(request, crate::now())?)
    }

    fn node(&self, dir: &Path, name: &str, network: u32) -> Result<NodeConfiguration, Failure> {
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
            pod_cidr: format!("10.{}.{}.0/24", 244 + network / 256, network % 256),
            kubeconfig,
            serving_certificate: None,
            serving_key: None,
            client_ca: None,
        })
    }

    fn write_agent(&self, dir: &Path, containerd: bool, nodes: Vec<NodeConfiguration>) -> Result<PathBuf, Failure> {
        let config = AgentConfiguration {
            api_version: API_VERSION.to_owned(),
            kind: AgentConfiguration::KIND.to_owned(),
            data_dir: dir.to_owned(),
            nodes,
            servers: (1..=self.replicas).map(|number| self.api_url(number)).collect(),
            runtime: super::runtime(containerd),
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
