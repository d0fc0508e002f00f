//! A replica as it is installed on a machine: a data directory and a configuration. There are two kinds, that of
//! `kontiki server` and that of `kontiki store serve`; what admins do to a replica is the same for both.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use store_api::{Member, NodeId};

use crate::Failure;
use crate::config::{self, ServerConfiguration};
use crate::server::identity::{self, Ca, Leaf};
use crate::server::setup;
use crate::store::StoreConfiguration;

/// What a replica is part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Kind {
    /// A Kubernetes control plane.
    #[default]
    Server,
    /// A stand-alone store for etcd's clients.
    Store,
}

impl Kind {
    pub(crate) fn is_server(&self) -> bool {
        *self == Self::Server
    }

    /// The configuration in a data directory.
    pub(crate) fn file(self, data_dir: &Path) -> PathBuf {
        data_dir.join(match self {
            Self::Server => "server.yaml",
            Self::Store => "store.yaml",
        })
    }

    /// The command that runs the replica of a directory.
    pub(crate) fn start(self, data_dir: &Path) -> String {
        let command = match self {
            Self::Server => "kontiki server",
            Self::Store => "kontiki store serve",
        };
        format!("{command} --data-dir {}", data_dir.display())
    }
}

/// What the commands for admins need to know of a replica, and change.
pub(crate) trait Installed: Send + Sync {
    fn kind(&self) -> Kind;
    fn id(&self) -> NodeId;
    fn cluster_id(&self) -> &str;
    fn data_dir(&self) -> &Path;
    /// Holds the CAs.
    fn pki_dir(&self) -> &Path;
    /// `https://HOST:PORT` where admins' commands reach it.
    fn api_url(&self) -> String;
    /// `HOST:PORT` where the other replicas do.
    fn peer(&self) -> &str;
    fn zone(&self) -> &str;
    /// Addresses of Services and their ports on nodes, where there are such.
    fn services(&self) -> Option<(&str, (u16, u16))>;
    /// Id and API address of those it began with, where it knows them.
    fn founders(&self) -> Vec<(NodeId, String)>;
    /// The certificates that it shows, and who signs each.
    fn leaves(&self) -> Result<Vec<Leaf>, Failure>;
    /// Whether etcd's clients, and what they are shown, have a CA of their own.
    fn has_etcd_ca(&self) -> bool;
    /// It is another member from now on, that joins or has begun.
    fn become_member(&mut self, id: NodeId, voter: bool, cluster_id: Option<&str>);
    /// Writes the configuration.
    fn write(&self, file: &Path) -> Result<(), Failure>;
}

/// The replica of a data directory, and its configuration file.
pub(crate) fn read(data_dir: &Path) -> Result<(Box<dyn Installed>, PathBuf), Failure> {
    let store = Kind::Store.file(data_dir);
    if store.exists() {
        return Ok((Box::new(StoreConfiguration::read(&store)?), store));
    }
    let server = Kind::Server.file(data_dir);
    Ok((Box::new(setup::read(&server)?), server))
}

/// Where admins' commands reach a member: at the API, or where it serves etcd's clients.
pub(crate) fn api_of(member: &Member) -> String {
    match member.client_urls.first() {
        Some(url) if member.api_url.is_empty() => url.clone(),
        _ => member.api_url.clone(),
    }
}

impl Installed for ServerConfiguration {
    fn kind(&self) -> Kind {
        Kind::Server
    }
    fn id(&self) -> NodeId {
        self.id
    }
    fn cluster_id(&self) -> &str {
        &self.cluster_id
    }
    fn data_dir(&self) -> &Path {
        &self.data_dir
    }
    fn pki_dir(&self) -> &Path {
        &self.pki_dir
    }
    fn api_url(&self) -> String {
        format!("https://{}", self.api.advertise)
    }
    fn peer(&self) -> &str {
        &self.peer.advertise
    }
    fn zone(&self) -> &str {
        &self.zone
    }
    fn services(&self) -> Option<(&str, (u16, u16))> {
        Some((&self.service_cidr, self.node_ports))
    }
    fn founders(&self) -> Vec<(NodeId, String)> {
        self.initial_members.iter().map(|member| (member.id, member.api.clone())).collect()
    }
    fn leaves(&self) -> Result<Vec<Leaf>, Failure> {
        identity::server_leaves(self)
    }
    fn has_etcd_ca(&self) -> bool {
        self.etcd_listen.is_some()
    }
    fn become_member(&mut self, id: NodeId, _voter: bool, cluster_id: Option<&str>) {
        self.id = id;
        self.cluster_id = cluster_id.unwrap_or(&self.cluster_id).to_owned();
        self.initial_members = Vec::new();
    }
    fn write(&self, file: &Path) -> Result<(), Failure> {
        config::write(file, self)
    }
}

