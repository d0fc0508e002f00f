//! `kontiki restore`: a new cluster with the data and the keys of a backup.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use store_node::anew::{self, Anew, Begun};

use crate::Failure;
use crate::backup::contents::Description;
use crate::backup::{self, BucketArgs, Place, Source};
use crate::config::{self, Endpoint, ServerConfiguration};
use crate::installed::{Installed, Kind};
use crate::server::identity::{Authorities, Which};
use crate::server::setup;
use crate::store::{self, StoreConfiguration};

/// Begin a new cluster with the data of a backup.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kontiki restore /backups/monday --advertise 10.0.0.1
  kontiki restore /backups/monday --key-file backup.key --advertise 10.0.0.1 --data-dir /srv/kontiki
  kontiki restore s3://backups/prod/monday --s3-region eu-west-1 --advertise 10.0.0.1
  kontiki restore copy.db --advertise 10.0.0.1      what etcdctl snapshot save has stored of a stand-alone store

It makes the data directory of the first replica; start that with the command it prints, and have the others join it
with empty directories (kontiki member add). The cluster has a new id, so replicas of the old one are refused, and the
old one's CAs and keys, so clients and nodes know it. Revisions jump ahead: every watcher lists anew. A backup of a
stand-alone store becomes one. etcdctl stores no keys: the new store has keys of its own, in DATA_DIR.")]
pub(crate) struct RestoreArgs {
    /// The backup: a file, or s3://BUCKET/KEY
    file: PathBuf,
    #[command(flatten)]
    first: FirstReplica,
    /// The key the backup was encrypted with
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    bucket: BucketArgs,
}

/// The replica that a new cluster begins with.
#[derive(Args, Debug)]
pub(crate) struct FirstReplica {
    /// Where data, keys and configuration will be kept; must be empty or absent
    #[arg(long, default_value = "/var/lib/kontiki")]
    pub(crate) data_dir: PathBuf,
    /// Address others will reach this machine by
    #[arg(long, value_name = "IP")]
    advertise: IpAddr,
    /// Port of the API (6443 by default), or of a store's clients (2379)
    #[arg(long)]
    api_port: Option<u16>,
    /// Port the replicas will speak to each other on (6444 by default, a store's 2380)
    #[arg(long)]
    peer_port: Option<u16>,
    /// Revisions to jump ahead; otherwise more than the old cluster can have written since
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..1 << 50))]
    revision_jump: Option<u64>,
}

/// As etcd's own tool recommends for Kubernetes.
pub(crate) const MIN_JUMP: u64 = 1_000_000_000;
/// More than a cluster can write.
const WRITES_PER_SECOND: u64 = 50_000;

/// Further than a cluster can have got since.
pub(crate) fn jump(since: Timestamp, now: Timestamp) -> u64 {
    let seconds = now.as_second().saturating_sub(since.as_second());
    u64::try_from(seconds).unwrap_or(0).saturating_mul(WRITES_PER_SECOND).max(MIN_JUMP)
}

pub(crate) async fn run(args: RestoreArgs) -> Result<(), Failure> {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    check_empty(&args.first.data_dir)?;
    let secret = backup::secret(args.key_file.as_deref())?;
    let place = Place::named(&args.file, &args.bucket, secret.is_some())?;
    tokio::task::block_in_place(|| {
        // To its end, before anything is written.
        let source = Source::verified(&place, secret.as_ref())?;
        println!("{source}");
        let begun = restore(&args.first, &source)?;
        args.first.report("restored", "the backup's newest", source.description().kind, &begun);
        Ok(())
    })
}

pub(crate) fn check_empty(dir: &Path) -> Result<(), Failure> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| format!("{}: {error}", dir.display()))?,
    };
    // The mark of a file system's root is nobody's data.
    match entries.flatten().find(|entry| entry.file_name() != "lost+found") {
        None => Ok(()),
        Some(_) => Err(format!(
            "{} is not empty: a cluster is begun in an empty directory, so that nothing is lost; move what is there away \
             or name another by --data-dir",
            dir.display()
        )
        .into()),
    }
}

