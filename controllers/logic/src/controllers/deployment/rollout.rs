//! Rolling and recreating.

use std::cmp::Ordering;

use super::conditions::is_complete;
use super::replica_sets::{available, max_unavailable, size};
use super::{Sync, replicas};
use crate::meta::Meta;
use crate::pods;

impl Sync<'_> {
    /// Scales the new set up, then the old ones down, one of them per round.
    pub(super) fn rolling(&mut self) {
        if !self.ensure_new_set(true) {
            return;
        }
        let moved = self.scale_new_set() || self.scale_old_sets();
        if !moved && is_complete(self.deployment, &self.status) {
            self.clean_up();
        }
        self.set_rollout_status();
    }

    fn scale_new_set(&mut self) -> bool {
        let Some(set) = self.sets.new.clone() else { return false };
        let wanted = replicas(self.deployment);
        match size(&set).cmp(&wanted) {
            Ordering::Equal => false,
            Ordering::Greater => self.resize(set.name(), wanted),
            Ordering::Less => {
                let to = self.new_set_size(&set);
                self.resize(set.name(), to)
            }
        }
    }

    fn scale_old_sets(&mut self) -> bool {
        if self.sets.old.iter().map(size).sum::<i32>() == 0 {
            return false;
        }
        let floor = replicas(self.deployment) - max_unavailable(self.deployment);
        let unavailable = self.sets.new.as_ref().map_or(0, |set| size(set) - available(set));
        let most = self.sets.pods() - floor - unavailable;
        if most <= 0 {
            return false;
        }
        let unhealthy = self.drop_unhealthy(most);
        let healthy = self.drop_healthy(floor);
        unhealthy || healthy
    }

    /// Pods that are not available anyway go first: they cost nothing.
    fn drop_unhealthy(&mut self, most: i32) -> bool {
        let mut left = most;
        let mut steps = Vec::new();
        for set in &self.sets.old {
            let drop = left.min(size(set) - available(set));
            if size(set) > 0 && drop > 0 {
                left -= drop;
                steps.push((set.name().to_owned(), size(set) - drop));
            }
        }
        self.resize_all(steps)
    }

    fn drop_healthy(&mut self, floor: i32) -> bool {
        let mut left = self.sets.staying() - floor;
        let mut steps = Vec::new();
        for set in &self.sets.old {
            let drop = left.min(size(set));
            if size(set) > 0 && drop > 0 {
                left -= drop;
                steps.push((set.name().to_owned(), size(set) - drop));
            }
        }
        self.resize_all(steps)
    }

    fn resize_all(&mut self, steps: Vec<(String, i32)>) -> bool {
        steps.into_iter().fold(false, |moved, (name, to)| self.resize(&name, to) || moved)
    }

    /// All old pods go before the first new one comes.
    pub(super) fn recreate(&mut self) {
        self.ensure_new_set(false);
        let names = self.sets.old.iter().filter(|set| size(set) > 0).map(|set| (set.name().to_owned(), 0)).collect();
        if self.resize_all(names) || self.old_pods_run() {
            self.set_rollout_status();
            return;
        }
        if !self.ensure_new_set(self.sets.new.is_none()) {
            return;
        }
        self.scale_new_set();
        if is_complete(self.deployment, &self.status) {
            self.clean_up();
        }
        self.set_rollout_status();
    }

    fn old_pods_run(&self) -> bool {
        let old = self.sets.old.iter().flat_map(|set| self.world.pods.controlled_by(set.uid()));
        old.into_iter().any(|pod| !pods::is_terminal(pod))
    }
}
