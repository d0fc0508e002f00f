//! A replica's own wall clock: a library that is preloaded into it, and a file that says how wrong it is.

use std::path::{Path, PathBuf};

use super::{Env, Replica, command};
use crate::Failure;

/// Compiled on this machine.
const SOURCE: &str = include_str!("clock.c");
const COMPILER: &str = "cc";

/// Whether there can be one on this machine.
pub(crate) fn can_be_had() -> bool {
    command::there_is(COMPILER)
}

/// On the replica's own disk: in a container it sees it there, too.
fn file(replica: &Replica) -> PathBuf {
    replica.disk.mount().join("clock")
}

/// Seconds that are added to the time, and how fast it runs. The library must not find half of that.
pub(crate) fn set(replica: &Replica, offset: i64, speed: i64) -> Result<(), Failure> {
    let file = file(replica);
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{offset:+} {speed}\n"))?;
    Ok(std::fs::rename(new, file)?)
}

/// What a replica is started with whose clock is wrong by so many seconds at first.
pub(crate) async fn environment(replica: &Replica, offset: i64) -> Result<Env, Failure> {
    set(replica, offset, 1)?;
    let file = file(replica);
    let library = compile(&file).await?;
    let variables = [("LD_PRELOAD", &library), ("CHAOS_CLOCK", &file)];
    Ok(variables.map(|(name, path)| (name.to_owned(), path.display().to_string())).into())
}

async fn compile(file: &Path) -> Result<PathBuf, Failure> {
    let (source, library) = (file.with_extension("c"), file.with_extension("so"));
    std::fs::write(&source, SOURCE)?;
    let path = |path: &Path| path.display().to_string();
    command::run(COMPILER, &["-shared", "-fPIC", "-O2", "-o", &path(&library), &path(&source)]).await?;
    Ok(library)
}
