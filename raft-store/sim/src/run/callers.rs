//! Clients, watchers, and what they are told.

use store_api::NodeId;

use super::{Caller, Checked, Run};
use crate::clients::{self, Watcher, perform, watch};
use crate::facts::{Answer, CallId, Fact, What};

/// The client that asks whether a replica accepts writes.
const PROBER: u64 = 900;

impl Run {
    /// Whoever has nothing under way asks for something.
    pub(super) fn work(&mut self) -> Checked {
        self.next_job()?;
        if !self.founded {
            return Ok(());
        }
        for at in 0..self.clients.len() {
            let client = &self.clients[at];
            if !self.quiet && client.busy.is_none() && client.next_at <= self.view.now {
                self.call_as_client(at)?;
            }
        }
        for at in 0..self.watchers.len() {
            self.hop(at);
        }
        Ok(())
    }

    fn call_as_client(&mut self, at: usize) -> Checked {
        let able = self.askable();
        let Some(host) = self.rng.pick(&able).copied() else { return Ok(()) };
        let client = &mut self.clients[at];
        let (id, what) = (client.id(), client.choose(&mut self.rng));
        let call = self.call(host, Caller::Client(at), id, what)?;
        self.clients[at].busy = call;
        Ok(())
    }

    /// Sends a call to a replica.
    pub(super) fn call(
        &mut self,
        host: NodeId,
        caller: Caller,
        client: u64,
        what: What,
    ) -> Result<Option<CallId>, super::Broken> {
        let Some(store) = self.hosts.get(&host).and_then(|host| host.store()) else { return Ok(None) };
        let (call, shared) = (self.new_call(host, caller), self.shared.clone());
        self.line(format_args!("{call:?} of {client} to {host}: {what:?}"));
        self.fact(&Fact::Called { call, host, what: what.clone() })?;
        self.hosts[&host].spawn(async move {
            let answer = perform(&store, client, what).await;
            drop(store);
            shared.tell(Fact::Returned { call, host, answer });
        });
        Ok(Some(call))
    }

    pub(super) fn new_call(&mut self, host: NodeId, caller: Caller) -> CallId {
        self.next_call += 1;
        let call = CallId(self.next_call);
        self.calls.insert(call, (host, caller));
        call
    }

    /// A replica told somebody something.
    pub(super) fn told(&mut self, fact: Fact) -> Checked {
        match &fact {
            Fact::Returned { call, host, answer } => {
                self.line(format_args!("{call:?} from {host}: {answer:?}"));
                self.acknowledged += u64::from(matches!(answer, Answer::Wrote { succeeded: true, .. }));
                let caller = self.calls.remove(call).map(|(_, caller)| caller);
                self.fact(&fact)?;
                self.answered(caller, *host, Some(answer))
            }
            Fact::Watched { watcher, host, seen } => {
                let current = self.watchers.iter_mut().find(|one| one.id == *watcher && one.host == Some(*host));
                let Some(current) = current else { return Ok(()) };
                current.saw(seen);
                self.line(format_args!("watcher {watcher} at {host}: {seen:?}"));
                self.fact(&fact)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn answered(&mut self, caller: Option<Caller>, host: NodeId, answer: Option<&Answer>) -> Checked {
        match caller {
            Some(Caller::Client(at)) => self.clients[at].answered(answer, self.view.now, &mut self.rng),
            Some(Caller::Job) => self.job_answered(answer),
            Some(Caller::Probe) => {
                self.probing.remove(&host);
                if matches!(answer, Some(Answer::Wrote { succeeded: true, .. })) {
                    self.probed.insert(host);
                }
            }
            None => {}
        }
        Ok(())
    }

    /// Everything that was under way on a replica is lost.
    pub(super) fn lose_calls(&mut self, host: NodeId) -> Checked {
        let lost: Vec<(CallId, Caller)> =
            self.calls.iter().filter(|(_, (at, _))| *at == host).map(|(call, (_, caller))| (*call, *caller)).collect();
        for (call, caller) in lost {
            self.calls.remove(&call);
            self.line(format_args!("{call:?} is lost with {host}"));
            self.fact(&Fact::Lost { call })?;
            self.answered(Some(caller), host, None)?;
        }
        for watcher in self.watchers.iter_mut().filter(|watcher| watcher.host == Some(host)) {
            watcher.host = None;
        }
        Ok(())
    }

    /// A watcher without a replica, or tired of its one, goes to another.
    fn hop(&mut self, at: usize) {
        let watcher = &self.watchers[at];
        if watcher.host.is_some() && watcher.hops_at > self.view.now {
            return;
        }
        let able = self.askable();
        let Some(host) = self.rng.pick(&able).copied() else { return };
        let Some(store) = self.hosts[&host].store() else { return };
        let stays = self.rng.number(100_000..3_000_000);
        if self.rng.once_in(3) {
            self.begin_anew(at, host);
        }
        let watcher = &mut self.watchers[at];
        if let Some(stop) = watcher.stop.take() {
            stop.abort();
        }
        (watcher.host, watcher.hops_at) = (Some(host), self.view.now + stays);
        let (id, from) = (watcher.id, watcher.next);
        let task = watch(store, self.shared.clone(), (id, host), from);
        self.watchers[at].stop = self.hosts[&host].spawn_abortable(task);
        self.line(format_args!("watcher {id} goes to {host} for {from}"));
    }

    /// Another watch takes its place: from where the history begins, or from a revision that is not there yet.
    fn begin_anew(&mut self, at: usize, host: NodeId) {
        let Some((compacted, newest)) = self.view.now_of(host).map(|now| (now.compacted, now.revision)) else { return };
        let from = match self.rng.once_in(2) {
            true => compacted + self.rng.number(0..2),
            false => newest + self.rng.number(0..10),
        };
        self.next_watcher += 1;
        let stop = self.watchers[at].stop.take();
        self.watchers[at] = Watcher { next: from.max(2), stop, ..Watcher::new(self.next_watcher) };
    }

    /// Asks every member that has not yet shown that it accepts writes.
    pub(super) fn probe(&mut self) {
        for host in self.askable() {
            if self.probed.contains(&host) || !self.probing.insert(host) {
                continue;
            }
            let what = clients::probe(host, self.next_call + 1);
            // That something is asked breaks no promise.
            if !matches!(self.call(host, Caller::Probe, PROBER, what), Ok(Some(_))) {
                self.probing.remove(&host);
            }
        }
    }
}
