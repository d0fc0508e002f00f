//! Links with a long way: every byte between replicas is late, through a proxy on each link.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use tokio::time::Instant;

use super::{Dice, Fault, Injected};
use crate::Failure;
use crate::cluster::Cluster;
use crate::proxy::{MARK, Proxy, Weather};

/// Where replicas speak to each other.
const PEER_PORT: u16 = 6_444;
/// Where the control listens; goes through the proxy like the replicas' own connections.
const ECHO_PORT: u16 = 6_445;

#[derive(Default)]
pub(super) struct SlowLink {
    proxies: Vec<Proxy>,
    delay: Duration,
}

#[async_trait]
impl Fault for SlowLink {
    fn name(&self) -> &'static str {
        "slow-link"
    }

    fn hold(&self) -> Duration {
        Duration::from_secs(7)
    }

    async fn inject(&mut self, cluster: &Cluster, dice: &mut Dice) -> Result<Injected, Failure> {
        self.delay = Duration::from_millis(dice.random_range(10..60));
        let weather = Weather { delay: self.delay, jitter: self.delay / 2 };
        let at = Instant::now();
        for replica in cluster.replicas() {
            let proxy = Proxy::open(&replica, weather, dice.random()).await?;
            let peers = format!("-p tcp -d {}/24", replica.space.ip);
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
        let what = format!("{} ms one way, up to half more", self.delay.as_millis());
        Ok(Injected { what, at, leader_lost: None })
    }

    /// The way there and back takes as long as it should, and replicas use it.
    async fn control(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        let replicas = cluster.replicas();
        let echo = (replicas[1].space.ip, ECHO_PORT);
        let listener = replicas[1].space.inside(move || TcpListener::bind(echo)).await?;
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            stream.write_all(&byte)
        });
        let ask = move || {
            let mut stream = TcpStream::connect(echo)?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            let asked = std::time::Instant::now();
            stream.write_all(b"x")?;
            stream.read_exact(&mut [0])?;
            Ok(asked.elapsed())
        };
        let took = replicas[0].space.inside(ask).await?;
        if took < self.delay * 2 {
            return Err(format!("there and back takes {took:?}, it should be {:?}", self.delay * 2).into());
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let silent = self.proxies.iter().filter(|proxy| proxy.carried() < 1_000).count();
        match silent {
            0 => Ok(()),
            some => Err(format!("{some} replicas do not speak through the proxy").into()),
        }
    }

    async fn heal(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        for replica in cluster.replicas() {
            replica.space.no_rules().await?;
        }
        // Ends their connections; new ones go straight.
        self.proxies.clear();
        Ok(())
    }
}
