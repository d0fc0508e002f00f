//! Three regions, 30, 60 and 90 ms apart, one way, through a proxy on each link.
//!
//! Distance is no failure: nobody is elected. A write, and a consistent read, take one round trip between the
//! leader and the nearest majority, and one more to the leader where another replica is asked. What a replica is
//! known to have, it tells at once.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{GetParams, ObjectMeta, PostParams};
use tokio::time::Instant;

use super::detour::{Detour, round_trips};
use super::{Dice, Fault, Injected};
use crate::Failure;
use crate::checkers::Violations;
use crate::checkers::availability::quantile;
use crate::cluster::{Cluster, Replica, START_PATIENCE};
use crate::proxy::Weather;

/// Between two regions, one way. Replicas are in them in turn.
const WAYS: [(usize, usize, Duration); 3] =
    [(0, 1, Duration::from_millis(30)), (0, 2, Duration::from_millis(60)), (1, 2, Duration::from_millis(90))];
const REGIONS: usize = 3;
/// Within a region.
const NEAR: Duration = Duration::from_millis(1);
/// Until connections are open and everybody is level again.
const SETTLE: Duration = Duration::from_secs(2);
/// Calls are made for so long before the regions are apart, and while they are.
const BEFORE: Duration = Duration::from_secs(2);
const DURING: Duration = Duration::from_secs(12);
/// Bytes sent there and back one after the other.
const ECHOES: usize = 5;
/// One call.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a call may take above its round trips: a part of them, and what it took before, twice.
const MORE: f64 = 1.25;
const SLACK: Duration = Duration::from_millis(10);

fn way(one: usize, other: usize) -> Duration {
    let pair = ((one % REGIONS).min(other % REGIONS), (one % REGIONS).max(other % REGIONS));
    WAYS.iter().find(|(from, to, _)| (*from, *to) == pair).map_or(NEAR, |(.., way)| *way)
}

/// Half of the calls take at most this long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Calls {
    write: Duration,
    read: Duration,
    /// A read of a revision that the replica is known to have.
    local: Duration,
}

/// What calls may take, where so many round trips are needed.
fn allowed(round_trips: Duration, before: Duration) -> Duration {
    round_trips.mul_f64(MORE) + before * 2 + SLACK
}

/// What took longer than it may through one replica. `away`: to the leader and back; `quorum`: from there to the
/// nearest majority and back.
fn slower(number: usize, before: Calls, during: Calls, away: Duration, quorum: Duration) -> Violations {
    let kinds = [
        ("a write", before.write, during.write, away + quorum),
        ("a consistent read", before.read, during.read, away + quorum),
        ("a read of what it has", before.local, during.local, Duration::ZERO),
    ];
    let slow = kinds.into_iter().filter(|(_, before, during, way)| *during > allowed(*way, *before));
    slow.map(|(what, before, during, way)| {
        format!("{what} through replica {number} takes {during:?}: the way is {way:?}, and {before:?} were enough without it")
    })
    .collect()
}

/// The round trip to the majority that is nearest to the leader.
fn quorum(mut others: Vec<Duration>) -> Duration {
    others.sort_unstable();
    // With the leader itself that many make a majority.
    others.len().div_ceil(2).checked_sub(1).map_or(Duration::ZERO, |last| others[last])
}

/// Where the leader is, in turn: with a majority nearby, and far from everyone. There, the way there and back takes
/// longer than it is from one heartbeat to the next.
const SEATS: [usize; 2] = [0, 2];

#[derive(Default)]
pub(super) struct Regions {
    detour: Detour,
    strikes: usize,
    /// Replicas by region.
    seated: Vec<Arc<Replica>>,
    before: BTreeMap<usize, Calls>,
    found: Violations,
    notes: Vec<String>,
}

