//! Bugs of leases with times to live.

use std::time::Duration;

use crate::history::{Keyed, LeaseAnswer, LeaseAsk, LeaseCall};
use crate::round::History;

/// Of these leases, the last about which this is so.
fn lease(history: &History, wanted: impl Fn(&[&LeaseCall]) -> bool) -> Option<i64> {
    let mut ids: Vec<i64> = history.ttl.calls.iter().map(|call| call.lease).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter().rfind(|id| {
        let calls: Vec<&LeaseCall> = history.ttl.calls.iter().filter(|call| call.lease == *id).collect();
        wanted(&calls)
    })
}

fn is_revoked(calls: &[&LeaseCall]) -> bool {
    calls.iter().any(|call| call.ask == LeaseAsk::Revoke)
}

fn is_doubtful(calls: &[&LeaseCall]) -> bool {
    calls.iter().any(|call| matches!(call.answer, LeaseAnswer::Unknown(_)))
}

fn keys(calls: &[&LeaseCall]) -> usize {
    calls.iter().filter(|call| matches!(call.answer, LeaseAnswer::Attached(_))).count()
}

fn is_key_of(keyed: &Keyed, history: &[LeaseCall], id: i64) -> bool {
    history.iter().any(|call| call.lease == id && call.ask == LeaseAsk::Attach(keyed.key.clone()))
}

/// What all tell and what all saw.
fn change(history: &mut History, change: impl Fn(&mut Keyed) -> bool) {
    history.ttl.told.iter_mut().for_each(|(_, told)| told.retain_mut(|keyed| change(keyed)));
    history.ttl.seen.iter_mut().for_each(|seen| seen.retain_mut(|(_, keyed)| change(keyed)));
}

/// Somebody who asks between two renewals is told that it is gone, or that its key is.
fn gone_between(history: &mut History, ask: fn(&LeaseAsk) -> bool) -> bool {
    let between = |calls: &[LeaseCall], call: &LeaseCall| {
        let renewed =
            |other: &&LeaseCall| other.lease == call.lease && other.renews() && other.answer == LeaseAnswer::Alive;
        let revoked = calls.iter().any(|other| other.lease == call.lease && other.ask == LeaseAsk::Revoke);
        !revoked
            && calls
                .iter()
                .filter(renewed)
                .any(|one| one.invoked < call.invoked && call.returned < one.invoked + one.ttl)
    };
    let calls = &history.ttl.calls;
    let found = calls.iter().rposition(|call| ask(&call.ask) && call.says_alive() && between(calls, call));
    found.map(|at| history.ttl.calls[at].answer = LeaseAnswer::Ended).is_some()
}

pub(super) fn early(history: &mut History) -> bool {
    gone_between(history, |ask| *ask == LeaseAsk::TimeToLive)
}

pub(super) fn early_key(history: &mut History) -> bool {
    gone_between(history, |ask| matches!(ask, LeaseAsk::Look(_)))
}

/// Its keys are seen to go while it is kept alive.
pub(super) fn early_event(history: &mut History) -> bool {
    let of = lease(history, |calls| !is_revoked(calls) && !is_doubtful(calls) && keys(calls) > 0);
    let Some(id) = of else { return false };
    let calls = history.ttl.calls.clone();
    let renewed = calls.iter().filter(|call| call.lease == id && call.renews()).map(|call| call.invoked).max();
    let soon = renewed.unwrap_or_default() + Duration::from_millis(1);
    let own = |keyed: &Keyed| keyed.value.is_none() && is_key_of(keyed, &calls, id);
    let mut seen = history.ttl.seen.iter_mut().flatten().filter(|(_, keyed)| own(keyed));
    seen.next().map(|(at, _)| *at = soon).is_some()
}

/// Nobody sees it go, though nobody renews it.
pub(super) fn never(history: &mut History) -> bool {
    let of = lease(history, |calls| !is_revoked(calls) && !is_doubtful(calls) && keys(calls) > 0);
    let Some(id) = of else { return false };
    let calls = history.ttl.calls.clone();
    change(history, |keyed| keyed.value.is_some() || !is_key_of(keyed, &calls, id));
    history.ttl.calls.retain(|call| call.lease != id || call.answer != LeaseAnswer::Ended);
    true
}

