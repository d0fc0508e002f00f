//! One moment: what is on the wire arrives, and every replica runs for a moment, one after the other.

use store_api::NodeId;
use store_node::Inspection;

use super::{Broken, Checked, Run};
use crate::facts::Fact;
use crate::host::Started;
use crate::net;
use crate::process;

/// Bounds of the time until a process that ended is started again, microseconds.
const RESTART: std::ops::Range<u64> = 20_000..1_500_000;

impl Run {
    pub(super) fn tick(&mut self, milliseconds: u64) -> Checked {
        self.view.now += milliseconds * 1_000;
        self.shared.net.lock().now = self.view.now;
        self.start_those_due()?;
        net::deliver(&self.shared);
        self.work()?;
        let mut ids: Vec<NodeId> = self.hosts.iter().filter(|(_, host)| host.is_running()).map(|(id, _)| *id).collect();
        self.rng.shuffle(&mut ids);
        for id in ids {
            self.step(id, milliseconds)?;
        }
        Ok(())
    }

    fn start_those_due(&mut self) -> Checked {
        let now = self.view.now;
        let due: Vec<NodeId> = self.starts.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
        for id in due {
            self.starts.remove(&id);
            let Some(host) = self.hosts.get_mut(&id).filter(|host| !host.is_running()) else { continue };
            host.start().map_err(|error| Broken::new("this machine", error))?;
            self.line(format_args!("{id} is started"));
        }
        Ok(())
    }

    fn step(&mut self, id: NodeId, milliseconds: u64) -> Checked {
        let now = self.view.now;
        let Some(host) = self.hosts.get_mut(&id).filter(|host| host.is_running()) else { return Ok(()) };
        if host.paused_until > now {
            return Ok(());
        }
        if host.paused_until > 0 {
            // Time went on while it stood still.
            host.jump += (now - host.paused_until) / 1_000 + std::mem::take(&mut host.debt_of_pause);
            host.paused_until = 0;
        }
        host.step(milliseconds);
        self.flip_snapshots(id)?;
        self.after_step(id)
    }

    fn after_step(&mut self, id: NodeId) -> Checked {
        if let Some(panic) = process::take_panics().into_iter().next() {
            return Err(Broken::new("no panic", panic));
        }
        let (of_clients, facts): (Vec<Fact>, Vec<Fact>) = self.shared.take_facts().into_iter().partition(is_of_client);
        for fact in facts {
            self.note(&fact);
            self.fact(&fact)?;
        }
        let started = self.look_for_start(id)?;
        self.inspect(id, started)?;
        for fact in of_clients {
            self.told(fact)?;
        }
        self.look_for_end(id)
    }

    fn look_for_start(&mut self, id: NodeId) -> Result<bool, Broken> {
        let Some(host) = self.hosts.get_mut(&id) else { return Ok(false) };
        match host.started() {
            Started::No => Ok(false),
            Started::Now => {
                let life = host.life;
                let seen = self.view.hosts.entry(id).or_default();
                (seen.up, seen.life) = (true, life);
                // All of the log was read and found sound. Of the state that is so when it was all read.
                seen.damaged = false;
                self.line(format_args!("{id} is up, life {life}"));
                Ok(true)
            }
            Started::Failed(error) => {
                self.line(format_args!("{id} cannot be started: {error}"));
                self.end(id, false)?;
                let why = self.without_paths(error);
                self.fact(&Fact::Refused { host: id, why })?;
                self.replace_if_needed(id);
                let now = self.view.now;
                if self.view.hosts.get(&id).is_some_and(|seen| !seen.damaged && seen.lacked_room(now)) {
                    self.start_later(id)?;
                }
                Ok(false)
            }
        }
    }

    /// What it holds now; and what is committed by it.
    fn inspect(&mut self, id: NodeId, started: bool) -> Checked {
        let Some(store) = self.hosts.get(&id).and_then(|host| host.store()) else { return Ok(()) };
        let mut now = store.inspect();
        self.commit(id, &now)?;
        if let Some(plant) = self.plant {
            plant.on_inspection(&mut now);
        }
        let seen = self.view.hosts.entry(id).or_default();
        seen.wiped = self.disks.get(&id).is_some_and(|disk| *disk != now.incarnation);
        let before = seen.now.as_ref().filter(|_| !started).map_or(now.state, |before| before.state);
        let next = before.map_or(0, |before| before.index + 1);
        let upto = now.state.map_or(0, |state| state.index + 1);
        seen.states =
            (next..upto).filter_map(|at| store.state_at(at).map(|(revision, hash)| (at, revision, hash))).collect();
        // All that it holds was read: what is wrong with its disk, if anything is, is of no account.
        seen.flipped &= now.scans == 0 || now.fenced;
        let found_out = seen.flipped && now.fenced && !seen.damaged;
        let changed = seen.now.as_ref() != Some(&now);
        seen.now = Some(now);
        if started {
            seen.contents = store.contents().ok();
        }
        if found_out {
            self.line(format_args!("{id} is fenced off"));
            self.damaged(id);
            self.replace_if_needed(id);
        }
        if started {
            self.fact(&Fact::Started { host: id })?;
        }
        match changed || started {
            true => self.fact(&Fact::Stepped { host: id }),
            false => Ok(()),
        }
    }

