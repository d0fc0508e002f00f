//! Transactions over several lists through etcd's interface: each reads some and appends to others, on top of exactly
//! what its client read before. And watchers of those lists, which go on at another replica when one fails.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, Txn as Request, TxnOp, TxnOpResponse, TxnResponse, WatchOptions};
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use tokio::sync::watch::Receiver;
use tokio::time::timeout;

use super::session::PATIENCE;
use super::stage::{Stage, Store};
use super::store::{in_time, why};
use crate::Failure;
use crate::checkers::append::SEPARATOR;
use crate::history::{StoreWatch, Stored, Txn, TxnOutcome, Version};

pub const WORKLOAD: &str = "txn";
const LISTS: usize = 5;
const CLIENTS: usize = 3;
/// Lists that one transaction appends to, at most.
const APPENDS: usize = 3;
const PACE: Duration = Duration::from_millis(160);
/// Without a message, a connection is made anew: progress is told much more often.
const SILENCE: Duration = Duration::from_secs(20);
/// Before a watcher tries again.
const RETRY: Duration = Duration::from_millis(200);
/// Until everything was told.
const TELLS: Duration = Duration::from_secs(60);

/// What a client found last: the lists that there were.
type Memory = BTreeMap<String, Version>;

/// Begins the name of every list.
pub fn prefix(round: &str) -> String {
    format!("/chaos/{round}/")
}

fn lists(round: &str) -> Vec<String> {
    (0..LISTS).map(|number| format!("{}{number}", prefix(round))).collect()
}

pub async fn run(stage: Stage) -> Vec<Txn> {
    join_all((0..CLIENTS).map(|number| client(&stage, number))).await.concat()
}

/// The first stays where it is; the others go on to the next replica after a failure.
async fn client(stage: &Stage, number: usize) -> Vec<Txn> {
    let (process, mut dice) = (format!("{WORKLOAD}{number}"), stage.dice(&format!("{WORKLOAD}{number}")));
    let (mut at, mut txns, lists) = (number % stage.stores.len(), Vec::new(), lists(&stage.round));
    for turn in 0_u64.. {
        if !stage.pause(PACE, &mut dice).await {
            break;
        }
        let read = once(stage, &stage.stores[at], &process, reading(&lists)).await;
        let found = memory(&read);
        txns.push(read);
        if let Some(found) = found {
            let appends = appending(&lists, &found, &format!("{process}-{turn}"), &mut dice);
            txns.push(once(stage, &stage.stores[at], &process, appends).await);
        }
        let failed = txns.last().is_some_and(|txn| matches!(txn.outcome, TxnOutcome::Unknown(_)));
        at = if failed && number > 0 { (at + 1) % stage.stores.len() } else { at };
    }
    txns
}

/// What is asked for in one transaction.
struct Wanted {
    on: BTreeMap<String, u64>,
    writes: BTreeMap<String, String>,
    /// When all compare as wanted.
    reads: Vec<String>,
}

fn reading(lists: &[String]) -> Wanted {
    Wanted { on: BTreeMap::new(), writes: BTreeMap::new(), reads: lists.to_vec() }
}

/// The same element to some lists, on top of what all of them were.
fn appending(lists: &[String], found: &Memory, element: &str, dice: &mut StdRng) -> Wanted {
    let count = rand::Rng::random_range(dice, 1..=APPENDS);
    let chosen = lists.iter().choose_multiple(dice, count);
    let longer = |list: &String| match found.get(list) {
        Some(before) => format!("{}{SEPARATOR}{element}", before.value),
        None => element.to_owned(),
    };
    Wanted {
        on: chosen.iter().map(|list| ((*list).clone(), found.get(*list).map_or(0, |one| one.revision))).collect(),
        writes: chosen.iter().map(|list| ((*list).clone(), longer(list))).collect(),
        reads: lists.iter().filter(|list| !chosen.contains(list)).cloned().collect(),
    }
}

