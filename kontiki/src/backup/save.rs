//! From a replica to a file, which appears under its name when it is whole, durable and verified, or to a bucket, where
//! what turns out not to be whole is taken away again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::bucket::Object;
use super::container::{Secret, Writer};
use super::place::Place;
use super::verify::{Verified, verify};
use crate::Failure;
use crate::client::Download;
use crate::progress;
use crate::replicas::Replicas;

/// Until a replica has made its copy and begins to send it.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) async fn run(
    place: &Place,
    kubeconfig: &Path,
    secret: Option<&Secret>,
    replica: Option<u64>,
) -> Result<(), Failure> {
    place.check_free().await?;
    let replicas = Replicas::find(kubeconfig).await?;
    let mut download = begin(&replicas, replica).await?;
    let verified = match place {
        Place::Pipe => return copy(&mut download, io::stdout().lock(), secret).await.map(drop),
        Place::File(file) => {
            let part = part(file);
            let written = write(&mut download, file, &part, secret).await;
            if written.is_err() {
                // The next try begins anew.
                let _ = std::fs::remove_file(&part);
            }
            written?
        }
        Place::Bucket(object) => send(&mut download, object, secret).await?,
    };
    println!("{place} is written: {verified}");
    if secret.is_none() {
        println!("it is not encrypted and holds Secrets and CA keys: keep it where only admins can read it");
    }
    Ok(())
}

/// From the first replica that sends one.
async fn begin(replicas: &Replicas, wished: Option<u64>) -> Result<Download, Failure> {
    let from: Vec<&Value> = match wished {
        Some(id) => vec![replicas.get(id)?],
        None => replicas.reachable(),
    };
    let mut last = Failure::from("no replica answers");
    for replica in from {
        match replicas.client_of(replica).download("/kontiki/v1/backup", PATIENCE).await {
            Ok(download) => return Ok(download),
            Err(error) => last = format!("replica {}: {error}", replica["id"]).into(),
        }
    }
    Err(last)
}

async fn send(download: &mut Download, object: &Object, secret: Option<&Secret>) -> Result<Verified, Failure> {
    object.put(download.bytes, async |parts| copy(download, parts, secret).await).await?;
    let place = Place::Bucket(object.clone());
    let verified = tokio::task::block_in_place(|| verify(&place, secret));
    if verified.is_err()
        && let Err(error) = object.delete().await
    {
        eprintln!("{object} is no backup, and could not be taken away: {error}");
    }
    verified
}

fn part(file: &Path) -> PathBuf {
    file.with_added_extension("part")
}

async fn write(
    download: &mut Download,
    file: &Path,
    part: &Path,
    secret: Option<&Secret>,
) -> Result<Verified, Failure> {
    let failed = |error: io::Error| format!("{}: {error}", part.display());
    let to = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(part).map_err(failed)?;
    let to = copy(download, io::BufWriter::new(to), secret).await?;
    to.into_inner().map_err(|error| error.into_error()).and_then(|to| to.sync_all()).map_err(failed)?;
    // What cannot be read back is no backup.
    let verified = tokio::task::block_in_place(|| verify(&Place::File(part.to_owned()), secret))?;
    std::fs::rename(part, file).map_err(failed)?;
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(failed)?;
    Ok(verified)
}

async fn copy<W: Write>(download: &mut Download, to: W, secret: Option<&Secret>) -> Result<W, Failure> {
    let bar = progress::bytes("copying", download.bytes);
    let mut writer = Writer::new(to, secret, salt())?;
    let mut bytes = 0;
    while let Some(part) = download.next().await? {
        bytes += part.len() as u64;
        tokio::task::block_in_place(|| writer.write_all(&part))?;
        bar.set_position(bytes);
    }
    bar.finish_and_clear();
    if bytes != download.bytes {
        return Err(format!("the replica sent {bytes} of {} bytes; run it again", download.bytes).into());
    }
    Ok(tokio::task::block_in_place(|| writer.finish())?)
}

#[expect(clippy::disallowed_methods, reason = "the shell: a salt is random and used once")]
fn salt() -> [u8; 32] {
    rand::random()
}
