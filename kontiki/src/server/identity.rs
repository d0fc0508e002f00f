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
use crate::installed::Installed;

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
    /// Only where etcd's clients are served.
    etcd: Option<Authority>,
}

impl Authorities {
    pub(crate) fn load_or_create(pki_dir: &Path, now: Timestamp) -> Result<Self, Failure> {
        Ok(Self {
            cluster: Authority::load_or_create(pki_dir, "ca", "kontiki-ca", now)?,
            peer: Authority::load_or_create(pki_dir, "peer-ca", "kontiki-peer-ca", now)?,
            etcd: None,
        })
    }

    pub(crate) fn of_replica(config: &dyn Installed, now: Timestamp) -> Result<Self, Failure> {
        let authorities = Self::load_or_create(config.pki_dir(), now)?;
        match config.has_etcd_ca() {
            true => authorities.with_etcd(config.pki_dir(), now),
            false => Ok(authorities),
        }
    }

    fn with_etcd(self, pki_dir: &Path, now: Timestamp) -> Result<Self, Failure> {
        Ok(Self { etcd: Some(Authority::load_or_create(pki_dir, ETCD_CA, "kontiki-etcd-ca", now)?), ..self })
    }

    pub(crate) fn of(&self, ca: Ca) -> Result<&Authority, Failure> {
        match ca {
            Ca::Cluster => Ok(&self.cluster),
            Ca::Peer => Ok(&self.peer),
            Ca::Etcd => self.etcd.as_ref().ok_or_else(|| "etcd's clients are not served here".into()),
        }
    }
}

/// Where the certificates of one replica are.
#[derive(Clone)]
pub(crate) struct Identity {
    dir: PathBuf,
}

/// The certificates that are made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those that are missing, soon end, or are of another CA than signs now.
    Due,
    All,
}

/// Who signs a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ca {
    Cluster,
    Peer,
    /// Of the port for etcd's clients: they see and change everything, which no client of the API may.
    Etcd,
}

/// A certificate to have.
pub(crate) struct Leaf {
    pub(crate) name: &'static str,
    pub(crate) ca: Ca,
    pub(crate) request: Request,
}

impl Identity {
    pub(crate) fn certificate(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.crt"))
    }
    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.key"))
    }

    /// Makes those of a replica.
    pub(crate) fn ensure(config: &dyn Installed, which: Which, now: Timestamp) -> Result<Self, Failure> {
        let authorities = Authorities::of_replica(config, now)?;
        Self::issue(config.data_dir().join("certificates"), &authorities, config.leaves()?, which, now)
    }

    pub(crate) fn issue(
        dir: PathBuf,
        authorities: &Authorities,
        leaves: Vec<Leaf>,
        which: Which,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let this = Self { dir };
        for Leaf { name, ca, request } in leaves {
            let authority = authorities.of(ca)?;
            if which == Which::All || !this.is_good(name, authority, now) {
                authority.issue(&request, now)?.write(&this.dir, name)?;
            }
        }
        Ok(this)
    }

    /// Good for a while yet, and of the CA that signs now.
    fn is_good(&self, name: &str, authority: &Authority, now: Timestamp) -> bool {
        let Ok(pem) = std::fs::read_to_string(self.certificate(name)) else { return false };
        let lasts = expiry(&pem).is_ok_and(|end| end.as_second() - now.as_second() > RENEW_SECONDS);
        self.key(name).exists() && lasts && authority.has_signed(&pem)
    }

    /// Name and end of every certificate of this replica.
    pub(crate) fn expiries(&self) -> Vec<(String, Timestamp)> {
        let end = |name: &str| expiry(&std::fs::read_to_string(self.certificate(name)).ok()?).ok();
        NAMES.iter().filter_map(|name| Some(((*name).to_owned(), end(name)?))).collect()
    }
}

pub(crate) const SERVER: &str = "apiserver";
pub(crate) const KUBELET_CLIENT: &str = "apiserver-kubelet-client";
/// Who API servers are to kubelets.
pub(crate) const KUBELET_CLIENT_USER: &str = "kube-apiserver-kubelet-client";
pub(crate) const PEER: &str = "peer";
/// What etcd's clients are shown, and what one of them shows.
pub(crate) const ETCD: &str = "etcd";
pub(crate) const ETCD_CLIENT: &str = "etcd-client";
/// The CA of both.
pub(crate) const ETCD_CA: &str = "etcd-ca";
const NAMES: [&str; 5] = [SERVER, KUBELET_CLIENT, PEER, ETCD, ETCD_CLIENT];