    /// What this replica takes for committed and nobody did before is true from now on.
    fn commit(&mut self, id: NodeId, now: &Inspection) -> Checked {
        let upto = now.committed.max(now.state).map_or(0, |place| place.index + 1);
        while (self.view.truth.committed.len() as u64) < upto {
            let index = self.view.truth.committed.len() as u64;
            let mine = self.view.shadows.get(&id).and_then(|log| log.entries.get(&index));
            let anyone = || self.view.shadows.values().find_map(|log| log.entries.get(&index));
            let Some(entry) = mine.or_else(anyone).cloned() else {
                return Err(Broken::new("S9 no holes", format_args!("entry {index} is committed, and nobody has it")));
            };
            self.view.truth.commit(&entry, self.view.now).map_err(|why| Broken::new("S19 deterministic apply", why))?;
            if let Some(plant) = self.plant {
                let committed = self.view.truth.memberships.len();
                if let Some((_, newest)) = self.view.truth.memberships.last_mut() {
                    plant.on_membership(committed, newest);
                }
            }
            self.line(format_args!("committed {:?} by {id}", entry.place));
            self.learn_disks();
            self.fact(&Fact::Committed { host: id, index })?;
        }
        Ok(())
    }

    /// Whether the process ended by itself.
    fn look_for_end(&mut self, id: NodeId) -> Checked {
        if let Some(why) = process::take_end(id) {
            self.line(format_args!("{id} ended itself: {why}"));
            self.end(id, false)?;
            // It cannot read what it needs, and never will.
            if self.view.hosts.get(&id).is_some_and(|seen| seen.flipped) {
                self.damaged(id);
                self.replace_if_needed(id);
                return Ok(());
            }
            return self.start_later(id);
        }
        if self.hosts.get(&id).is_some_and(|host| host.has_stopped()) {
            self.line(format_args!("{id} stopped"));
            return self.end(id, false);
        }
        Ok(())
    }

    fn start_later(&mut self, id: NodeId) -> Checked {
        let at = self.view.now + self.rng.number(RESTART);
        self.starts.insert(id, at);
        Ok(())
    }

    /// The process of a replica is no more.
    pub(super) fn end(&mut self, id: NodeId, power: bool) -> Checked {
        let Some(host) = self.hosts.get_mut(&id).filter(|host| host.is_running()) else { return Ok(()) };
        let why = host.end(power).map_err(|error| Broken::new("this machine", error))?;
        host.disk.fail_next(false);
        process::take_end(id);
        if let Some(seen) = self.view.hosts.get_mut(&id) {
            seen.up = false;
        }
        self.line(format_args!("{id} is down, {why}"));
        // What it said last is not heard any more, but for its disk.
        for fact in self.shared.take_facts().iter().filter(|fact| is_of_disk(fact)) {
            self.fact(fact)?;
        }
        self.lose_calls(id)
    }

    fn note(&mut self, fact: &Fact) {
        match fact {
            Fact::Sent { from, to, message } => {
                let what = match message {
                    crate::facts::Message::Append(append) if append.entries.is_empty() => return,
                    crate::facts::Message::Append(append) => {
                        format!("{} entries after {:?}", append.entries.len(), append.prev)
                    }
                    crate::facts::Message::Appended(response) => match &response.result {
                        Some(kontiki_proto::raft::append_response::Result::Accepted(_)) => return,
                        other => format!("{other:?}"),
                    },
                    crate::facts::Message::Vote(vote) => format!("{vote:?}"),
                    crate::facts::Message::Voted(vote) => format!("{vote:?}"),
                };
                self.line(format_args!("{from} -> {to}: {what}"));
            }
            Fact::Appended { host, entries } => {
                let ends = entries.first().zip(entries.last()).map(|(first, last)| (first.place, last.place));
                self.line(format_args!("{host} appends {ends:?}"));
            }
            Fact::Stranger { host, how, refused } => {
                self.line(format_args!("{host} hears one {how}, refused: {refused}"))
            }
            fact => self.line(format_args!("{fact:?}")),
        }
    }
}

fn is_of_client(fact: &Fact) -> bool {
    matches!(fact, Fact::Returned { .. } | Fact::Watched { .. })
}

fn is_of_disk(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Appended { .. } | Fact::Synced { .. } | Fact::Voted { .. } | Fact::Truncated { .. } | Fact::Purged { .. }
    )
}
