//! The types openraft is made of here.

use std::fmt;

use bytes::Bytes;
use kontiki_proto::log as proto;
use prost::Message;
use serde::{Deserialize, Serialize};
use store_api::NodeId;
use store_core::Reply;

use crate::codec;

openraft::declare_raft_types!(
    /// One raft group: the store.
    pub(crate) TypeConfig:
        D = LogCommand,
        R = Answer,
        NodeId = NodeId,
        Node = MemberNode,
        AsyncRuntime = crate::runtime::Runtime,
);

pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<NodeId, MemberNode>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;

/// What the log carries for one proposal: an encoded `kontiki.log.v1.Command`.
///
/// Encoded once where the write enters the cluster, copied as bytes from there to every log, and
/// decoded once on each replica, when applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogCommand(pub(crate) Bytes);

impl fmt::Display for LogCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes", self.0.len())
    }
}

/// What applying one entry answers to whoever proposed it here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<u8>", try_from = "Vec<u8>")]
pub(crate) struct Answer(pub(crate) Reply);

impl From<Answer> for Vec<u8> {
    fn from(answer: Answer) -> Self {
        codec::reply_to_proto(&answer.0).encode_to_vec()
    }
}

impl TryFrom<Vec<u8>> for Answer {
    type Error = codec::DecodeError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, Self::Error> {
        codec::reply_from_proto(proto::Reply::decode(Bytes::from(bytes))?).map(Answer)
    }
}

/// Where a member is reached, and what makes it that member; replicated as part of the membership.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberNode {
    pub(crate) peer_addr: String,
    pub(crate) api_url: String,
    /// The data directory it came with.
    pub(crate) incarnation: String,
    /// What the replica said of itself when it started.
    pub(crate) name: String,
    pub(crate) client_urls: Vec<String>,
}
