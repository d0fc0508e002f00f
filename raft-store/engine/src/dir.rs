//! Directories that only we read, that only one process uses, and whose format is known before the first write.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use store_api::StoreError;

use crate::{fatal, room};

/// A directory of ours, locked until dropped.
pub(crate) struct Claimed {
    pub(crate) path: PathBuf,
    /// The format it has, when that is an older one, to be migrated.
    pub(crate) older: Option<String>,
    _lock: File,
}

/// The formats of a directory that this version knows.
pub(crate) struct Formats {
    /// The one it writes.
    pub(crate) newest: &'static str,
    /// Those it migrates.
    pub(crate) older: &'static [&'static str],
}

/// Creates or opens a directory: private, locked, and of a format this version knows.
pub(crate) fn claim(path: &Path, formats: &Formats) -> Result<Claimed, StoreError> {
    create_private(path).map_err(|e| unusable(path, e))?;
    let lock = lock(path)?;
    let older = check_format(path, formats)?;
    Ok(Claimed { path: path.to_owned(), older, _lock: lock })
}

impl Claimed {
    /// What is in it has the newest format now, durably; a crash before this has it migrated again.
    pub(crate) fn migrated(&mut self, formats: &Formats) -> Result<(), StoreError> {
        let Some(older) = self.older.take() else { return Ok(()) };
        let file = self.path.join("FORMAT");
        write_atomically(&file, format!("{}\n", formats.newest).as_bytes()).map_err(|e| write_failed(&file, e))?;
        tracing::info!(path = %self.path.display(), from = older, to = formats.newest, "migrated");
        Ok(())
    }
}

/// Creates the directory and those above it, readable by the owner only; closes it when it was open to others.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let file = create_file(&path.join("LOCK"), false).map_err(|e| unusable(path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(refused(path, "another process is using this data directory; stop it first"))
        }
        Err(TryLockError::Error(error)) => Err(fatal(path.display(), error)),
    }
}

/// Refuses a directory that a newer version wrote, before anything in it is changed. Answers an older format.
fn check_format(path: &Path, formats: &Formats) -> Result<Option<String>, StoreError> {
    let (file, newest) = (path.join("FORMAT"), formats.newest);
    match fs::read_to_string(&file) {
        Ok(found) if found.trim_end() == newest => Ok(None),
        Ok(found) if formats.older.contains(&found.trim_end()) => Ok(Some(found.trim_end().to_owned())),
        Ok(found) => {
            let found: String = found.trim_end().chars().take(80).collect();
            let known = [&[newest], formats.older].concat().join(", ");
            let why = format!("its format is {found:?}, this version reads {known}: use the version it is from");
            Err(refused(path, why))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_fresh(path)? => {
            let written = write_atomically(&file, format!("{newest}\n").as_bytes());
            written.map(|()| None).map_err(|e| write_failed(&file, e))
        }
        Err(error) => Err(unusable(&file, error)),
    }
}

/// Nothing but our lock, and what a first start that was interrupted leaves.
fn is_fresh(path: &Path) -> Result<bool, StoreError> {
    let entries = fs::read_dir(path).map_err(|e| fatal(path.display(), e))?;
    for entry in entries {
        let name = entry.map_err(|e| fatal(path.display(), e))?.file_name();
        if name != "LOCK" && name != "FORMAT.tmp" {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Opens a file for writing that only the owner may read.
pub(crate) fn create_file(path: &Path, truncate: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(truncate).mode(0o600).open(path)
}

/// Replaces a file so that a crash leaves the old content or the new one, durable on return.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_added_extension("tmp");
    let mut file = create_file(&temporary, true)?;
    room::write_all(&mut file, content)?;
    file.sync_all()?;
    rename_durably(&temporary, path)
}

/// Nothing is known to be wrong with what is there.
fn refused(path: &Path, why: impl std::fmt::Display) -> StoreError {
    StoreError::Invalid(format!("{}: {why}", path.display()))
}

/// Files of another user are no broken disk.
fn unusable(path: &Path, error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            refused(path, format_args!("{error}: start it as the user who owns the files"))
        }
        _ => write_failed(path, error),
    }
}

/// A full disk is no broken disk: nothing was lost, and there may be room later.
pub(crate) fn write_failed(path: &Path, error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::NoSpace(format!("{}: {error}", path.display()))
        }
        _ => fatal(path.display(), error),
    }
}

/// Renames and makes the new name durable. The file itself must be synced before.
pub(crate) fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_parent(to)
}

/// Makes the names in the directory of `path` durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// Bytes of all files below, as far as they can be read while they come and go.
pub(crate) fn disk_bytes(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
