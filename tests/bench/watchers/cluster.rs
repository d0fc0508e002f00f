//! The cluster under load: how to reach its replicas, and what they use.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use system_tests::client::Client;
use system_tests::processes::{field, processor};

use crate::Failure;

pub(crate) struct Cluster {
    replicas: Vec<Client>,
    /// Of everything that serves: a replica may be two processes.
    processes: Vec<u32>,
    /// Certificates, as long as clients read them.
    _files: tempfile::TempDir,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) processor: Duration,
    pub(crate) resident_mib: u64,
}

impl Cost {
    /// What was used since; memory as it is now.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self { processor: self.processor.saturating_sub(before.processor), ..*self }
    }
}

impl Cluster {
    pub(crate) fn open(dir: &Path) -> Result<Self, Failure> {
        let files = tempfile::tempdir()?;
        let paths = (1..).map(|number| dir.join(format!("admin-{number}.kubeconfig")));
        let replicas: Vec<Client> = paths
            .take_while(|path| path.is_file())
            .map(|path| client(&path, files.path()))
            .collect::<Result<_, _>>()?;
        let pids = fs::read_to_string(dir.join("pids"))?;
        let lines = pids.lines().filter(|line| line.starts_with("replica"));
        let pid = |line: &str| line.split_whitespace().nth(1).and_then(|pid| pid.parse().ok());
        let processes: Option<Vec<u32>> = lines.map(pid).collect();
        let processes = processes.filter(|some| !some.is_empty() && !replicas.is_empty());
        let processes = processes.ok_or_else(|| format!("{}: no cluster runs there", dir.display()))?;
        Ok(Self { replicas, processes, _files: files })
    }

    /// Each time another one for those who count up.
    pub(crate) fn replica(&self, number: usize) -> &Client {
        &self.replicas[number % self.replicas.len()]
    }

    /// Fails when a process is gone.
    pub(crate) fn cost(&self) -> Result<Cost, Failure> {
        let mut cost = Cost { processor: Duration::ZERO, resident_mib: 0 };
        for pid in &self.processes {
            let read = |file: &str| {
                fs::read_to_string(format!("/proc/{pid}/{file}")).map_err(|error| format!("process {pid}: {error}"))
            };
            cost.processor += processor(&read("stat")?).ok_or("/proc/PID/stat has another form")?;
            cost.resident_mib += field(&read("status")?, "VmRSS").ok_or("/proc/PID/status has another form")? / 1024;
        }
        Ok(cost)
    }
}

/// By the certificate in a kubeconfig.
fn client(path: &Path, files: &Path) -> Result<Client, Failure> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| named(&error))?;
    let document: Value = serde_saphyr::from_str(&text).map_err(|error| named(&error))?;
    let (cluster, user) = (&document["clusters"][0]["cluster"], &document["users"][0]["user"]);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let file = |section: &Value, name: &str| -> Result<PathBuf, Failure> {
        let data = section[name].as_str().ok_or_else(|| named(&format!("it has no {name}")))?;
        let file = files.join(format!("{stem}-{name}"));
        fs::write(&file, STANDARD.decode(data)?)?;
        Ok(file)
    };
    let ca = file(cluster, "certificate-authority-data")?;
    let identity = (file(user, "client-certificate-data")?, file(user, "client-key-data")?);
    let server = cluster["server"].as_str().unwrap_or_default();
    let address: SocketAddr = server.trim_start_matches("https://").parse().map_err(|error| named(&error))?;
    Ok(Client::new(address, &ca, Some(&identity)))
}