/// Of a control-plane replica.
pub(crate) fn server_leaves(config: &ServerConfiguration) -> Result<Vec<Leaf>, Failure> {
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
    add_host(&config.api.advertise, &mut ips, &mut dns_names);
    let server = Request {
        common_name: "kube-apiserver".into(),
        dns_names,
        ips,
        server: true,
        days: LEAF_DAYS,
        ..Request::default()
    };
    let kubelet = Request {
        common_name: KUBELET_CLIENT_USER.into(),
        organizations: vec!["kubeadm:cluster-admins".into()],
        client: true,
        days: LEAF_DAYS,
        ..Request::default()
    };
    let mut leaves = vec![
        Leaf { name: SERVER, ca: Ca::Cluster, request: server },
        Leaf { name: KUBELET_CLIENT, ca: Ca::Cluster, request: kubelet },
        peer(config.id, &config.cluster_id),
    ];
    if let Some(listen) = config.etcd_listen {
        leaves.push(etcd_server(Ca::Etcd, listen.ip(), &config.api.advertise));
        leaves.push(etcd_client(Ca::Etcd));
    }
    Ok(leaves)
}

/// What a replica shows the others.
pub(crate) fn peer(id: u64, cluster_id: &str) -> Leaf {
    let name = format!("node-{id}.{cluster_id}.kontiki");
    let request = Request {
        common_name: name.clone(),
        dns_names: vec![name],
        server: true,
        client: true,
        days: LEAF_DAYS,
        ..Request::default()
    };
    Leaf { name: PEER, ca: Ca::Peer, request }
}

/// What a replica shows etcd's clients: for the addresses they know it by.
pub(crate) fn etcd_server(ca: Ca, listen: IpAddr, advertise: &str) -> Leaf {
    let (mut ips, mut dns_names) = (vec![listen, IpAddr::from([127, 0, 0, 1])], vec!["localhost".to_owned()]);
    add_host(advertise, &mut ips, &mut dns_names);
    let request = Request {
        common_name: "kontiki-etcd".into(),
        dns_names,
        ips,
        server: true,
        days: LEAF_DAYS,
        ..Request::default()
    };
    Leaf { name: ETCD, ca, request }
}

/// What one of etcd's clients shows.
pub(crate) fn etcd_client(ca: Ca) -> Leaf {
    let request =
        Request { common_name: "kontiki-etcd-client".into(), client: true, days: LEAF_DAYS, ..Request::default() };
    Leaf { name: ETCD_CLIENT, ca, request }
}

/// The host of `host:port`, an address or a name.
fn add_host(advertise: &str, ips: &mut Vec<IpAddr>, dns_names: &mut Vec<String>) {
    let host = advertise.rsplit_once(':').map_or(advertise, |(host, _)| host);
    match host.trim_matches(['[', ']']).parse() {
        Ok(ip) => ips.push(ip),
        Err(_) => dns_names.push(host.to_owned()),
    }
    ips.sort();
    ips.dedup();
}

/// `10.96.0.1` of `10.96.0.0/16`: the address of the `kubernetes` Service.
fn first_service_ip(cidr: &str) -> Result<IpAddr, Failure> {
    let address = cidr.split('/').next().unwrap_or(cidr);
    let address: std::net::Ipv4Addr = address.parse().map_err(|_| format!("bad service CIDR {cidr:?}"))?;
    Ok(IpAddr::V4(std::net::Ipv4Addr::from(u32::from(address) + 1)))
}

/// Renews certificates while the replica runs; what serves them reads the files again by itself.
pub(crate) async fn keep_fresh(
    ensure: impl Fn(Timestamp) -> Result<Identity, Failure> + Send,
    stop: CancellationToken,
) {
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        if let Err(error) = ensure(crate::now()) {
            tracing::error!(%error, "cannot renew the certificates of this replica");
        }
    }
}
