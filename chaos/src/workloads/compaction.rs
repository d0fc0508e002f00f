//! History that is forgotten while watchers go on behind it and before it, through both interfaces.
//!
//! The other workloads' history has to stay: what they saw is compared with it. So a strip of history is written before
//! the round, objects and keys, and while faults strike, that is forgotten step by step (after the round, see
//! [`close`], the first half of its own).

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use etcd_client::{Client, GetOptions, ResponseHeader, Txn, TxnOp};
use futures::future::join_all;
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::session::{PATIENCE, Session};
use super::stage::{Stage, Store, Through};
use super::store::{in_time, is_compacted, listen, why};
use super::watch::{Manner, connect};
use super::{mix, replay, transactions};
use crate::Failure;
use crate::history::{
    Age, Compaction, CompactionLog, CompactionOutcome, Connection, Ending, Event, Keyed, Kind, Op, Outcome, PastRead,
    PastState, Resume, Selector, Start, Version, WatchLog,
};
use crate::truth::Truth;

pub const WORKLOAD: &str = "strip";
/// Writes of the strip, of objects and of keys, and how many there are of each.
const OBJECT_WRITES: usize = 70;
const KEY_WRITES: usize = 110;
const NAMES: usize = 5;
/// Of all writes, in percent.
const DELETIONS: u32 = 25;
/// The end of the strip that is never forgotten.
const KEPT: u64 = 30;
/// Between two compactions, and revisions that one forgets besides those before.
const EVERY: Duration = Duration::from_millis(350);
const STEP: std::ops::RangeInclusive<u64> = 1..=4;
/// Watches begin so many revisions before or after what is forgotten.
const AROUND: std::ops::RangeInclusive<i64> = -10..=24;
const RESUMERS: usize = 3;
/// Events that one takes which breaks off. A revision has at most two.
const FEW: std::ops::Range<usize> = 3..20;
const PACE: Duration = Duration::from_millis(250);
/// A watcher that comes late, does not read for a while, or breaks off, stays away so long.
const AWAY: Duration = Duration::from_millis(1_500);
/// Objects of a page, and the pause before the next one.
const PAGE: u32 = 2;
const PAGE_PAUSE: Duration = Duration::from_millis(500);
/// Of Kubernetes' watches of the strip.
const MANNER: Manner = Manner { timeout: Duration::from_secs(3), asleep: Duration::ZERO };
/// Until all of what is known to be there was told.
const TELLS: Duration = Duration::from_secs(10);
/// For the compaction after the round.
const TRIES: usize = 12;
/// So much later than what is forgotten is not near to it any more.
const FURTHER: u64 = 40;
/// The number of the session that lists the round's objects then, which no other one has.
const LISTER: usize = 90;
const RETRY: Duration = Duration::from_millis(300);

/// History from before a round, and everything that happened in it.
pub struct Strip {
    stage: Stage,
    truth: Truth,
    ops: Vec<Op>,
    told: Vec<Keyed>,
}

/// The last revision that is told, which is no bookmark.
fn last(truth: &Truth) -> u64 {
    truth.events.last().map_or(truth.from, Event::revision)
}

fn last_key(told: &[Keyed]) -> u64 {
    told.last().map_or(0, |keyed| keyed.revision)
}

/// Written while nothing is broken.
pub async fn prepare(stage: &Stage) -> Result<Strip, Failure> {
    // What is written for it is no load to test under.
    let round = format!("{}-{WORKLOAD}", stage.round);
    let stage = Stage { round, acknowledged: Arc::default(), ..stage.clone() };
    let from = replay::head(&stage.clients).await?;
    let (ops, keys) = tokio::join!(write_objects(&stage), write_keys(&stage));
    let upto = ops.iter().filter_map(|op| written(&op.outcome)).max().ok_or("no object of the strip was written")?;
    let events = replay::objects(&stage, &stage.clients[0], from, upto).await?;
    let told = told(&stage.stores[0], &transactions::prefix(&stage.round), from, keys?).await?;
    Ok(Strip { truth: Truth { from, upto, events }, stage, ops, told })
}

fn written(outcome: &Outcome) -> Option<u64> {
    match outcome {
        Outcome::Written(revision) => Some(*revision),
        _ => None,
    }
}

