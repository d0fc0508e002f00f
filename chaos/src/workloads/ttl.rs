//! Leases with times to live, through etcd's interface: granted with keys, kept alive for a while, let go or revoked,
//! and asked about through other replicas. At the end of the round nobody renews any of them, and all have to go.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Error, LeaseGrantOptions, LeaseTimeToLiveOptions, PutOptions};
use futures::future::join_all;
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::stage::{Stage, Store};
use super::store::{FAILED_PRECONDITION, NOT_FOUND, code, in_time, listen, why};
use crate::Failure;
use crate::history::{Ending, Keyed, LeaseAnswer, LeaseAsk, LeaseCall, TtlLog};

pub const WORKLOAD: &str = "ttl";
/// Owners of leases, each of one at a time.
const OWNERS: usize = 8;
/// Seconds to live; fewer than two are not granted.
const TTLS: std::ops::RangeInclusive<u64> = 2..=4;
const KEYS: usize = 3;
/// Renewals before a lease that was kept alive is let go or revoked.
const RENEWALS: std::ops::RangeInclusive<u32> = 4..=14;
/// Of three of these parts of its time a lease is renewed in each.
const PARTS: u32 = 3;
/// Between questions about a lease that was let go.
const ASK: Duration = Duration::from_millis(600);
const PACE: Duration = Duration::from_millis(250);
/// A write whose end is not known may still take effect for so long.
const UNDER_WAY: Duration = Duration::from_secs(10);
/// So much later than its time to live a lease may be gone, besides once more its time.
pub const LATE: Duration = Duration::from_secs(5);
/// Until a watcher has told everything.
const TELLS: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(200);
/// Watchers, each through other replicas than the others.
const WATCHERS: usize = 2;

/// Begins the name of every key of these leases.
pub fn prefix(round: &str) -> String {
    format!("/chaos/{round}-{WORKLOAD}/")
}

/// What was seen, and the revision up to which the round's keys have a history.
pub async fn run(stage: Stage, from: u64) -> Result<(TtlLog, u64), Failure> {
    let seen: Vec<Seen> = (0..WATCHERS).map(|_| Seen::default()).collect();
    // They end with it.
    let mut watchers = JoinSet::new();
    for (at, seen) in seen.iter().enumerate() {
        watchers.spawn(watch(stage.clone(), at, from, seen.clone()));
    }
    let owners = (0..OWNERS).map(|number| Owner::new(&stage, number).run());
    let calls = join_all(owners).await.concat();
    let left = settle(&stage).await?;
    let over = stage.now();
    let upto = conclude(&stage).await?;
    let deadline = Instant::now() + TELLS;
    let is_whole = |seen: &Seen| seen.lock().last().is_some_and(|(_, last)| last.revision >= upto);
    // What they were told until then counts, and that it is not whole.
    while !seen.iter().all(is_whole) && Instant::now() < deadline {
        tokio::time::sleep(RETRY).await;
    }
    drop(watchers);
    let mut seen: Vec<_> = seen.iter().map(|seen| std::mem::take(&mut *seen.lock())).collect();
    seen.iter_mut().for_each(|seen| seen.retain(|(_, keyed)| keyed.revision <= upto));
    Ok((TtlLog { calls, seen, told: Vec::new(), over, left }, upto))
}

/// The round's leases have numbers that begin with a part of its seed.
fn id(stage: &Stage, owner: usize, number: u32) -> i64 {
    let own = (stage.seed & 0x0fff_ffff) << 32;
    (own | ((owner as u64 + 1) << 20) | u64::from(number)).cast_signed()
}

fn is_own(stage: &Stage, id: i64) -> bool {
    id >> 32 == (stage.seed & 0x0fff_ffff).cast_signed()
}

/// Waits until none of the round's leases is left, or long enough. Which are left.
async fn settle(stage: &Stage) -> Result<Vec<i64>, Failure> {
    let deadline = Instant::now() + UNDER_WAY + Duration::from_secs(*TTLS.end()) * 2 + LATE;
    for (_, client) in stage.stores.iter().cycle() {
        let own = |ids: &[etcd_client::LeaseStatus]| {
            ids.iter().map(etcd_client::LeaseStatus::id).filter(|id| is_own(stage, *id)).collect::<Vec<i64>>()
        };
        // One that was replaced, or is not up again, does not say.
        let left = in_time(client.lease_client().leases()).await.ok().map(|all| own(all.leases()));
        match left {
            Some(left) if left.is_empty() || Instant::now() > deadline => return Ok(left),
            None if Instant::now() > deadline + LATE => break,
            _ => tokio::time::sleep(RETRY).await,
        }
    }
    Err("no replica names the leases that are left".into())
}

