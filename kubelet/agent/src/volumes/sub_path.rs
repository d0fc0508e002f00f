//! A part of a volume, which must not lead out of it, whatever containers do to it meanwhile: it is opened
//! beneath the volume, and what was opened is bound to a place that only the node writes to.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, fchown};

use crate::mounts;

/// Makes `target` show `sub` of `volume`, which is made as a directory where nothing is.
pub(super) fn prepare(volume: &Path, sub: &str, target: &Path) -> Result<(), String> {
    let source = open_in(volume, sub)?;
    bind(&source, target).map_err(|e| format!("binding {sub:?}: {e}"))
}

fn open_in(volume: &Path, sub: &str) -> Result<OwnedFd, String> {
    let relative = Path::new(sub);
    if relative.components().any(|c| !matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("{sub:?} must not contain '..' or be absolute"));
    }
    let text = |error: Errno| match error {
        Errno::EXDEV => format!("{sub:?} leads out of the volume"),
        other => format!("{sub:?}: {other}"),
    };
    let root = open(volume, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).map_err(text)?;
    match beneath(&root, relative, OFlag::O_PATH) {
        Err(Errno::ENOENT) => make(&root, relative).and_then(|()| beneath(&root, relative, OFlag::O_PATH)),
        result => result,
    }
    .map_err(text)
}

/// Links are followed as long as they stay below `dir`.
fn beneath(dir: impl AsFd, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_BENEATH);
    openat2(dir, path, how)
}

/// Makes what is missing of the path, with the mode and the group of the volume: whoever may use it may use that too.
fn make(root: &OwnedFd, path: &Path) -> nix::Result<()> {
    let like = fstat(root)?;
    let mut made = PathBuf::new();
    for component in path.components().filter(|c| matches!(c, Component::Normal(_))) {
        let parent = if made.as_os_str().is_empty() {
            root.try_clone().map_err(errno)?
        } else {
            beneath(root, &made, OFlag::O_PATH)?
        };
        made.push(component);
        match beneath(root, &made, OFlag::O_PATH) {
            Ok(_) => {}
            Err(Errno::ENOENT) => make_one(parent.as_fd(), component.as_os_str(), &like)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

fn make_one(parent: BorrowedFd<'_>, name: &OsStr, like: &FileStat) -> nix::Result<()> {
    mkdirat(parent, name, Mode::S_IRWXU)?;
    let made = beneath(parent, Path::new(name), OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW)?;
    fchown(&made, None, Some(Gid::from_raw(like.st_gid)))?;
    fchmod(&made, Mode::from_bits_truncate(like.st_mode & 0o7777))
}

fn bind(source: &OwnedFd, target: &Path) -> std::io::Result<()> {
    let is = fstat(source)?;
    if mounts::below(target)?.iter().any(|point| point == target) {
        let there = nix::sys::stat::stat(target)?;
        if (there.st_dev, there.st_ino) == (is.st_dev, is.st_ino) {
            return Ok(());
        }
        umount2(target, MntFlags::MNT_DETACH)?;
    }
    if SFlag::from_bits_truncate(is.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR {
        fs::create_dir_all(target)?;
    } else {
        target.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::OpenOptions::new().create(true).append(true).open(target)?;
    }
    let opened = format!("/proc/self/fd/{}", source.as_raw_fd());
    mount(Some(opened.as_str()), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    fn directory(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("kontiki-subpath-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("a")).expect("dir");
        dir
    }

    #[test]
    fn links_must_stay_inside() {
        let dir = directory("links");
        symlink("/etc", dir.join("out")).expect("link");
        symlink("../../..", dir.join("a/up")).expect("link");
        symlink("a", dir.join("in")).expect("link");
        assert!(open_in(&dir, "in/b").is_ok());
        assert!(dir.join("a/b").is_dir());
        for bad in ["../x", "/etc", "out/passwd", "out/new", "a/up/etc"] {
            assert!(open_in(&dir, bad).is_err(), "{bad}");
        }
        assert_eq!(open_in(&dir, "out/passwd").expect_err("refused"), "\"out/passwd\" leads out of the volume");
        fs::remove_dir_all(&dir).expect("cleanup");
    }

    #[test]
    fn new_directories_are_as_open_as_the_volume() {
        let dir = directory("mode");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o2777)).expect("mode");
        open_in(&dir, "x/y").expect("made");
        for made in ["x", "x/y"] {
            let (made, volume) = (fs::metadata(dir.join(made)).expect("made"), fs::metadata(&dir).expect("volume"));
            assert_eq!((made.mode() & 0o7777, made.gid()), (0o2777, volume.gid()));
        }
        fs::remove_dir_all(&dir).expect("cleanup");
    }
}
