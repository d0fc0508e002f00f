//! What is known of the whole cluster at one moment, for checkers.

use std::collections::{BTreeMap, BTreeSet};

use store_api::{KeyValue, NodeId, Revision};
use store_node::{Inspection, Promise};

use crate::facts::{Entry, Fact};
use crate::truth::Truth;

/// The raft log of one replica as its disk was told to keep it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shadow {
    pub(crate) entries: BTreeMap<u64, Entry>,
    /// No power cut takes away what is up to here.
    pub(crate) durable: Option<u64>,
    pub(crate) promise: Promise,
    pub(crate) purged: Option<u64>,
    /// What was durable before a restart and the last index after it, when that is less.
    pub(crate) shortened: Option<(u64, Option<u64>)>,
}

impl Shadow {
    pub(crate) fn last(&self) -> Option<u64> {
        self.entries.last_key_value().map(|(index, _)| *index).max(self.purged)
    }

    /// Whether the replica has this entry for ever, as itself or in its state.
    pub(crate) fn holds(&self, entry: &Entry) -> bool {
        let index = entry.place.index;
        let kept = self.entries.get(&index).is_some_and(|kept| kept.place == entry.place);
        self.purged >= Some(index) || (self.durable >= Some(index) && kept)
    }

    fn see(&mut self, fact: &Fact) {
        match fact {
            Fact::Appended { entries, .. } => {
                self.entries.extend(entries.iter().map(|entry| (entry.place.index, entry.clone())));
            }
            Fact::Synced { .. } => self.durable = self.last(),
            Fact::Voted { promise, .. } => {
                self.promise = *promise;
                self.durable = self.last();
            }
            Fact::Truncated { from, .. } => {
                self.entries.split_off(from);
                self.durable = self.last();
            }
            Fact::Purged { to, .. } => {
                self.entries = self.entries.split_off(&(to + 1));
                self.purged = self.purged.max(Some(*to));
                self.durable = self.last();
            }
            _ => {}
        }
    }

    /// The replica was started again and says where its log ends.
    fn restart(&mut self, last: Option<u64>, promise: Promise) {
        // It may have been written down when nobody was told any more.
        self.promise = self.promise.max(promise);
        self.shortened = self.durable.filter(|durable| last < Some(*durable)).map(|durable| (durable, last));
        self.entries.split_off(&last.map_or(0, |last| last + 1));
        self.durable = self.last();
    }
}

/// One replica, as it was after it last ran.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostView {
    pub(crate) up: bool,
    /// Times it was started.
    pub(crate) life: u64,
    pub(crate) now: Option<Inspection>,
    /// Revision and hash after each entry applied in its last step.
    pub(crate) states: Vec<(u64, Revision, u64)>,
    /// It lost its data, and is not what the others take it for.
    pub(crate) wiped: bool,
    /// Its disk was damaged, or lost.
    pub(crate) damaged: bool,
    /// A bit of its state is another one, and nobody noticed yet: perhaps nobody ever reads it.
    pub(crate) flipped: bool,
    /// When its disk last had no room, microseconds.
    pub(crate) full: Option<u64>,
    /// What its keys held when it was started.
    pub(crate) contents: Option<Vec<KeyValue>>,
    /// It does not take part any more.
    pub(crate) out: bool,
}

impl HostView {
    /// Nothing is known to be wrong with its disk, nor may it be.
    pub(crate) fn is_sound(&self) -> bool {
        !self.damaged && !self.flipped
    }

    /// Whether its disk had no room a moment ago.
    pub(crate) fn lacked_room(&self, now: u64) -> bool {
        const MOMENT: u64 = 2_000_000;
        self.full.is_some_and(|full| now <= full + MOMENT)
    }
}

pub(crate) struct View {
    /// Microseconds.
    pub(crate) now: u64,
    pub(crate) hosts: BTreeMap<NodeId, HostView>,
    pub(crate) shadows: BTreeMap<NodeId, Shadow>,
    /// What was on disks when they were wiped.
    pub(crate) lost: BTreeMap<NodeId, Shadow>,
    pub(crate) truth: Truth,
    /// Some clock ran faster than the others.
    pub(crate) skewed: bool,
}

impl View {
    pub(crate) fn see(&mut self, fact: &Fact) {
        match fact {
            Fact::Appended { host, .. }
            | Fact::Synced { host }
            | Fact::Voted { host, .. }
            | Fact::Truncated { host, .. }
            | Fact::Purged { host, .. } => self.shadows.entry(*host).or_default().see(fact),
            Fact::Started { host } => {
                let now = self.hosts.get(host).and_then(|host| host.now.as_ref());
                let (last, promise) = now.map(|now| (now.last_log, now.promise)).unwrap_or_default();
                self.shadows.entry(*host).or_default().restart(last, promise);
            }
            Fact::Wiped { host } => {
                let log = self.shadows.remove(host);
                self.lost.extend(log.map(|log| (*host, log)));
            }
            _ => {}
        }
    }

    pub(crate) fn now_of(&self, host: NodeId) -> Option<&Inspection> {
        self.hosts.get(&host)?.now.as_ref()
    }

    /// Whether something may be wrong with a replica's disk.
    pub(crate) fn is_doubtful(&self, host: NodeId) -> bool {
        self.hosts.get(&host).is_some_and(|host| !host.is_sound())
    }

    pub(crate) fn up(&self) -> impl Iterator<Item = (NodeId, &HostView)> {
        self.hosts.iter().filter(|(_, host)| host.up && !host.out).map(|(id, host)| (*id, host))
    }

    pub(crate) fn shadow(&self, host: NodeId) -> Option<&Shadow> {
        self.shadows.get(&host)
    }
}

/// Whether `ids` hold a majority of every set of voters.
pub(crate) fn is_quorum(voters: &[BTreeSet<NodeId>], ids: &BTreeSet<NodeId>) -> bool {
    !voters.is_empty() && voters.iter().all(|set| set.intersection(ids).count() * 2 > set.len())
}