#[async_trait]
impl Fault for Regions {
    fn name(&self) -> &'static str {
        "three-regions"
    }

    fn strikes(&self, _wanted: usize, _first: bool) -> usize {
        SEATS.len()
    }

    fn hold(&self) -> Duration {
        Duration::ZERO
    }

    async fn inject(&mut self, cluster: &Cluster, dice: &mut Dice) -> Result<Injected, Failure> {
        let leader = cluster.replica(cluster.leader().await?);
        self.seated = cluster.replicas().into_iter().filter(|replica| replica.number != leader.number).collect();
        let seat = SEATS[self.strikes % SEATS.len()];
        self.seated.insert(seat.min(self.seated.len()), leader);
        self.strikes += 1;
        self.before = measure_all(&self.seated, BEFORE).await?;
        let places: Vec<Ipv4Addr> = self.seated.iter().map(|replica| replica.space.ip).collect();
        let place = move |ip: Ipv4Addr| places.iter().position(|place| *place == ip).unwrap_or(0);
        let weather = move |from, to| Weather { delay: way(place(from), place(to)), ..Weather::default() };
        let at = Instant::now();
        self.detour.set(cluster, dice, weather).await?;
        Ok(Injected { what: format!("30, 60 and 90 ms apart, the leader in region {seat}"), at, leader_lost: None })
    }

    /// The ways are as long as they should be, and replicas use them.
    async fn control(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        tokio::time::sleep(SETTLE).await;
        cluster.level(self.seated.len(), START_PATIENCE).await?;
        let trips = all_round_trips(&self.seated).await?;
        let (leader, term) = (cluster.leader().await?, cluster.term().await);
        let during = measure_all(&self.seated, DURING).await?;
        let after = cluster.term().await;
        self.compare(leader, &during, &trips);
        match after == term {
            true => self.notes.push(format!("no election: term {term} all the time")),
            false => self.found.push(format!("elections for nothing but distance: term {term} became {after}")),
        }
        match self.seated.len() - self.detour.speaking() {
            0 => Ok(()),
            some => Err(format!("{some} replicas do not speak through the proxy").into()),
        }
    }

    async fn heal(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        self.detour.lift(cluster).await
    }

    fn found(&mut self) -> Violations {
        std::mem::take(&mut self.found)
    }

    fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }
}

/// By the numbers of two replicas, both ways round.
type Trips = BTreeMap<(usize, usize), Duration>;

async fn all_round_trips(replicas: &[Arc<Replica>]) -> Result<Trips, Failure> {
    let mut trips = Trips::new();
    for (index, one) in replicas.iter().enumerate() {
        for (place, other) in replicas.iter().enumerate().skip(index + 1) {
            let took = round_trips(&one.space, &other.space, ECHOES).await?;
            let (took, least) = (quantile(&took, 0.5).unwrap_or_default(), way(index, place) * 2);
            if took < least {
                return Err(format!("there and back takes {took:?}, it should be {least:?}").into());
            }
            trips.extend([((one.number, other.number), took), ((other.number, one.number), took)]);
        }
    }
    Ok(trips)
}

impl Regions {
    fn compare(&mut self, leader: usize, during: &BTreeMap<usize, Calls>, trips: &Trips) {
        let away = |number: usize| trips.get(&(number, leader)).copied().unwrap_or_default();
        let others = self.seated.iter().map(|replica| replica.number).filter(|number| *number != leader);
        let quorum = quorum(others.map(away).collect());
        for (number, calls) in during {
            let away = away(*number);
            self.found.extend(slower(*number, self.before[number], *calls, away, quorum));
            self.notes.push(format!(
                "through replica {number}: a write {} ms, a consistent read {} ms, a read of what it has {} ms \
                 (median; to the leader and back {} ms, from there to a majority {} ms)",
                calls.write.as_millis(),
                calls.read.as_millis(),
                calls.local.as_millis(),
                away.as_millis(),
                quorum.as_millis(),
            ));
        }
    }
}

