//! The course of a run.

use store_api::{Admin as _, NodeId};

use super::{Broken, Checked, Run};
use crate::facts::Fact;
use crate::jobs::Job;
use crate::nemesis::{Change, Situation};
use crate::plant::Plant;

/// Until a new cluster must be there, milliseconds of virtual time.
const FOUNDING: u64 = 20_000;
/// Until everything must be well again after the last fault: leaders chosen, replicas replaced.
const HEALING: u64 = 120_000;
/// Until leases have ended and replicas are equal, once nobody writes any more.
const RESTING: u64 = 16_000;
/// Until they are all at the same entry then.
const LEVELLING: u64 = 1_000;

impl Run {
    pub(super) fn all_phases(&mut self) -> Checked {
        self.found()?;
        self.storm()?;
        self.heal()?;
        self.rest()
    }

    fn found(&mut self) -> Checked {
        let size = *self.rng.pick(&[1, 3, 3, 3, 3, 5]).unwrap_or(&3);
        let settings = self.settings.clone();
        self.line(format_args!("{size} replicas, {settings:?}"));
        (1..=size).for_each(|id| self.new_host(id));
        self.jobs.push(Job::Found((1..=size).collect()));
        self.until(FOUNDING, 1, |run| run.jobs.is_empty() && run.askable().len() as u64 == size)
            .map_err(|broken| broken.unless_named("founding"))?;
        self.founded = true;
        Ok(())
    }

    fn storm(&mut self) -> Checked {
        self.quiet = false;
        let ends = self.view.now + self.rng.number(4_000..10_000) * 1_000;
        while self.view.now < ends {
            let situation = self.situation();
            for change in self.nemesis.act(&situation) {
                self.change(change)?;
            }
            self.tick(1)?;
        }
        Ok(())
    }

    fn heal(&mut self) -> Checked {
        for change in self.nemesis.end() {
            self.change(change)?;
        }
        if self.plant == Some(Plant::NeverHeal) {
            let mut weather = self.nemesis.weather();
            let all: Vec<NodeId> = self.hosts.keys().copied().collect();
            weather.cut = all.iter().flat_map(|from| all.iter().map(|to| (*from, *to))).collect();
            self.shared.net.lock().change(weather);
        }
        self.everything_is_well()?;
        self.line("all faults are over");
        self.fact(&Fact::Healed)?;
        self.until(HEALING, 2, |run| run.is_well()).map_err(|broken| broken.unless_named("S21 liveness"))
    }

    /// All members are up, none of them is broken, nothing is left to be done, and each has accepted a write.
    fn is_well(&mut self) -> bool {
        self.probe();
        let members = self.members();
        let well = |id: &NodeId| {
            let seen = self.view.hosts.get(id);
            self.probed.contains(id) && seen.is_some_and(|seen| seen.up && seen.is_sound() && !seen.wiped)
        };
        self.jobs.is_empty() && members.iter().all(well)
    }

    fn rest(&mut self) -> Checked {
        self.quiet = true;
        let ends = self.view.now + RESTING * 1_000;
        while self.view.now < ends {
            self.tick(5)?;
        }
        // A leader may have written a mark in the log just now.
        match self.until(LEVELLING, 1, |run| run.is_level()) {
            Err(broken) if !broken.promise.is_empty() => return Err(broken),
            level => self.line(format_args!("at rest, level: {}", level.is_ok())),
        }
        self.fact(&Fact::Rested)?;
        let snapshots = self.snapshots()?;
        self.fact(&Fact::Ended { snapshots })
    }

    /// All members have applied the same.
    fn is_level(&self) -> bool {
        let applied = |id| self.view.now_of(id).and_then(|now| now.state);
        let mut members = self.members().into_iter().map(applied);
        let first = members.next().flatten();
        members.all(|state| state == first)
    }

    /// A snapshot of every member, now.
    fn snapshots(&mut self) -> Result<Vec<(NodeId, u64, [u8; 32])>, Broken> {
        let mut found = Vec::new();
        for id in self.askable() {
            let Some(store) = self.hosts.get(&id).and_then(|host| host.store()) else { continue };
            let Some(state) = store.inspect().state else { continue };
            let copy = self.hosts[&id].finish(async move {
                let copy = store.snapshot().await.map_err(|error| error.to_string())?;
                crate::hash_file(&copy.path).map_err(|error| error.to_string())
            });
            let hash = copy.map_err(|why| Broken::new("a snapshot of every replica", why))?;
            found.push((id, state.index, hash));
        }
        Ok(found)
    }

    /// Lets time pass until something is so, in steps of so many milliseconds.
    fn until(&mut self, limit: u64, step: u64, mut done: impl FnMut(&mut Self) -> bool) -> Checked {
        let deadline = self.view.now + limit * 1_000;
        while !done(self) {
            if self.view.now >= deadline {
                return Err(Broken::new("", self.describe()));
            }
            self.tick(step)?;
        }
        Ok(())
    }

    fn describe(&self) -> String {
        let hosts = self.view.hosts.iter().map(|(id, seen)| {
            let now = seen.now.as_ref();
            let promise = now.map(|now| (now.promise, now.leads, now.state, now.last_log));
            format!("\n  {id}: up {}, damaged {}, out {}, {promise:?}", seen.up, seen.damaged, seen.out)
        });
        let (members, probed) = (self.members(), &self.probed);
        let hosts: String = hosts.collect();
        format!(
            "not in time: members {members:?}, probed {probed:?}, jobs {:?}, given up {:?}{hosts}",
            self.jobs,
            self.jobs.given_up()
        )
    }

    fn situation(&self) -> Situation {
        let members = self.members();
        let up = self.askable();
        let healthy = |id: &NodeId| {
            self.view.hosts.get(id).is_some_and(|seen| seen.up && seen.is_sound() && !seen.wiped && !seen.out)
        };
        let whole = members.len() >= 3 && members.iter().all(healthy) && up.len() == members.len();
        let settled = self.jobs.is_empty() && self.is_uniform();
        Situation { now: self.view.now, members, up, whole: whole && settled, settled }
    }

    fn is_uniform(&self) -> bool {
        self.view.truth.memberships.last().is_some_and(|(_, membership)| {
            membership.voters.len() == 1 && membership.voters[0].ids.len() == membership.nodes.len()
        })
    }

    fn change(&mut self, change: Change) -> Checked {
        match change {
            Change::Blow(blow) => self.blow(blow),
            Change::Begun(lasting) => {
                self.line(format_args!("begins: {lasting:?}"));
                self.lasting(&lasting, true)
            }
            Change::Over(lasting) => {
                self.line(format_args!("is over: {lasting:?}"));
                self.lasting(&lasting, false)
            }
        }
    }
}

impl Broken {
    fn unless_named(self, promise: &str) -> Self {
        match self.promise.is_empty() {
            true => Self { promise: promise.into(), ..self },
            false => self,
        }
    }
}
