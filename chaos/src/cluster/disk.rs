//! A replica's disk: an ext4 file system of its own in a file, so that it can be full while others are not.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use super::command;
use crate::Failure;

/// Sparse: what is not written takes no space.
const BYTES: u64 = 8 << 30;
/// What the last bytes are taken with.
const CRUMB: usize = 4 << 10;

pub struct Disk {
    mount: PathBuf,
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
        let disk = Self { mount, plain };
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

    /// Whether nothing more can be written.
    pub fn is_full(&self) -> bool {
        let crumb = self.mount.join("crumb");
        let wrote = fs::write(&crumb, [b'x'; CRUMB]);
        // Only a trace of the probe.
        let _ = fs::remove_file(&crumb);
        wrote.is_err_and(|error| error.kind() == std::io::ErrorKind::StorageFull)
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
