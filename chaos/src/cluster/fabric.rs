//! The network of a run: a bridge in a network namespace that this process moves into, and a namespace for
//! every replica with one link to the bridge. Nothing of it is reachable from outside, and it is gone with the
//! process.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};

use super::command;
use crate::Failure;

const BRIDGE: &str = "chaos0";
/// Clients are here; replica N is at 10 + N.
pub const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 1);

pub fn address(number: usize) -> Ipv4Addr {
    let last = u8::try_from(10 + number).expect("a few replicas");
    Ipv4Addr::new(10, 213, 0, last)
}

/// What is missing for namespaces of our own.
pub fn lacks() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("network namespaces and loop mounts need root".to_owned());
    }
    let missing: Vec<&str> =
        ["ip", "iptables", "nsenter", "unshare"].into_iter().filter(|name| !command::there_is(name)).collect();
    if !missing.is_empty() {
        return Some(format!("these programs are missing: {}", missing.join(", ")));
    }
    let trial = Command::new("unshare").args(["--net", "sh", "-c", TRIAL]).output();
    match trial {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("no namespaces here: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Some(format!("no namespaces here: {error}")),
    }
}

/// Everything that a run asks of the kernel.
const TRIAL: &str =
    "ip link add veth1 type veth peer name veth2 && ip link add bridge1 type bridge && iptables -w -L -n > /dev/null";

/// Moves the calling thread, and every thread and process it starts from now on, into a namespace with the bridge.
pub fn enter() -> Result<(), Failure> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("cannot make a network namespace: {error}"))?;
    let address = format!("{CLIENTS}/24");
    let lines: [&[&str]; 4] = [
        &["link", "set", "lo", "up"],
        &["link", "add", BRIDGE, "type", "bridge"],
        &["addr", "add", &address, "dev", BRIDGE],
        &["link", "set", BRIDGE, "up"],
    ];
    for line in lines {
        let output = Command::new("ip").args(line).output()?;
        if !output.status.success() {
            return Err(format!("ip {}: {}", line.join(" "), String::from_utf8_lossy(&output.stderr).trim()).into());
        }
    }
    Ok(())
}

/// A replica's network namespace, kept by a process that does nothing else.
pub struct Space {
    pub ip: Ipv4Addr,
    path: PathBuf,
}

/// Chains of ours, emptied when a fault is over.
const CHAINS: [(&str, &str); 3] = [("filter", "INPUT"), ("filter", "OUTPUT"), ("nat", "OUTPUT")];

impl Space {
    /// Links the namespace of process `holder` to the bridge.
    pub(crate) async fn attach(number: usize, holder: i32) -> Result<Self, Failure> {
        let space = Self { ip: address(number), path: PathBuf::from(format!("/proc/{holder}/ns/net")) };
        let (outer, holder, ip) = (format!("replica{number}"), holder.to_string(), format!("{}/24", space.ip));
        let pair = ["link", "add", &outer, "type", "veth", "peer", "name", "eth0", "netns", &holder];
        command::run("ip", &pair).await?;
        command::run("ip", &["link", "set", &outer, "master", BRIDGE, "up"]).await?;
        space.run("ip", &["addr", "add", &ip, "dev", "eth0"]).await?;
        space.run("ip", &["link", "set", "eth0", "up"]).await?;
        space.run("ip", &["link", "set", "lo", "up"]).await?;
        for (table, hook) in CHAINS {
            let chain = chain(table, hook);
            space.iptables(&format!("-t {table} -N {chain}")).await?;
            space.iptables(&format!("-t {table} -I {hook} -j {chain}")).await?;
        }
        Ok(space)
    }

    async fn run(&self, program: &str, arguments: &[&str]) -> Result<String, Failure> {
        let net = format!("--net={}", self.path.display());
        command::run("nsenter", &[&[net.as_str(), program], arguments].concat()).await
    }

    async fn iptables(&self, line: &str) -> Result<(), Failure> {
        let arguments: Vec<&str> = std::iter::once("-w").chain(line.split_whitespace()).collect();
        self.run("iptables", &arguments).await.map(drop)
    }

    /// Adds a rule where packets come in (`INPUT`) or go out (`OUTPUT`).
    pub async fn rule(&self, table: &str, hook: &str, rule: &str) -> Result<(), Failure> {
        self.iptables(&format!("-t {table} -A {} {rule}", chain(table, hook))).await
    }

    /// Takes away all rules.
    pub async fn no_rules(&self) -> Result<(), Failure> {
        for (table, hook) in CHAINS {
            self.iptables(&format!("-t {table} -F {}", chain(table, hook))).await?;
        }
        Ok(())
    }

    /// Runs `act` on a thread inside the namespace: sockets that it makes are the replica's.
    pub async fn inside<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let path = self.path.clone();
        let (answer, result) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let enter = || setns(std::fs::File::open(&path)?, CloneFlags::CLONE_NEWNET).map_err(std::io::Error::from);
            // Nobody waits any more: the run is over.
            let _ = answer.send(enter().and_then(|()| act()));
        });
        Ok(result.await.map_err(|_| "a thread in a network namespace ended")??)
    }
}

fn chain(table: &str, hook: &str) -> String {
    format!("CHAOS-{table}-{hook}")
}
