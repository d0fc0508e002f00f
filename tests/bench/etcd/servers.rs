//! Three replicas of Kontiki's store and three members of etcd, each with certificates of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use system_tests::binary;
use system_tests::store::Store;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::Failure;

pub(crate) const REPLICAS: u16 = 3;
/// Until etcd's members take connections and have a leader; the first call waits for the rest.
const START_PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    pub(crate) endpoints: Vec<String>,
    pub(crate) tls: ClientTlsConfig,
    pub(crate) pids: Vec<u32>,
    /// On the disk that is written to.
    pub(crate) dir: PathBuf,
    /// Ends the processes when dropped.
    running: Running,
}

enum Running {
    Kontiki(Box<Store>),
    Etcd(Etcd),
}

struct Etcd {
    program: PathBuf,
    clients: Vec<String>,
    peers: Vec<String>,
    members: Vec<Member>,
    directory: tempfile::TempDir,
}

/// Ended when dropped.
struct Member(Child);

impl Drop for Member {
    fn drop(&mut self) {
        // Gone already: nothing to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn kontiki(parent: &Path) -> Result<Server, Failure> {
    let store = Store::up_in(parent);
    let file = |name: &str| store.dir.join(name);
    Ok(Server {
        name: "kontiki",
        version: version(&binary())?,
        endpoints: (1..=REPLICAS).map(|number| store.endpoint(number)).collect(),
        tls: tls(&file("ca.crt"), &file("client.crt"), &file("client.key"))?,
        pids: pids(&store)?,
        dir: store.dir.clone(),
        running: Running::Kontiki(Box::new(store)),
    })
}

fn pids(store: &Store) -> Result<Vec<u32>, Failure> {
    let pid = |number: u16| store.pid(&format!("replica-{number}")).and_then(|pid| u32::try_from(pid).ok());
    Ok((1..=REPLICAS).map(pid).collect::<Option<_>>().ok_or("a replica does not run")?)
}

pub(crate) fn etcd(program: &Path, parent: &Path) -> Result<Server, Failure> {
    let directory = tempfile::Builder::new().prefix("etcd-").tempdir_in(parent)?;
    let dir = directory.path().to_owned();
    certificates(&dir)?;
    let mut clients = free_addresses(2 * usize::from(REPLICAS))?;
    let peers = clients.split_off(usize::from(REPLICAS));
    let mut etcd = Etcd { program: program.to_owned(), clients, peers, members: Vec::new(), directory };
    etcd.start()?;
    Ok(Server {
        name: "etcd",
        version: version(program)?,
        endpoints: etcd.clients.clone(),
        tls: tls(&dir.join("ca.crt"), &dir.join("member.crt"), &dir.join("member.key"))?,
        pids: etcd.pids(),
        dir,
        running: Running::Etcd(etcd),
    })
}

impl Server {
    /// kill -9 of all, and a start on the same data; returns when the processes are there, not when they answer.
    pub(crate) fn start_again(&mut self) -> Result<(), Failure> {
        match &mut self.running {
            Running::Kontiki(store) => {
                store.start_again();
                self.pids = pids(store)?;
            }
            Running::Etcd(etcd) => {
                etcd.members.clear();
                etcd.launch()?;
                self.pids = etcd.pids();
            }
        }
        Ok(())
    }
}

impl Etcd {
    fn launch(&mut self) -> Result<(), Failure> {
        let dir = self.directory.path();
        let start = |number: usize| launch(&self.program, dir, number, &self.clients[number], &self.peers);
        self.members = (0..self.clients.len()).map(start).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn start(&mut self) -> Result<(), Failure> {
        self.launch()?;
        self.clients.iter().try_for_each(|address| wait(address, self.directory.path()))
    }

    fn pids(&self) -> Vec<u32> {
        self.members.iter().map(|member| member.0.id()).collect()
    }
}

fn tls(ca: &Path, certificate: &Path, key: &Path) -> Result<ClientTlsConfig, Failure> {
    let identity = Identity::from_pem(std::fs::read(certificate)?, std::fs::read(key)?);
    Ok(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(std::fs::read(ca)?)).identity(identity))
}

/// The first line of what it says of itself.
fn version(program: &Path) -> Result<String, Failure> {
    let output = Command::new(program).arg("--version").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().trim().to_owned())
}

/// A CA, and one certificate for all members and the clients.
fn certificates(dir: &Path) -> Result<(), Failure> {
    let (ca_key, key) = (KeyPair::generate()?, KeyPair::generate()?);
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key)?;
    let mut member = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    member.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = member.signed_by(&key, &Issuer::new(ca, ca_key))?;
    std::fs::write(dir.join("ca.crt"), ca_certificate.pem())?;
    std::fs::write(dir.join("member.crt"), certificate.pem())?;
    Ok(std::fs::write(dir.join("member.key"), key.serialize_pem())?)
}

/// Free when they were looked for: all at once, so that they differ.
fn free_addresses(count: usize) -> Result<Vec<String>, Failure> {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let address = |listener: &TcpListener| Ok(format!("https://{}", listener.local_addr()?));
    listeners.iter().map(address).collect()
}

fn launch(program: &Path, dir: &Path, number: usize, client: &str, peers: &[String]) -> Result<Member, Failure> {
    let named = |(number, url): (usize, &String)| format!("m{number}={url}");
    let cluster: Vec<String> = peers.iter().enumerate().map(named).collect();
    let file = |name: &str| dir.join(name).display().to_string();
    let (name, data, peer) = (format!("m{number}"), file(&format!("m{number}")), peers[number].as_str());
    let mut command = Command::new(program);
    command.args(["--name", &name, "--data-dir", &data, "--log-level", "error"]);
    command.args(["--listen-client-urls", client, "--advertise-client-urls", client]);
    command.args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]);
    command.args(["--initial-cluster", &cluster.join(",")]);
    for kind in ["", "peer-"] {
        for (option, value) in [("cert-file", "member.crt"), ("key-file", "member.key"), ("trusted-ca-file", "ca.crt")]
        {
            command.args([format!("--{kind}{option}"), file(value)]);
        }
        command.arg(format!("--{kind}client-cert-auth"));
    }
    let log = std::fs::File::create(dir.join(format!("m{number}.log")))?;
    let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
    Ok(Member(child.map_err(|error| format!("{}: {error}", program.display()))?))
}

/// Until it takes connections.
fn wait(url: &str, dir: &Path) -> Result<(), Failure> {
    let address = url.trim_start_matches("https://");
    let deadline = Instant::now() + START_PATIENCE;
    while std::net::TcpStream::connect(address).is_err() {
        if Instant::now() > deadline {
            let log = std::fs::read_to_string(dir.join("m0.log")).unwrap_or_default();
            return Err(format!("etcd does not listen at {address}: {}", log.lines().last().unwrap_or_default()).into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
