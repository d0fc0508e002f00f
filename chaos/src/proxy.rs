//! A slow link: connections that a replica opens to others go through here, and every byte is late.
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
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) delay: Duration,
    /// Up to this much more, anew for every piece; order stays.
    pub(crate) jitter: Duration,
}

/// On packets of the proxy itself: they are not sent through it again.
pub(crate) const MARK: u32 = 0x5e;
/// Bytes read at once.
const PIECE: usize = 16 << 10;
/// Pieces under way on one connection.
const UNDER_WAY: usize = 256;

pub(crate) struct Proxy {
    pub(crate) port: u16,
    stop: CancellationToken,
    carried: Arc<AtomicU64>,
}

impl Proxy {
    pub(crate) async fn open(replica: &Arc<Replica>, weather: Weather, seed: u64) -> Result<Self, Failure> {
        let listener = replica.space.inside(|| StdListener::bind((Ipv4Addr::UNSPECIFIED, 0))).await?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let proxy = Self { port, stop: CancellationToken::new(), carried: Arc::default() };
        let link = Link { replica: replica.clone(), weather, carried: proxy.carried.clone(), stop: proxy.stop.clone() };
        tokio::spawn(accept(TcpListener::from_std(listener)?, link, StdRng::seed_from_u64(seed)));
        Ok(proxy)
    }

    /// Bytes that went through.
    pub(crate) fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[derive(Clone)]
struct Link {
    replica: Arc<Replica>,
    weather: Weather,
    carried: Arc<AtomicU64>,
    stop: CancellationToken,
}

async fn accept(listener: TcpListener, link: Link, mut dice: StdRng) {
    while let Some(Ok((inner, _))) = link.stop.run_until_cancelled(listener.accept()).await {
        let (link, seed) = (link.clone(), dice.random());
        tokio::spawn(async move {
            // A connection that cannot be made is closed: so does the network.
            let _ = carry(inner, &link, seed).await;
        });
    }
}

async fn carry(inner: TcpStream, link: &Link, seed: u64) -> Result<(), Failure> {
    let wanted = SockaddrIn::from(socket::getsockopt(&inner, sockopt::OriginalDst)?);
    let wanted = SocketAddrV4::from(wanted);
    let outer = link.replica.space.inside(move || dial(wanted)).await?;
    outer.set_nonblocking(true)?;
    let outer = TcpStream::from_std(outer)?;
    inner.set_nodelay(true)?;
    outer.set_nodelay(true)?;
    let ((inner_read, inner_write), (outer_read, outer_write)) = (inner.into_split(), outer.into_split());
    let there = pump(inner_read, outer_write, link, seed);
    let back = pump(outer_read, inner_write, link, seed ^ 1);
    link.stop.run_until_cancelled(async { tokio::join!(there, back) }).await;
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
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, link: &Link, seed: u64) {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let read = async move {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut piece = vec![0; PIECE];
        while let Ok(1..) = from.read(&mut piece).await.inspect(|length| piece.truncate(*length)) {
            let due = Instant::now() + link.weather.delay + link.weather.jitter.mul_f64(dice.random());
            if sender.send((due, std::mem::replace(&mut piece, vec![0; PIECE]))).await.is_err() {
                break;
            }
        }
    };
    let write = async {
        while let Some((due, piece)) = pieces.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                break;
            }
            link.carried.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        // The other side may be gone.
        let _ = to.shutdown().await;
        drop(pieces);
    };
    tokio::join!(read, write);
}
