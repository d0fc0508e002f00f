//! Reading a backup from beginning to end.

use std::fmt;
use std::io::{BufReader, Read};
use std::path::Path;

use indicatif::ProgressBar;

use super::container::{Reader, Secret};
use super::contents::{self, Description};
use super::place::Place;
use crate::Failure;
use crate::progress;

/// What a whole and undamaged backup holds.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) description: Description,
    /// Of the file or object.
    pub(crate) bytes: u64,
    /// Of the snapshot in it.
    pub(crate) snapshot_bytes: u64,
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Description { cluster_id, created, revision, .. } = &self.description;
        let (file, snapshot) = (progress::mib(self.bytes), progress::mib(self.snapshot_bytes));
        write!(f, "cluster {cluster_id} at revision {revision}, made {created}, {file} ({snapshot} of data), whole")
    }
}

/// A backup opened: what it says of itself, and the snapshot to read. The description can be trusted only when the
/// snapshot was read to its end. Blocks.
pub(super) fn open(place: &Place, secret: Option<&Secret>) -> Result<(Description, Box<dyn Read + Send>), Failure> {
    let (description, content, _) = begin(place, secret, "reading")?;
    Ok((description, content))
}

fn begin(
    place: &Place,
    secret: Option<&Secret>,
    what: &'static str,
) -> Result<(Description, Box<dyn Read + Send>, u64), Failure> {
    let named = |error: Failure| -> Failure { format!("{place}: {error}").into() };
    let (opened, bytes) = place.open()?;
    let counted = Counted { from: BufReader::with_capacity(1 << 20, opened), bar: progress::bytes(what, bytes) };
    let mut content = Reader::new(counted, secret).map_err(|error| named(error.into()))?;
    let description = contents::read(&mut content).map_err(named)?;
    Ok((description, Box::new(content), bytes))
}

/// `Err` says what is wrong with it. Blocks.
pub(super) fn verify(place: &Place, secret: Option<&Secret>) -> Result<Verified, Failure> {
    let (description, content, bytes) = begin(place, secret, "verifying")?;
    let info = store_engine::verify_snapshot_in(Path::new(&place.to_string()), content)?;
    if info.revision != description.revision {
        let (says, holds) = (description.revision, info.revision);
        return Err(format!("{place}: it says it is of revision {says} and holds {holds}").into());
    }
    Ok(Verified { description, bytes, snapshot_bytes: info.bytes })
}

struct Counted<R> {
    from: R,
    bar: ProgressBar,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.bar.inc(read as u64);
        Ok(read)
    }
}

impl<R> Drop for Counted<R> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    use crate::backup::container::Writer;
    use crate::config::{Endpoint, ServerConfiguration};

    /// A backup of a small state, as a replica and `kontiki backup` make it.
    fn backup(dir: &Path, secret: Option<&Secret>, revision: u64) -> (std::path::PathBuf, Place) {
        let state = store_engine::StateMachine::open(&dir.join("store")).expect("a state");
        let info = state.build_snapshot(&dir.join("snapshot")).expect("a snapshot");
        let endpoint = Endpoint { listen: "127.0.0.1:1".parse().expect("address"), advertise: "a:1".into() };
        let pki = dir.join("pki");
        std::fs::create_dir_all(&pki).expect("a directory");
        let config = ServerConfiguration::new(1, "abcd", dir.into(), pki, endpoint.clone(), endpoint);
        let head = contents::head(&config, info.revision + revision, crate::now()).expect("a head");
        let mut writer = Writer::new(Vec::new(), secret, [1; 32]).expect("begun");
        writer.write_all(&head).expect("written");
        writer.write_all(&std::fs::read(info.file).expect("read")).expect("written");
        let file = dir.join("backup");
        std::fs::write(&file, writer.finish().expect("finished")).expect("written");
        (file.clone(), Place::File(file))
    }

    #[test]
    fn a_backup_is_read_to_its_end() {
        let dir = tempfile::tempdir().expect("dir");
        let secret = Secret::new(&[7; 32]).expect("a key");
        let (file, place) = backup(dir.path(), Some(&secret), 0);
        let found = verify(&place, Some(&secret)).expect("whole");
        assert!(found.to_string().starts_with("cluster abcd at revision 1, made "), "{found}");
        assert!(verify(&place, None).is_err_and(|error| error.to_string().contains("--key-file")));
        let whole = std::fs::read(&file).expect("read");
        for at in [10, 100, whole.len() / 2, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&file, damaged).expect("written");
            let error = verify(&place, Some(&secret)).expect_err("damaged").to_string();
            assert!(error.contains("backup"), "byte {at}: {error}");
            std::fs::write(&file, &whole[..at]).expect("written");
            assert!(verify(&place, Some(&secret)).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_description_of_something_else_is_refused() {
        let dir = tempfile::tempdir().expect("dir");
        let (_, place) = backup(dir.path(), None, 1);
        assert!(verify(&place, None).is_err_and(|error| error.to_string().contains("it says it is of revision 2")));
    }
}
