//! Leader election as client-go does it, on a Lease object, and a counter that only the leader raises.
//!
//! A candidate takes the Lease over when it has not seen it change for its whole duration, on its own clock;
//! a leader that could not renew for the deadline stops. Every write replaces exactly the version that was
//! read, so a leader that was replaced while it did not look is refused: that is the fence.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use rand::Rng;

use super::session::{PATIENCE, Session, failed};
use super::stage::{Stage, Through, revision};
use super::{NAMESPACE, ROUND};
use crate::checkers::lease::{counter_value, parse_counter};
use crate::history::{LeaseAttempt, LeaseLog, LeaseVersion, Op, Outcome, Reign};

pub const WORKLOAD: &str = "lease";
const CANDIDATES: usize = 3;
/// A Lease that nobody renews may be taken over after this. client-go's are 15 s, 10 s and 2 s.
pub const DURATION: Duration = Duration::from_millis(3_000);
const DEADLINE: Duration = Duration::from_millis(2_000);
const RETRY: Duration = Duration::from_millis(400);
/// Between two writes of the leader.
const WORK: Duration = Duration::from_millis(120);
/// Which attempt wrote a version.
const ATTEMPT: &str = "chaos.kontiki.io/attempt";

pub async fn run(stage: Stage) -> (LeaseLog, Vec<Op>) {
    let candidates = (0..CANDIDATES).map(|number| Candidate::new(&stage, number).run());
    let mut log = LeaseLog::default();
    let mut ops = Vec::new();
    for candidate in futures::future::join_all(candidates).await {
        log.attempts.extend(candidate.attempts);
        log.reigns.extend(candidate.reigns);
        ops.extend(candidate.session.ops);
    }
    (log, ops)
}

/// The counter's name.
pub fn counter(round: &str) -> String {
    format!("{round}-counter")
}

pub fn version(lease: &Lease) -> Option<LeaseVersion> {
    let spec = lease.spec.as_ref()?;
    Some(LeaseVersion {
        revision: revision(&lease.metadata)?,
        holder: spec.holder_identity.clone().unwrap_or_default(),
        transitions: u64::try_from(spec.lease_transitions.unwrap_or(0)).ok()?,
        attempt: lease.metadata.annotations.as_ref()?.get(ATTEMPT)?.clone(),
    })
}

struct Candidate {
    stage: Stage,
    name: String,
    at: usize,
    number: u64,
    /// The last version seen, and when it was seen first.
    observed: Option<(LeaseVersion, Duration)>,
    /// Since when it leads, and the beginning of its last renewal.
    leads: Option<(Duration, Duration)>,
    session: Session,
    attempts: Vec<LeaseAttempt>,
    reigns: Vec<Reign>,
}

impl Candidate {
    fn new(stage: &Stage, number: usize) -> Self {
        Self {
            stage: stage.clone(),
            name: format!("candidate{number}"),
            at: number,
            number: 0,
            observed: None,
            leads: None,
            session: Session::new(stage, WORKLOAD, number, false),
            attempts: Vec::new(),
            reigns: Vec::new(),
        }
    }

    async fn run(mut self) -> Self {
        let mut dice = self.stage.dice(&self.name);
        while !self.stage.stop.is_cancelled() {
            let worked = match self.leads {
                Some(_) => self.reign().await,
                None => self.campaign().await,
            };
            if worked.is_none() {
                self.at += 1;
            }
            // A leader steps down of its own accord now and then.
            if self.leads.is_some() && dice.random_bool(0.01) {
                self.release().await;
            }
            self.stage.pause(if self.leads.is_some() { WORK } else { RETRY }, &mut dice).await;
        }
        self.dethrone(self.stage.now());
        self
    }

    /// Looks at the Lease, and takes it when it may.
    async fn campaign(&mut self) -> Option<()> {
        let found = self.look().await?;
        let free = match (&found, &self.observed) {
            (None, _) => true,
            (Some(lease), Some((_, since))) => lease.holder.is_empty() || self.stage.now() - *since >= DURATION,
            (Some(_), None) => false,
        };
        if !free {
            return Some(());
        }
        let transitions = found.as_ref().map_or(0, |lease| lease.transitions + 1);
        let holder = self.name.clone();
        let invoked = self.stage.now();
        let acquired = self.write(found.as_ref().map(|lease| lease.revision), &holder, transitions).await;
        if matches!(acquired, Outcome::Written(_)) {
            self.leads = Some((self.stage.now(), invoked));
        }
        Some(())
    }

    /// Renews in time, and works.
    async fn reign(&mut self) -> Option<()> {
        let (_, renewed) = self.leads?;
        if self.stage.now() - renewed >= DEADLINE {
            self.dethrone(renewed + DEADLINE);
            return None;
        }
        if self.stage.now() - renewed >= RETRY {
            let (held, _) = self.observed.clone()?;
            let holder = self.name.clone();
            let invoked = self.stage.now();
            match self.write(Some(held.revision), &holder, held.transitions).await {
                Outcome::Written(_) => self.leads = self.leads.map(|(since, _)| (since, invoked)),
                // Somebody else may have it; or this one, by an attempt whose answer was lost.
                Outcome::Refused { code: 409, .. } => self.look_again(renewed).await?,
                _ => return None,
            }
        }
        self.work().await
    }

