//! A replica that has something else than the others, or cannot read what it has, serves no more: no reads, no watches,
//! no leadership, no snapshots. That stays so over restarts, until its data directory is replaced.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use store_api::NodeId;

use crate::replica::Replica;
use crate::snapshot::sync_dir;
use crate::state_machine::Effects;

fn path(dir: &Path) -> PathBuf {
    dir.join("fenced")
}

/// Why the replica of this directory was fenced off.
pub(crate) fn of(dir: &Path) -> Option<String> {
    match fs::read_to_string(path(dir)) {
        Ok(why) => Some(why.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        // There, and as unreadable as the rest.
        Err(error) => Some(error.to_string()),
    }
}

/// It stays so, as far as the disk still takes anything.
pub(crate) fn write_down(dir: &Path, why: &str) {
    if let Err(error) = remember(dir, why) {
        tracing::error!(%error, "cannot write down that this replica is fenced off");
    }
}

fn remember(dir: &Path, why: &str) -> io::Result<()> {
    let mut file = File::create(path(dir))?;
    writeln!(file, "{why}")?;
    file.sync_all()?;
    sync_dir(dir)
}

/// Fences this replica off, once.
pub(crate) async fn off(replica: &Replica, why: &str) {
    if replica.diverged.swap(true, Ordering::AcqRel) {
        return;
    }
    tracing::error!(why, "this replica serves no more; kontiki member heal {} replaces its data", replica.id());
    write_down(&replica.config.data_dir, why);
    enforce(replica);
    replica.hand_over().await;
}

/// What holds for one that is fenced off, from its start on.
pub(crate) fn enforce(replica: &Replica) {
    replica.raft.runtime_config().elect(false);
    replica.effects.hub.close();
}

/// Why nothing can be applied to this state any more, when its damage is the reason and others have the data.
pub(crate) fn applies_no_more(me: NodeId, effects: &Effects) -> Option<String> {
    let others = effects.membership.borrow().voter_ids().any(|id| id != me);
    effects.engine.damage().filter(|_| others)
}

/// A disk that does not hold what was written: others go on; one that is alone serves what it can still read.
pub(crate) async fn damaged(replica: &Replica, why: &str) {
    let others = replica.membership().voter_ids().any(|id| id != replica.id());
    match others {
        true => off(replica, why).await,
        false => replica.doubt(Some(format!(
            "its disk is damaged, and no other replica has the data: {why}. Make a backup of what can be read, and have \
             another replica join"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_remembered() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(of(dir.path()), None);
        remember(dir.path(), "it differs").expect("written");
        assert_eq!(of(dir.path()).as_deref(), Some("it differs"));
    }
}
