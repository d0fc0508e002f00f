//! `kontiki server`: how a replica is started.

use std::path::PathBuf;

use clap::Args;

use crate::api_flags::ApiFlags;

/// Run a control-plane replica: store, API server, controllers and scheduler in one process.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kontiki server --init --advertise 10.0.0.1
  kontiki server --join https://10.0.0.1:6443 --token abcdef.0123456789abcdef:sha256:... --advertise 10.0.0.2
  kontiki server --join https://10.0.0.1:6443 --token T --advertise 10.0.0.4 --replace 3   in a dead member's place
  kontiki server --join https://10.0.0.1:6443 --token T --advertise 10.0.0.5 --learner     serves reads, has no vote
  kontiki server --config /etc/kontiki/server.yaml

It stays in the foreground. Run again on the same --data-dir, with --init or --join or without, it continues
with the data; a join that was interrupted goes on.")]
pub(crate) struct ServerArgs {
    /// Configuration file; made by --init and --join as DATA_DIR/server.yaml
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Where data, keys and configuration are kept
    #[arg(long, default_value = "/var/lib/kontiki")]
    pub(crate) data_dir: PathBuf,
    /// Make a new cluster with this replica as its first
    #[arg(long, conflicts_with_all = ["join", "config"])]
    pub(crate) init: bool,
    /// Join the cluster of this server (https://HOST:PORT)
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    pub(crate) join: Option<String>,
    /// Join token (kontiki token create); needed with --join until the server is a member
    #[arg(long, env = "KONTIKI_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// With --join: keep a copy and serve from it, without a vote (kontiki member promote gives it one)
    #[arg(long, requires = "join", conflicts_with = "replace")]
    pub(crate) learner: bool,
    /// With --join: take the place of this member, which is dead and removed in the same step
    #[arg(long, value_name = "ID", requires = "join")]
    pub(crate) replace: Option<u64>,
    /// Where this replica is (a data centre, a rack); kept in the configuration
    #[arg(long, value_name = "NAME")]
    pub(crate) zone: Option<String>,
    /// Zones whose replicas should lead, best first; kept in the configuration, to be the same on all replicas
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub(crate) leader_zones: Vec<String>,
    /// Address others reach this machine by; needed with --init and --join
    #[arg(long, value_name = "IP")]
    pub(crate) advertise: Option<std::net::IpAddr>,
    /// Port of the API
    #[arg(long, default_value_t = 6443)]
    pub(crate) api_port: u16,
    /// Port the replicas speak to each other on
    #[arg(long, default_value_t = 6444)]
    pub(crate) peer_port: u16,
    /// Serve etcd's clients as well, on this address (IP:PORT); they need DATA_DIR/certificates/etcd-client.* and
    /// see, and may change, everything in the store
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) etcd_listen: Option<std::net::SocketAddr>,
    #[command(flatten)]
    pub(crate) api: ApiFlags,
}
