//! How a data directory becomes a replica: `--init`, `--join`, or a configuration file that is there.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pki::join::JoinToken;
use serde_json::json;

use super::args::ServerArgs;
use super::heal;
use super::joining::{Joining, Pending};
use crate::Failure;
use crate::client::Client;
use crate::config::{self, API_VERSION, Endpoint, InitialMember, ServerConfiguration};
use crate::kubeconfig::Kubeconfig;

/// How often a server is asked for its CA while it is not ready for that.
const CA_TRIES: u32 = 20;
const CA_PAUSE: Duration = Duration::from_millis(500);

/// The configuration to run with, and what is left to do for a join.
pub(crate) async fn prepare(args: &ServerArgs) -> Result<(ServerConfiguration, Option<Joining>), Failure> {
    let file = args.config.clone().unwrap_or_else(|| args.data_dir.join("server.yaml"));
    if args.config.is_some() || file.exists() {
        if args.init || args.join.is_some() {
            tracing::info!(file = %file.display(), "this data directory is a replica already: continuing with it");
        }
        let mut config = read(&file)?;
        heal::carry_out(&mut config, &file).await?;
        config.zone = args.zone.clone().unwrap_or(config.zone);
        if !args.leader_zones.is_empty() {
            config.leader_zones = args.leader_zones.clone();
        }
        let joining = Joining::resume(args, &config).await?;
        return Ok((config, joining));
    }
    let Some(advertise) = args.advertise.filter(|_| args.init || args.join.is_some()) else {
        let hint =
            "start a new cluster with --init --advertise IP, or join one with --join URL --token T --advertise IP";
        return Err(format!("{} does not exist: {hint}", file.display()).into());
    };
    match &args.join {
        None => Ok((init(args, advertise, &file)?, None)),
        Some(url) => join(args, advertise, &file, url).await,
    }
}

pub(crate) fn read(file: &Path) -> Result<ServerConfiguration, Failure> {
    let config: ServerConfiguration = config::read(file)?;
    if config.api_version != API_VERSION || config.kind != ServerConfiguration::KIND {
        let (version, kind) = (API_VERSION, ServerConfiguration::KIND);
        return Err(format!("{}: expected apiVersion {version}, kind {kind}", file.display()).into());
    }
    Ok(config)
}

fn configuration(args: &ServerArgs, advertise: IpAddr, id: u64, cluster_id: &str) -> ServerConfiguration {
    let endpoint = |port: u16| Endpoint {
        listen: SocketAddr::new(advertise, port),
        advertise: SocketAddr::new(advertise, port).to_string(),
    };
    let (data_dir, pki_dir) = (args.data_dir.clone(), args.data_dir.join("pki"));
    let (api, peer) = (endpoint(args.api_port), endpoint(args.peer_port));
    let mut config = ServerConfiguration::new(id, cluster_id, data_dir, pki_dir, api, peer);
    config.zone = args.zone.clone().unwrap_or_default();
    config.leader_zones = args.leader_zones.clone();
    config
}

fn init(args: &ServerArgs, advertise: IpAddr, file: &Path) -> Result<ServerConfiguration, Failure> {
    let mut config = configuration(args, advertise, 1, &new_cluster_id());
    let api = format!("https://{}", config.api.advertise);
    config.initial_members = vec![InitialMember { id: 1, peer: config.peer.advertise.clone(), api: api.clone() }];
    let authorities = super::identity::Authorities::load_or_create(&config.pki_dir, crate::now())?;
    let kubeconfig = args.data_dir.join("admin.kubeconfig");
    write_admin(&authorities.cluster, &api, &kubeconfig)?;
    config::write(file, &config)?;
    println!("new cluster {}; admin credentials in {}", config.cluster_id, kubeconfig.display());
    Ok(config)
}