/// Objects that come, change and go. The last write makes one, so that its revision is known.
async fn write_objects(stage: &Stage) -> Vec<Op> {
    let (mut session, mut dice) = (Session::new(stage, WORKLOAD, 0, true), stage.dice(WORKLOAD));
    let mut there: BTreeMap<String, Version> = BTreeMap::new();
    for _ in 0..OBJECT_WRITES {
        let name = format!("{}-{}", stage.round, dice.random_range(0..NAMES));
        let gone = dice.random_ratio(DELETIONS, 100);
        match there.remove(&name) {
            Some(on) if gone => drop(session.delete(&name, on).await),
            on => {
                let value = session.value();
                let outcome = match on {
                    Some(on) => session.update(&name, value.clone(), on).await,
                    None => session.create(&name, value.clone()).await,
                };
                there.extend(written(&outcome).map(|revision| (name, Version { revision, value })));
            }
        }
    }
    let value = session.value();
    session.create(&format!("{}-last", stage.round), value).await;
    session.ops
}

/// The revision of the last of them.
async fn write_keys(stage: &Stage) -> Result<u64, Failure> {
    let mut dice = stage.dice("strip-keys");
    let (prefix, mut kv) = (transactions::prefix(&stage.round), stage.stores[0].1.kv_client());
    let name = |dice: &mut StdRng| format!("{prefix}{}", dice.random_range(0..NAMES));
    for number in 0..KEY_WRITES {
        let (key, value) = (name(&mut dice), format!("{number}"));
        let other = Some(name(&mut dice)).filter(|other| *other != key && number.is_multiple_of(5));
        match (dice.random_ratio(DELETIONS, 100), other) {
            (true, _) => drop(in_time(kv.delete(key, None)).await.map_err(why)?),
            // Two at once.
            (false, Some(other)) => {
                let puts = Vec::from([key, other].map(|key| TxnOp::put(key, value.as_str(), None)));
                in_time(kv.txn(Txn::new().and_then(puts))).await.map_err(why)?;
            }
            (false, None) => drop(in_time(kv.put(key, value, None)).await.map_err(why)?),
        }
    }
    let put = in_time(kv.put(format!("{prefix}last"), "last", None)).await.map_err(why)?;
    revision_of(put.header()).ok_or_else(|| "an answer without a revision".into())
}

fn revision_of(header: Option<&ResponseHeader>) -> Option<u64> {
    header.and_then(|header| u64::try_from(header.revision()).ok())
}

async fn told(store: &Store, prefix: &str, from: u64, upto: u64) -> Result<Vec<Keyed>, Failure> {
    let mut all: Vec<Keyed> = Vec::new();
    let mut take = |events: Vec<Keyed>| {
        all.extend(events);
        if last_key(&all) >= upto { ControlFlow::Break(Ending::Whole) } else { ControlFlow::Continue(()) }
    };
    match timeout(TELLS, listen(&store.1, prefix, from + 1, &mut take)).await {
        Ok(Ending::Whole) => Ok(all),
        other => Err(format!("replica {} does not tell {prefix} up to {upto}: {other:?}", store.0).into()),
    }
}

/// What all tasks of the workload share.
struct Work {
    strip: Strip,
    /// The latest revision that somebody was asked to compact at.
    newest: AtomicU64,
    log: Mutex<CompactionLog>,
}

/// Until the round ends.
pub async fn run(strip: Strip) -> CompactionLog {
    let newest = AtomicU64::new(strip.truth.from);
    let work = Work { strip, newest, log: Mutex::default() };
    let resumers = join_all((0..RESUMERS).map(|number| resumer(&work, number)));
    let ((), _, watched, listed) = tokio::join!(compactor(&work), resumers, watcher(&work), lister(&work));
    let Strip { truth, ops, told, .. } = work.strip;
    let ops = [ops, listed].concat();
    CompactionLog { truth, ops, told, watch: Some(watched), ..work.log.into_inner() }
}

impl Work {
    fn stage(&self) -> &Stage {
        &self.strip.stage
    }

    /// A revision of the strip, near to what is forgotten. `upto` is the last one of interest.
    fn near(&self, upto: u64, dice: &mut StdRng) -> u64 {
        let newest = self.newest.load(Ordering::Relaxed);
        newest.saturating_add_signed(dice.random_range(AROUND)).clamp(self.strip.truth.from + 1, upto - 1)
    }
}

async fn compactor(work: &Work) {
    let (stage, mut dice) = (work.stage(), work.stage().dice("compactor"));
    let most = last(&work.strip.truth).min(last_key(&work.strip.told)).saturating_sub(KEPT);
    while stage.pause(EVERY, &mut dice).await {
        let revision = work.newest.load(Ordering::Relaxed) + dice.random_range(STEP);
        if revision > most {
            break;
        }
        let through = stage.stores.iter().choose(&mut dice).expect("replicas");
        work.newest.store(revision, Ordering::Relaxed);
        let compaction = compact(stage, through, revision).await;
        work.log.lock().compactions.push(compaction);
    }
}