/// It goes, but long after its time.
pub(super) fn late(history: &mut History) -> bool {
    let of = lease(history, |calls| !is_revoked(calls) && !is_doubtful(calls) && keys(calls) > 0);
    let Some(id) = of else { return false };
    let calls = history.ttl.calls.clone();
    let much = Duration::from_secs(600);
    let own = |keyed: &Keyed| keyed.value.is_none() && is_key_of(keyed, &calls, id);
    let ended = |call: &&mut LeaseCall| call.lease == id && call.answer == LeaseAnswer::Ended;
    history.ttl.seen.iter_mut().flatten().filter(|(_, keyed)| own(keyed)).for_each(|(at, _)| *at += much);
    history.ttl.calls.iter_mut().filter(ended).for_each(|call| call.returned += much);
    true
}

pub(super) fn left(history: &mut History) -> bool {
    let first = history.ttl.calls.first().map(|call| call.lease);
    history.ttl.left.extend(first);
    first.is_some()
}

/// A lease with several keys, and one of them.
fn one_of_several(history: &History) -> Option<String> {
    let id = lease(history, |calls| keys(calls) > 1)?;
    let attached = |call: &&LeaseCall| call.lease == id && matches!(call.answer, LeaseAnswer::Attached(_));
    history.ttl.calls.iter().filter(attached).find_map(|call| match &call.ask {
        LeaseAsk::Attach(key) => Some(key.clone()),
        _ => None,
    })
}

pub(super) fn outlives(history: &mut History) -> bool {
    let Some(key) = one_of_several(history) else { return false };
    change(history, |keyed| keyed.value.is_some() || keyed.key != key);
    true
}

pub(super) fn apart(history: &mut History) -> bool {
    let Some(key) = one_of_several(history) else { return false };
    change(history, |keyed| {
        keyed.revision += u64::from(keyed.value.is_none() && keyed.key == key);
        true
    });
    true
}

/// Whoever asks last is told that it lives, though another was told before that it does not.
pub(super) fn undead(history: &mut History) -> bool {
    let asked_again = |calls: &[&LeaseCall]| {
        let ended = calls.iter().filter(|call| call.answer == LeaseAnswer::Ended);
        ended.filter(|call| call.ask != LeaseAsk::Revoke).count() > 1
    };
    let Some(id) = lease(history, asked_again) else { return false };
    let of = |call: &&mut LeaseCall| call.lease == id && call.answer == LeaseAnswer::Ended;
    let last = history.ttl.calls.iter_mut().filter(of).max_by_key(|call| call.invoked);
    last.map(|call| call.answer = LeaseAnswer::Alive).is_some()
}

/// It was revoked, and is there for those who ask later.
pub(super) fn unrevoked(history: &mut History) -> bool {
    let calls = &history.ttl.calls;
    let revoked = |call: &LeaseCall| {
        let before = |other: &LeaseCall| other.ask == LeaseAsk::Revoke && other.returned < call.invoked;
        calls.iter().any(|other| other.lease == call.lease && other.answer == LeaseAnswer::Ended && before(other))
    };
    let found = calls.iter().rposition(|call| call.ask == LeaseAsk::TimeToLive && revoked(call));
    found.map(|at| history.ttl.calls[at].answer = LeaseAnswer::AliveWith(Vec::new())).is_some()
}

/// It lives and has lost a key.
pub(super) fn lost_key(history: &mut History) -> bool {
    let with_keys = |call: &&mut LeaseCall| matches!(&call.answer, LeaseAnswer::AliveWith(keys) if !keys.is_empty());
    match history.ttl.calls.iter_mut().rfind(with_keys).map(|call| &mut call.answer) {
        Some(LeaseAnswer::AliveWith(keys)) => keys.pop().is_some(),
        _ => false,
    }
}

pub(super) fn lost_attachment(history: &mut History) -> bool {
    let Some(key) = one_of_several(history) else { return false };
    change(history, |keyed| keyed.key != key);
    true
}

pub(super) fn missed(history: &mut History) -> bool {
    let seen = history.ttl.seen.iter_mut().find(|seen| seen.len() > 2);
    seen.map(|seen| seen.remove(seen.len() / 2)).is_some()
}

/// What the last replica tells.
pub(super) fn other_teller(history: &mut History) -> bool {
    let told = history.ttl.told.last_mut().and_then(|(_, told)| told.pop());
    told.is_some() && history.ttl.told.len() > 1
}