impl Wanted {
    fn request(&self) -> Request {
        let compares: Vec<Compare> = self.on.iter().map(|(key, revision)| compare(key, *revision)).collect();
        let get = |key: &String| TxnOp::get(key.as_str(), None);
        let puts = self.writes.iter().map(|(key, value)| TxnOp::put(key.as_str(), value.as_str(), None));
        let done: Vec<TxnOp> = self.reads.iter().map(get).chain(puts).collect();
        let otherwise: Vec<TxnOp> = self.reads.iter().chain(self.on.keys()).map(get).collect();
        Request::new().when(compares).and_then(done).or_else(otherwise)
    }
}

fn compare(key: &str, revision: u64) -> Compare {
    Compare::mod_revision(key, CompareOp::Equal, i64::try_from(revision).expect("etcd's revisions are signed"))
}

async fn once(stage: &Stage, (replica, client): &Store, process: &str, wanted: Wanted) -> Txn {
    let (invoked, asked) = (stage.now(), wanted.request());
    let outcome = match in_time(client.kv_client().txn(asked)).await {
        Ok(response) => done(&wanted, &response),
        Err(Some(error)) => failed(&error),
        Err(None) => TxnOutcome::Unknown(why(None)),
    };
    let Wanted { on, writes, .. } = wanted;
    Txn { process: process.to_owned(), replica: *replica, invoked, returned: stage.now(), on, writes, outcome }
}

fn done(wanted: &Wanted, response: &TxnResponse) -> TxnOutcome {
    let succeeded = response.succeeded();
    let asked = wanted.reads.iter().chain(wanted.on.keys().filter(|_| !succeeded));
    let found = response.op_responses().into_iter().filter_map(|one| match one {
        TxnOpResponse::Get(get) => Some(get.kvs().first().map(version)),
        _ => None,
    });
    let read = asked.cloned().zip(found).collect();
    let revision = response.header().map(etcd_client::ResponseHeader::revision);
    match revision.and_then(|revision| u64::try_from(revision).ok()) {
        Some(revision) => TxnOutcome::Done { succeeded, revision, read },
        None => TxnOutcome::Unknown("an answer without a revision".to_owned()),
    }
}

fn version(kv: &etcd_client::KeyValue) -> Version {
    let value = String::from_utf8_lossy(kv.value()).into_owned();
    Version { revision: u64::try_from(kv.mod_revision()).unwrap_or(0), value }
}

fn memory(txn: &Txn) -> Option<Memory> {
    let TxnOutcome::Done { read, .. } = &txn.outcome else { return None };
    Some(read.iter().filter_map(|(list, found)| Some((list.clone(), found.clone()?))).collect())
}

/// Codes of gRPC that say that nothing was done: an invalid argument, exhausted resources, a failed precondition. With
/// any other something may have been.
const NOTHING_DONE: [i32; 3] = [3, 8, 9];

fn failed(error: &etcd_client::Error) -> TxnOutcome {
    match error {
        etcd_client::Error::GRpcStatus(status) if NOTHING_DONE.contains(&(status.code() as i32)) => {
            TxnOutcome::Refused(status.message().to_owned())
        }
        error => TxnOutcome::Unknown(error.to_string()),
    }
}

/// Writes what comes after everything else of the round, through any replica that does it. Its revision.
pub async fn conclude(stage: &Stage, stores: &[Store], txns: &mut Vec<Txn>) -> Result<u64, Failure> {
    for (turn, store) in stores.iter().cycle().take(stores.len() * 3).enumerate() {
        let writes = BTreeMap::from([(format!("{}end", prefix(&stage.round)), format!("end-{turn}"))]);
        let txn = once(stage, store, "end", Wanted { on: BTreeMap::new(), writes, reads: Vec::new() }).await;
        let done = match &txn.outcome {
            TxnOutcome::Done { revision, .. } => Some(*revision),
            TxnOutcome::Refused(_) | TxnOutcome::Unknown(_) => None,
        };
        txns.push(txn);
        if let Some(revision) = done {
            return Ok(revision);
        }
    }
    Err(format!("no replica writes for etcd's clients: {:?}", txns.last().map(|txn| &txn.outcome)).into())
}

