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
    /// is not among them, whose id came from `etcdctl member add`, joins by asking them.
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

    pub(super) fn client_url(&self) -> String {
        format!("https://{}", self.client.advertise)
    }
}
