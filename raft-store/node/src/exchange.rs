//! What members tell each other every other second: whether their states are equal, and whether disks fill up.
//!
//! Replicas that applied the same entries must have the same state. One that differs from most has applied
//! something wrongly or keeps it on a bad disk: it must not be read, nor lead, nor hand out snapshots. What was applied
//! is compared after every entry, what the disk holds of it now and then ([`crate::scrub`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kontiki_proto::raft::{self as proto, ExchangeRequest, ExchangeResponse};
use store_api::{NodeId, Revision};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::blocking::blocking;
use crate::fence;
use crate::peer::Peer;
use crate::replica::Replica;
use crate::scrub::{self, Content, Round, Whole};

/// Between exchanges.
const TICK: Duration = Duration::from_secs(2);
/// Until a peer must have answered.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// This replica's state after one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Checkpoint {
    index: u64,
    revision: Revision,
    hash: u64,
}

/// What of this replica is compared.
#[derive(Clone, Debug, Default)]
struct Mine {
    state: Option<Checkpoint>,
    whole: Vec<Whole>,
    content: Option<Content>,
}

/// What was last heard of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// Whether its state is this replica's; `None` when it could not tell.
    same: Option<bool>,
    pub(crate) short_of_space: bool,
    /// It serves no more.
    pub(crate) fenced: bool,
    /// Where it is.
    pub(crate) zone: String,
    /// It hashes all that it holds in the way that this replica does.
    knows_marks: bool,
}

impl Said {
    /// Its disk has room, and what is on it is right.
    pub(crate) fn may_lead(&self) -> bool {
        !self.short_of_space && !self.fenced
    }
}

/// What all that was heard means for this replica's state.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Sound,
    /// Another one differs from most, and fences itself off.
    Another,
    /// Some differ, and it cannot be told who is right.
    Doubtful,
    /// Most differ.
    Diverged,
}

fn judge(said: &BTreeMap<NodeId, Said>) -> Verdict {
    let count = |same| said.values().filter(|said| said.same == Some(same)).count();
    match (count(true) + 1, count(false)) {
        (_, 0) => Verdict::Sound,
        (same, different) if different > same => Verdict::Diverged,
        (same, different) if same > different => Verdict::Another,
        _ => Verdict::Doubtful,
    }
}

/// Runs until the replica stops.
pub(crate) async fn run(replica: Arc<Replica>) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = Mine::default();
    loop {
        tick.tick().await;
        // What it had the last time, because the others may be a little behind.
        let said = ask_all(&replica, &before).await;
        let metrics = replica.metrics();
        if metrics.state.is_leader() {
            match said.values().all(|said| said.knows_marks) {
                true => replica.mark_when_due().await,
                false => {
                    replica.scrub.lead(metrics.current_term, replica.effects.applied.revision(), Instant::now());
                }
            }
        }
        before = Mine { state: replica.checkpoint(), whole: replica.scrub.whole(), content: replica.scrub.last() };
        let verdict = judge(&said);
        let differ: Vec<NodeId> = said.iter().filter(|(_, said)| said.same == Some(false)).map(|(id, _)| *id).collect();
        *replica.said.lock() = said;
        replica.doubt(doubt(&verdict, &differ));
        match (verdict, replica.scrub.damage()) {
            (Verdict::Diverged, _) => fence::off(&replica, DIFFERS).await,
            (_, Some(why)) => fence::damaged(&replica, &why).await,
            _ => {}
        }
    }
}

/// Why a replica is fenced off that differs from most others.
const DIFFERS: &str = "the state of this replica differs from that of the others";

fn doubt(verdict: &Verdict, differ: &[NodeId]) -> Option<String> {
    (*verdict == Verdict::Doubtful).then(|| {
        let others: Vec<String> = differ.iter().map(u64::to_string).collect();
        format!(
            "its state differs from that of replica {}, and it cannot be told which one is wrong: find out, with a backup \
             perhaps, and heal that one",
            others.join(", ")
        )
    })
}

async fn ask_all(replica: &Replica, mine: &Mine) -> BTreeMap<NodeId, Said> {
    let scrub = replica.leads().then(|| replica.scrub.round());
    let membership = replica.membership();
    let others = membership.nodes().map(|(id, _)| *id).filter(|id| *id != replica.id());
    let peers = others.filter_map(|id| replica.peer(id));
    let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
    let asked = peers.map(|peer| {
        let is_voter = voters.contains(&peer.id);
        async move {
            let begun = Instant::now();
            let said = ask(&peer, mine, scrub).await?;
            if is_voter {
                replica.timing.measured(begun.elapsed());
            }
            Some((peer.id, said))
        }
    });
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}

async fn ask(peer: &Peer, mine: &Mine, scrub: Option<Round>) -> Option<Said> {
    let index = mine.state.map_or(0, |mine| mine.index);
    let request = ExchangeRequest { index, scrub: scrub.map(round_to_proto) };
    let mut client = peer.control();
    let answer = timeout(ANSWER_TIMEOUT, client.exchange(request)).await;
    let said = answer.ok()?.ok().map(|answer| understand(mine, answer.into_inner()));
    let result = match said.as_ref().and_then(|said| said.same) {
        Some(true) => "same",
        Some(false) => "different",
        None => "unanswered",
    };
    metrics::counter!("kontiki_store_state_comparisons_total", "result" => result).increment(1);
    said
}