async fn measure_all(replicas: &[Arc<Replica>], time: Duration) -> Result<BTreeMap<usize, Calls>, Failure> {
    let all =
        replicas.iter().map(|replica| async { Ok::<_, Failure>((replica.number, measure(replica, time).await?)) });
    Ok(futures::future::try_join_all(all).await?.into_iter().collect())
}

/// One client that is near this replica makes calls one after the other.
async fn measure(replica: &Replica, time: Duration) -> Result<Calls, Failure> {
    let api: Api<Secret> = Api::namespaced(replica.client().await?, "default");
    let name = format!("chaos-region-{}", replica.number);
    let mut known = write(&api, &name, 0).await?.1;
    let (mut writes, mut reads, mut locals) = (Vec::new(), Vec::new(), Vec::new());
    let end = Instant::now() + time;
    for number in 1.. {
        reads.push(read(&api, &name, None).await?);
        locals.push(read(&api, &name, Some(&known)).await?);
        let (took, revision) = write(&api, &name, number).await?;
        writes.push(took);
        known = revision;
        if Instant::now() > end {
            break;
        }
    }
    let half = |all: &[Duration]| quantile(all, 0.5).unwrap_or_default();
    Ok(Calls { write: half(&writes), read: half(&reads), local: half(&locals) })
}

/// How long it took, and the revision.
async fn write(api: &Api<Secret>, name: &str, number: u64) -> Result<(Duration, String), Failure> {
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let data = Some([("number".to_owned(), ByteString(number.to_string().into_bytes()))].into());
    let object = Secret { metadata, data, ..Secret::default() };
    let (parameters, asked) = (PostParams::default(), Instant::now());
    let written = tokio::time::timeout(PATIENCE, async {
        match api.replace(name, &parameters, &object).await {
            Err(kube::Error::Api(status)) if status.code == 404 => api.create(&parameters, &object).await,
            other => other,
        }
    });
    let revision = written.await??.metadata.resource_version.ok_or("a write without resourceVersion")?;
    Ok((asked.elapsed(), revision))
}

/// Consistent, or of a revision that this replica answered with before.
async fn read(api: &Api<Secret>, name: &str, at: Option<&str>) -> Result<Duration, Failure> {
    let parameters = GetParams { resource_version: at.map(str::to_owned) };
    let asked = Instant::now();
    tokio::time::timeout(PATIENCE, api.get_with(name, &parameters)).await??;
    Ok(asked.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::support::{caught, ms};

    fn calls(write: u64, read: u64, local: u64) -> Calls {
        Calls { write: ms(write), read: ms(read), local: ms(local) }
    }

    #[test]
    fn regions_are_apart_both_ways() {
        assert_eq!([way(0, 1), way(2, 0), way(2, 1), way(0, 3)], [ms(30), ms(60), ms(90), NEAR]);
    }

    #[test]
    fn a_majority_is_as_far_as_the_last_that_is_needed() {
        assert_eq!(quorum(vec![ms(120), ms(60)]), ms(60), "one more of three");
        assert_eq!(quorum(vec![ms(9), ms(3), ms(5), ms(7)]), ms(5), "two more of five");
        assert_eq!(quorum(Vec::new()), ms(0));
    }

    #[test]
    fn one_round_trip_too_many_is_caught() {
        let (before, quorum) = (calls(6, 3, 1), ms(60));
        assert_eq!(slower(1, before, calls(68, 64, 2), ms(0), quorum), Violations::new(), "the leader");
        assert_eq!(slower(2, before, calls(130, 126, 2), ms(60), quorum), Violations::new());
        caught(&slower(1, before, calls(128, 64, 2), ms(0), quorum), "a write through replica 1");
        caught(&slower(1, before, calls(68, 124, 2), ms(0), quorum), "a consistent read through replica 1");
        caught(&slower(2, before, calls(130, 126, 61), ms(60), quorum), "a read of what it has through replica 2");
    }
}
