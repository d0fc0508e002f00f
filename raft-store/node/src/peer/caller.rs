//! Who may ask what: decided by the certificate, the disk the caller has, the disk it means, and the membership.
//!
//! The certificate says only that the caller is, or was, a replica of this cluster. A replica that lost its
//! disk forgot what it acknowledged, and one that was removed has no voice any more; both still have theirs.

use std::collections::BTreeSet;

use store_api::NodeId;
use store_engine::planted::{Bug, is_planted};
use tonic::{Request, Status};

use super::{FROM_INCARNATION, TO_INCARNATION};
use crate::tls::PeerIdentity;
use crate::types::Membership;

/// Who calls, and whom it means.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) id: NodeId,
    /// Its data directory.
    incarnation: Option<String>,
    /// The data directory it takes the receiver to have.
    means: Option<String>,
}

/// What a replica knows to judge callers by.
pub(super) struct Known<'a> {
    pub(super) incarnation: &'a str,
    pub(super) committed: &'a Membership,
    pub(super) effective: &'a Membership,
    pub(super) removed: &'a BTreeSet<NodeId>,
}

impl Caller {
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let peer = request.extensions().get::<PeerIdentity>();
        let id = peer.map(|peer| peer.id).ok_or_else(|| Status::unauthenticated("no peer certificate"))?;
        let text = |key| request.metadata().get(key).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Self { id, incarnation: text(FROM_INCARNATION), means: text(TO_INCARNATION) })
    }

    /// Both are the replicas they are taken for, with the disks they had. All that concerns the log asks for this.
    /// A caller in no membership known here may be in one that is not known here yet.
    pub(super) fn check_disks(&self, known: &Known<'_>) -> Result<(), Status> {
        if is_planted(Bug::AnswersAnyone) {
            return Ok(());
        }
        if self.means.as_deref() != Some(known.incarnation) {
            return Err(Status::failed_precondition(
                "this is not the disk that is meant: this replica lost its data. Remove it, and add a new one with a \
                 new id",
            ));
        }
        let members = [known.committed, known.effective].into_iter().filter_map(|all| all.get_node(&self.id));
        match members.into_iter().all(|member| self.incarnation.as_ref() == Some(&member.incarnation)) {
            true => Ok(()),
            false => Err(Status::failed_precondition(format!("replica {} comes from another disk", self.id))),
        }
    }

    pub(super) fn check_not_removed(&self, known: &Known<'_>) -> Result<(), Status> {
        match known.removed.contains(&self.id) {
            true => Err(Status::permission_denied(format!("replica {} was removed from the cluster", self.id))),
            false => Ok(()),
        }
    }

    /// What only members may ask. Of a replica that knows no membership yet there is nothing to have.
    pub(super) fn check_member(&self, known: &Known<'_>) -> Result<(), Status> {
        self.check_disks(known)?;
        self.check_not_removed(known)?;
        let among = |members: &Membership| members.get_node(&self.id).is_some();
        let nobody = known.effective.nodes().next().is_none();
        match nobody || among(known.committed) || among(known.effective) {
            true => Ok(()),
            false => Err(Status::permission_denied(format!("replica {} is not a member", self.id))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::MemberNode;

    fn members(ids: &[NodeId]) -> Membership {
        let node = |id: &NodeId| (*id, MemberNode { incarnation: format!("disk-{id}"), ..MemberNode::default() });
        let nodes = ids.iter().map(node).collect::<std::collections::BTreeMap<_, _>>();
        Membership::new(vec![ids.iter().copied().collect()], nodes).expect("a membership")
    }

    #[test]
    fn a_caller_is_heard_as_far_as_it_is_who_it_was() {
        let (committed, effective) = (members(&[1, 2, 3]), members(&[1, 2, 3, 4]));
        let (removed, nobody) = (BTreeSet::from([7]), Membership::default());
        let known = Known { incarnation: "disk-1", committed: &committed, effective: &effective, removed: &removed };
        let fresh =
            Known { incarnation: "disk-1", committed: &nobody, effective: &nobody, removed: &BTreeSet::default() };
        let ask = |known: &Known<'_>, id, from: &str, to: Option<&str>| {
            let caller = Caller { id, incarnation: Some(from.into()), means: to.map(str::to_owned) };
            let log = caller.check_disks(known).and_then(|()| caller.check_not_removed(known)).is_ok();
            (log, caller.check_member(known).is_ok())
        };
        let mine = Some("disk-1");
        for (what, answer, want) in [
            ("a member", ask(&known, 2, "disk-2", mine), (true, true)),
            ("a member that is being added", ask(&known, 4, "disk-4", mine), (true, true)),
            ("a member with another disk", ask(&known, 2, "new", mine), (false, false)),
            ("another disk of mine is meant", ask(&known, 2, "disk-2", Some("old")), (false, false)),
            ("no disk of mine is meant", ask(&known, 2, "disk-2", None), (false, false)),
            ("one that was removed", ask(&known, 7, "disk-7", mine), (false, false)),
            ("one that may be a member later", ask(&known, 9, "disk-9", mine), (true, false)),
            ("the first words to a fresh replica", ask(&fresh, 2, "disk-2", mine), (true, true)),
            ("a fresh replica in the place of another", ask(&fresh, 2, "disk-2", Some("old")), (false, false)),
        ] {
            assert_eq!(answer, want, "{what}");
        }
    }
}
