//! `kontiki backup`: everything a cluster needs to begin again, in one file or one object of a bucket.

mod bucket;
mod container;
pub(crate) mod contents;
mod etcdctl;
mod place;
mod save;
mod source;
mod verify;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::Failure;
pub(crate) use bucket::BucketArgs;
pub(crate) use container::Secret;
pub(crate) use place::Place;
pub(crate) use source::Source;

/// Copy everything in a cluster, or in a stand-alone store, to one file, or to a bucket, while it runs.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  kontiki backup /backups/monday --kubeconfig /var/lib/kontiki/admin.kubeconfig
  kontiki backup /backups/monday --key-file backup.key      encrypted; the key: head -c 32 /dev/urandom | base64
  kontiki backup - --kubeconfig F | ssh vault 'cat > monday'
  kontiki backup s3://backups/prod/monday --s3-endpoint https://minio:9000 --key-file backup.key
  kontiki backup /backups/monday --kubeconfig /tmp/s/admin.kubeconfig        of a stand-alone store
  kontiki backup verify /backups/monday

A bucket's credentials are AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, where there is one, AWS_SESSION_TOKEN in the
environment. What is in a bucket already is not overwritten, and what was sent is read back before it is called written.

The backup holds all objects as of one moment, Secrets included, and the cluster's CA keys: whoever can read it can
become admin. It is compressed and hashed; kontiki restore makes a new cluster of it."
)]
pub(crate) struct BackupArgs {
    #[command(subcommand)]
    command: Option<BackupCommand>,
    /// The file to write, which must not exist yet, or s3://BUCKET/KEY; - for standard output
    #[arg(required = true)]
    file: Option<PathBuf>,
    /// Admin credentials and one server to ask first
    #[arg(long, env = "KUBECONFIG", required = true)]
    kubeconfig: Option<PathBuf>,
    /// Encrypt it with the key in this file, at least 32 bytes; without the key it cannot be restored
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Copy from this replica; otherwise from one that does not lead
    #[arg(long, value_name = "ID")]
    replica: Option<u64>,
    #[command(flatten)]
    bucket: BucketArgs,
}

#[derive(Subcommand, Debug)]
enum BackupCommand {
    /// Read a backup, or what etcdctl snapshot save has stored of a store, from beginning to end and say what it holds
    Verify {
        /// The file, or s3://BUCKET/KEY
        file: PathBuf,
        /// The key it was encrypted with
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
        #[command(flatten)]
        bucket: BucketArgs,
    },
}

pub(crate) async fn run(args: BackupArgs) -> Result<(), Failure> {
    match args.command {
        Some(BackupCommand::Verify { file, key_file, bucket }) => {
            let secret = secret(key_file.as_deref())?;
            let place = Place::named(&file, &bucket, secret.is_some())?;
            tokio::task::block_in_place(|| {
                println!("{}", Source::verified(&place, secret.as_ref())?);
                Ok(())
            })
        }
        None => {
            let secret = secret(args.key_file.as_deref())?;
            let (file, kubeconfig) = (args.file.unwrap_or_default(), args.kubeconfig.unwrap_or_default());
            let place = Place::named(&file, &args.bucket, secret.is_some())?;
            save::run(&place, &kubeconfig, secret.as_ref(), args.replica).await
        }
    }
}

pub(crate) fn secret(file: Option<&Path>) -> Result<Option<Secret>, Failure> {
    let Some(file) = file else { return Ok(None) };
    let content = std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    Secret::new(&content).map(Some).map_err(|why| format!("{}: {why}", file.display()).into())
}
