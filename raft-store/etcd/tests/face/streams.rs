//! What streams tell, and in which order.

use std::collections::BTreeMap;
use std::time::Duration;

use kontiki_proto::etcd as pb;
use pb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Streaming};

use crate::server::{PROGRESS, Servers, patiently, put};

/// A watch stream: what the client asks, and what it is told.
struct Stream {
    ask: mpsc::Sender<pb::WatchRequest>,
    told: Streaming<pb::WatchResponse>,
}

impl Stream {
    async fn open(servers: &Servers, id: u64, require_leader: bool) -> Self {
        let (ask, asked) = mpsc::channel(64);
        let mut request = Request::new(ReceiverStream::new(asked));
        if require_leader {
            request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        }
        let told = servers.watch(id).await.watch(request).await.expect("a stream").into_inner();
        Self { ask, told }
    }

    async fn say(&self, request: RequestUnion) {
        self.ask.send(pb::WatchRequest { request_union: Some(request) }).await.expect("the stream is open");
    }

    async fn create(&mut self, key: &'static str, watch_id: i64, progress_notify: bool) {
        let range_end = store_api::prefix_end(key.as_bytes());
        let create = pb::WatchCreateRequest {
            key: key.into(),
            range_end,
            watch_id,
            progress_notify,
            ..pb::WatchCreateRequest::default()
        };
        self.say(RequestUnion::CreateRequest(create)).await;
    }

    async fn next(&mut self) -> pb::WatchResponse {
        patiently(self.told.message()).await.expect("told").expect("the stream goes on")
    }
}

fn revision(response: &pb::WatchResponse) -> i64 {
    response.header.as_ref().expect("a header").revision
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_told_where_nothing_else_is() {
    let servers = Servers::start(1).await;
    let mut kv = servers.kv(1).await;
    let mut stream = Stream::open(&servers, 1, false).await;
    stream.create("quiet/", 1, true).await;
    stream.create("quiet/", 2, false).await;
    for _ in 0..2 {
        assert!(stream.next().await.created);
    }
    for _ in 0..3 {
        let written = kv.put(put("other", "v")).await.expect("written").into_inner().header.expect("a header").revision;
        let mut told = 0;
        while told < written {
            let response = stream.next().await;
            assert_eq!((response.watch_id, response.events.len()), (1, 0), "only who asked is told");
            told = revision(&response);
            assert!(told <= written);
        }
    }
    // An event is news enough: there is no progress besides until the next interval has passed.
    kv.put(put("quiet/a", "v")).await.expect("written");
    let events = [stream.next().await, stream.next().await];
    assert!(events.iter().all(|response| response.events.len() == 1), "{events:?}");
    let silence = tokio::time::timeout(PROGRESS / 4, stream.told.message()).await;
    assert!(silence.is_err(), "{silence:?}");
}

/// Its last watch was told that its history is gone, and the client asks for nothing more: there is nothing to wait for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_without_watches_ends_with_its_client() {
    let servers = Servers::start(1).await;
    let mut kv = servers.kv(1).await;
    let mut newest = 0;
    for _ in 0..3 {
        newest = kv.put(put("k", "v")).await.expect("written").into_inner().header.expect("a header").revision;
    }
    kv.compact(pb::CompactionRequest { revision: newest, physical: false }).await.expect("compacted");
    let mut stream = Stream::open(&servers, 1, false).await;
    let old = pb::WatchCreateRequest { key: "k".into(), start_revision: 1, ..pb::WatchCreateRequest::default() };
    stream.say(RequestUnion::CreateRequest(old)).await;
    let mut told = stream.next().await;
    while !told.canceled {
        told = stream.next().await;
    }
    assert_eq!(told.compact_revision, newest);
    let Stream { ask, mut told } = stream;
    drop(ask);
    let end = patiently(told.message()).await;
    assert!(matches!(end, Ok(None)), "{end:?}");
}