/// A kubeconfig for `kubernetes-admin` of `system:masters`, valid a year.
pub(crate) fn write_admin(authority: &pki::authority::Authority, api: &str, path: &Path) -> Result<(), Failure> {
    let request = pki::authority::Request {
        common_name: "kubernetes-admin".into(),
        organizations: vec!["system:masters".into()],
        client: true,
        days: 365,
        ..Default::default()
    };
    let issued = authority.issue(&request, crate::now())?;
    let kubeconfig = Kubeconfig {
        server: api.to_owned(),
        ca_pem: authority.certificate_pem().to_owned(),
        certificate_pem: issued.certificate_pem,
        key_pem: issued.key_pem,
    };
    kubeconfig.write(path, "kubernetes-admin")
}

/// Eight random hex digits: part of every peer certificate's name.
#[expect(clippy::disallowed_methods, reason = "a cluster id is random and then kept")]
pub(crate) fn new_cluster_id() -> String {
    format!("{:08x}", rand::random::<u32>())
}

/// A client that trusts the server whose CA has the token's hash.
pub(crate) async fn trusted(url: &str, token: &JoinToken) -> Result<(Client, String), Failure> {
    let answer = ask_for_ca(&Client::unverified(url)?).await?.ok()?;
    let ca = answer["ca"].as_str().ok_or("the server did not send its CA")?.to_owned();
    if !pki::authority::has_public_key_hash(&ca, &token.ca_hash)? {
        let hash = pki::authority::public_key_hash(&ca)?;
        return Err(format!(
            "the CA of {url} has the hash {hash}, the token says {}: wrong server or wrong token",
            token.ca_hash
        )
        .into());
    }
    Ok((Client::with_token(url, &ca, &token.bearer())?, ca))
}

/// A cluster that has only just begun does not let anyone ask yet.
async fn ask_for_ca(client: &Client) -> Result<crate::client::Answer, Failure> {
    for _ in 1..CA_TRIES {
        let answer = client.post("/kontiki/v1/ca", &json!({})).await?;
        if !matches!(answer.status, 403 | 503) {
            return Ok(answer);
        }
        tokio::time::sleep(CA_PAUSE).await;
    }
    client.post("/kontiki/v1/ca", &json!({})).await
}

async fn join(
    args: &ServerArgs,
    advertise: IpAddr,
    file: &Path,
    url: &str,
) -> Result<(ServerConfiguration, Option<Joining>), Failure> {
    let token = JoinToken::parse(args.token.as_deref().unwrap_or(""))?;
    let (client, _) = trusted(url, &token).await?;
    let answer = client.post("/kontiki/v1/join/server", &json!({})).await?.ok()?;
    let id = answer["id"].as_u64().ok_or("the server sent no id")?;
    let cluster_id = answer["clusterID"].as_str().ok_or("the server sent no cluster id")?;
    let mut config = configuration(args, advertise, id, cluster_id);
    if let Some(cidr) = answer["serviceCIDR"].as_str() {
        config.service_cidr = cidr.to_owned();
    }
    write_files(&config.pki_dir, &answer["files"])?;
    let ca = std::fs::read_to_string(config.pki_dir.join("ca.crt"))?;
    let authority = pki::authority::Authority::from_pem(&ca, &std::fs::read_to_string(config.pki_dir.join("ca.key"))?)?;
    let api = format!("https://{}", config.api.advertise);
    write_admin(&authority, &api, &args.data_dir.join("admin.kubeconfig"))?;
    // Before the configuration, by which a start knows that there is something to continue with.
    let (learner, replaces) = (args.learner, args.replace);
    let pending = Pending { server: url.to_owned(), ca, token: Some(token.bearer()), learner, replaces };
    let joining = Joining::begin(&config, &pending, client)?;
    config::write(file, &config)?;
    Ok((config, Some(joining)))
}

/// The keys that the replicas of a cluster share, as another one sent them.
pub(crate) fn write_files(pki_dir: &Path, files: &serde_json::Value) -> Result<(), Failure> {
    for (name, content) in files.as_object().into_iter().flatten() {
        let path: PathBuf = pki_dir.join(safe_name(name)?);
        pki::write_private(&path, content.as_str().ok_or("a key file is not text")?)?;
    }
    Ok(())
}

/// A plain file name, whatever the other side sends.
fn safe_name(name: &str) -> Result<&str, Failure> {
    let plain =
        !name.starts_with('.') && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    if plain { Ok(name) } else { Err(format!("bad file name {name:?} from the server").into()) }
}