fn understand(mine: &Mine, answer: ExchangeResponse) -> Said {
    let state = mine.state.zip(answer.state).map(|(mine, its)| (mine.revision, mine.hash) == (its.revision, its.hash));
    let its = answer.content.and_then(content_from_proto);
    let content = mine.content.zip(its).filter(|(mine, its)| mine.round == its.round);
    let content = content.map(|(mine, its)| mine.hash == its.hash);
    let knows_marks = answer.scrub == scrub::SCRUB;
    let whole: Vec<Whole> = answer.whole.into_iter().map(whole_from_proto).filter(|_| knows_marks).collect();
    let whole = scrub::compare(&mine.whole, &whole);
    // One that is known to be wrong says nothing about this one.
    let same = [state, content, whole].into_iter().flatten().min().filter(|_| !answer.fenced);
    Said { same, short_of_space: answer.short_of_space, fenced: answer.fenced, zone: answer.zone, knows_marks }
}

pub(crate) fn round_to_proto(round: Round) -> proto::Scrub {
    proto::Scrub { term: round.term, number: round.number, revision: round.revision }
}

pub(crate) fn round_from_proto(round: proto::Scrub) -> Round {
    Round { term: round.term, number: round.number, revision: round.revision }
}

pub(crate) fn whole_to_proto(whole: Whole) -> proto::exchange_response::Whole {
    proto::exchange_response::Whole { index: whole.index, hash: whole.hash }
}

fn whole_from_proto(whole: proto::exchange_response::Whole) -> Whole {
    Whole { index: whole.index, hash: whole.hash }
}

fn content_from_proto(content: proto::exchange_response::Content) -> Option<Content> {
    Some(Content { round: round_from_proto(content.round?), hash: content.hash })
}

impl Replica {
    fn checkpoint(&self) -> Option<Checkpoint> {
        let index = self.effects.applied.index();
        let (revision, hash) = blocking(|| self.effects.engine.state_at(index))?;
        Some(Checkpoint { index, revision, hash })
    }
}

#[cfg(test)]
impl Said {
    pub(crate) fn about_space(short_of_space: bool) -> Self {
        Self { same: None, short_of_space, fenced: false, zone: String::new(), knows_marks: true }
    }
}

#[cfg(test)]
mod tests {
    use kontiki_proto::raft::exchange_response::State;

    use super::*;

    #[test]
    fn the_one_that_differs_from_most_has_diverged() {
        let verdict = |same: &[Option<bool>]| {
            let said = |same: &Option<bool>| Said { same: *same, ..Said::about_space(false) };
            judge(&(1..).zip(same.iter().map(said)).collect())
        };
        let (same, different) = (Some(true), Some(false));
        assert_eq!(verdict(&[]), Verdict::Sound);
        assert_eq!(verdict(&[same, None]), Verdict::Sound);
        assert_eq!(verdict(&[same, different]), Verdict::Another);
        assert_eq!(verdict(&[different, None]), Verdict::Doubtful, "one against one");
        assert_eq!(verdict(&[different, different]), Verdict::Diverged);
        assert_eq!(verdict(&[different, different, same]), Verdict::Doubtful);
        assert_eq!(verdict(&[different, different, same, different]), Verdict::Diverged);
        assert_eq!(doubt(&Verdict::Another, &[3]), None);
        assert!(doubt(&Verdict::Doubtful, &[3]).is_some_and(|why| why.contains("of replica 3, and")));
    }

    #[test]
    fn states_are_compared_after_the_same_entry_only() {
        let mine = Some(Checkpoint { index: 7, revision: 3, hash: 9 });
        let same = |state, its: Option<(u64, u64)>| {
            let its = its.map(|(revision, hash)| State { revision, hash });
            let mine = Mine { state, ..Mine::default() };
            understand(&mine, ExchangeResponse { state: its, ..ExchangeResponse::default() }).same
        };
        assert_eq!(same(mine, Some((3, 9))), Some(true));
        assert_eq!(same(mine, Some((3, 8))), Some(false));
        assert_eq!(same(mine, Some((4, 9))), Some(false));
        assert_eq!((same(mine, None), same(None, Some((3, 9)))), (None, None));
    }

    /// Replicas of versions that hash something else agree on what both know, and on nothing more.
    #[test]
    fn what_is_held_is_compared_where_both_hash_it_in_the_same_way() {
        let mine = Mine { whole: vec![Whole { index: 5, hash: 9 }], ..Mine::default() };
        let said = |hash, scrub, fenced| {
            let whole = vec![proto::exchange_response::Whole { index: 5, hash }];
            let said = understand(&mine, ExchangeResponse { whole, scrub, fenced, ..ExchangeResponse::default() });
            (said.same, said.knows_marks)
        };
        assert_eq!(said(9, scrub::SCRUB, false), (Some(true), true));
        assert_eq!(said(8, scrub::SCRUB, false), (Some(false), true));
        assert_eq!(said(8, scrub::SCRUB, true), (None, true), "it is known to be wrong");
        assert_eq!(said(8, scrub::SCRUB + 1, false), (None, false), "of a version that hashes something else");
        assert!(!understand(&mine, ExchangeResponse::default()).knows_marks, "of a version before");
    }

    #[test]
    fn contents_are_compared_within_a_round_only() {
        let content = |number, hash| Content { round: Round { term: 1, number, revision: 5 }, hash };
        let same = |mine: Content, its: Content, fenced| {
            let round = Some(round_to_proto(its.round));
            let its = Some(proto::exchange_response::Content { round, hash: its.hash });
            let mine = Mine { content: Some(mine), ..Mine::default() };
            understand(&mine, ExchangeResponse { content: its, fenced, ..ExchangeResponse::default() }).same
        };
        assert_eq!(same(content(1, 9), content(1, 9), false), Some(true));
        assert_eq!(same(content(1, 9), content(1, 8), false), Some(false));
        assert_eq!(same(content(1, 9), content(2, 8), false), None);
        assert_eq!(same(content(1, 9), content(1, 8), true), None, "it is known to be wrong");
    }
}
