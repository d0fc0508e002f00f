//! What is refused, in etcd's words and codes: clients recognise errors by their exact text.

use store_api::{MemberError, StoreError};
use tonic::{Code, Status};

/// One of etcd's errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    code: Code,
    text: &'static str,
}

macro_rules! known {
    ($($name:ident: $code:ident, $text:literal;)+) => {
        $(pub(crate) const $name: Known = Known { code: Code::$code, text: concat!("etcdserver: ", $text) };)+
    };
}

known! {
    EMPTY_KEY: InvalidArgument, "key is not provided";
    KEY_NOT_FOUND: InvalidArgument, "key not found";
    VALUE_PROVIDED: InvalidArgument, "value is provided";
    LEASE_PROVIDED: InvalidArgument, "lease is provided";
    TOO_MANY_OPS: InvalidArgument, "too many operations in txn request";
    DUPLICATE_KEY: InvalidArgument, "duplicate key given in txn request";
    INVALID_SORT: InvalidArgument, "invalid sort option";
    REQUEST_TOO_LARGE: InvalidArgument, "request is too large";
    COMPACTED: OutOfRange, "mvcc: required revision has been compacted";
    FUTURE_REVISION: OutOfRange, "mvcc: required revision is a future revision";
    NO_SPACE: ResourceExhausted, "mvcc: database space exceeded";

    LEASE_NOT_FOUND: NotFound, "requested lease not found";
    LEASE_EXISTS: FailedPrecondition, "lease already exists";
    LEASE_TTL_TOO_LARGE: OutOfRange, "too large lease TTL";

    PEER_URL_EXISTS: FailedPrecondition, "Peer URLs already exists";
    NOT_ENOUGH_STARTED: FailedPrecondition, "re-configuration failed due to not enough started members";
    BAD_URLS: InvalidArgument, "given member URLs are invalid";
    MEMBER_NOT_FOUND: NotFound, "member not found";
    NOT_LEARNER: FailedPrecondition, "can only promote a learner member";
    LEARNER_NOT_READY: FailedPrecondition, "can only promote a learner member which is in sync with leader";

    NO_LEADER: Unavailable, "no leader";
    NOT_LEADER: FailedPrecondition, "not leader";
    BAD_TRANSFEREE: FailedPrecondition, "bad leader transferee";
    TIMEOUT: Unavailable, "request timed out";
    STOPPED: Unavailable, "server stopped";

    ROOT_MISSING: FailedPrecondition, "root user does not exist";
    USER_NOT_FOUND: FailedPrecondition, "user name not found";
    ROLE_NOT_FOUND: FailedPrecondition, "role name not found";
    AUTH_NOT_ENABLED: FailedPrecondition, "authentication is not enabled";
}

impl Known {
    pub(crate) const fn text(&self) -> &'static str {
        self.text
    }
}

impl From<Known> for Status {
    fn from(Known { code, text }: Known) -> Self {
        Status::new(code, text)
    }
}

/// What the store refuses.
pub(crate) fn from_store(error: StoreError) -> Status {
    let known = match &error {
        StoreError::Compacted { .. } => COMPACTED,
        StoreError::FutureRevision { .. } => FUTURE_REVISION,
        StoreError::LeaseNotFound(_) => LEASE_NOT_FOUND,
        StoreError::LeaseExists(_) => LEASE_EXISTS,
        StoreError::KeyNotFound(_) => KEY_NOT_FOUND,
        StoreError::NoSpace(_) => NO_SPACE,
        StoreError::Member(error) => of_member(*error),
        // Nothing was done.
        StoreError::Unavailable(_) => NO_LEADER,
        // Perhaps it was done: what etcd says in this case, and what no client takes for a refusal.
        StoreError::Unknown(_) => TIMEOUT,
        StoreError::Invalid(why) => return Status::invalid_argument(why),
        StoreError::Fenced { .. } | StoreError::Fatal(_) => return Status::internal(error.to_string()),
    };
    tracing::debug!(%error, "refused");
    known.into()
}

fn of_member(error: MemberError) -> Known {
    match error {
        MemberError::NotFound => MEMBER_NOT_FOUND,
        MemberError::AddressTaken => PEER_URL_EXISTS,
        MemberError::NotLearner => NOT_LEARNER,
        MemberError::NotReady => LEARNER_NOT_READY,
        MemberError::NotLeader => NOT_LEADER,
        MemberError::NotVoter => BAD_TRANSFEREE,
    }
}
