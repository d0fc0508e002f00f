//! Takes away what a run leaves, however it ends: a process that waits for the end of this one's pipe.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Failure;

/// $1: the run's directory. $2: the label of its containers.
const SCRIPT: &str = r#"
cat > /dev/null
for file in "$1"/pids/*; do [ -e "$file" ] && kill -9 "$(cat "$file")" 2> /dev/null; done
if command -v docker > /dev/null; then
  containers=$(docker ps -aq --filter label="$2" 2> /dev/null)
  [ -n "$containers" ] && docker rm -f $containers > /dev/null 2>&1
fi
for try in 1 2 3 4 5; do
  left=
  for mount in "$1"/disks/*/; do mountpoint -q "$mount" && { umount "$mount" 2> /dev/null || left=1; }; done
  [ -z "$left" ] && break
  sleep 0.5
done
[ -z "$left" ] && rm -rf "$1/disks" "$1/pids"
exit 0
"#;

pub(crate) struct Janitor {
    child: Child,
    pids: PathBuf,
}

impl Janitor {
    pub(crate) fn hire(dir: &Path, label: &str) -> Result<Self, Failure> {
        let pids = dir.join("pids");
        std::fs::create_dir_all(&pids)?;
        let child = Command::new("sh")
            .args(["-c", SCRIPT, "janitor"])
            .arg(dir)
            .arg(label)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // Ctrl-C in the terminal ends this process, not the one that cleans up after it.
            .process_group(0)
            .spawn()?;
        Ok(Self { child, pids })
    }

    /// Ends this process with the run, should it still be there.
    pub(crate) fn told_of(&self, name: &str, pid: i32) -> Result<(), Failure> {
        Ok(std::fs::write(self.pids.join(name), pid.to_string())?)
    }

    pub(crate) fn forget(&self, name: &str) {
        // It was never told.
        let _ = std::fs::remove_file(self.pids.join(name));
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It says nothing and always ends.
        let _ = self.child.wait();
    }
}