/// A cluster that has begun.
pub(crate) struct NewCluster {
    cluster_id: String,
    replica: Begun,
}

fn restore(first: &FirstReplica, source: &Source<'_>) -> Result<NewCluster, Failure> {
    let dir = &first.data_dir;
    fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let snapshot = dir.join("restore.snap");
    source.extract(&snapshot)?;
    let description = source.description();
    let anew = first.anew(description.kind, jump(description.created, crate::now()));
    let replica = anew::restore(&snapshot, &anew, incarnation())?;
    fs::remove_file(&snapshot)?;
    first.install(description, anew.cluster_id, replica)
}

impl FirstReplica {
    /// Of the API, or of etcd's clients; and of the peers.
    fn endpoints(&self, kind: Kind) -> (Endpoint, Endpoint) {
        let (api, peer) = match kind {
            Kind::Server => (6443, 6444),
            Kind::Store => (store::CLIENT_PORT, store::PEER_PORT),
        };
        let endpoint = |port: u16| {
            let listen = SocketAddr::new(self.advertise, port);
            Endpoint { listen, advertise: listen.to_string() }
        };
        (endpoint(self.api_port.unwrap_or(api)), endpoint(self.peer_port.unwrap_or(peer)))
    }

    /// A cluster of its own, that jumps so far unless it was told otherwise.
    pub(crate) fn anew(&self, kind: Kind, jump: u64) -> Anew {
        let (api, peer) = self.endpoints(kind);
        Anew {
            data_dir: self.data_dir.join("store"),
            cluster_id: setup::new_cluster_id(),
            peer_addr: peer.advertise,
            api_url: format!("https://{}", api.advertise),
            jump: self.revision_jump.unwrap_or(jump),
        }
    }

    /// Keys, credentials and configuration beside the store that has begun.
    pub(crate) fn install(
        &self,
        description: &Description,
        cluster_id: String,
        replica: Begun,
    ) -> Result<NewCluster, Failure> {
        let (dir, pki_dir) = (&self.data_dir, self.data_dir.join("pki"));
        for (name, content) in &description.files {
            pki::write_private(&pki_dir.join(name), content)?;
        }
        let authorities = Authorities::load_or_create(&pki_dir, crate::now())?;
        let (api, peer) = self.endpoints(description.kind);
        setup::write_admin(&authorities.cluster, &format!("https://{}", api.advertise), &dir.join("admin.kubeconfig"))?;
        // The configuration last: by it a start knows that there is something to continue with.
        let file = description.kind.file(dir);
        match description.kind {
            Kind::Server => {
                let mut config = ServerConfiguration::new(replica.id, &cluster_id, dir.clone(), pki_dir, api, peer);
                config.service_cidr = description.service_cidr.clone().unwrap_or(config.service_cidr);
                config.node_ports = description.node_ports.unwrap_or(config.node_ports);
                config::write(&file, &config)?;
            }
            Kind::Store => {
                store::write_client(dir, &pki_dir, &authorities, Which::Due, crate::now())?;
                StoreConfiguration::new(replica.id, &cluster_id, dir.clone(), pki_dir, api, peer).write(&file)?;
            }
        }
        Ok(NewCluster { cluster_id, replica })
    }

    /// What was made, and what to do next.
    pub(crate) fn report(&self, done: &str, newest: &str, kind: Kind, NewCluster { cluster_id, replica }: &NewCluster) {
        println!(
            "{done}: cluster {cluster_id} with replica {}, at revision {} ({newest} is {})\n\
             start it:        {}\n\
             then the others: kontiki member add --kubeconfig {}/admin.kubeconfig",
            replica.id,
            replica.revision,
            replica.newest,
            kind.start(&self.data_dir),
            self.data_dir.display()
        );
    }
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
