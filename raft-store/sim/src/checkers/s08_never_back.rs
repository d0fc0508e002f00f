//! S8: the vote never goes back, not even when power goes; what is committed and applied does not as long as a replica
//! runs, and is where it was before it answers again (that is S18's to check).

use std::collections::BTreeMap;

use store_api::NodeId;
use store_node::Inspection;

use super::Checker;
use crate::facts::Fact;
use crate::view::View;

#[derive(Default)]
pub(super) struct NeverBack {
    before: BTreeMap<NodeId, (u64, Inspection)>,
}

impl Checker for NeverBack {
    fn name(&self) -> &'static str {
        "S8 never back"
    }

    fn see(&mut self, fact: &Fact, view: &View) -> Result<(), String> {
        match fact {
            Fact::Wiped { host } => {
                self.before.remove(host);
            }
            Fact::Started { host } | Fact::Stepped { host } => {
                let Some(seen) = view.hosts.get(host) else { return Ok(()) };
                let Some(now) = &seen.now else { return Ok(()) };
                if let Some((life, before)) = self.before.insert(*host, (seen.life, now.clone())) {
                    return check(*host, &before, now, life == seen.life);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn check(host: NodeId, before: &Inspection, now: &Inspection, same_life: bool) -> Result<(), String> {
    let vote = |now: &Inspection| (now.promise.term, now.promise.leader);
    let taken_back = !now.promise.granted && before.promise.granted;
    if vote(now) < vote(before) || (vote(now) == vote(before) && taken_back) {
        return Err(format!("{host} promised {:?}, and then {:?}", before.promise, now.promise));
    }
    let places = |now: &Inspection| [now.committed, now.applied, now.state, now.snapshot, now.purged];
    let back = places(before).into_iter().zip(places(now)).find(|(before, now)| now < before);
    match back.filter(|_| same_life) {
        Some((before, now)) => Err(format!("{host} was at {before:?}, and then at {now:?}")),
        None => Ok(()),
    }
}
