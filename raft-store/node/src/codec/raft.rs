//! openraft's types <-> `proto/log.proto`. What the engine keeps as opaque bytes is written here.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kontiki_proto::log as proto;
use openraft::EntryPayload;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::vote::RaftLeaderId;
use prost::Message;
use store_api::{Member, NodeId};

use super::{DecodeError, FORMAT, known_format, present};
use crate::types::{Entry, LogCommand, LogId, MemberNode, Membership, StoredMembership, Vote};

pub(crate) fn log_id_to_proto(id: &LogId) -> proto::LogId {
    let leader = id.committed_leader_id();
    proto::LogId { term: leader.term, node: leader.node_id, index: id.index() }
}

pub(crate) fn log_id_from_proto(id: proto::LogId) -> LogId {
    LogId::new(LeaderId { term: id.term, node_id: id.node }.to_committed(), id.index)
}

pub(crate) fn log_id_to_bytes(id: &LogId) -> Bytes {
    log_id_to_proto(id).encode_to_vec().into()
}

pub(crate) fn log_id_from_bytes(bytes: &[u8]) -> Result<LogId, DecodeError> {
    Ok(log_id_from_proto(proto::LogId::decode(bytes)?))
}

pub(crate) fn vote_to_proto(vote: &Vote) -> proto::Vote {
    let leader = vote.leader_id();
    proto::Vote { term: leader.term, node: leader.node_id, committed: vote.is_committed() }
}

pub(crate) fn vote_from_proto(vote: proto::Vote) -> Vote {
    match vote.committed {
        true => Vote::new_committed(vote.term, vote.node),
        false => Vote::new(vote.term, vote.node),
    }
}

pub(crate) fn vote_to_bytes(vote: &Vote) -> Bytes {
    vote_to_proto(vote).encode_to_vec().into()
}

pub(crate) fn vote_from_bytes(bytes: &[u8]) -> Result<Vote, DecodeError> {
    Ok(vote_from_proto(proto::Vote::decode(bytes)?))
}

pub(crate) fn membership_to_proto(membership: &Membership) -> proto::Membership {
    let voters = membership.get_joint_config().iter();
    proto::Membership {
        voters: voters.map(|ids| proto::VoterSet { ids: ids.iter().copied().collect() }).collect(),
        nodes: membership.nodes().map(|(id, node)| node_to_proto(*id, node)).collect(),
    }
}

pub(crate) fn membership_from_proto(membership: proto::Membership) -> Result<Membership, DecodeError> {
    let voters: Vec<BTreeSet<NodeId>> =
        membership.voters.into_iter().map(|set| set.ids.into_iter().collect()).collect();
    let nodes: BTreeMap<NodeId, MemberNode> = membership.nodes.into_iter().map(node_from_proto).collect();
    Membership::new(voters, nodes).map_err(|_| DecodeError::Range("membership"))
}

pub(crate) fn node_to_proto(id: NodeId, node: &MemberNode) -> proto::MemberNode {
    let MemberNode { peer_addr, api_url, incarnation, name, client_urls } = node.clone();
    proto::MemberNode { id, peer_addr, api_url, incarnation, name, client_urls }
}

pub(crate) fn node_from_proto(node: proto::MemberNode) -> (NodeId, MemberNode) {
    let proto::MemberNode { id, peer_addr, api_url, incarnation, name, client_urls } = node;
    (id, MemberNode { peer_addr, api_url, incarnation, name, client_urls })
}

/// A member as somebody asks for it: the leader finds out which disk it has.
pub(crate) fn member_to_proto(member: &Member) -> proto::MemberNode {
    let Member { id, peer_addr, api_url, name, client_urls, .. } = member.clone();
    proto::MemberNode { id, peer_addr, api_url, incarnation: String::new(), name, client_urls }
}

pub(crate) fn member_from_proto(member: proto::MemberNode, voter: bool) -> Member {
    let proto::MemberNode { id, peer_addr, api_url, name, client_urls, .. } = member;
    Member { id, peer_addr, api_url, name, client_urls, voter }
}

pub(crate) fn stored_membership_to_proto(stored: &StoredMembership) -> proto::StoredMembership {
    proto::StoredMembership {
        log_id: stored.log_id().as_ref().map(log_id_to_proto),
        membership: Some(membership_to_proto(stored.membership())),
    }
}

pub(crate) fn stored_membership_from_proto(stored: proto::StoredMembership) -> Result<StoredMembership, DecodeError> {
    let membership = membership_from_proto(present(stored.membership, "membership")?)?;
    Ok(StoredMembership::new(stored.log_id.map(log_id_from_proto), membership))
}

pub(crate) fn stored_membership_to_bytes(stored: &StoredMembership) -> Bytes {
    stored_membership_to_proto(stored).encode_to_vec().into()
}

pub(crate) fn stored_membership_from_bytes(bytes: &[u8]) -> Result<StoredMembership, DecodeError> {
    stored_membership_from_proto(proto::StoredMembership::decode(bytes)?)
}