impl Installed for StoreConfiguration {
    fn kind(&self) -> Kind {
        Kind::Store
    }
    fn id(&self) -> NodeId {
        self.id
    }
    fn cluster_id(&self) -> &str {
        &self.cluster_id
    }
    fn data_dir(&self) -> &Path {
        &self.data_dir
    }
    fn pki_dir(&self) -> &Path {
        &self.pki_dir
    }
    fn api_url(&self) -> String {
        self.client_url()
    }
    fn peer(&self) -> &str {
        &self.peer.advertise
    }
    fn zone(&self) -> &str {
        &self.zone
    }
    fn services(&self) -> Option<(&str, (u16, u16))> {
        None
    }
    /// It knows their peers' addresses only.
    fn founders(&self) -> Vec<(NodeId, String)> {
        Vec::new()
    }
    fn leaves(&self) -> Result<Vec<Leaf>, Failure> {
        let peer = identity::peer(self.id, &self.cluster_id);
        Ok(vec![peer, identity::etcd_server(Ca::Cluster, self.client.listen.ip(), &self.client.advertise)])
    }
    fn has_etcd_ca(&self) -> bool {
        false
    }
    fn become_member(&mut self, id: NodeId, voter: bool, cluster_id: Option<&str>) {
        (self.id, self.learner) = (id, !voter);
        self.cluster_id = cluster_id.unwrap_or(&self.cluster_id).to_owned();
        self.initial_members = Vec::new();
    }
    fn write(&self, file: &Path) -> Result<(), Failure> {
        config::write(file, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Endpoint;

    #[test]
    fn a_directory_says_of_which_kind_it_is() {
        let dir = tempfile::tempdir().expect("dir");
        let absent = read(dir.path()).err().expect("nothing is there").to_string();
        assert!(absent.contains("server.yaml"), "{absent}");
        let endpoint = Endpoint { listen: "127.0.0.1:1".parse().expect("address"), advertise: "a:1".into() };
        let new = || (dir.path().to_owned(), dir.path().join("pki"), endpoint.clone(), endpoint.clone());
        let (data_dir, pki_dir, api, peer) = new();
        let server = ServerConfiguration::new(3, "c", data_dir, pki_dir, api, peer);
        server.write(&Kind::Server.file(dir.path())).expect("written");
        let (found, file) = read(dir.path()).expect("a server");
        assert_eq!((found.kind(), found.id(), file), (Kind::Server, 3, dir.path().join("server.yaml")));
        let (data_dir, pki_dir, client, peer) = new();
        let mut store = StoreConfiguration::new(4, "c", data_dir, pki_dir, client, peer);
        store.become_member(7, false, Some("d"));
        store.write(&Kind::Store.file(dir.path())).expect("written");
        let (found, _) = read(dir.path()).expect("a store");
        assert_eq!((found.kind(), found.id(), found.cluster_id()), (Kind::Store, 7, "d"));
        assert!(found.kind().start(dir.path()).starts_with("kontiki store serve --data-dir /"));
    }

    #[test]
    fn a_member_is_reached_at_its_api_or_where_clients_are() {
        let clients = Member { client_urls: vec!["https://a:2379".into()], ..Member::default() };
        let both = Member { api_url: "https://a:6443".into(), ..clients.clone() };
        assert_eq!([api_of(&clients), api_of(&both)], ["https://a:2379", "https://a:6443"]);
    }
}
