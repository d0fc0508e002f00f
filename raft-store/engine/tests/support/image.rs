//! Images of a data directory, as a crash would leave it, and damage done to them.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A directory in memory where there is such a thing: these tests open hundreds of databases, and what a
/// crash leaves they make themselves, so a disk would only be slow.
pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

/// A copy of a directory that may be in use.
pub(crate) fn image(of: &Path) -> TempDir {
    let copy = scratch();
    copy_into(of, copy.path());
    copy
}

fn copy_into(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_into(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file");
        }
    }
}

/// All files below, relative, in order.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).expect("a directory") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => open.push(path),
                false => found.push(path.strip_prefix(dir).expect("below").to_owned()),
            }
        }
    }
    found.sort();
    found
}

/// Every file below with its content.
pub(crate) fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files(dir).into_iter().map(|file| (file.clone(), fs::read(dir.join(file)).expect("a file"))).collect()
}

pub(crate) fn flip(file: &Path, offset: usize, bit: u8) {
    let mut content = fs::read(file).expect("a file");
    content[offset] ^= 1 << bit;
    fs::write(file, content).expect("a file");
}