/// Writes what comes last, through any replica that does it. Its revision.
async fn conclude(stage: &Stage) -> Result<u64, Failure> {
    let mut last = None;
    for (_, client) in stage.stores.iter().cycle().take(stage.stores.len() * 3) {
        match in_time(client.kv_client().put(format!("{}end", prefix(&stage.round)), "end", None)).await {
            Ok(put) => {
                let revision = put.header().map(etcd_client::ResponseHeader::revision);
                let revision = revision.and_then(|revision| u64::try_from(revision).ok());
                return revision.ok_or_else(|| "an answer without a revision".into());
            }
            Err(error) => last = Some(why(error)),
        }
    }
    Err(format!("no replica writes the end of the leases: {last:?}").into())
}

/// What one watcher was told so far, and when.
type Seen = Arc<Mutex<Vec<(Duration, Keyed)>>>;

/// For ever; at the next replica when one fails.
async fn watch(stage: Stage, first: usize, from: u64, seen: Seen) {
    let prefix = prefix(&stage.round);
    for at in first.. {
        let position = seen.lock().last().map_or(from, |(_, keyed)| keyed.revision);
        let mut take = |events: Vec<Keyed>| {
            let now = stage.now();
            seen.lock().extend(events.into_iter().map(|event| (now, event)));
            ControlFlow::Continue(())
        };
        let (_, client) = &stage.stores[at % stage.stores.len()];
        listen(client, &prefix, position + 1, &mut take).await;
        tokio::time::sleep(RETRY).await;
    }
}

/// What happened to the keys of the round's leases, as one replica tells it.
pub async fn told(store: &Store, round: &str, from: u64, upto: u64) -> Result<Vec<Keyed>, Failure> {
    let mut all = Vec::new();
    let mut take = |events: Vec<Keyed>| {
        all.extend(events);
        let over = all.last().is_some_and(|last: &Keyed| last.revision >= upto);
        if over { ControlFlow::Break(Ending::Whole) } else { ControlFlow::Continue(()) }
    };
    let ending = timeout(TELLS, listen(&store.1, &prefix(round), from + 1, &mut take)).await;
    match ending {
        Ok(Ending::Whole) => {
            // One more end, of which nothing was known, may come after it.
            all.retain(|keyed| keyed.revision <= upto);
            Ok(all)
        }
        other => Err(format!("replica {} does not tell what happened to leases' keys: {other:?}", store.0).into()),
    }
}

struct Owner {
    stage: Stage,
    process: String,
    number: usize,
    at: usize,
    leases: u32,
    dice: StdRng,
    calls: Vec<LeaseCall>,
}

/// One lease, as long as its owner has to do with it.
struct Held {
    id: i64,
    ttl: Duration,
    keys: Vec<String>,
}

impl Owner {
    fn new(stage: &Stage, number: usize) -> Self {
        let process = format!("{WORKLOAD}{number}");
        let dice = stage.dice(&process);
        Self { stage: stage.clone(), process, number, at: number, leases: 0, dice, calls: Vec::new() }
    }

    async fn run(mut self) -> Vec<LeaseCall> {
        while self.stage.pause(PACE, &mut self.dice).await {
            if let Some(held) = self.grant().await {
                self.live(&held).await;
            } else {
                self.at += 1;
            }
        }
        self.calls
    }

    /// A lease with keys. One whose grant or first key is doubtful is left alone.
    async fn grant(&mut self) -> Option<Held> {
        self.leases += 1;
        let id = id(&self.stage, self.number, self.leases);
        let ttl = Duration::from_secs(self.dice.random_range(TTLS));
        let mut held = Held { id, ttl, keys: Vec::new() };
        (self.ask(&held, LeaseAsk::Grant).await == LeaseAnswer::Alive).then_some(())?;
        for number in 0..self.dice.random_range(1..=KEYS) {
            let key = format!("{}{id:x}-{number}", prefix(&self.stage.round));
            let LeaseAnswer::Attached(_) = self.ask(&held, LeaseAsk::Attach(key.clone())).await else { return None };
            held.keys.push(key);
        }
        Some(held)
    }

    async fn live(&mut self, held: &Held) {
        let kept = match self.dice.random_range(0..100) {
            0..55 => self.dice.random_range(RENEWALS),
            55..80 => 0,
            _ => 1,
        };
        for _ in 0..kept {
            if !self.stage.pause(held.ttl / PARTS, &mut self.dice).await || !self.renew(held).await {
                return;
            }
        }
        if self.dice.random_bool(0.3) {
            self.ask(held, LeaseAsk::Revoke).await;
        }
        self.watch_it_go(held).await;
    }

    /// Whether it lives on as far as the owner knows.
    async fn renew(&mut self, held: &Held) -> bool {
        let answer = self.ask(held, LeaseAsk::KeepAlive).await;
        if matches!(answer, LeaseAnswer::Unknown(_) | LeaseAnswer::Refused(_)) {
            self.at += 1;
        }
        if self.dice.random_bool(0.4) {
            self.question(held).await;
        }
        answer != LeaseAnswer::Ended
    }

