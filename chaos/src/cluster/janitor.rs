//! Takes away what a run leaves, however it ends: its processes, containers, image, mounts and disks.
//!
//! A process that waits for the end of this one's pipe does it at once. Should that be killed as well, the next
//! run does it: every run leaves a note that says where it is.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::run_id::{LABEL, MARK, RunId};
use crate::Failure;

/// One file a run, with the run's directory in it.
const NOTES: &str = "/run/kontiki-chaos";

/// $1: the run. $2: its directory. $3: its note. $4: its image. $5: `wait` for the end of the run.
///
/// Processes are found by their environment, in containers and out of them: a list of them could be short of the
/// one that was being started.
const SCRIPT: &str = r#"
[ "$5" = wait ] && cat > /dev/null
docker=; command -v docker > /dev/null && docker=docker
for try in 1 2 3 4 5 6 7 8 9 10; do
  left=
  for file in $(grep -lszxF "MARK=$1" /proc/[0-9]*/environ); do
    pid=${file#/proc/}
    kill -9 "${pid%/environ}" 2> /dev/null && left=processes
  done
  if [ -n "$docker" ]; then
    containers=$(docker ps -aq --filter "label=LABEL=$1" 2> /dev/null)
    [ -n "$containers" ] && { docker rm -f $containers > /dev/null 2>&1; left=containers; }
  fi
  for mount in "$2"/disks/*/; do
    mountpoint -q "$mount" && { umount "$mount" 2> /dev/null || left=mounts; }
  done
  [ -z "$left" ] && break
  sleep 0.5
done
[ -n "$docker" ] && docker rmi -f "$4" > /dev/null 2>&1
[ -z "$left" ] && rm -rf "$2/disks" && rm -f "$3"
exit 0
"#;

fn note(run: &RunId) -> PathBuf {
    Path::new(NOTES).join(run.to_string())
}

fn script(run: &RunId, dir: &Path, image: &str, when: &str) -> Command {
    let mut command = Command::new("sh");
    let script = SCRIPT.replace("MARK", MARK).replace("LABEL", LABEL);
    command.args(["-c", &script, "janitor", &run.to_string()]).arg(dir).arg(note(run)).args([image, when]);
    command.stdout(Stdio::null());
    command
}

pub(crate) struct Janitor {
    child: Child,
}

impl Janitor {
    pub(crate) fn hire(run: &RunId, dir: &Path, image: &str) -> Result<Self, Failure> {
        std::fs::create_dir_all(NOTES)?;
        std::fs::write(note(run), dir.display().to_string())?;
        // Ctrl-C in the terminal ends this process, not the one that cleans up after it.
        let child = script(run, dir, image, "wait").stdin(Stdio::piped()).process_group(0).spawn()?;
        Ok(Self { child })
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It says nothing and always ends.
        let _ = self.child.wait();
    }
}

/// Clears up after runs whose process is gone, and says so.
pub(crate) fn sweep(image: impl Fn(&RunId) -> String) -> Result<(), Failure> {
    let Ok(notes) = std::fs::read_dir(NOTES) else { return Ok(()) };
    for entry in notes {
        let entry = entry?;
        let Some(run) = RunId::parse(&entry.file_name().to_string_lossy()).filter(|run| !run.lives()) else { continue };
        // Its own janitor may just have finished.
        let Ok(dir) = std::fs::read_to_string(entry.path()).map(PathBuf::from) else { continue };
        println!("taking away what an earlier run left: {}", dir.display());
        script(&run, &dir, &image(&run), "now").stdin(Stdio::null()).status()?;
        if entry.path().exists() {
            return Err(format!("what run {run} left in {} cannot be taken away", dir.display()).into());
        }
    }
    Ok(())
}
