//! Bugs of transactions and of etcd's watches.

use crate::history::{Stored, Txn, TxnOutcome, Version};
use crate::round::History;

fn acknowledged(txn: &Txn) -> bool {
    matches!(txn.outcome, TxnOutcome::Done { succeeded: true, .. }) && !txn.writes.is_empty() && txn.process != "end"
}

fn revision(txn: &Txn) -> u64 {
    match txn.outcome {
        TxnOutcome::Done { revision, .. } => revision,
        TxnOutcome::Refused(_) | TxnOutcome::Unknown(_) => 0,
    }
}

/// From what all tell and from what all watched.
fn forget(history: &mut History, lost: impl Fn(&Stored) -> bool) {
    history.store.told.iter_mut().for_each(|(_, told)| told.retain(|stored| !lost(stored)));
    for message in history.store.watches.iter_mut().flat_map(|watch| &mut watch.messages) {
        message.retain(|stored| !lost(stored));
    }
}

pub(super) fn lost(history: &mut History) -> bool {
    let Some(at) = history.store.txns.iter().rfind(|txn| acknowledged(txn)).map(revision) else { return false };
    forget(history, |stored| stored.revision == at);
    true
}

/// One of its writes is missing.
pub(super) fn half(history: &mut History) -> bool {
    let several = |txn: &&Txn| acknowledged(txn) && txn.writes.len() > 1;
    let Some(txn) = history.store.txns.iter().rfind(several).cloned() else { return false };
    let (at, key) = (revision(&txn), txn.writes.into_keys().next());
    forget(history, |stored| stored.revision == at && Some(&stored.key) == key.as_ref());
    true
}

pub(super) fn effect_of_refused(history: &mut History) -> bool {
    let txn = history.store.txns.iter_mut().rfind(|txn| acknowledged(txn));
    txn.map(|txn| txn.outcome = TxnOutcome::Refused("planted".to_owned())).is_some()
}

/// Compared with a version that was replaced already.
pub(super) fn lost_update(history: &mut History) -> bool {
    let txn = history.store.txns.iter_mut().rfind(|txn| acknowledged(txn) && txn.on.values().any(|on| *on > 0));
    let on = txn.and_then(|txn| txn.on.values_mut().find(|on| **on > 0));
    on.map(|on| *on -= 1).is_some()
}

/// Only reads, and found something.
fn is_read(txn: &Txn) -> bool {
    let found = matches!(&txn.outcome, TxnOutcome::Done { read, .. } if read.values().any(Option::is_some));
    txn.writes.is_empty() && found
}

/// The last read shows all that the first one did.
pub(super) fn stale(history: &mut History) -> bool {
    let Some(early) = history.store.txns.iter().filter(|txn| is_read(txn)).min_by_key(|txn| txn.returned).cloned()
    else {
        return false;
    };
    let late = history.store.txns.iter_mut().filter(|txn| is_read(txn)).max_by_key(|txn| txn.invoked);
    let late = late.filter(|late| late.outcome != early.outcome);
    late.map(|late| late.outcome = early.outcome).is_some()
}

/// One of the lists of a read is older than the others.
pub(super) fn skewed(history: &mut History) -> bool {
    let Some((_, told)) = history.store.told.first() else { return false };
    let before = |key: &str, found: &Version| {
        let older = |stored: &&Stored| stored.key == key && stored.revision < found.revision;
        told.iter().rfind(older).map(|stored| Version { revision: stored.revision, value: stored.value.clone() })
    };
    for txn in history.store.txns.iter_mut().filter(|txn| is_read(txn)).rev() {
        let TxnOutcome::Done { read, .. } = &mut txn.outcome else { continue };
        for (key, found) in read {
            if let Some(older) = found.as_ref().and_then(|found| before(key, found)) {
                *found = Some(older);
                return true;
            }
        }
    }
    false
}

/// An append that does not know of the one before.
pub(super) fn forgotten_append(history: &mut History) -> bool {
    let separator = crate::checkers::append::SEPARATOR;
    let txns = history.store.txns.iter_mut().rev().filter(|txn| acknowledged(txn));
    let mut values = txns.flat_map(|txn| txn.writes.values_mut());
    let long = values.find_map(|value| Some((value.split_once(separator)?.1.to_owned(), value)));
    long.map(|(rest, value)| *value = rest).is_some()
}

/// A message in the middle of what one watcher was told.
pub(super) fn with_message(history: &mut History, plant: impl FnOnce(&mut Vec<Vec<Stored>>, usize)) -> bool {
    let longest = history.store.watches.iter_mut().max_by_key(|watch| watch.messages.len());
    let Some(messages) = longest.map(|watch| &mut watch.messages).filter(|messages| messages.len() > 2) else {
        return false;
    };
    let middle = messages.len() / 2;
    plant(messages, middle);
    true
}

/// What happened at one revision comes in two messages.
pub(super) fn torn_message(history: &mut History) -> bool {
    let one = |message: &[Stored]| message.len() > 1 && message[0].revision == message[1].revision;
    for watch in &mut history.store.watches {
        if let Some(at) = watch.messages.iter().position(|message| one(message)) {
            let rest = watch.messages[at].split_off(1);
            watch.messages.insert(at + 1, rest);
            return true;
        }
    }
    false
}

pub(super) fn compacted(history: &mut History) -> bool {
    let watch = history.store.watches.first_mut();
    watch.map(|watch| watch.cancelled.push((i64::MAX, "planted".to_owned()))).is_some()
}

/// What the last replica tells.
pub(super) fn other_teller(history: &mut History) -> bool {
    let told = history.store.told.last_mut().and_then(|(_, told)| told.pop());
    told.is_some() && history.store.told.len() > 1
}
