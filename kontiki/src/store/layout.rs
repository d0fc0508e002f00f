//! The files of `kontiki store up`: who has which port, key and configuration.
//!
//!     DIR/ca.crt, DIR/client.crt, DIR/client.key   for clients
//!     DIR/admin.kubeconfig, DIR/admin-N.kubeconfig for admins' commands, at the first replica, or replica N
//!     DIR/pki/                                     the CAs
//!     DIR/replica-N/store.yaml                     configuration; certificates/ and store/ beside it
//!     DIR/lock, DIR/pids, DIR/logs/                the processes

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::config::{StoreConfiguration, StoreMember};
use crate::Failure;
use crate::config::{self, Endpoint};
use crate::server::identity::{Authorities, Which};
use crate::server::setup::{new_cluster_id, write_admin};

/// From a client port to the peer port.
const PEER_OFFSET: u16 = 100;
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How many replicas, on which ports: decided at the first start of a directory, and the same ever after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) replicas: u16,
    pub(super) client_port_base: u16,
}

/// Of a new directory: etcd's ports.
const DEFAULT: Shape = Shape { replicas: 3, client_port_base: super::CLIENT_PORT };

impl Shape {
    /// What a directory was made with; `None`: it is new.
    pub(super) fn of(dir: &Path) -> Result<Option<Self>, Failure> {
        let file = store_file(dir, 1);
        if !file.exists() {
            return Ok(None);
        }
        let config = StoreConfiguration::read(&file)?;
        // Not those it began with: a replica that was healed or recovered knows none any more.
        let replicas = (1..=u16::MAX).take_while(|number| store_file(dir, *number).exists()).count();
        Ok(Some(Self { replicas: u16::try_from(replicas)?, client_port_base: config.client.listen.port() }))
    }

    /// What is asked for where it is, otherwise what the directory has, otherwise the default. `Err`: they differ.
    pub(super) fn decide(replicas: Option<u16>, port_base: Option<u16>, made: Option<Self>) -> Result<Self, String> {
        let before = made.unwrap_or(DEFAULT);
        let wished = Self {
            replicas: replicas.unwrap_or(before.replicas),
            client_port_base: port_base.unwrap_or(before.client_port_base),
        };
        if made.is_none_or(|made| made == wished) {
            return Ok(wished);
        }
        Err(format!(
            "this data directory was made with --replicas {} --client-port-base {}, which cannot be changed: leave \
             these options out, or name another --data-dir",
            before.replicas, before.client_port_base
        ))
    }
}

pub(super) struct Layout {
    pub(super) dir: PathBuf,
    pub(super) shape: Shape,
    cluster_id: String,
}

pub(super) fn store_file(dir: &Path, number: u16) -> PathBuf {
    dir.join(format!("replica-{number}")).join("store.yaml")
}

impl Layout {
    pub(super) fn new(dir: &Path, shape: Shape) -> Result<Self, Failure> {
        let file = dir.join("cluster-id");
        let cluster_id = match std::fs::read_to_string(&file) {
            Ok(id) => id.trim().to_owned(),
            Err(_) => {
                let id = new_cluster_id();
                pki::write_public(&file, &id)?;
                id
            }
        };
        Ok(Self { dir: dir.to_owned(), shape, cluster_id })
    }

    /// By number, from 1.
    pub(super) fn replicas(&self) -> std::ops::RangeInclusive<u16> {
        1..=self.shape.replicas
    }

    fn client(&self, number: u16) -> Endpoint {
        endpoint(self.shape.client_port_base + number - 1)
    }

    fn peer(&self, number: u16) -> Endpoint {
        endpoint(self.shape.client_port_base + PEER_OFFSET + number - 1)
    }

    pub(super) fn client_url(&self, number: u16) -> String {
        format!("https://{}", self.client(number).advertise)
    }

    /// Every port the store listens on, and what for.
    pub(super) fn ports(&self) -> Vec<(SocketAddr, String)> {
        let of = |number: u16| {
            [
                (self.client(number).listen, format!("the clients of replica {number}")),
                (self.peer(number).listen, format!("the peers of replica {number}")),
            ]
        };
        self.replicas().flat_map(of).collect()
    }

    /// The CAs, what clients need, and the configuration of every replica.
    pub(super) fn write(&self) -> Result<(), Failure> {
        let authorities = Authorities::load_or_create(&self.dir.join("pki"), crate::now())?;
        super::write_client(&self.dir, &self.dir.join("pki"), &authorities, Which::Due, crate::now())?;
        let admin =
            |number: u16, name: &str| write_admin(&authorities.cluster, &self.client_url(number), &self.dir.join(name));
        for number in self.replicas() {
            let file = store_file(&self.dir, number);
            // A replica that was healed or recovered has become another member since.
            if !file.exists() {
                config::write(&file, &self.configuration(number))?;
            }
            admin(number, &format!("admin-{number}.kubeconfig"))?;
        }
        admin(1, "admin.kubeconfig")
    }

    fn configuration(&self, number: u16) -> StoreConfiguration {
        let member = |number: u16| StoreMember { id: number.into(), peer: self.peer(number).advertise };
        let (data_dir, pki_dir) = (self.dir.join(format!("replica-{number}")), self.dir.join("pki"));
        let (client, peer) = (self.client(number), self.peer(number));
        let mut config = StoreConfiguration::new(number.into(), &self.cluster_id, data_dir, pki_dir, client, peer);
        config.initial_members = self.replicas().map(member).collect();
        config
    }
}

fn endpoint(port: u16) -> Endpoint {
    let listen = SocketAddr::new(LOCALHOST, port);
    Endpoint { listen, advertise: listen.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_shape() {
        let dir = tempfile::tempdir().expect("dir");
        let asked = Shape { replicas: 5, client_port_base: 4000 };
        assert_eq!(Shape::of(dir.path()).expect("new"), None);
        assert_eq!(Shape::decide(None, None, None), Ok(DEFAULT));
        let layout = Layout::new(dir.path(), asked).expect("layout");
        layout.write().expect("written");
        let made = Shape::of(dir.path()).expect("made");
        assert_eq!(made, Some(asked));
        assert_eq!(Shape::decide(None, None, made), Ok(asked));
        for (replicas, port_base) in [(Some(3), None), (None, Some(2379))] {
            let error = Shape::decide(replicas, port_base, made).expect_err("differs");
            assert!(error.contains("--replicas 5 --client-port-base 4000"), "{error}");
        }
        let client = std::fs::read_to_string(dir.path().join("client.crt")).expect("a certificate");
        layout.write().expect("written again");
        assert_eq!(std::fs::read_to_string(dir.path().join("client.crt")).expect("a certificate"), client);
    }

    #[test]
    fn what_is_written_is_read_back_and_typos_are_refused() {
        let dir = tempfile::tempdir().expect("dir");
        let layout = Layout::new(dir.path(), DEFAULT).expect("layout");
        layout.write().expect("written");
        let file = store_file(dir.path(), 2);
        let config = StoreConfiguration::read(&file).expect("read");
        assert_eq!((config.id, config.name.as_str(), config.is_founder()), (2, "replica-2", true));
        assert_eq!((config.client.listen.port(), config.peer.listen.port()), (2380, 2480));
        let text = std::fs::read_to_string(&file).expect("text").replace("learner", "learnt");
        std::fs::write(&file, text).expect("written");
        assert!(StoreConfiguration::read(&file).is_err());
    }
}
