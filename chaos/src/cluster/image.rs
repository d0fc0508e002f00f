//! The image of a replica: the built program, the libraries it is linked with, and nothing else of the machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::TryStreamExt;
use testcontainers::bollard::query_parameters::CreateImageOptionsBuilder;
use testcontainers::bollard::{Docker, body_full};

use super::command;
use crate::Failure;

/// Where `kontiki` is in the image.
pub(super) const PROGRAM: &str = "/usr/bin/kontiki";
/// Keeps a network namespace by doing nothing.
pub(super) const SLEEP: &str = "/usr/bin/sleep";

/// Makes `name:tag` from files of this machine, without any other image; `dir` is for files on the way.
pub(super) async fn make(docker: &Docker, kontiki: &Path, dir: &Path, name: &str, tag: &str) -> Result<(), Failure> {
    let mut files = libraries(kontiki).await?;
    files.extend(libraries(Path::new(SLEEP)).await?);
    files.insert(SLEEP.into());
    let kontiki = stripped(kontiki, dir).await;
    let archive = tokio::task::spawn_blocking(move || archive(&kontiki, &files)).await??;
    let options = CreateImageOptionsBuilder::new().from_src("-").repo(name).tag(tag).build();
    let made = docker.create_image(Some(options), Some(body_full(archive)), None);
    made.try_collect::<Vec<_>>().await.map_err(|error| format!("the image cannot be made: {error}"))?;
    Ok(())
}

/// Without what only a debugger reads, which is most of the file, where there is a program that takes it away.
async fn stripped(kontiki: &Path, dir: &Path) -> PathBuf {
    let small = dir.join("kontiki");
    let arguments = ["--strip-debug", "-o", &small.display().to_string(), &kontiki.display().to_string()];
    match command::run("strip", &arguments).await {
        Ok(_) => small,
        Err(_) => kontiki.to_owned(),
    }
}

async fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>, Failure> {
    let text = command::run("ldd", &[&program.display().to_string()]).await?;
    Ok(parse_ldd(&text))
}

/// `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f…)` and `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn parse_ldd(text: &str) -> BTreeSet<PathBuf> {
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    text.lines().filter_map(path).collect()
}

fn archive(kontiki: &Path, files: &BTreeSet<PathBuf>) -> std::io::Result<Bytes> {
    let mut archive = tar::Builder::new(Vec::new());
    archive.follow_symlinks(true);
    archive.sparse(false);
    archive.append_path_with_name(kontiki, PROGRAM.trim_start_matches('/'))?;
    for file in files {
        archive.append_path_with_name(file, file.strip_prefix("/").unwrap_or(file))?;
    }
    Ok(archive.into_inner()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_names_libraries_and_the_loader() {
        let text =
            "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibm.so.6 => /lib/libm.so.6 (0x00007f)\n\t/lib64/ld.so.2 (0x7f)\n";
        assert_eq!(parse_ldd(text), BTreeSet::from(["/lib/libm.so.6".into(), "/lib64/ld.so.2".into()]));
        assert_eq!(parse_ldd("\tstatically linked\n"), BTreeSet::new());
    }
}
