//! Configuration of one replica of a stand-alone store (`kind: StoreConfiguration`).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::config::{self, API_VERSION, Endpoint};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct StoreConfiguration {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    /// Never given to another machine or data directory.
    pub(crate) id: u64,
    /// What clients see the replica called.
    pub(crate) name: String,
    #[serde(rename = "clusterID")]
    pub(crate) cluster_id: String,
    pub(crate) data_dir: PathBuf,
    /// Holds `ca`, which signs clients and what they are shown, and `peer-ca`, which signs replicas.
    pub(crate) pki_dir: PathBuf,
    /// Where etcd's clients connect.
    pub(crate) client: Endpoint,
    pub(crate) peer: Endpoint,
    /// The replicas that make the cluster at its first start; the one with the lowest id begins it. A replica that
    /// is not among them, whose id came from `etcdctl member add`, joins by asking them. Empty for one that joined
    /// otherwise, or that a cluster began with by a restore.
    #[serde(default)]
    pub(crate) initial_members: Vec<StoreMember>,
    /// A replica that joins stays a learner, until it is promoted.
    #[serde(default)]
    pub(crate) learner: bool,
    /// Seconds of history kept for watches and reads at a revision; absent: until a client compacts it, as in etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) history_seconds: Option<u64>,
    /// How often watches that ask for it are told how far they are; absent: as often as etcd does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) watch_progress_seconds: Option<u64>,
    /// Where this replica is: a data centre, a rack.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) zone: String,
    /// Zones whose replicas should lead, best first; anywhere when empty. The same on all replicas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) leader_zones: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct StoreMember {
    pub(crate) id: u64,
    /// `host:port` the others reach it by.
    pub(crate) peer: String,
}

impl StoreConfiguration {
    pub(crate) const KIND: &'static str = "StoreConfiguration";

    /// A replica without initial members, with the defaults for everything that is not named here.
    pub(crate) fn new(
        id: u64,
        cluster_id: &str,
        data_dir: PathBuf,
        pki_dir: PathBuf,
        client: Endpoint,
        peer: Endpoint,
    ) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: Self::KIND.to_owned(),
            id,
            name: format!("replica-{id}"),
            cluster_id: cluster_id.to_owned(),
            data_dir,
            pki_dir,
            client,
            peer,
            initial_members: Vec::new(),
            learner: false,
            history_seconds: None,
            watch_progress_seconds: None,
            zone: String::new(),
            leader_zones: Vec::new(),
        }
    }

    pub(crate) fn read(file: &Path) -> Result<Self, Failure> {
        let config: Self = config::read(file)?;
        if config.api_version != API_VERSION || config.kind != Self::KIND {
            let kind = Self::KIND;
            return Err(format!("{}: expected apiVersion {API_VERSION}, kind {kind}", file.display()).into());
        }
        Ok(config)
    }

    pub(super) fn is_founder(&self) -> bool {
        self.initial_members.iter().any(|member| member.id == self.id)
    }

    pub(crate) fn client_url(&self) -> String {
        format!("https://{}", self.client.advertise)
    }
}