async fn compact(stage: &Stage, (replica, client): &Store, revision: u64) -> Compaction {
    let invoked = stage.now();
    let asked = i64::try_from(revision).expect("etcd's revisions are signed");
    let outcome = match in_time(client.kv_client().compact(asked, None)).await {
        Ok(_) => CompactionOutcome::Done,
        // One through another replica was first, or this one was tried again after it was done.
        Err(Some(error)) if is_compacted(&error) => CompactionOutcome::Unknown(error.to_string()),
        Err(error) => CompactionOutcome::Unknown(why(error)),
    };
    Compaction { replica: *replica, revision, invoked, returned: stage.now(), outcome }
}

/// Watches that begin near to what is forgotten, and go on where they broke off.
async fn resumer(work: &Work, number: usize) {
    let (stage, mut dice) = (work.stage(), work.stage().dice(&format!("resumer{number}")));
    let (prefix, upto) = (transactions::prefix(&stage.round), last_key(&work.strip.told));
    let mut next = None;
    while stage.pause(PACE, &mut dice).await {
        let start = next.take().unwrap_or_else(|| work.near(upto, &mut dice));
        let through = stage.stores.iter().choose(&mut dice).expect("replicas");
        let (late, breaks_off) = (dice.random_ratio(1, 5), dice.random_ratio(1, 3));
        let most = if breaks_off { dice.random_range(FEW) } else { usize::MAX };
        let from = Begin { start, upto, late: if late { AWAY } else { Duration::ZERO }, most };
        let Some((read, resume)) = resume(stage, through, &prefix, &from).await else { continue };
        if resume.ending == Ending::Left {
            next = resume.messages.last().and_then(|message| message.last()).map(|last| last.revision + 1);
            next = next.filter(|next| *next <= upto);
        }
        {
            let mut log = work.log.lock();
            log.reads.push(read);
            log.resumes.push(resume);
        }
        if next.is_some() {
            stage.stop.run_until_cancelled(tokio::time::sleep(AWAY)).await;
        }
    }
}

/// How a watch begins, and ends.
struct Begin {
    start: u64,
    upto: u64,
    late: Duration,
    /// Events of a message that it takes, of whole revisions; with more it breaks off.
    most: usize,
}

/// First the state at the beginning, then what came after it. Nothing when the replica does not answer.
async fn resume(stage: &Stage, (replica, client): &Store, prefix: &str, from: &Begin) -> Option<(PastRead, Resume)> {
    let (replica, prefix, invoked) = (*replica, prefix.to_owned(), stage.now());
    let barrier = GetOptions::new().with_prefix().with_count_only();
    in_time(client.kv_client().get(prefix.as_str(), Some(barrier))).await.ok()?;
    let state = past(client, &prefix, from.start).await;
    let returned = stage.now();
    let read = PastRead { replica, prefix: prefix.clone(), revision: from.start, invoked, returned, state };
    let (messages, ending) = watched(client, &prefix, from).await;
    let (start, upto, returned) = (from.start, from.upto, stage.now());
    Some((read, Resume { replica, prefix, start, upto, invoked, returned, messages, ending }))
}

async fn past(client: &Client, prefix: &str, revision: u64) -> PastState {
    let asked = i64::try_from(revision).expect("etcd's revisions are signed");
    let options = GetOptions::new().with_prefix().with_revision(asked);
    match in_time(client.kv_client().get(prefix, Some(options))).await {
        Ok(found) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            PastState::Found(found.kvs().iter().map(|kv| (text(kv.key()), text(kv.value()))).collect())
        }
        Err(Some(error)) if is_compacted(&error) => PastState::Compacted,
        Err(error) => PastState::Unknown(why(error)),
    }
}

async fn watched(client: &Client, prefix: &str, from: &Begin) -> (Vec<Vec<Keyed>>, Ending) {
    let mut messages: Vec<Vec<Keyed>> = Vec::new();
    let mut take = |mut events: Vec<Keyed>| {
        let cut = events.get(from.most).map(|beyond| beyond.revision);
        events.retain(|event| cut.is_none_or(|cut| event.revision < cut));
        let whole = last_key(&events) >= from.upto;
        messages.push(events);
        match cut {
            Some(_) => ControlFlow::Break(Ending::Left),
            None if whole => ControlFlow::Break(Ending::Whole),
            None => ControlFlow::Continue(()),
        }
    };
    let listening = async {
        tokio::time::sleep(from.late).await;
        listen(client, prefix, from.start, &mut take).await
    };
    let ending = timeout(from.late + PATIENCE, listening).await;
    let ending = ending.unwrap_or_else(|_| Ending::Broken(format!("not whole after {} s", PATIENCE.as_secs())));
    (messages, ending)
}

