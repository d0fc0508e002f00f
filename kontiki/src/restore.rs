//! `kontiki restore`: a new cluster with the data and the keys of a backup.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use store_node::anew::{self, Anew, Begun};

use crate::Failure;
use crate::backup::{self, BucketArgs, Place, Secret};
use crate::config::{self, Endpoint, ServerConfiguration};
use crate::server::setup;

/// Begin a new cluster with the data of a backup.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kontiki restore /backups/monday --advertise 10.0.0.1
  kontiki restore /backups/monday --key-file backup.key --advertise 10.0.0.1 --data-dir /srv/kontiki
  kontiki restore s3://backups/prod/monday --s3-region eu-west-1 --advertise 10.0.0.1

It makes the data directory of the first replica; start that with kontiki server --data-dir DIR and have the others
join it with empty directories (kontiki member add). The cluster has a new id, so replicas of the old one are
refused, and the old one's CAs and keys, so clients and nodes know it. Revisions jump ahead: every watcher lists anew.")]
pub(crate) struct RestoreArgs {
    /// The backup: a file, or s3://BUCKET/KEY
    file: PathBuf,
    /// Where data, keys and configuration will be kept; must be empty or absent
    #[arg(long, default_value = "/var/lib/kontiki")]
    data_dir: PathBuf,
    /// Address others will reach this machine by
    #[arg(long, value_name = "IP")]
    advertise: IpAddr,
    /// Port of the API
    #[arg(long, default_value_t = 6443)]
    api_port: u16,
    /// Port the replicas will speak to each other on
    #[arg(long, default_value_t = 6444)]
    peer_port: u16,
    /// The key the backup was encrypted with
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Revisions to jump ahead; otherwise more than the old cluster can have written since the backup
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..1 << 50))]
    revision_jump: Option<u64>,
    #[command(flatten)]
    bucket: BucketArgs,
}

/// As etcd's own tool recommends for Kubernetes.
const MIN_JUMP: u64 = 1_000_000_000;
/// More than a cluster can write.
const WRITES_PER_SECOND: u64 = 50_000;

/// Further than a cluster can have got since.
pub(crate) fn jump(since: Timestamp, now: Timestamp) -> u64 {
    let seconds = now.as_second().saturating_sub(since.as_second());
    u64::try_from(seconds).unwrap_or(0).saturating_mul(WRITES_PER_SECOND).max(MIN_JUMP)
}

pub(crate) async fn run(args: RestoreArgs) -> Result<(), Failure> {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    check_empty(&args.data_dir)?;
    let secret = backup::secret(args.key_file.as_deref())?;
    let place = Place::named(&args.file, &args.bucket, secret.is_some())?;
    // To its end, before anything is written.
    let verified = tokio::task::block_in_place(|| backup::verify(&place, secret.as_ref()))?;
    println!("{place}: {verified}");
    fs::create_dir_all(&args.data_dir).map_err(|error| format!("{}: {error}", args.data_dir.display()))?;
    let begun = tokio::task::block_in_place(|| restore(&args, &place, secret.as_ref(), &verified.description))?;
    let dir = args.data_dir.display();
    println!(
        "restored: cluster {} with replica {}, at revision {} (the backup's newest is {})\n\
         start it:        kontiki server --data-dir {dir}\n\
         then the others: kontiki member add --kubeconfig {dir}/admin.kubeconfig",
        begun.cluster_id, begun.replica.id, begun.replica.revision, begun.replica.newest
    );
    Ok(())
}

fn check_empty(dir: &Path) -> Result<(), Failure> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| format!("{}: {error}", dir.display()))?,
    };
    // The mark of a file system's root is nobody's data.
    match entries.flatten().find(|entry| entry.file_name() != "lost+found") {
        None => Ok(()),
        Some(_) => Err(format!(
            "{} is not empty: a backup is restored into an empty directory, so that nothing is lost; move what is there \
             away or name another by --data-dir",
            dir.display()
        )
        .into()),
    }
}

struct Restored {
    cluster_id: String,
    replica: Begun,
}

fn restore(
    args: &RestoreArgs,
    place: &Place,
    secret: Option<&Secret>,
    description: &backup::contents::Description,
) -> Result<Restored, Failure> {
    let dir = &args.data_dir;
    let snapshot = dir.join("restore.snap");
    extract(place, secret, &snapshot)?;
    let endpoint = |port: u16| {
        let listen = SocketAddr::new(args.advertise, port);
        Endpoint { listen, advertise: listen.to_string() }
    };
    let (api, peer) = (endpoint(args.api_port), endpoint(args.peer_port));
    let cluster_id = setup::new_cluster_id();
    let anew = Anew {
        data_dir: dir.join("store"),
        cluster_id: cluster_id.clone(),
        peer_addr: peer.advertise.clone(),
        api_url: format!("https://{}", api.advertise),
        jump: args.revision_jump.unwrap_or_else(|| jump(description.created, crate::now())),
    };
    let replica = anew::restore(&snapshot, &anew, incarnation())?;
    fs::remove_file(&snapshot)?;
    let pki_dir = dir.join("pki");
    for (name, content) in &description.files {
        pki::write_private(&pki_dir.join(name), content)?;
    }
    let authorities = crate::server::identity::Authorities::load_or_create(&pki_dir, crate::now())?;
    setup::write_admin(&authorities.cluster, &anew.api_url, &dir.join("admin.kubeconfig"))?;
    let mut config = ServerConfiguration::new(replica.id, &cluster_id, dir.clone(), pki_dir, api, peer);
    config.service_cidr = description.service_cidr.clone();
    config.node_ports = description.node_ports;
    // Last: by it a start knows that there is something to continue with.
    config::write(&dir.join("server.yaml"), &config)?;
    Ok(Restored { cluster_id, replica })
}

fn extract(place: &Place, secret: Option<&Secret>, to: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| format!("{}: {error}", to.display());
    let (_, mut content) = backup::open(place, secret)?;
    let mut to: File =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to).map_err(failed)?;
    io::copy(&mut content, &mut to).map_err(failed)?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the shell: names a new data directory")]
pub(crate) fn incarnation() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jump_is_further_than_the_old_cluster_can_have_got() {
        let at = |text: &str| text.parse::<Timestamp>().expect("time");
        let now = at("2026-11-22T00:00:00Z");
        assert_eq!(jump(at("2026-11-21T23:59:00Z"), now), MIN_JUMP);
        assert_eq!(jump(at("2026-12-01T00:00:00Z"), now), MIN_JUMP, "a clock that was wrong");
        assert_eq!(jump(at("2026-11-15T00:00:00Z"), now), 7 * 86_400 * WRITES_PER_SECOND);
    }

    #[test]
    fn a_directory_with_something_in_it_is_left_alone() {
        let dir = tempfile::tempdir().expect("dir");
        assert!(check_empty(&dir.path().join("absent")).is_ok() && check_empty(dir.path()).is_ok());
        fs::create_dir(dir.path().join("lost+found")).expect("made");
        assert!(check_empty(dir.path()).is_ok());
        fs::write(dir.path().join("server.yaml"), "x").expect("written");
        assert!(check_empty(dir.path()).is_err_and(|error| error.to_string().contains("is not empty")));
    }
}
