//! Maintenance.

use etcd_client::{AlarmAction, AlarmType};
use sha2::{Digest, Sha256};

use crate::transcript::Transcript;

pub(crate) async fn status(t: &mut Transcript) {
    t.put("a", "1").await;
    let answer = t.client.status().await.expect("a status");
    let header = t.at(answer.header());
    t.line(format!("status {header}, {} errors, learner: {}", answer.errors().len(), answer.is_learner()));
    assert!(answer.version().starts_with("3.5."), "{}", answer.version());
    assert!(answer.leader() != 0 && answer.raft_term() != 0 && answer.db_size() > 0, "{answer:?}");
    assert!(answer.raft_applied_index() > 0 && answer.raft_index() >= answer.raft_applied_index(), "{answer:?}");
    let alarms = t.client.alarm(AlarmAction::Get, AlarmType::None, None).await;
    t.outcome("alarms", alarms, |t, answer| format!("{} {}", t.at(answer.header()), answer.alarms().len()));
    let disarmed = t.client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, None).await;
    t.outcome("disarm", disarmed, |t, answer| format!("{} {}", t.at(answer.header()), answer.alarms().len()));
    let defragmented = t.client.defragment().await;
    t.outcome("defragment", defragmented, |_, _| "done".into());
    let moved = t.client.move_leader(77_777).await;
    // Only the leader can move it.
    let line = crate::transcript::refusal(&moved.expect_err("refused"));
    assert!(
        ["FailedPrecondition: etcdserver: bad leader transferee", "FailedPrecondition: etcdserver: not leader"]
            .contains(&line.as_str()),
        "{line}"
    );
}

pub(crate) async fn hashes(t: &mut Transcript) {
    for n in 1..=6 {
        t.put("a", &n.to_string()).await;
    }
    let hash = |answer: &etcd_client::HashKvResponse| answer.hash();
    let now = t.client.hash_kv(0).await.expect("a hash");
    let at = t.at(now.header());
    t.line(format!("now {at}"));
    let last = t.client.hash_kv(t.rev(6)).await.expect("a hash");
    assert_eq!(hash(&now), hash(&last));
    let earlier = t.client.hash_kv(t.rev(3)).await.expect("a hash");
    assert_ne!(hash(&earlier), hash(&last));
    let at = t.at(earlier.header());
    t.line(format!("at +3 {at}"));
    let future = t.client.hash_kv(t.rev(99)).await;
    t.outcome("in the future", future, |_, _| "done".into());
    t.compact(t.rev(4), true).await;
    let compacted = t.client.hash_kv(t.rev(3)).await;
    t.outcome("compacted", compacted, |_, _| "done".into());
    let after = t.client.hash_kv(t.rev(5)).await.expect("a hash");
    let compacted = t.relative(after.compact_version());
    t.line(format!("compacted up to {compacted}"));
    let whole = t.client.hash().await;
    t.outcome("the whole", whole, |t, answer| t.at(answer.header()));
}

/// Whole blocks, and the hash of them after them.
pub(crate) async fn snapshot(t: &mut Transcript) {
    t.put("a", "1").await;
    let mut parts = t.client.snapshot().await.expect("a stream");
    let (mut content, mut remaining) = (Vec::new(), Vec::new());
    while let Some(part) = parts.message().await.expect("a part") {
        content.extend_from_slice(part.blob());
        remaining.push(part.remaining_bytes());
    }
    let (body, hash) = content.split_at(content.len() - 32);
    assert!(remaining.is_sorted_by(|before, after| before >= after), "{remaining:?}");
    assert!(!body.is_empty());
    t.line(format!("{} bytes beyond whole blocks of 512, {:?} remain", content.len() % 512, remaining.last()));
    t.line(format!("the hash is right: {}", Sha256::digest(body)[..] == *hash));
}
