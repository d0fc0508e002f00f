//! Shuffle sharding: a flow always gets the same few queues, and two flows seldom the same ones.

use sha2::{Digest, Sha256};

/// More bits of a hash are not used, as upstream.
const MAX_HASH_BITS: u32 = 60;

/// The hash of a flow: of the name of its FlowSchema and what tells it from the others of it.
pub fn hash(schema: &str, distinguisher: &str) -> u64 {
    let digest = Sha256::new().chain_update(schema).chain_update([0]).chain_update(distinguisher).finalize();
    digest.iter().take(8).rev().fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// Whether a hand of so many queues out of a deck of so many can be dealt from one hash.
pub fn is_dealable(deck: usize, hand: usize) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "both are small")]
    let bits = (deck as f64).log2() * hand as f64;
    deck > 0 && hand > 0 && hand <= deck && bits.ceil() <= f64::from(MAX_HASH_BITS)
}

/// Deals a hand: different numbers below `deck`.
pub fn deal(mut hash: u64, deck: usize, hand: usize) -> Vec<usize> {
    let mut remainders: Vec<usize> = Vec::with_capacity(hand);
    for dealt in 0..hand.min(deck) {
        let left = (deck - dealt) as u64;
        remainders.push(usize::try_from(hash % left).unwrap_or(0));
        hash /= left;
    }
    // A remainder counts the cards that are left: those dealt before are stepped over.
    let card =
        |at: usize| (0..at).rev().fold(remainders[at], |card, before| card + usize::from(card >= remainders[before]));
    (0..remainders.len()).map(card).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_hand_has_different_queues_and_every_hand_is_possible() {
        let mut hands = HashSet::new();
        for hash in 0..(7 * 6 * 5) {
            let hand = deal(hash, 7, 3);
            assert_eq!(hand.iter().collect::<HashSet<_>>().len(), 3, "{hand:?}");
            assert!(hand.iter().all(|queue| *queue < 7), "{hand:?}");
            hands.insert(hand);
        }
        assert_eq!(hands.len(), 7 * 6 * 5, "each hash below the number of hands deals another one");
        assert_eq!(deal(u64::MAX, 1, 1), [0]);
    }

    #[test]
    fn what_cannot_be_dealt_is_known() {
        for (deck, hand, can) in
            [(128, 6, true), (128, 9, false), (1, 1, true), (1, 2, false), (0, 1, false), (8, 0, false)]
        {
            assert_eq!(is_dealable(deck, hand), can, "{deck} {hand}");
        }
    }

    #[test]
    fn flows_hash_apart() {
        assert_eq!(hash("a", "b"), hash("a", "b"));
        assert_ne!(hash("a", "b"), hash("ab", ""));
        assert_ne!(hash("a", "b"), hash("b", "a"));
    }
}
