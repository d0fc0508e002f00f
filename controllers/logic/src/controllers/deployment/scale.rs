//! Scaling a Deployment, proportionally when it is in the middle of a rollout.

use std::cmp::Reverse;

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::replica_sets::{available, max_surge, size};
use super::{DESIRED, MAXIMUM, Sync, is_paused, is_recreate, replicas};
use crate::meta::Meta;

impl Sync<'_> {
    /// `spec.replicas` differs from what the active sets were last scaled for.
    pub(super) fn is_scaling(&self) -> bool {
        let mut active = self.sets.all().filter(|set| size(set) > 0);
        active.any(|set| number(set, DESIRED).is_some_and(|desired| desired != replicas(self.deployment)))
    }

    pub(super) fn sync_scale(&mut self) {
        self.ensure_new_set(false);
        self.scale();
        if is_paused(self.deployment) {
            self.clean_up();
        }
        self.set_status();
    }

    fn scale(&mut self) {
        let wanted = replicas(self.deployment);
        if let Some(name) = self.active_or_latest() {
            self.resize(&name, wanted);
            return;
        }
        if self.is_saturated() {
            let old: Vec<_> =
                self.sets.old.iter().filter(|set| size(set) > 0).map(|set| set.name().to_owned()).collect();
            old.iter().for_each(|name| {
                self.resize(name, 0);
            });
            return;
        }
        if !is_recreate(self.deployment) {
            self.scale_proportionally(wanted);
        }
    }

    /// The only active set; when none is, the new one or the newest of the old.
    fn active_or_latest(&self) -> Option<String> {
        let active: Vec<_> = self.sets.all().filter(|set| size(set) > 0).collect();
        match active.as_slice() {
            [] => self.sets.new.as_ref().or(self.sets.old.last()).map(|set| set.name().to_owned()),
            [only] => Some(only.name().to_owned()),
            _ => None,
        }
    }

    fn is_saturated(&self) -> bool {
        let wanted = replicas(self.deployment);
        self.sets
            .new
            .as_ref()
            .is_some_and(|set| number(set, DESIRED) == Some(wanted) && size(set) == wanted && available(set) == wanted)
    }

    /// Spreads what is to be added or removed over the active sets by their sizes; the remainder goes to the largest.
    fn scale_proportionally(&mut self, wanted: i32) {
        let mut active: Vec<_> = self.sets.all().filter(|set| size(set) > 0).cloned().collect();
        let allowed = if wanted > 0 { wanted + max_surge(self.deployment) } else { 0 };
        let to_add = allowed - active.iter().map(size).sum::<i32>();
        // The larger first; of equals the newer when growing, the older when shrinking.
        active.sort_by_key(|set| (Reverse(size(set)), set.created()));
        if to_add > 0 {
            active.sort_by_key(|set| (Reverse(size(set)), Reverse(set.created())));
        }
        let mut added = 0;
        let mut sizes: Vec<_> = active
            .iter()
            .map(|set| {
                let share = self.share(set, to_add, added);
                added += share;
                size(set) + share
            })
            .collect();
        if let Some(first) = sizes.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        for (set, to) in active.iter().zip(sizes) {
            self.resize(set.name(), to);
        }
    }

    fn share(&self, set: &ReplicaSet, to_add: i32, added: i32) -> i32 {
        if to_add == 0 || to_add == added {
            return 0;
        }
        let fraction = self.fraction(set);
        let left = to_add - added;
        if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
    }

    /// How much the set would change if all changed by the same factor.
    fn fraction(&self, set: &ReplicaSet) -> i32 {
        let wanted = replicas(self.deployment);
        if wanted == 0 {
            return -size(set);
        }
        let before = number(set, MAXIMUM).or(self.status.replicas).filter(|before| *before > 0);
        let Some(before) = before else { return 0 };
        let after = i64::from(wanted + max_surge(self.deployment));
        // Rounded to the nearest, half away from zero, in integers.
        let scaled = (i64::from(size(set)) * after * 2 + i64::from(before)) / (i64::from(before) * 2);
        i32::try_from(scaled).unwrap_or(i32::MAX) - size(set)
    }
}

fn number(set: &ReplicaSet, annotation: &str) -> Option<i32> {
    set.annotation(annotation)?.parse().ok()
}
