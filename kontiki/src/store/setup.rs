//! How a data directory becomes a replica of a stand-alone store: `--init`, `--join`, or a configuration that is there.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde_json::json;

use super::config::{StoreConfiguration, StoreMember};
use super::serve::ServeArgs;
use super::write_client;
use crate::Failure;
use crate::client::Client;
use crate::config::Endpoint;
use crate::installed::{Installed, Kind};
use crate::kubeconfig::Kubeconfig;
use crate::server::heal;
use crate::server::identity::{Authorities, Which};
use crate::server::joining::{self, Joining, Pending};
use crate::server::setup::{new_cluster_id, write_admin, write_files};

/// The configuration to run with, and what is left to do for a join.
pub(super) async fn prepare(args: &ServeArgs) -> Result<(StoreConfiguration, Option<Joining>), Failure> {
    let file = args.config.clone().unwrap_or_else(|| Kind::Store.file(&args.data_dir));
    if args.config.is_some() || file.exists() {
        if args.init || args.join.is_some() {
            tracing::info!(file = %file.display(), "this data directory is a replica already: continuing with it");
        }
        let mut config = StoreConfiguration::read(&file)?;
        heal::carry_out(&mut config, &file).await?;
        args.placement(&mut config);
        let joining = Joining::go_on(&config)?;
        return Ok((config, joining));
    }
    match (args.advertise, args.init, &args.join, &args.kubeconfig) {
        (Some(advertise), true, ..) => Ok((init(args, advertise, &file)?, None)),
        (Some(advertise), _, Some(url), Some(kubeconfig)) => join(args, advertise, &file, url, kubeconfig).await,
        _ => Err(format!(
            "{} does not exist: begin a new store with --init --advertise IP, or join one with --join URL --kubeconfig \
             FILE --advertise IP (kontiki member add prints the command)",
            file.display()
        )
        .into()),
    }
}

fn configuration(args: &ServeArgs, advertise: IpAddr, id: u64, cluster_id: &str) -> StoreConfiguration {
    let endpoint = |port: u16| {
        let listen = SocketAddr::new(advertise, port);
        Endpoint { listen, advertise: listen.to_string() }
    };
    let (data_dir, pki_dir) = (args.data_dir.clone(), args.data_dir.join("pki"));
    let (client, peer) = (endpoint(args.client_port), endpoint(args.peer_port));
    let mut config = StoreConfiguration::new(id, cluster_id, data_dir, pki_dir, client, peer);
    args.placement(&mut config);
    config
}

fn init(args: &ServeArgs, advertise: IpAddr, file: &Path) -> Result<StoreConfiguration, Failure> {
    let mut config = configuration(args, advertise, 1, &new_cluster_id());
    config.initial_members = vec![StoreMember { id: 1, peer: config.peer.advertise.clone() }];
    write_credentials(&config)?;
    config.write(file)?;
    let dir = config.data_dir.display();
    println!(
        "new store {}; admin credentials in {dir}/admin.kubeconfig, a client's in {dir}/client.*",
        config.cluster_id
    );
    Ok(config)
}

/// An admin's, and those of etcd's clients.
fn write_credentials(config: &StoreConfiguration) -> Result<(), Failure> {
    let authorities = Authorities::load_or_create(&config.pki_dir, crate::now())?;
    write_admin(&authorities.cluster, &config.client_url(), &config.data_dir.join("admin.kubeconfig"))?;
    write_client(&config.data_dir, &config.pki_dir, &authorities, Which::Due, crate::now())
}

async fn join(
    args: &ServeArgs,
    advertise: IpAddr,
    file: &Path,
    url: &str,
    kubeconfig: &Path,
) -> Result<(StoreConfiguration, Option<Joining>), Failure> {
    let kubeconfig = Kubeconfig::read(kubeconfig)?;
    let client = Client::new(&kubeconfig)?.at(url);
    let answer = client.post("/kontiki/v1/join/server", &json!({})).await?.ok()?;
    let id = answer["id"].as_u64().ok_or("the replica sent no id")?;
    let cluster_id = answer["clusterID"].as_str().ok_or("the replica sent no cluster id")?;
    let mut config = configuration(args, advertise, id, cluster_id);
    config.learner = args.learner;
    write_files(&config.pki_dir, &answer["files"])?;
    write_credentials(&config)?;
    // Before the configuration, by which a start knows that there is something to continue with.
    let (server, ca) = (url.to_owned(), kubeconfig.ca_pem);
    let pending = Pending { server, ca, token: None, learner: args.learner, replaces: args.replace };
    joining::write(&config.data_dir, &pending)?;
    config.write(file)?;
    let joining = Joining::go_on(&config)?;
    Ok((config, joining))
}
