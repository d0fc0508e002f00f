//! What clients do. Each has one call at a time and goes on with the next when it is answered.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::ValueEnum;
use kontiki_proto::etcd as pb;
use parking_lot::Mutex;
use pb::kv_client::KvClient;
use pb::request_op::Request as OpRequest;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::Failure;
use crate::fleet::{self, Fleet};
use crate::servers::Server;

/// Keys that are read, each written once; those that are put are others.
const READ_KEYS: u64 = 10_000;
/// Keys that are put, over and over.
const PUT_KEYS: u64 = 100_000;
const VALUE_BYTES: usize = 256;
const RANGE_KEYS: u64 = 1_000;
/// Clients that range at once, at most.
pub(crate) const MOST_RANGING: usize = 100;
/// Puts of one transaction while filling.
const FILL_STEP: u64 = 100;
/// Clients that fill, one transaction each at a time.
const FILLERS: usize = 8;
/// One of their transactions: a server may be busy with what it was given.
const FILL_TIMEOUT: Duration = Duration::from_secs(60);
/// One call; what takes longer has failed.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// After a call that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
const MAX_ANSWER_BYTES: usize = 64 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// 256 bytes to one of 100,000 keys
    Put,
    /// One key, linearizably
    Get,
    /// 1,000 keys of 10,000, linearizably
    Range,
    /// One client puts a key that all others watch; the next put comes when all were told
    Watch,
}

impl Work {
    /// What is counted.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Work::Put => "puts",
            Work::Get => "gets",
            Work::Range => "ranges",
            Work::Watch => "deliveries",
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Work::Put => "put",
            Work::Get => "get",
            Work::Range => "range",
            Work::Watch => "watch",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) work: Work,
    pub(crate) clients: usize,
    pub(crate) time: Duration,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.work, self.clients)
    }
}

/// How it went.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Microseconds of the calls that were answered rightly.
    pub(crate) latencies: Vec<u32>,
    pub(crate) failed: usize,
    pub(crate) elapsed: Duration,
}

impl Tally {
    fn took(&mut self, time: Duration) {
        self.latencies.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }
}

/// Xorshift: what one client does is the same in every run.
struct Random(u64);