pub(crate) fn entry_to_bytes(entry: &Entry) -> Bytes {
    use proto::entry::Payload;
    let payload = match &entry.payload {
        EntryPayload::Blank => Payload::Blank(proto::Blank {}),
        EntryPayload::Normal(command) => Payload::Command(command.0.clone()),
        EntryPayload::Membership(membership) => Payload::Membership(membership_to_proto(membership)),
    };
    proto::Entry { format: FORMAT, id: Some(log_id_to_proto(&entry.log_id)), payload: Some(payload) }
        .encode_to_vec()
        .into()
}

pub(crate) fn entry_from_bytes(bytes: Bytes) -> Result<Entry, DecodeError> {
    use proto::entry::Payload;
    let entry = proto::Entry::decode(bytes)?;
    known_format(entry.format)?;
    let log_id = log_id_from_proto(present(entry.id, "log id")?);
    let payload = match present(entry.payload, "payload")? {
        Payload::Blank(proto::Blank {}) => EntryPayload::Blank,
        Payload::Command(command) => EntryPayload::Normal(LogCommand(command)),
        Payload::Membership(membership) => EntryPayload::Membership(membership_from_proto(membership)?),
    };
    Ok(Entry { log_id, payload })
}

/// About what an entry costs in memory and on the wire, bytes.
pub(crate) fn entry_size(entry: &Entry) -> usize {
    const FRAME: usize = 64;
    match &entry.payload {
        EntryPayload::Normal(command) => FRAME + command.0.len(),
        EntryPayload::Blank => FRAME,
        EntryPayload::Membership(membership) => FRAME + 256 * membership.nodes().count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_id(term: u64, node: u64, index: u64) -> LogId {
        log_id_from_proto(proto::LogId { term, node, index })
    }

    /// An entry as it lies in the logs and states of today: every version reads it so.
    #[test]
    fn an_entry_is_written_as_ever() {
        let entry = Entry { log_id: log_id(3, 2, 7), payload: EntryPayload::Normal(LogCommand("c".into())) };
        let written: &[u8] = &[0x08, 3, 0x12, 6, 0x08, 3, 0x10, 2, 0x18, 7, 0x22, 1, b'c'];
        assert_eq!(entry_to_bytes(&entry), written);
        assert_eq!(entry_from_bytes(Bytes::from_static(written)).expect("decodes"), entry);
    }

    #[test]
    fn an_entry_of_another_format_is_refused_and_not_misread() {
        use proto::entry::Payload;
        let entry = |format, payload| proto::Entry { format, id: Some(log_id_to_proto(&log_id(3, 2, 7))), payload };
        let blank = Some(Payload::Blank(proto::Blank {}));
        // A payload of a kind that is not known yet: field 15.
        let unknown = [entry(FORMAT, None).encode_to_vec(), vec![0x7a, 1, 0]].concat();
        for (bytes, want) in [
            (
                entry(FORMAT + 1, blank.clone()).encode_to_vec(),
                "format 4 is newer than this version understands (3): upgrade this replica",
            ),
            (entry(2, blank.clone()).encode_to_vec(), "format 2 is of a version whose store began at another revision"),
            (entry(0, blank.clone()).encode_to_vec(), "format is missing"),
            (unknown, "payload is missing"),
            (proto::Entry { id: None, ..entry(FORMAT, blank) }.encode_to_vec(), "log id is missing"),
            (vec![0xff; 20], "not the expected message"),
        ] {
            assert_eq!(entry_from_bytes(bytes.into()).expect_err(want).to_string(), want);
        }
    }

    #[test]
    fn entries_votes_and_memberships_survive_the_disk() {
        let node = |n: u64| MemberNode {
            peer_addr: format!("h{n}:1"),
            api_url: format!("https://h{n}:2"),
            incarnation: format!("disk-{n}"),
            name: format!("replica-{n}"),
            client_urls: vec![format!("https://h{n}:3"), "https://all:3".into()],
        };
        let joint = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3, 4])];
        let nodes = BTreeMap::from([(1, node(1)), (2, node(2)), (3, node(3)), (4, node(4)), (9, node(9))]);
        let membership = Membership::new(joint, nodes).expect("a legal membership");
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(LogCommand(Bytes::from_static(b"x"))),
            EntryPayload::Membership(membership.clone()),
        ];
        for payload in payloads {
            let entry = Entry { log_id: log_id(3, 2, 7), payload };
            assert_eq!(entry_from_bytes(entry_to_bytes(&entry)).expect("decodes"), entry);
        }
        for vote in [Vote::new(3, 1), Vote::new_committed(4, 2)] {
            assert_eq!(vote_from_proto(vote_to_proto(&vote)), vote);
        }
        for stored in [StoredMembership::default(), StoredMembership::new(Some(log_id(1, 1, 1)), membership)] {
            let bytes = stored_membership_to_bytes(&stored);
            assert_eq!(stored_membership_from_bytes(&bytes).expect("decodes"), stored);
        }
    }
}
