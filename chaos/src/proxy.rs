//! A bad link: connections that a replica opens to others go through here, where bytes are late or come to harm.
//!
//! The proxy's sockets are made inside the replica's network namespace, so it knows which link a connection
//! belongs to, and needs no word from the replica.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener as StdListener, TcpStream as StdStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, sockopt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Failure;
use crate::cluster::Replica;

/// What a link is like, one way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) delay: Duration,
    /// Up to this much more, anew for every piece; order stays.
    pub(crate) jitter: Duration,
    /// Share of pieces that come to harm.
    pub(crate) harm: f64,
}

/// By the address at the other end.
pub(crate) type Forecast = Arc<dyn Fn(Ipv4Addr) -> Weather + Send + Sync>;

/// On packets of the proxy itself: they are not sent through it again.
pub(crate) const MARK: u32 = 0x5e;
/// Bytes read at once.
const PIECE: usize = 16 << 10;
/// Pieces under way on one connection.
const UNDER_WAY: usize = 256;
/// What a lost packet costs until it is sent again, and everything behind it.
const HELD_UP: Duration = Duration::from_millis(800);

/// What becomes of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Well,
    /// As when a packet is lost and sent again: the rest waits behind it.
    HeldUp,
    /// One bit is another.
    Altered,
    /// It is missing, what follows is not.
    Missing,
    /// It is the last that arrives, and nobody is told.
    Silence,
    /// The connection ends.
    Reset,
}

/// What can happen to a piece that comes to harm.
const HARMS: [Fate; 5] = [Fate::HeldUp, Fate::Altered, Fate::Missing, Fate::Silence, Fate::Reset];

fn fate(harm: f64, dice: &mut StdRng) -> Fate {
    match dice.random_bool(harm) {
        true => HARMS[dice.random_range(0..HARMS.len())],
        false => Fate::Well,
    }
}

/// What went through, and what came to harm.
#[derive(Default)]
struct Counts {
    carried: AtomicU64,
    harmed: AtomicU64,
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    stop: CancellationToken,
    counts: Arc<Counts>,
}

impl Proxy {
    pub(crate) async fn open(replica: &Arc<Replica>, forecast: Forecast, seed: u64) -> Result<Self, Failure> {
        let listener = replica.space.inside(|| StdListener::bind((Ipv4Addr::UNSPECIFIED, 0))).await?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let proxy = Self { port, stop: CancellationToken::new(), counts: Arc::default() };
        let all = All { replica: replica.clone(), forecast, counts: proxy.counts.clone(), stop: proxy.stop.clone() };
        tokio::spawn(accept(TcpListener::from_std(listener)?, all, StdRng::seed_from_u64(seed)));
        Ok(proxy)
    }

    /// Bytes that went through.
    pub(crate) fn carried(&self) -> u64 {
        self.counts.carried.load(Ordering::Relaxed)
    }

    /// Pieces that came to harm.
    pub(crate) fn harmed(&self) -> u64 {
        self.counts.harmed.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[derive(Clone)]
struct All {
    replica: Arc<Replica>,
    forecast: Forecast,
    counts: Arc<Counts>,
    stop: CancellationToken,
}

/// One connection, both ways.
struct Link {
    weather: Weather,
    counts: Arc<Counts>,
    end: CancellationToken,
}

async fn accept(listener: TcpListener, all: All, mut dice: StdRng) {
    while let Some(Ok((inner, _))) = all.stop.run_until_cancelled(listener.accept()).await {
        let (all, seed) = (all.clone(), dice.random());
        tokio::spawn(async move {
            // A connection that cannot be made is closed: so does the network.
            let _ = carry(inner, &all, seed).await;
        });
    }
}

async fn carry(inner: TcpStream, all: &All, seed: u64) -> Result<(), Failure> {
    let wanted = SockaddrIn::from(socket::getsockopt(&inner, sockopt::OriginalDst)?);
    let wanted = SocketAddrV4::from(wanted);
    let outer = all.replica.space.inside(move || dial(wanted)).await?;
    outer.set_nonblocking(true)?;
    let outer = TcpStream::from_std(outer)?;
    inner.set_nodelay(true)?;
    outer.set_nodelay(true)?;
    let link = Link { weather: (all.forecast)(*wanted.ip()), counts: all.counts.clone(), end: all.stop.child_token() };
    let ((inner_read, inner_write), (outer_read, outer_write)) = (inner.into_split(), outer.into_split());
    let there = pump(inner_read, outer_write, &link, seed);
    let back = pump(outer_read, inner_write, &link, seed ^ 1);
    link.end.run_until_cancelled(async { tokio::join!(there, back) }).await;
    Ok(())
}

/// A connection whose packets have the mark.
fn dial(to: SocketAddrV4) -> std::io::Result<StdStream> {
    let fd = socket::socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    socket::setsockopt(&fd.as_fd(), sockopt::Mark, &MARK)?;
    socket::connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrIn::from(to))?;
    Ok(StdStream::from(fd))
}

/// One direction: what is read is written later.
async fn pump(from: OwnedReadHalf, to: OwnedWriteHalf, link: &Link, seed: u64) {
    let (sender, pieces) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    tokio::join!(read(from, sender, link, StdRng::seed_from_u64(seed)), write(to, pieces, link));
}

async fn read(mut from: OwnedReadHalf, sender: mpsc::Sender<(Instant, Vec<u8>)>, link: &Link, mut dice: StdRng) {
    let mut buffer = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let mut piece = buffer[..length].to_vec();
        let mut due = Instant::now() + link.weather.delay + link.weather.jitter.mul_f64(dice.random());
        let fate = fate(link.weather.harm, &mut dice);
        link.counts.harmed.fetch_add(u64::from(fate != Fate::Well), Ordering::Relaxed);
        match fate {
            Fate::Well => {}
            Fate::HeldUp => due += HELD_UP,
            Fate::Altered => piece[dice.random_range(0..length)] ^= 1 << dice.random_range(0..8),
            Fate::Missing => continue,
            Fate::Silence => return std::future::pending().await,
            Fate::Reset => return link.end.cancel(),
        }
        if sender.send((due, piece)).await.is_err() {
            break;
        }
    }
}

async fn write(mut to: OwnedWriteHalf, mut pieces: mpsc::Receiver<(Instant, Vec<u8>)>, link: &Link) {
    while let Some((due, piece)) = pieces.recv().await {
        tokio::time::sleep_until(due).await;
        if to.write_all(&piece).await.is_err() {
            break;
        }
        link.counts.carried.fetch_add(piece.len() as u64, Ordering::Relaxed);
    }
    // The other side may be gone.
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_pieces_come_to_harm_in_every_way() {
        let mut dice = StdRng::seed_from_u64(3);
        let fates: Vec<Fate> = (0..20_000).map(|_| fate(0.1, &mut dice)).collect();
        for harm in HARMS {
            let share = fates.iter().filter(|fate| **fate == harm).count() as f64 / fates.len() as f64;
            assert!((0.015..0.025).contains(&share), "{harm:?}: {share}");
        }
        assert!((0..1_000).all(|_| fate(0.0, &mut dice) == Fate::Well));
    }
}