    /// Through any replica.
    async fn question(&mut self, held: &Held) {
        let before = std::mem::replace(&mut self.at, self.dice.random_range(0..self.stage.stores.len()));
        let key = held.keys[self.dice.random_range(0..held.keys.len())].clone();
        let ask = if self.dice.random_bool(0.5) { LeaseAsk::TimeToLive } else { LeaseAsk::Look(key) };
        self.ask(held, ask).await;
        self.at = before;
    }

    /// Nobody renews it any more. It is asked about a little longer than it may live, so that it is seen to stay away.
    async fn watch_it_go(&mut self, held: &Held) {
        let until = self.stage.now() + held.ttl + ASK * 3;
        while self.stage.now() < until && self.stage.pause(ASK, &mut self.dice).await {
            self.question(held).await;
        }
    }

    async fn ask(&mut self, held: &Held, ask: LeaseAsk) -> LeaseAnswer {
        let (replica, _) = self.stage.stores[self.at % self.stage.stores.len()];
        let invoked = self.stage.now();
        let answer = match self.asked(held, &ask).await {
            Ok(answer) => answer,
            Err(error) => failed(&ask, error),
        };
        let (process, returned, kept) = (self.process.clone(), self.stage.now(), answer.clone());
        let Held { id: lease, ttl, .. } = *held;
        self.calls.push(LeaseCall { process, replica, invoked, returned, lease, ttl, ask, answer });
        kept
    }

    async fn asked(&self, held: &Held, ask: &LeaseAsk) -> Result<LeaseAnswer, Option<Error>> {
        let (_, client) = &self.stage.stores[self.at % self.stage.stores.len()];
        let (mut leases, mut keys) = (client.lease_client(), client.kv_client());
        let ttl = i64::try_from(held.ttl.as_secs()).expect("few");
        Ok(match ask {
            LeaseAsk::Grant => {
                let options = LeaseGrantOptions::new().with_id(held.id);
                let granted = in_time(leases.grant(ttl, Some(options))).await?;
                match (granted.id() == held.id, granted.ttl() == ttl) {
                    (true, true) => LeaseAnswer::Alive,
                    _ => LeaseAnswer::Unknown(format!("{} for {} s was granted", granted.id(), granted.ttl())),
                }
            }
            LeaseAsk::Attach(key) => {
                let options = PutOptions::new().with_lease(held.id);
                let put = in_time(keys.put(key.as_str(), key.as_str(), Some(options))).await?;
                let revision = put.header().map(etcd_client::ResponseHeader::revision);
                match revision.and_then(|revision| u64::try_from(revision).ok()) {
                    Some(revision) => LeaseAnswer::Attached(revision),
                    None => LeaseAnswer::Unknown("an answer without a revision".to_owned()),
                }
            }
            LeaseAsk::KeepAlive => in_time(leases.keep_alive(held.id)).await.map(|_| LeaseAnswer::Alive)?,
            LeaseAsk::Revoke => in_time(leases.revoke(held.id)).await.map(|_| LeaseAnswer::Ended)?,
            LeaseAsk::TimeToLive => {
                let options = LeaseTimeToLiveOptions::new().with_keys();
                let left = in_time(leases.time_to_live(held.id, Some(options))).await?;
                let names = left.keys().iter().map(|key| String::from_utf8_lossy(key).into_owned());
                if left.ttl() < 0 { LeaseAnswer::Ended } else { LeaseAnswer::AliveWith(names.collect()) }
            }
            LeaseAsk::Look(key) => {
                let found = in_time(keys.get(key.as_str(), None)).await?;
                if found.kvs().is_empty() { LeaseAnswer::Ended } else { LeaseAnswer::Alive }
            }
        })
    }
}

/// What the client says when the answer is that there is no such lease.
const NO_LEASE: &str = "lease not found";
/// Says for certain that nothing was done.
const EXISTS: &str = "lease already exists";

fn failed(ask: &LeaseAsk, error: Option<Error>) -> LeaseAnswer {
    match error {
        Some(Error::LeaseKeepAliveError(why)) if why == NO_LEASE => LeaseAnswer::Ended,
        Some(error) if code(&error) == Some(NOT_FOUND) && *ask != LeaseAsk::Grant => LeaseAnswer::Ended,
        Some(error) if code(&error) == Some(FAILED_PRECONDITION) && !error.to_string().contains(EXISTS) => {
            LeaseAnswer::Refused(error.to_string())
        }
        error => LeaseAnswer::Unknown(why(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_that_there_is_no_lease_is_understood() {
        let missing = || Some(Error::LeaseKeepAliveError(NO_LEASE.to_owned()));
        let other = || Some(Error::LeaseKeepAliveError("cut".to_owned()));
        assert_eq!(failed(&LeaseAsk::KeepAlive, missing()), LeaseAnswer::Ended);
        assert!(matches!(failed(&LeaseAsk::KeepAlive, other()), LeaseAnswer::Unknown(_)));
        assert!(matches!(failed(&LeaseAsk::Revoke, None), LeaseAnswer::Unknown(_)));
    }
}
