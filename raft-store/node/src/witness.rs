//! A file beside the data directory that says that the directory had a voice in its cluster.
//!
//! A replica without data looks like a new one. If it was a member it must not begin again under its name: it
//! forgot what it acknowledged, and the first replica would even begin a second cluster. So before the first vote
//! or entry is written, this is. It lies outside of the directory because it is the directory that gets lost.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use store_api::StoreError;

use crate::identity::Identity;
use crate::snapshot::sync_dir;

/// To be written before the first promise.
#[derive(Debug)]
pub(crate) struct Witness {
    path: PathBuf,
    identity: Identity,
}

/// Compares the data directory with the file beside it. `None`: they belong together already.
pub(crate) fn check(dir: &Path, identity: &Identity) -> Result<Option<Witness>, StoreError> {
    let path = dir.with_added_extension("member");
    let failed = |error: &dyn std::fmt::Display| StoreError::Fatal(format!("{}: {error}", path.display()));
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some(Witness { path, identity: identity.clone() }));
        }
        Err(error) => return Err(failed(&error)),
    };
    let found: Identity = serde_json::from_slice(&bytes).map_err(|error| failed(&error))?;
    match found.incarnation == identity.incarnation {
        true => Ok(None),
        false => Err(lost(dir, &path, &found)),
    }
}

fn lost(dir: &Path, path: &Path, was: &Identity) -> StoreError {
    StoreError::Invalid(format!(
        "replica {} was a member of cluster {:?}, and its data in {} is gone. Put the data back, or remove the replica \
         from the cluster and join with an empty directory and a new node id. To begin a new cluster in its place, \
         remove {}",
        was.node,
        was.cluster,
        dir.display(),
        path.display()
    ))
}

impl Witness {
    /// For a directory that is about to get this identity.
    pub(crate) fn of(dir: &Path, identity: &Identity) -> Self {
        Self { path: dir.with_added_extension("member"), identity: identity.clone() }
    }

    /// Durable on return.
    pub(crate) fn write(&self) -> io::Result<()> {
        let temporary = self.path.with_added_extension("part");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(&self.identity)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        sync_dir(self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity;

    #[test]
    fn a_directory_that_was_lost_does_not_begin_again() {
        let parent = tempfile::tempdir().expect("a directory");
        let dir = parent.path().join("store");
        let claim = |incarnation: &str| {
            fs::create_dir_all(&dir).expect("a directory");
            identity::claim(&dir, 1, "prod", incarnation.into()).expect("claimed")
        };
        let first = claim("abc");
        let witness = check(&dir, &first).expect("new").expect("to be written");
        assert!(check(&dir, &first).expect("still new").is_some(), "nothing was promised yet");
        witness.write().expect("written");
        assert!(check(&dir, &first).expect("the same").is_none());
        fs::remove_dir_all(&dir).expect("removed");
        let Err(StoreError::Invalid(why)) = check(&dir, &claim("def")) else { panic!("it begins again") };
        let why = why.replace(&parent.path().display().to_string(), "DIR");
        assert!(why.starts_with("replica 1 was a member of cluster \"prod\", and its data in DIR/store is gone."));
        assert!(why.ends_with("remove DIR/store.member"), "{why}");
    }
}
