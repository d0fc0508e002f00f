//! A small disk: an ext4 file system in a sparse file, so that it can be full while the machine's is not.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::posix_fallocate;
use nix::sys::statvfs::statvfs;

pub struct SmallDisk {
    mount: PathBuf,
    _temporary: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` with a clear word where this user may not mount one.
    pub fn make(bytes: u64) -> Option<Self> {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let (image, mount) = (temporary.path().join("image"), temporary.path().join("disk"));
        fs::create_dir(&mount).expect("a directory");
        fs::File::create(&image).and_then(|file| file.set_len(bytes)).expect("a sparse file");
        let made = run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))
            .and_then(|()| run(Command::new("mount").args(["-o", "loop"]).args([&image, &mount])));
        if let Err(why) = made {
            println!("skipped: a file system of its own needs root and loop devices: {why}");
            return None;
        }
        Some(Self { mount, _temporary: temporary })
    }

    pub fn path(&self) -> &Path {
        &self.mount
    }

    fn filler(&self) -> PathBuf {
        self.mount.join("filler")
    }

    /// Takes all space but so many bytes.
    pub fn fill(&self, left: u64) {
        let filler = OpenOptions::new().create(true).append(true).open(self.filler()).expect("a file");
        let free = statvfs(&self.mount).expect("free space");
        let free = free.blocks_available() * free.fragment_size();
        let length = filler.metadata().expect("its length").len() + free.saturating_sub(left);
        posix_fallocate(&filler, 0, length.try_into().expect("small")).expect("there is so much");
    }

    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still has a file open on it is about to end.
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.mount));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