    async fn look_again(&mut self, renewed: Duration) -> Option<()> {
        let found = self.look().await?;
        if found.is_none_or(|lease| lease.holder != self.name) {
            self.dethrone(renewed + DEADLINE);
        }
        Some(())
    }

    /// At the deadline at the latest, however late it is noticed.
    fn dethrone(&mut self, until: Duration) {
        let until = until.min(self.stage.now());
        if let (Some((from, renewed)), Some((held, _))) = (self.leads.take(), &self.observed) {
            let until = until.min(renewed + DEADLINE).max(from);
            self.reigns.push(Reign { candidate: self.name.clone(), epoch: held.transitions, from, until });
        }
    }

    async fn release(&mut self) {
        let Some((held, _)) = self.observed.clone() else { return };
        self.dethrone(self.stage.now());
        self.write(Some(held.revision), "", held.transitions).await;
    }

    /// Raises the counter, on top of exactly what was read.
    async fn work(&mut self) -> Option<()> {
        let epoch = self.observed.as_ref()?.0.transitions;
        let name = counter(&self.stage.round);
        let found = self.session.get(&name).await?;
        // Renewed too long ago by now: not a leader any more.
        let (_, renewed) = self.leads?;
        if self.stage.now() - renewed >= DEADLINE {
            return None;
        }
        self.number += 1;
        let who = format!("{}-{}", self.name, self.number);
        match found {
            None => drop(self.session.create(&name, counter_value(epoch, 1, &who)).await),
            Some(on) => {
                let (written, count, _) = parse_counter(&on.value)?;
                // One of a later epoch wrote: this one was replaced.
                if written <= epoch {
                    self.session.update(&name, counter_value(epoch, count + 1, &who), on).await;
                }
            }
        }
        Some(())
    }

    fn through(&self) -> Through {
        self.stage.clients[self.at % self.stage.clients.len()].clone()
    }

    /// Reads the Lease; a version not seen before is remembered with the time.
    async fn look(&mut self) -> Option<Option<LeaseVersion>> {
        let api: Api<Lease> = Api::namespaced(self.through().1, NAMESPACE);
        let found = tokio::time::timeout(PATIENCE, api.get_opt(&self.stage.round)).await.ok()?.ok()?;
        let found = found.as_ref().and_then(version);
        match (&found, &self.observed) {
            (Some(lease), Some((known, _))) if lease.revision == known.revision => {}
            (Some(lease), _) => self.observed = Some((lease.clone(), self.stage.now())),
            (None, _) => self.observed = None,
        }
        Some(found)
    }

    async fn write(&mut self, on: Option<u64>, holder: &str, transitions: u64) -> Outcome {
        self.number += 1;
        let attempt = format!("{}-{}", self.name, self.number);
        let lease = self.lease(on, holder, transitions, &attempt);
        let api: Api<Lease> = Api::namespaced(self.through().1, NAMESPACE);
        let invoked = self.stage.now();
        let answer = tokio::time::timeout(PATIENCE, async {
            match on {
                None => api.create(&PostParams::default(), &lease).await,
                Some(_) => api.replace(&self.stage.round, &PostParams::default(), &lease).await,
            }
        });
        let outcome = match answer.await {
            Err(_) => Outcome::Unknown("no answer in time".to_owned()),
            Ok(Err(error)) => failed(error),
            Ok(Ok(written)) => match version(&written) {
                None => Outcome::Unknown("an answer that is not understood".to_owned()),
                Some(version) => {
                    let revision = version.revision;
                    self.observed = Some((version, self.stage.now()));
                    Outcome::Written(revision)
                }
            },
        };
        let (candidate, returned, kept) = (self.name.clone(), self.stage.now(), outcome.clone());
        self.attempts.push(LeaseAttempt { attempt, candidate, invoked, returned, outcome });
        kept
    }

    fn lease(&self, on: Option<u64>, holder: &str, transitions: u64, attempt: &str) -> Lease {
        let now = MicroTime(now());
        Lease {
            metadata: ObjectMeta {
                name: Some(self.stage.round.clone()),
                namespace: Some(NAMESPACE.to_owned()),
                labels: Some(BTreeMap::from([(ROUND.to_owned(), self.stage.round.clone())])),
                annotations: Some(BTreeMap::from([(ATTEMPT.to_owned(), attempt.to_owned())])),
                resource_version: on.map(|revision| revision.to_string()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                lease_transitions: i32::try_from(transitions).ok(),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// Written into the Lease for people; no candidate looks at another's clock.
#[expect(clippy::disallowed_methods, reason = "a shell: what is decided uses the round's own time")]
fn now() -> Timestamp {
    Timestamp::now()
}