/// Kubernetes' watches of the strip.
async fn watcher(work: &Work) -> WatchLog {
    let (stage, mut dice) = (work.stage(), work.stage().dice("strip-watcher"));
    let upto = last(&work.strip.truth);
    let mut log = apart("strip");
    while stage.pause(PACE, &mut dice).await {
        let through = stage.clients.iter().choose(&mut dice).expect("replicas");
        let start = work.near(upto, &mut dice);
        let asleep = if dice.random_ratio(1, 5) { AWAY } else { Duration::ZERO };
        log.connections.push(watch(stage, through, start, upto, Manner { asleep, ..MANNER }).await);
    }
    log
}

fn apart(name: &str) -> WatchLog {
    let (watcher, selector) = (name.to_owned(), Selector::Round);
    WatchLog { watcher, selector, resumes: false, connections: Vec::new(), caught_up: true }
}

async fn watch(stage: &Stage, through: &Through, start: u64, upto: u64, manner: Manner) -> Connection {
    let never = CancellationToken::new();
    connect(stage, through, &Selector::Round, Start::After(start), manner, Some(upto), &never).await
}

/// Lists at revisions of the strip: whole, and in pages between which more may be forgotten.
async fn lister(work: &Work) -> Vec<Op> {
    let (stage, mut dice) = (work.stage(), work.stage().dice("strip-lister"));
    let mut session = Session::new(stage, WORKLOAD, 1, false);
    while stage.pause(PACE, &mut dice).await {
        let revision = work.near(last(&work.strip.truth), &mut dice);
        session.hop();
        match dice.random_bool(0.5) {
            true => drop(session.list(Age::Exact(revision)).await),
            false => session.list_in_pages_at(revision, PAGE, PAGE_PAUSE).await,
        }
    }
    session.ops
}

/// Forgets the first half of the round, up to a deletion where there is one, and looks through every replica what there
/// is before and behind that: watches of the round's objects, lists of them, and watches of transactions' lists, of
/// which `told` is what happened. The stage has those replicas that are members now.
pub async fn close(
    stage: &Stage,
    truth: &Truth,
    told: Vec<Keyed>,
    log: &mut CompactionLog,
) -> Result<(WatchLog, Vec<Op>), Failure> {
    let revision = middle(truth).ok_or("nothing happened that could be forgotten")?;
    forget(stage, revision, log).await?;
    let (prefix, upto, upto_key) = (transactions::prefix(&stage.round), last(truth), last_key(&told));
    log.told.extend(told);
    let (mut watches, mut session) = (apart("behind"), Session::new(stage, mix::WORKLOAD, LISTER, true));
    for (through, store) in stage.clients.iter().zip(stage.stores.iter()) {
        for start in [revision - 1, revision, revision + 1, revision + FURTHER] {
            let from = Begin { start: start.min(upto_key), upto: upto_key, late: Duration::ZERO, most: usize::MAX };
            let answered = resume(stage, store, &prefix, &from).await;
            let (read, resume) = answered.ok_or("a replica does not answer etcd's clients")?;
            log.reads.push(read);
            log.resumes.push(resume);
            let start = start.min(upto - 1);
            watches.connections.push(watch(stage, through, start, upto, MANNER).await);
            session.list(Age::Exact(start)).await;
        }
        session.hop();
    }
    Ok((watches, session.ops))
}

/// A deletion near to the middle: of those, what is forgotten must leave nothing behind.
fn middle(truth: &Truth) -> Option<u64> {
    let half = truth.events.len() / 2;
    let deletion = |event: &&Event| event.kind == Kind::Deleted;
    let later = truth.events.get(half..)?;
    let found = later.iter().take(half / 2).find(deletion).or_else(|| later.first())?;
    Some(found.revision()).filter(|revision| *revision > truth.from + 1 && *revision + 1 < last(truth))
}

async fn forget(stage: &Stage, revision: u64, log: &mut CompactionLog) -> Result<(), Failure> {
    let mut why = None;
    for store in stage.stores.iter().cycle().take(TRIES) {
        let compaction = compact(stage, store, revision).await;
        let outcome = compaction.outcome.clone();
        log.compactions.push(compaction);
        if outcome == CompactionOutcome::Done {
            return Ok(());
        }
        why = Some(outcome);
        tokio::time::sleep(RETRY).await;
    }
    Err(format!("nobody compacts at {revision}: {why:?}").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::support::truth;

    #[test]
    fn the_first_half_is_forgotten_up_to_a_deletion() {
        let added = |at| (Kind::Added, at, "a", "a1");
        let all: Vec<_> = (11..19).map(added).collect();
        assert_eq!(middle(&truth(&all)), Some(15));
        let mut deleted = all.clone();
        deleted[5].0 = Kind::Deleted;
        assert_eq!(middle(&truth(&deleted)), Some(16));
        assert_eq!(middle(&truth(&all[..1])), None);
    }
}
