//! Files that change all at once: they are links into `..data`, itself a link to a directory made anew
//! for each version and swapped by rename, as upstream's atomic writer does.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use crate::clock;

/// A file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
}

impl File {
    fn with_mode(&self, mode: u32) -> Self {
        Self { content: self.content.clone(), mode }
    }
}

/// By path relative to the volume.
pub(crate) type Files = BTreeMap<String, File>;

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// Makes the volume hold exactly these files. Nothing is touched when it does already.
pub(crate) fn write(dir: &Path, files: &Files, group: Option<u32>) -> io::Result<()> {
    for path in files.keys() {
        check(path)?;
    }
    // The group reads what its members are meant to share.
    let group_bit = if group.is_some() { 0o040 } else { 0 };
    let files = &files.iter().map(|(path, file)| (path.clone(), file.with_mode(file.mode | group_bit))).collect();
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777))?;
    let old = fs::read_link(dir.join(DATA)).ok();
    if let Some(old) = &old
        && read(&dir.join(old))?.as_ref() == Some(files)
    {
        return Ok(());
    }
    let version = format!("..{}", clock::now().strftime("%Y_%m_%d_%H_%M_%S.%f"));
    fill(&dir.join(&version), files, group)?;
    let new_link = dir.join(NEW_DATA);
    let _ = fs::remove_file(&new_link);
    symlink(&version, &new_link)?;
    fs::rename(&new_link, dir.join(DATA))?;
    link(dir, files)?;
    if let Some(old) = old {
        fs::remove_dir_all(dir.join(old))?;
    }
    Ok(())
}

/// Relative, without `..`, and not beginning with what is ours.
fn check(path: &str) -> io::Result<()> {
    let parts = Path::new(path).components();
    let plain = !path.is_empty() && !path.starts_with("..") && parts.clone().all(|c| matches!(c, Component::Normal(_)));
    if plain { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, format!("invalid path {path:?}"))) }
}

fn fill(version: &Path, files: &Files, group: Option<u32>) -> io::Result<()> {
    fs::create_dir(version)?;
    fs::set_permissions(version, fs::Permissions::from_mode(0o755))?;
    for (path, file) in files {
        let target = version.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&target, &file.content)?;
        if let Some(group) = group {
            std::os::unix::fs::chown(&target, None, Some(group))?;
        }
        fs::set_permissions(&target, fs::Permissions::from_mode(file.mode))?;
    }
    Ok(())
}

/// The visible names lead into `..data`; those of files that are gone go too.
fn link(dir: &Path, files: &Files) -> io::Result<()> {
    let first = |path: &str| Path::new(path).components().next().map(|c| PathBuf::from(c.as_os_str()));
    let wanted: std::collections::BTreeSet<PathBuf> = files.keys().filter_map(|p| first(p)).collect();
    for name in &wanted {
        let visible = dir.join(name);
        if fs::symlink_metadata(&visible).is_err() {
            symlink(Path::new(DATA).join(name), &visible)?;
        }
    }
    for entry in fs::read_dir(dir)? {
        let name = PathBuf::from(entry?.file_name());
        let ours = name.to_str().is_some_and(|n| n.starts_with(".."));
        if !ours && !wanted.contains(&name) {
            fs::remove_file(dir.join(name))?;
        }
    }
    Ok(())
}

/// What a version holds; `None`: it is not there or not readable as files.
fn read(version: &Path) -> io::Result<Option<Files>> {
    let mut files = Files::new();
    let mut dirs = vec![version.to_owned()];
    while let Some(dir) = dirs.pop() {
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
                continue;
            }
            let path = entry.path();
            let Some(name) = path.strip_prefix(version).ok().and_then(Path::to_str) else { return Ok(None) };
            let mode = entry.metadata()?.permissions().mode() & 0o777;
            files.insert(name.to_owned(), File { content: fs::read(&path)?, mode });
        }
    }
    Ok(Some(files))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> File {
        File { content: text.as_bytes().to_vec(), mode: 0o644 }
    }

    #[test]
    fn versions_swap_and_old_names_go() {
        let dir = std::env::temp_dir().join(format!("kontiki-atomic-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let one = Files::from([("a".to_owned(), file("1")), ("d/b".to_owned(), file("2"))]);
        write(&dir, &one, None).expect("first");
        assert_eq!(fs::read_to_string(dir.join("d/b")).expect("b"), "2");
        let version = fs::read_link(dir.join(DATA)).expect("data");
        write(&dir, &one, None).expect("again");
        assert_eq!(fs::read_link(dir.join(DATA)).expect("data"), version, "nothing changed, nothing moved");
        let two = Files::from([("a".to_owned(), file("3"))]);
        write(&dir, &two, None).expect("second");
        assert_eq!(fs::read_to_string(dir.join("a")).expect("a"), "3");
        assert!(fs::symlink_metadata(dir.join("d")).is_err());
        assert!(!dir.join(version).exists());
        assert!(write(&dir, &Files::from([("../x".to_owned(), file(""))]), None).is_err());
        fs::remove_dir_all(&dir).expect("cleanup");
    }
}