/// Watchers that begin with the round, one through each replica.
pub async fn watch(stage: Stage, from: u64, target: Receiver<Option<u64>>) -> Vec<StoreWatch> {
    let watchers = (0..stage.stores.len()).map(|at| {
        let target = target.clone();
        let stage = &stage;
        async move {
            let mut watch = StoreWatch { watcher: format!("{WORKLOAD}-watcher{at}"), ..StoreWatch::after(from) };
            watch.caught_up = follow(&stage.stores, at, &stage.round, &mut watch, target).await;
            watch
        }
    });
    join_all(watchers).await
}

/// Everything that happened to the round's lists after `from`, as one replica tells it afterwards.
pub async fn told(store: &Store, round: &str, from: u64, upto: u64) -> Result<Vec<Stored>, Failure> {
    let (_told, target) = tokio::sync::watch::channel(Some(upto));
    let mut watch = StoreWatch::after(from);
    match follow(std::slice::from_ref(store), 0, round, &mut watch, target).await {
        true => Ok(watch.messages.concat()),
        false => Err(format!("replica {} does not tell etcd's clients the history up to {upto}", store.0).into()),
    }
}

/// Until the revision that is told some day; whether it came there in time.
async fn follow(
    stores: &[Store],
    first: usize,
    round: &str,
    watch: &mut StoreWatch,
    target: Receiver<Option<u64>>,
) -> bool {
    let mut over = std::pin::pin!(late(target.clone()));
    for at in first.. {
        // What a replica tells until it fails is kept; the next goes on behind that.
        let failed = tokio::select! {
            over = listen(&stores[at % stores.len()].1, round, watch, target.clone()) => over.is_err(),
            () = &mut over => return false,
        };
        if !failed {
            return true;
        }
        tokio::time::sleep(RETRY).await;
    }
    false
}

/// Some time after the target was told, or at once when nobody will.
async fn late(mut target: Receiver<Option<u64>>) {
    if target.wait_for(Option::is_some).await.is_ok() {
        tokio::time::sleep(TELLS).await;
    }
}

async fn listen(
    client: &Client,
    round: &str,
    watch: &mut StoreWatch,
    mut target: Receiver<Option<u64>>,
) -> Result<(), Failure> {
    let start = i64::try_from(watch.position() + 1)?;
    let options = WatchOptions::new().with_prefix().with_start_revision(start);
    let mut stream = timeout(PATIENCE, client.watch_client().watch(prefix(round), Some(options))).await??;
    loop {
        let message = tokio::select! {
            message = timeout(SILENCE, stream.message()) => message??.ok_or("the stream ended")?,
            () = reached(&mut target, watch.position()) => return Ok(()),
        };
        if message.canceled() {
            watch.cancelled.push((message.compact_revision(), message.cancel_reason().to_owned()));
            return Err(message.cancel_reason().into());
        }
        let events: Vec<Stored> = message.events().iter().filter_map(stored).collect();
        if !events.is_empty() {
            watch.messages.push(events);
        }
    }
}

/// The target is told, and not behind this position.
async fn reached(target: &mut Receiver<Option<u64>>, position: u64) {
    if target.wait_for(|target| target.is_some_and(|target| position >= target)).await.is_err() {
        // Nobody will tell it any more.
        std::future::pending::<()>().await;
    }
}

fn stored(event: &etcd_client::Event) -> Option<Stored> {
    let kv = event.kv()?;
    let Version { revision, value } = version(kv);
    Some(Stored { revision, key: String::from_utf8_lossy(kv.key()).into_owned(), value })
}
