//! A replica's own certificates: made from the CAs in the PKI directory, renewed while running.
//!
//! Two CAs: `ca` for clients, kubelets and API servers, `peer-ca` for the store's peer port, so that no
//! client of the API can pass for a replica.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use pki::authority::{Authority, Request, expiry};
use tokio_util::sync::CancellationToken;

use crate::Failure;
use crate::config::ServerConfiguration;

/// Days a leaf certificate is valid.
const LEAF_DAYS: u32 = 365;
/// Renewed when less than this is left.
const RENEW_SECONDS: i64 = 60 * 86_400;
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// The CAs of a cluster, made where absent.
pub(crate) struct Authorities {
    pub(crate) cluster: Authority,
    pub(crate) peer: Authority,
}

impl Authorities {
    pub(crate) fn load_or_create(pki_dir: &Path, now: Timestamp) -> Result<Self, Failure> {
        Ok(Self {
            cluster: Authority::load_or_create(pki_dir, "ca", "kontiki-ca", now)?,
            peer: Authority::load_or_create(pki_dir, "peer-ca", "kontiki-peer-ca", now)?,
        })
    }
}

/// Where the certificates of one replica are.
#[derive(Clone)]
pub(crate) struct Identity {
    dir: PathBuf,
}

/// Name, signed by the peer CA, request.
type Leaf = (&'static str, bool, Request);

impl Identity {
    pub(crate) fn certificate(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.crt"))
    }
    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.key"))
    }

    /// Makes what is missing or soon ends.
    pub(crate) fn ensure(config: &ServerConfiguration, now: Timestamp) -> Result<Self, Failure> {
        let authorities = Authorities::load_or_create(&config.pki_dir, now)?;
        let this = Self { dir: config.data_dir.join("certificates") };
        for (name, peer, request) in leaves(config)? {
            if !this.is_good(name, now) {
                let authority = if peer { &authorities.peer } else { &authorities.cluster };
                authority.issue(&request, now)?.write(&this.dir, name)?;
            }
        }
        Ok(this)
    }

    fn is_good(&self, name: &str, now: Timestamp) -> bool {
        let end = std::fs::read_to_string(self.certificate(name)).ok().and_then(|pem| expiry(&pem).ok());
        self.key(name).exists() && end.is_some_and(|end| end.as_second() - now.as_second() > RENEW_SECONDS)
    }

    /// Name and end of every certificate of this replica.
    pub(crate) fn expiries(&self) -> Vec<(String, Timestamp)> {
        let end = |name: &str| expiry(&std::fs::read_to_string(self.certificate(name)).ok()?).ok();
        NAMES.iter().filter_map(|name| Some(((*name).to_owned(), end(name)?))).collect()
    }
}

pub(crate) const SERVER: &str = "apiserver";
pub(crate) const KUBELET_CLIENT: &str = "apiserver-kubelet-client";
pub(crate) const PEER: &str = "peer";
const NAMES: [&str; 3] = [SERVER, KUBELET_CLIENT, PEER];

fn leaves(config: &ServerConfiguration) -> Result<Vec<Leaf>, Failure> {
    let mut ips: Vec<IpAddr> =
        vec![config.api.listen.ip(), "127.0.0.1".parse()?, first_service_ip(&config.service_cidr)?];
    let mut dns_names: Vec<String> = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ]
    .map(str::to_owned)
    .to_vec();
    let host = config.api.advertise.rsplit_once(':').map_or(config.api.advertise.as_str(), |(host, _)| host);
    match host.trim_matches(['[', ']']).parse() {
        Ok(ip) => ips.push(ip),
        Err(_) => dns_names.push(host.to_owned()),
    }
    ips.sort();
    ips.dedup();
    let server = Request {
        common_name: "kube-apiserver".into(),
        dns_names,
        ips,
        server: true,
        days: LEAF_DAYS,
        ..Request::default()
    };
    let kubelet = Request {
        common_name: "kube-apiserver-kubelet-client".into(),
        organizations: vec!["kubeadm:cluster-admins".into()],
        client: true,
        days: LEAF_DAYS,
        ..Request::default()
    };
    let peer_name = format!("node-{}.{}.kontiki", config.id, config.cluster_id);
    let peer = Request {
        common_name: peer_name.clone(),
        dns_names: vec![peer_name],
        server: true,
        client: true,
        days: LEAF_DAYS,
        ..Request::default()
    };
    Ok(vec![(SERVER, false, server), (KUBELET_CLIENT, false, kubelet), (PEER, true, peer)])
}

/// `10.96.0.1` of `10.96.0.0/16`: the address of the `kubernetes` Service.
fn first_service_ip(cidr: &str) -> Result<IpAddr, Failure> {
    let address = cidr.split('/').next().unwrap_or(cidr);
    let address: std::net::Ipv4Addr = address.parse().map_err(|_| format!("bad service CIDR {cidr:?}"))?;
    Ok(IpAddr::V4(std::net::Ipv4Addr::from(u32::from(address) + 1)))
}

/// Renews certificates while the replica runs; what serves them reads the files again by itself.
pub(crate) async fn keep_fresh(config: ServerConfiguration, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        if let Err(error) = Identity::ensure(&config, crate::now()) {
            tracing::error!(%error, "cannot renew the certificates of this replica");
        }
    }
}