/// An answer to the question how far all watches are comes after every event up to the revision it names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_never_ahead_of_events() {
    const WRITES: i64 = 600;
    let servers = Servers::start(3).await;
    let follower = servers.cluster.follower().await;
    let mut stream = Stream::open(&servers, follower, false).await;
    for id in 1..=5 {
        stream.create("k/", id, false).await;
        assert!(stream.next().await.created);
    }
    let kv = servers.kv(servers.cluster.leader().await).await;
    let writers = (0..4).map(|writer| {
        let mut kv = kv.clone();
        tokio::spawn(async move {
            let mut last = 0;
            for n in 0..WRITES / 4 {
                let answer = kv.put(put(format!("k/{writer}/{n}"), "v")).await.expect("written").into_inner();
                last = answer.header.expect("a header").revision;
            }
            last
        })
    });
    let writers: Vec<_> = writers.collect();
    let asking = {
        let ask = stream.ask.clone();
        tokio::spawn(async move {
            let progress = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
            while ask.send(pb::WatchRequest { request_union: Some(progress.clone()) }).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
    };
    let (mut seen, mut answers, mut newest) = (BTreeMap::new(), 0, 0);
    while newest < WRITES + 1 {
        let response = stream.next().await;
        for event in &response.events {
            let at = event.kv.as_ref().expect("a key").mod_revision;
            let before = seen.insert(response.watch_id, at).unwrap_or(at - 1);
            assert_eq!(at, before + 1, "watch {} misses nothing and repeats nothing", response.watch_id);
        }
        if response.events.is_empty() {
            let told = revision(&response);
            assert_eq!(response.watch_id, -1);
            assert!(told >= newest, "progress does not go back");
            let behind = seen.iter().find(|(_, reached)| **reached < told);
            assert!(told == 1 || behind.is_none() && seen.len() == 5, "told up to {told}, but watch {behind:?}");
            (answers, newest) = (answers + 1, told);
        }
    }
    asking.abort();
    for writer in writers {
        writer.await.expect("a writer");
    }
    println!("{answers} answers while {WRITES} writes were told");
    assert!(answers > 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_watch_says_nothing_more() {
    let servers = Servers::start(1).await;
    let mut stream = Stream::open(&servers, 1, false).await;
    let kv = servers.kv(1).await;
    let writing = tokio::spawn({
        let mut kv = kv.clone();
        async move {
            for n in 0.. {
                if kv.put(put(format!("k/{n}"), vec![b'v'; 1000])).await.is_err() {
                    return;
                }
            }
        }
    });
    for id in 1..=20 {
        stream.create("k/", id, false).await;
        let mut cancelled = false;
        let mut events = 0;
        while events < 10 {
            let response = stream.next().await;
            assert_eq!(response.watch_id, id, "a watch that was cancelled");
            events += response.events.len();
        }
        stream.say(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: id })).await;
        while !cancelled {
            let response = stream.next().await;
            assert_eq!(response.watch_id, id);
            cancelled = response.canceled;
        }
    }
    writing.abort();
}

/// A client that does not read holds up nobody, and misses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_gets_everything_later() {
    const WRITES: usize = 400;
    let servers = Servers::start(1).await;
    let mut slow = Stream::open(&servers, 1, false).await;
    slow.create("k/", 1, false).await;
    assert!(slow.next().await.created);
    let mut kv = servers.kv(1).await;
    for n in 0..WRITES {
        patiently(kv.put(put(format!("k/{n}"), vec![b'v'; 100_000]))).await.expect("written");
    }
    let mut quick = Stream::open(&servers, 1, false).await;
    quick.create("k/", 1, false).await;
    assert!(quick.next().await.created);
    kv.put(put("k/last", "v")).await.expect("written");
    assert_eq!(quick.next().await.events.len(), 1);
    let mut next = 2;
    while next < WRITES as i64 + 3 {
        for event in slow.next().await.events {
            assert_eq!(event.kv.expect("a key").mod_revision, next);
            next += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_leader_those_end_that_require_one() {
    let mut servers = Servers::start(2).await;
    let (gone, left) = (servers.cluster.leader().await, servers.cluster.follower().await);
    let mut requires = Stream::open(&servers, left, true).await;
    requires.create("k/", 1, false).await;
    assert!(requires.next().await.created);
    let mut stays = Stream::open(&servers, left, false).await;
    stays.create("k/", 1, false).await;
    assert!(stays.next().await.created);
    let mut kv = servers.kv(left).await;
    servers.kill(gone).await;
    let ended = patiently(requires.told.message()).await.expect_err("no leader");
    assert_eq!((ended.code(), ended.message()), (Code::Unavailable, "etcdserver: no leader"));
    let mut request = Request::new(pb::RangeRequest { key: "a".into(), serializable: true, ..Default::default() });
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    let refused = kv.range(request).await.expect_err("no leader");
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "etcdserver: no leader"));
    let local = pb::RangeRequest { key: "a".into(), serializable: true, ..Default::default() };
    kv.range(local).await.expect("what is here can be read");
    servers.cluster.restart(gone).await;
    let written = async {
        while kv.put(put("k/a", "v")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    patiently(written).await;
    assert_eq!(stays.next().await.events.len(), 1, "who does not require one goes on when it is back");
}
