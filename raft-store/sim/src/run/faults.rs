//! Carries out what the nemesis chose.

use store_api::{Admin as _, NodeId};

use super::{Broken, Checked, Run};
use crate::disk::PLENTY;
use crate::facts::Fact;
use crate::jobs::Job;
use crate::nemesis::{Blow, LONG_JUMP, Lasting};
use crate::plant::Plant;
use crate::strangers::{How, Pair, knock};

impl Run {
    pub(super) fn blow(&mut self, blow: Blow) -> Checked {
        self.line(format_args!("{blow:?}"));
        self.count(name(&blow));
        match blow {
            Blow::Kill { host, power, down } => self.kill(host, power, down),
            Blow::PowerCut { down } => {
                let running: Vec<NodeId> =
                    self.hosts.iter().filter(|(_, host)| host.is_running()).map(|(id, _)| *id).collect();
                running.into_iter().try_for_each(|host| {
                    let down = down + self.rng.number(0..500);
                    self.kill(host, true, down)
                })
            }
            Blow::Pause { host, milliseconds } => {
                let until = self.view.now + milliseconds * 1_000;
                self.with(host, |host| (host.paused_until, host.debt_of_pause) = (until, milliseconds))
            }
            Blow::Jump { host, milliseconds } => {
                self.view.skewed = true;
                self.with(host, |host| host.jump += milliseconds)
            }
            Blow::FailingDisk { host } => self.with(host, |host| host.disk.fail_next(true)),
            Blow::Flip { host, state } => self.flip(host, state),
            Blow::Wipe { host, witness } => self.wipe(host, witness),
            Blow::Replace { host } => {
                self.jobs.push(Job::NewId);
                self.jobs.push(Job::Remove(host));
                Ok(())
            }
            Blow::Grow => {
                self.jobs.push(Job::NewId);
                Ok(())
            }
            Blow::Shrink { host } => {
                self.jobs.push(Job::Remove(host));
                Ok(())
            }
            Blow::HandOver { to } => {
                for host in self.askable() {
                    let Some(store) = self.hosts[&host].store() else { continue };
                    self.hosts[&host].spawn(async move {
                        // Only the leader does it, and it may come to nothing.
                        let _ = store.move_leader(to).await;
                    });
                }
                Ok(())
            }
            Blow::Stranger { from, to, how } => {
                self.stranger(from, to, how);
                Ok(())
            }
            Blow::Hop => {
                self.watchers.iter_mut().for_each(|watcher| watcher.hops_at = 0);
                Ok(())
            }
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.faults.entry(what).or_default() += 1;
    }

    fn with(&mut self, id: NodeId, change: impl FnOnce(&mut crate::host::Host)) -> Checked {
        if let Some(host) = self.hosts.get_mut(&id).filter(|host| host.is_running()) {
            change(host);
        }
        Ok(())
    }

    fn kill(&mut self, host: NodeId, power: bool, down: u64) -> Checked {
        self.end(host, power)?;
        self.starts.insert(host, self.view.now + down * 1_000);
        Ok(())
    }

    fn flip(&mut self, host: NodeId, state: bool) -> Checked {
        self.kill(host, false, 500)?;
        let what = self.hosts[&host].disk.flip_a_bit(state).map_err(|error| Broken::new("this machine", error))?;
        self.line(format_args!("{host} has a damaged disk: {what:?}"));
        self.damaged(host);
        if let Some(seen) = self.view.hosts.get_mut(&host) {
            seen.flipped |= state && what.is_some();
        }
        Ok(())
    }

    /// Where snapshots are damaged as long as they lie there, they are.
    pub(super) fn flip_snapshots(&mut self, host: NodeId) -> Checked {
        if !self.nemesis.flips_snapshots() {
            return Ok(());
        }
        let flipped = self.hosts[&host].disk.flip_a_snapshot().map_err(|error| Broken::new("this machine", error))?;
        if let Some(what) = flipped {
            self.count("bit flip of a snapshot");
            self.line(format_args!("{host} has a damaged snapshot: {what}"));
        }
        Ok(())
    }

    fn wipe(&mut self, host: NodeId, witness: bool) -> Checked {
        self.kill(host, true, 500)?;
        let witness = witness || self.plant == Some(Plant::WipedVotes);
        self.hosts[&host].disk.wipe(witness).map_err(|error| Broken::new("this machine", error))?;
        self.damaged(host);
        if let Some(seen) = self.view.hosts.get_mut(&host) {
            seen.flipped = false;
        }
        self.fact(&Fact::Wiped { host })?;
        // If it is not refused at the start, somebody must notice what it is not.
        if self.plant != Some(Plant::WipedVotes) {
            self.replace_if_needed(host);
        }
        Ok(())
    }

    pub(super) fn damaged(&mut self, host: NodeId) {
        if let Some(seen) = self.view.hosts.get_mut(&host) {
            seen.damaged = true;
        }
    }

    fn stranger(&mut self, from: NodeId, to: NodeId, how: How) {
        let disks = |id: NodeId| self.disks.get(&id).map(|disk| (id, disk.clone()));
        let Some((from, to)) = disks(from).zip(disks(to)) else { return };
        let Some(server) = self.shared.net.lock().server(to.0) else { return };
        // It must know who is a member to tell.
        let knows = self.view.now_of(to.0).is_some_and(|now| now.members.contains(&from.0) && now.incarnation == to.1);
        if knows {
            let task = knock(self.shared.clone(), server, Pair { from, to: to.clone() }, how);
            self.hosts[&to.0].spawn(task);
        }
    }

    pub(super) fn lasting(&mut self, lasting: &Lasting, begins: bool) -> Checked {
        match lasting {
            Lasting::SlowDisk { host, milliseconds } => {
                let slow = if begins { *milliseconds } else { 3 };
                self.with(*host, |host| host.disk.set_slow(slow))?;
            }
            Lasting::FullDisk { host, percent } => {
                let (free, tight) = if begins { (1 << 19, *percent) } else { (PLENTY, 0) };
                self.make_room(*host, free, tight);
            }
            Lasting::Drift { host, rate } => {
                self.view.skewed = true;
                let rate = if begins { *rate } else { 1_000 };
                self.with(*host, |host| host.rate = rate)?;
            }
            Lasting::Cut(_) | Lasting::Slow { .. } | Lasting::Breaking { .. } | Lasting::Doubling { .. } => {}
            Lasting::FlippingSnapshots => {}
        }
        if begins {
            self.count(name_of(lasting));
        }
        let weather = self.nemesis.weather();
        self.shared.net.lock().change(weather);
        Ok(())
    }

    /// So many bytes of a disk are free, and of a hundred writes so many do not fit all the same.
    fn make_room(&mut self, id: NodeId, free: u64, tight: u64) {
        let (Some(host), Some(seen)) = (self.hosts.get(&id), self.view.hosts.get_mut(&id)) else { return };
        if tight > 0 {
            // As long as it lasts, and a moment longer.
            seen.full = Some(u64::MAX / 2);
        } else if seen.full.is_some() {
            seen.full = Some(self.view.now);
        }
        host.disk.set_free(free);
        host.disk.set_tight(tight);
    }

    /// No fault is left but what was destroyed.
    pub(super) fn everything_is_well(&mut self) -> Checked {
        let all: Vec<NodeId> = self.hosts.keys().copied().collect();
        all.into_iter().for_each(|id| self.make_room(id, PLENTY, 0));
        for host in self.hosts.values_mut() {
            host.disk.set_slow(3);
            host.disk.fail_next(false);
            host.rate = 1_000;
        }
        Ok(())
    }
}

fn name(blow: &Blow) -> &'static str {
    match blow {
        Blow::Kill { power: false, .. } => "kill",
        Blow::Kill { power: true, .. } => "power cut",
        Blow::PowerCut { .. } => "power cut of all",
        Blow::Pause { .. } => "pause",
        Blow::Jump { milliseconds, .. } if *milliseconds > LONG_JUMP => "clock jump of minutes",
        Blow::Jump { .. } => "clock jump",
        Blow::FailingDisk { .. } => "failing disk",
        Blow::Flip { state: false, .. } => "bit flip",
        Blow::Flip { state: true, .. } => "bit flip of the state",
        Blow::Wipe { .. } => "wiped disk",
        Blow::Replace { .. } => "replace",
        Blow::Grow => "grow",
        Blow::Shrink { .. } => "shrink",
        Blow::HandOver { .. } => "hand over",
        Blow::Stranger { .. } => "stranger",
        Blow::Hop => "hop",
    }
}

fn name_of(lasting: &Lasting) -> &'static str {
    match lasting {
        Lasting::Cut(_) => "partition",
        Lasting::Slow { .. } => "slow wire",
        Lasting::Breaking { .. } => "breaking wire",
        Lasting::Doubling { .. } => "doubled calls",
        Lasting::SlowDisk { .. } => "slow disk",
        Lasting::FullDisk { percent: 0, .. } => "full disk",
        Lasting::FullDisk { .. } => "writes that do not fit",
        Lasting::FlippingSnapshots => "disks that damage snapshots",
        Lasting::Drift { .. } => "clock drift",
    }
}
