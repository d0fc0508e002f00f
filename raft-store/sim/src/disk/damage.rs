//! What bad luck makes of files, and what a power cut leaves of files that were being written.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::rng::Rng;

/// All files below, with their lengths, in order.
pub(super) fn files_below(dir: &Path) -> Vec<(PathBuf, u64)> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let file = |path: PathBuf| match path.is_dir() {
        true => files_below(&path),
        false => fs::metadata(&path).map(|found| (path, found.len())).into_iter().collect(),
    };
    paths.into_iter().flat_map(file).collect()
}

/// Those of the state that somebody reads: not the locks, nor what RocksDB writes for people.
pub(super) fn files_of_state(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut files = files_below(&dir.join("state"));
    files.retain(|(path, _)| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name != "LOCK" && !name.starts_with("LOG") && !name.starts_with("OPTIONS")
    });
    files
}

/// Changes one bit of one of these.
pub(super) fn flip(files: &[(PathBuf, u64)], rng: &mut Rng) -> io::Result<Option<String>> {
    let Some((file, length)) = rng.pick(files).filter(|(_, length)| *length > 0) else { return Ok(None) };
    let (at, bit) = (rng.number(0..*length), rng.number(0..8));
    let open = OpenOptions::new().read(true).write(true).open(file)?;
    let mut byte = [0];
    open.read_exact_at(&mut byte, at)?;
    open.write_all_at(&[byte[0] ^ (1 << bit)], at)?;
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Some(format!("bit {bit} of byte {at} of {name}")))
}

/// Files that had only been begun when the power went, each as far as it got: what replaces the pointer, another
/// database, a table that nothing names yet, a record at the end of a manifest, a snapshot.
pub(super) fn leave_torn(dir: &Path, rng: &mut Rng) -> io::Result<String> {
    let (state, mut left) = (dir.join("state"), String::new());
    let (Ok(pointer), true) = (fs::read(state.join("CURRENT")), rng.once_in(2)) else { return Ok(left) };
    if rng.once_in(2) {
        left += ", a torn pointer";
        fs::write(state.join("CURRENT.tmp"), torn(&pointer, rng))?;
    }
    let is_table = |path: &Path| path.extension().is_some_and(|of| of == "sst");
    let table = files_below(&state).into_iter().rfind(|(path, _)| is_table(path));
    let table = table.map(|(path, _)| fs::read(path)).transpose()?.unwrap_or_default();
    if rng.once_in(2) {
        left += ", a torn database";
        let database = state.join("db-1000");
        fs::create_dir_all(&database)?;
        fs::write(database.join("000009.sst"), torn(&table, rng))?;
        fs::write(database.join("CURRENT"), torn(b"MANIFEST-000004\n", rng))?;
    }
    let manifest = files_below(&state).into_iter().map(|(path, _)| path).rfind(|path| is_manifest(path));
    if let Some(manifest) = manifest.filter(|_| rng.once_in(2)) {
        left += ", a torn table and manifest";
        fs::write(manifest.with_file_name("900000.sst"), torn(&table, rng))?;
        // The head of a record: its checksum, its length, its kind; and not all of its content.
        let record = [&[7; 4][..], &[200, 0, 1], &[3; 100]].concat();
        OpenOptions::new().append(true).open(manifest)?.write_all(torn(&record, rng))?;
    }
    if rng.once_in(2) && dir.join("snapshots").is_dir() {
        left += ", a torn snapshot";
        fs::write(dir.join("snapshots/7.snap"), torn(&table, rng))?;
    }
    Ok(left)
}

fn is_manifest(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("MANIFEST"))
}

fn torn<'a>(content: &'a [u8], rng: &mut Rng) -> &'a [u8] {
    &content[..rng.number(0..content.len() as u64 + 1) as usize]
}
