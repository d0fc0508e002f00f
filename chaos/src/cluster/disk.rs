//! A replica's disk: an ext4 file system of its own in a file, so that it can be full while others are not.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statvfs::statvfs;

use super::command;
use crate::Failure;

/// Sparse: what is not written takes no space.
const BYTES: u64 = 8 << 30;
/// Until a container that ended has let go of it.
const UNMOUNT_TRIES: u32 = 40;
const UNMOUNT_PAUSE: Duration = Duration::from_millis(250);
/// What the last bytes are taken with.
const CRUMB: usize = 4 << 10;

pub struct Disk {
    mount: PathBuf,
    image: PathBuf,
    /// Why it is only a directory.
    pub plain: Option<String>,
}

impl Disk {
    /// Makes it at `dir/NAME`; a plain directory where loop mounts cannot be had.
    pub(crate) async fn make(dir: &Path, name: &str) -> Result<Self, Failure> {
        let mount = dir.join(name);
        fs::create_dir_all(&mount)?;
        let image = dir.join(format!("{name}.img"));
        let plain = match file_system(&image, &mount).await {
            Ok(()) => None,
            Err(error) => Some(format!("no file system of its own for {name}: {error}")),
        };
        let disk = Self { mount, image, plain };
        fs::create_dir_all(disk.data())?;
        Ok(disk)
    }

    /// What a container has to see.
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// The replica's data directory.
    pub fn data(&self) -> PathBuf {
        self.mount.join("data")
    }

    fn ballast(&self) -> PathBuf {
        self.mount.join("ballast")
    }

    /// Takes all space but so many bytes.
    pub fn fill(&self, left: u64) -> Result<(), Failure> {
        let mut ballast = OpenOptions::new().create(true).append(true).open(self.ballast())?;
        let free = statvfs(&self.mount)?;
        let bytes = free.blocks_available() * free.fragment_size();
        let length = i64::try_from(ballast.metadata()?.len() + bytes.saturating_sub(left))?;
        // Whatever does not fit in one piece is taken in crumbs.
        let _ = nix::fcntl::posix_fallocate(&ballast, 0, length);
        while left == 0 && ballast.write_all(&[b'x'; CRUMB]).is_ok() {}
        Ok(())
    }

    /// Whether there is no space for anything more.
    pub fn is_full(&self) -> bool {
        self.write_crumb().is_err_and(|error| error.kind() == std::io::ErrorKind::StorageFull)
    }

    /// Whether nothing can be written, for whatever reason.
    pub fn is_dead(&self) -> bool {
        self.write_crumb().is_err()
    }

    fn write_crumb(&self) -> std::io::Result<()> {
        let crumb = self.mount.join("crumb");
        let wrote = fs::write(&crumb, [b'x'; CRUMB]);
        // Only a trace of the probe.
        let _ = fs::remove_file(&crumb);
        wrote
    }

    /// The file system gives up, as after an error of the device: nothing can be written any more, for good or
    /// not.
    pub async fn die(&self) -> Result<(), Failure> {
        command::run("mount", &["-o", "remount,abort", &self.mount.display().to_string()]).await.map(drop)
    }

    /// As after a repair: what is in its journal counts, what is not never was. Nobody may have a file open.
    pub async fn repair(&self) -> Result<(), Failure> {
        let (image, mount) = (self.image.display().to_string(), self.mount.display().to_string());
        let mut tries = 0;
        while let Err(error) = command::run("umount", &[&mount]).await {
            tries += 1;
            if tries == UNMOUNT_TRIES {
                return Err(error);
            }
            tokio::time::sleep(UNMOUNT_PAUSE).await;
        }
        command::run("mount", &["-o", "loop", &image, &mount]).await.map(drop)
    }

    pub fn free(&self) -> Result<(), Failure> {
        match fs::remove_file(self.ballast()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

async fn file_system(image: &Path, mount: &Path) -> Result<(), Failure> {
    fs::File::create(image)?.set_len(BYTES)?;
    let (image, mount) = (image.display().to_string(), mount.display().to_string());
    command::run("mkfs.ext4", &["-q", "-F", "-m", "0", &image]).await?;
    command::run("mount", &["-o", "loop", &image, &mount]).await.map(drop)
}
