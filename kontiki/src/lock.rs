//! One process per data directory.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use crate::Failure;

/// A process that was just killed has its lock for a moment longer.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// Holds `DIR/lock` until dropped, or this process ends. `Err`: another `who` has it.
pub(crate) async fn exclusive(dir: &Path, who: &str) -> Result<Flock<File>, Failure> {
    let file = std::fs::create_dir_all(dir).and_then(|()| File::create(dir.join("lock")));
    let mut file = file.map_err(|error| format!("cannot write to {}: {error}", dir.display()))?;
    for _ in 0..TRIES {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((unlocked, _)) => file = unlocked,
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(format!("another {who} runs on {}", dir.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time() {
        let dir = tempfile::tempdir().expect("dir");
        let held = exclusive(dir.path(), "kontiki up").await.expect("free");
        let error = exclusive(dir.path(), "kontiki up").await.expect_err("held").to_string();
        assert!(error.starts_with("another kontiki up runs on"), "{error}");
        drop(held);
        exclusive(dir.path(), "kontiki up").await.expect("free again");
    }
}