impl Random {
    fn of(client: usize) -> Self {
        Self((client as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Nothing that a disk could make smaller.
    fn value(&mut self) -> Bytes {
        (0..VALUE_BYTES / 8).flat_map(|_| self.next().to_ne_bytes()).collect()
    }
}

fn read_key(number: u64) -> Bytes {
    format!("read/{number:08}").into()
}

/// Writes what is read later.
pub(crate) async fn fill(server: &Server) -> Result<(), Failure> {
    fill_many(server, READ_KEYS).await
}

/// Writes this many keys (whole hundreds), those that are read first.
pub(crate) async fn fill_many(server: &Server, keys: u64) -> Result<(), Failure> {
    let next = Arc::new(AtomicU64::new(0));
    let mut fillers = JoinSet::new();
    for (number, url) in (0..FILLERS).zip(server.endpoints.iter().cycle()) {
        let kv = KvClient::new(fleet::connect(server, url).await?);
        fillers.spawn(fill_steps(kv, Random::of(number), next.clone(), keys));
    }
    while let Some(filled) = fillers.join_next().await {
        filled??;
    }
    Ok(())
}

async fn fill_steps(
    mut kv: KvClient<Channel>,
    mut random: Random,
    next: Arc<AtomicU64>,
    keys: u64,
) -> Result<(), Failure> {
    loop {
        let first = next.fetch_add(FILL_STEP, Ordering::Relaxed);
        if first >= keys {
            return Ok(());
        }
        let puts = (first..first + FILL_STEP).map(|number| {
            let put = pb::PutRequest { key: read_key(number), value: random.value(), ..Default::default() };
            pb::RequestOp { request: Some(OpRequest::RequestPut(put)) }
        });
        let txn = pb::TxnRequest { success: puts.collect(), ..Default::default() };
        timeout(FILL_TIMEOUT, kv.txn(txn)).await??;
    }
}

/// Fails when nothing at all was answered.
pub(crate) async fn run(fleet: &Fleet, load: &Load) -> Result<Tally, Failure> {
    let started = Instant::now();
    let mut tally = match load.work {
        Work::Watch => watch(fleet, load).await?,
        Work::Put | Work::Get | Work::Range => calls(fleet, load).await?,
    };
    tally.elapsed = started.elapsed();
    match tally.latencies.is_empty() {
        true => Err(format!("{} calls, and none was answered rightly", tally.failed).into()),
        false => Ok(tally),
    }
}

async fn calls(fleet: &Fleet, load: &Load) -> Result<Tally, Failure> {
    let until = Instant::now() + load.time;
    let mut clients = JoinSet::new();
    for client in 0..load.clients {
        let kv = KvClient::new(fleet.channel(client)).max_decoding_message_size(MAX_ANSWER_BYTES);
        clients.spawn(call_until(load.work, kv, Random::of(client), until));
    }
    let mut all = Tally::default();
    while let Some(one) = clients.join_next().await {
        let one = one?;
        all.latencies.extend(one.latencies);
        all.failed += one.failed;
    }
    Ok(all)
}

async fn call_until(work: Work, mut kv: KvClient<Channel>, mut random: Random, until: Instant) -> Tally {
    let mut tally = Tally::default();
    while Instant::now() < until {
        let started = Instant::now();
        match timeout(CALL_TIMEOUT, call(work, &mut kv, &mut random)).await {
            Ok(Ok(true)) => tally.took(started.elapsed()),
            _ => {
                tally.failed += 1;
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
    tally
}

/// Whether the answer has what was asked for.
async fn call(work: Work, kv: &mut KvClient<Channel>, random: &mut Random) -> Result<bool, Status> {
    match work {
        Work::Range => {
            let first = random.below(READ_KEYS - RANGE_KEYS);
            let (key, range_end) = (read_key(first), read_key(first + RANGE_KEYS));
            let answer = kv.range(pb::RangeRequest { key, range_end, ..Default::default() }).await?.into_inner();
            Ok(answer.kvs.len() as u64 == RANGE_KEYS)
        }
        Work::Get => {
            let key = read_key(random.below(READ_KEYS));
            let answer = kv.range(pb::RangeRequest { key, ..Default::default() }).await?.into_inner();
            Ok(answer.kvs.len() == 1)
        }
        Work::Put | Work::Watch => {
            let key = match work {
                Work::Put => format!("put/{:08}", random.below(PUT_KEYS)).into(),
                _ => Bytes::from_static(WATCHED),
            };
            kv.put(pb::PutRequest { key, value: random.value(), ..Default::default() }).await?;
            Ok(true)
        }
    }
}

const WATCHED: &[u8] = b"watched";

/// One put that all watchers are to be told.
struct News {
    put: Mutex<Instant>,
    told: AtomicUsize,
    watchers: usize,
    all: Notify,
    latencies: Mutex<Tally>,
}

async fn watch(fleet: &Fleet, load: &Load) -> Result<Tally, Failure> {
    let news = Arc::new(News {
        put: Mutex::new(Instant::now()),
        told: AtomicUsize::new(0),
        watchers: load.clients,
        all: Notify::new(),
        latencies: Mutex::default(),
    });
    let mut watchers = JoinSet::new();
    for client in 0..load.clients {
        let stream = timeout(CALL_TIMEOUT, open(fleet.channel(client))).await??;
        watchers.spawn(listen(stream, news.clone()));
    }
    let mut kv = KvClient::new(fleet.channel(0));
    let mut random = Random::of(load.clients);
    let (until, mut failed) = (Instant::now() + load.time, 0);
    while Instant::now() < until && failed == 0 {
        news.told.store(0, Ordering::Release);
        *news.put.lock() = Instant::now();
        let put = timeout(CALL_TIMEOUT, call(Work::Watch, &mut kv, &mut random)).await;
        let told = timeout(CALL_TIMEOUT, news.all.notified()).await;
        failed += usize::from(!matches!((put, told), (Ok(Ok(true)), Ok(()))));
    }
    watchers.shutdown().await;
    let mut tally = std::mem::take(&mut *news.latencies.lock());
    tally.failed += failed;
    Ok(tally)
}

async fn open(channel: Channel) -> Result<Streaming<pb::WatchResponse>, Status> {
    let create = pb::WatchCreateRequest { key: Bytes::from_static(WATCHED), ..Default::default() };
    let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    // The stream stays open on the client's side as well: etcd would end the watch.
    let requests = tokio_stream::StreamExt::chain(tokio_stream::iter([create]), tokio_stream::pending());
    let mut stream = WatchClient::new(channel).watch(requests).await?.into_inner();
    match stream.message().await? {
        Some(answer) if answer.created && !answer.canceled => Ok(stream),
        answer => Err(Status::unknown(format!("a watch was not created: {answer:?}"))),
    }
}

/// Ends with its stream; the put that nobody is told of any more has failed then.
async fn listen(mut stream: Streaming<pb::WatchResponse>, news: Arc<News>) {
    while let Ok(Some(response)) = stream.message().await {
        let took = news.put.lock().elapsed();
        for _ in response.events {
            news.latencies.lock().took(took);
            if news.told.fetch_add(1, Ordering::AcqRel) + 1 == news.watchers {
                news.all.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_do_the_same_in_every_run_and_not_the_same_as_others() {
        let first = |client| (0..5).map(|_| Random::of(client).next()).collect::<Vec<_>>();
        assert_eq!(first(3), first(3));
        assert_ne!(first(3), first(4));
        assert_eq!(Random::of(1).value().len(), VALUE_BYTES);
    }
}
