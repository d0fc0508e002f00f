//! Replicas are added, removed and replaced.

use store_api::NodeId;

use super::{Caller, Checked, Run};
use crate::facts::{Answer, Fact};
use crate::jobs::{self, Job};

impl Run {
    pub(super) fn next_job(&mut self) -> Checked {
        let Some(job) = self.jobs.next(self.view.now) else { return Ok(()) };
        let able = match &job {
            Job::Found(_) => vec![1],
            Job::Remove(id) if self.members().len() <= 1 || !self.members().contains(id) => {
                return self.skip(&job);
            }
            _ => self.askable(),
        };
        let able: Vec<NodeId> = able.into_iter().filter(|id| self.hosts[id].store().is_some()).collect();
        let Some(host) = self.rng.pick(&able).copied() else { return Ok(()) };
        let Some(store) = self.hosts[&host].store() else { return Ok(()) };
        let (call, shared) = (self.new_call(host, Caller::Job), self.shared.clone());
        self.line(format_args!("{call:?} to {host}: {job:?}"));
        self.jobs.call = Some(call);
        self.hosts[&host].spawn(async move {
            let answer = jobs::perform(store, job).await;
            shared.tell(Fact::Returned { call, host, answer });
        });
        Ok(())
    }

    fn skip(&mut self, job: &Job) -> Checked {
        self.line(format_args!("nothing to do: {job:?}"));
        self.jobs.answered(Some(&Answer::Done), self.view.now);
        Ok(())
    }

    pub(super) fn job_answered(&mut self, answer: Option<&Answer>) {
        let done = self.jobs.answered(answer, self.view.now);
        if let (Some(Job::NewId), Some(Answer::NodeId(id))) = (done, answer) {
            self.new_host(*id);
            self.jobs.push_front(Job::Add(*id));
        }
    }

    /// A replica whose data is gone makes room for a new one.
    pub(super) fn replace_if_needed(&mut self, id: NodeId) {
        let is_damaged = self.view.hosts.get(&id).is_some_and(|seen| seen.damaged && !seen.out);
        if is_damaged && self.replacing.insert(id) {
            self.jobs.push(Job::Remove(id));
            self.jobs.push(Job::NewId);
        }
    }

    /// Which disk each member came with, as the newest committed membership has it. Who is in it no more is of no
    /// account any more.
    pub(super) fn learn_disks(&mut self) {
        let Some((_, membership)) = self.view.truth.memberships.last() else { return };
        let disks = membership.nodes.iter().map(|node| (node.id, node.incarnation.clone())).collect();
        let before = std::mem::replace(&mut self.disks, disks);
        for id in before.keys().filter(|id| !self.disks.contains_key(id)) {
            if let Some(seen) = self.view.hosts.get_mut(id) {
                seen.out = true;
            }
        }
    }
}
