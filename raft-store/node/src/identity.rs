//! What a data directory belongs to: `identity.json`, written once, before anything else.
//!
//! A directory of another replica or cluster is refused, and so is one whose replica was removed: a
//! node id is never used again. The incarnation tells peers when a replica comes back with an empty disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use store_api::{NodeId, StoreError};

use crate::snapshot::sync_dir;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) format: u32,
    pub(crate) node: NodeId,
    pub(crate) cluster: String,
    /// Random, made with the directory.
    pub(crate) incarnation: String,
    #[serde(default)]
    pub(crate) removed: bool,
}

const FORMAT: u32 = 1;

fn path(dir: &Path) -> PathBuf {
    dir.join("identity.json")
}

/// What `dir` belongs to; `None` when it is new.
pub(crate) fn read(dir: &Path) -> Result<Option<Identity>, StoreError> {
    let broken = |error: &dyn std::fmt::Display| StoreError::Fatal(format!("{}: {error}", path(dir).display()));
    match fs::read(path(dir)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| broken(&error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(broken(&error)),
    }
}

/// Reads the identity of `dir`, or gives it one when it is new.
pub(crate) fn claim(dir: &Path, node: NodeId, cluster: &str, incarnation: String) -> Result<Identity, StoreError> {
    let io_failed = |error: io::Error| StoreError::Fatal(format!("{}: {error}", path(dir).display()));
    match read(dir)? {
        Some(found) => check(dir, &found, node, cluster).map(|()| found),
        None => {
            let identity = Identity { format: FORMAT, node, cluster: cluster.into(), incarnation, removed: false };
            write(dir, &identity).map_err(io_failed)?;
            Ok(identity)
        }
    }
}

fn check(dir: &Path, found: &Identity, node: NodeId, cluster: &str) -> Result<(), StoreError> {
    let dir = dir.display();
    let refusal = if found.format != FORMAT {
        format!("{dir} was written by a newer version (identity format {})", found.format)
    } else if found.cluster != cluster {
        format!("{dir} belongs to cluster {:?}, this replica is configured for {cluster:?}", found.cluster)
    } else if found.node != node {
        format!("{dir} belongs to replica {}, this replica is configured as {node}", found.node)
    } else if found.removed {
        format!("replica {node} was removed from the cluster; join with an empty directory and a new node id")
    } else {
        return Ok(());
    };
    Err(StoreError::Invalid(refusal))
}

/// Remembers that the replica was removed.
pub(crate) fn mark_removed(dir: &Path, identity: &Identity) -> io::Result<()> {
    write(dir, &Identity { removed: true, ..identity.clone() })
}

fn write(dir: &Path, identity: &Identity) -> io::Result<()> {
    let tmp = path(dir).with_extension("json.part");
    let mut file = File::create(&tmp)?;
    file.write_all(&serde_json::to_vec_pretty(identity)?)?;
    file.sync_all()?;
    fs::rename(tmp, path(dir))?;
    sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_belongs_to_one_replica_of_one_cluster_for_ever() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = claim(dir.path(), 1, "prod", "abc".into()).expect("new");
        assert_eq!(claim(dir.path(), 1, "prod", "def".into()).expect("the same"), first);
        let refused = |node, cluster: &str| match claim(dir.path(), node, cluster, "x".into()) {
            Err(StoreError::Invalid(why)) => why.replace(&dir.path().display().to_string(), "DIR"),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(2, "prod"), "DIR belongs to replica 1, this replica is configured as 2");
        assert_eq!(refused(1, "dev"), "DIR belongs to cluster \"prod\", this replica is configured for \"dev\"");
        mark_removed(dir.path(), &first).expect("written");
        assert_eq!(
            refused(1, "prod"),
            "replica 1 was removed from the cluster; join with an empty directory and a new node id"
        );
    }
}
