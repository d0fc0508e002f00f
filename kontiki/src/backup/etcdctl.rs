//! What `etcdctl snapshot save` stores of a store of ours: the snapshot, what fills it up to whole blocks of 512 bytes,
//! and the SHA-256 of both. The last two bytes of the filling say how many bytes it has.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::container;
use super::place::Place;
use crate::{Failure, progress};

const BLOCK_BYTES: u64 = 512;
const HASH_BYTES: u64 = 32;
/// Of the filling's length, big-endian.
const LENGTH_BYTES: u64 = 2;
/// Where the page of a bbolt database, which is what etcd itself stores, has its magic, and that.
const BBOLT: (usize, [u8; 4]) = (16, 0xED0C_DAED_u32.to_le_bytes());

/// A whole and undamaged one.
#[derive(Debug)]
pub(crate) struct Copy {
    file: PathBuf,
    /// Of the snapshot in it.
    bytes: u64,
    pub(crate) revision: u64,
    /// When the file was written; nothing in it says that.
    pub(crate) created: Timestamp,
}

impl fmt::Display for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (revision, created, size) = (self.revision, self.created, progress::mib(self.bytes));
        write!(
            f,
            "copy of etcdctl at revision {revision}, written {created}, {size}, whole; the cluster's keys are not in it"
        )
    }
}

impl Copy {
    /// `None`: the file is something else. Reads it to its end.
    pub(crate) fn find(place: &Place) -> Result<Option<Self>, Failure> {
        let Place::File(file) = place else { return Ok(None) };
        let named = |error: io::Error| format!("{}: {error}", file.display());
        let mut opened = File::open(file).map_err(named)?;
        let found = opened.metadata().map_err(named)?;
        if found.len() % BLOCK_BYTES != HASH_BYTES || found.len() < BLOCK_BYTES + HASH_BYTES {
            return Ok(None);
        }
        let mut first = [0; 20];
        opened.read_exact(&mut first).map_err(named)?;
        // A backup ends with its hash as well.
        if container::begins_with(&first) {
            return Ok(None);
        }
        let Some(bytes) = filled(&mut opened, found.len() - HASH_BYTES).map_err(named)? else { return Ok(None) };
        let (at, magic) = BBOLT;
        if first[at..] == magic {
            return Err(of_etcd(file));
        }
        let created = Timestamp::try_from(found.modified().map_err(named)?)?;
        let info = store_engine::verify_snapshot_in(file, content(file, bytes).map_err(named)?)?;
        Ok(Some(Self { file: file.clone(), bytes, revision: info.revision, created }))
    }

    /// The snapshot.
    pub(crate) fn content(&self) -> Result<Box<dyn Read + Send>, Failure> {
        content(&self.file, self.bytes).map_err(|error| format!("{}: {error}", self.file.display()).into())
    }
}

fn content(file: &Path, bytes: u64) -> io::Result<Box<dyn Read + Send>> {
    Ok(Box::new(BufReader::with_capacity(1 << 20, File::open(file)?).take(bytes)))
}

fn of_etcd(file: &Path) -> Failure {
    format!(
        "{} is a snapshot of etcd itself, which only etcd reads: have etcd restore it (etcdutl snapshot restore), start \
         that, and copy it with kontiki store import",
        file.display()
    )
    .into()
}

/// Whether the hash at the end is right; then how long the content is without what fills its last block.
fn filled(file: &mut File, body: u64) -> io::Result<Option<u64>> {
    let mut hasher = Sha256::new();
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let (mut rest, mut last) = (body, [0; 2]);
    let mut buffer = vec![0; 1 << 16];
    while rest > 0 {
        let length = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
        reader.read_exact(&mut buffer[..length])?;
        hasher.update(&buffer[..length]);
        last = [buffer[length - 2], buffer[length - 1]];
        rest -= length as u64;
    }
    let mut hash = [0; HASH_BYTES as usize];
    reader.read_exact(&mut hash)?;
    let filling = u64::from(u16::from_be_bytes(last));
    Ok((hasher.finalize()[..] == hash).then(|| match filling {
        LENGTH_BYTES.. if filling < BLOCK_BYTES + LENGTH_BYTES => body.saturating_sub(filling),
        // Not ours; its content will say what it is.
        _ => body,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashed(mut body: Vec<u8>) -> Vec<u8> {
        let hash = Sha256::digest(&body);
        body.extend_from_slice(&hash);
        body
    }

    #[test]
    fn a_copy_is_told_from_a_snapshot_of_etcd_and_from_anything_else() {
        let dir = tempfile::tempdir().expect("dir");
        let file = dir.path().join("copy");
        let find = |bytes: &[u8]| {
            std::fs::write(&file, bytes).expect("written");
            Copy::find(&Place::File(file.clone()))
        };
        let state = store_engine::StateMachine::open(&dir.path().join("store")).expect("a state");
        let info = state.build_snapshot(&dir.path().join("snapshot")).expect("a snapshot");
        let mut body = std::fs::read(info.file).expect("read");
        let filling = (body.len() + 2).next_multiple_of(512) - body.len();
        body.resize(body.len() + filling - 2, 0);
        body.extend_from_slice(&u16::try_from(filling).expect("short").to_be_bytes());
        let whole = hashed(body);

        let found = find(&whole).expect("read").expect("a copy");
        assert_eq!((found.revision, found.bytes), (info.revision, info.bytes));
        let mut content = Vec::new();
        found.content().expect("opened").read_to_end(&mut content).expect("read");
        assert_eq!(content.len() as u64, info.bytes);
        let mut damaged = whole.clone();
        damaged[40] ^= 1;
        assert!(find(&damaged).expect("read").is_none(), "its hash is wrong");
        assert!(find(&whole[..whole.len() - 1]).expect("read").is_none(), "cut short");
        let mut backup = vec![0; 512];
        backup[..14].copy_from_slice(b"kontiki-backup");
        assert!(find(&hashed(backup)).expect("read").is_none(), "a backup, which happens to have this length");

        let mut page = vec![0; 4096];
        page[16..20].copy_from_slice(&0xED0C_DAED_u32.to_le_bytes());
        let error = find(&hashed(page)).expect_err("of etcd").to_string();
        assert!(error.contains("kontiki store import"), "{error}");
        let error = find(&hashed(vec![0; 1024])).expect_err("nothing known").to_string();
        assert!(error.contains("not a snapshot"), "{error}");
    }
}
