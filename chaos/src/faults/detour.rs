//! All that replicas say to each other goes through proxies, one a replica.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::{TimeVal, TimeValLike};
use rand::Rng;

use super::Dice;
use crate::Failure;
use crate::cluster::{Cluster, fabric::Space};
use crate::proxy::{MARK, Proxy, Weather};

/// Where replicas speak to each other.
const PEER_PORT: u16 = 6_444;
/// Where the control listens; goes through the proxy like the replicas' own connections.
const ECHO_PORT: u16 = 6_445;
/// Of one side of the control.
const ECHO_PATIENCE_SECONDS: i64 = 5;

#[derive(Default)]
pub(super) struct Detour {
    proxies: Vec<Proxy>,
}

impl Detour {
    /// `weather`: of the link from the first replica to the second, one way.
    pub(super) async fn set<F>(&mut self, cluster: &Cluster, dice: &mut Dice, weather: F) -> Result<(), Failure>
    where
        F: Fn(Ipv4Addr, Ipv4Addr) -> Weather + Clone + Send + Sync + 'static,
    {
        for replica in cluster.replicas() {
            let (from, weather) = (replica.space.ip, weather.clone());
            let proxy = Proxy::open(&replica, Arc::new(move |to| weather(from, to)), dice.random()).await?;
            let peers = format!("-p tcp -d {from}/24");
            let space = &replica.space;
            for (table, hook) in [("nat", "OUTPUT"), ("filter", "OUTPUT")] {
                space.rule(table, hook, &format!("-p tcp -m mark --mark {MARK} -j RETURN")).await?;
            }
            for port in [PEER_PORT, ECHO_PORT] {
                let to = proxy.port;
                space.rule("nat", "OUTPUT", &format!("{peers} --dport {port} -j REDIRECT --to-ports {to}")).await?;
            }
            // Connections that were there before are opened again, through the proxy.
            let reset = format!("{peers} --dport {PEER_PORT} -j REJECT --reject-with tcp-reset");
            space.rule("filter", "OUTPUT", &reset).await?;
            self.proxies.push(proxy);
        }
        Ok(())
    }

    /// How many replicas speak through their proxy.
    pub(super) fn speaking(&self) -> usize {
        const SOME_BYTES: u64 = 1_000;
        self.proxies.iter().filter(|proxy| proxy.carried() >= SOME_BYTES).count()
    }

    /// Pieces that came to harm.
    pub(super) fn harmed(&self) -> u64 {
        self.proxies.iter().map(Proxy::harmed).sum()
    }

    pub(super) async fn lift(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        for replica in cluster.replicas() {
            replica.space.no_rules().await?;
        }
        // Ends their connections; new ones go straight.
        self.proxies.clear();
        Ok(())
    }
}

/// How long a byte takes there and back, `times` one after the other.
pub(super) async fn round_trips(from: &Space, to: &Space, times: usize) -> Result<Vec<Duration>, Failure> {
    let echo = (to.ip, ECHO_PORT);
    let listener = to.inside(move || TcpListener::bind(echo)).await?;
    setsockopt(&listener, ReceiveTimeout, &TimeVal::seconds(ECHO_PATIENCE_SECONDS))?;
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut byte = [0];
        for _ in 0..times {
            stream.read_exact(&mut byte)?;
            stream.write_all(&byte)?;
        }
        Ok::<(), std::io::Error>(())
    });
    let ask = move || {
        let mut stream = TcpStream::connect(echo)?;
        stream.set_read_timeout(Some(Duration::from_secs(ECHO_PATIENCE_SECONDS.unsigned_abs())))?;
        stream.set_nodelay(true)?;
        let mut once = || {
            let asked = std::time::Instant::now();
            stream.write_all(b"x")?;
            stream.read_exact(&mut [0])?;
            Ok(asked.elapsed())
        };
        (0..times).map(|_| once()).collect()
    };
    let took = from.inside(ask).await;
    // It ends with the connection.
    let _ = tokio::task::spawn_blocking(move || answering.join()).await;
    took
}
