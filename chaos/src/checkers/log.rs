//! What a replica writes into its log when something is broken that should never be.

use super::Violations;

/// Panics, and data that is not what was written.
const WORDS: [&str; 3] = ["panicked at", "orruption", "checksum mismatch"];
/// Violations of one log.
const MOST: usize = 5;

pub fn check(replica: usize, text: &str) -> Violations {
    let bad = text.lines().filter(|line| WORDS.iter().any(|word| line.contains(word)));
    bad.take(MOST).map(|line| format!("replica {replica} says: {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::support::caught;

    #[test]
    fn broken_things_are_caught_and_others_are_not() {
        assert_eq!(check(1, "INFO replica is up\nWARN waiting for a quorum\n"), Violations::new());
        caught(&check(2, "INFO x\nthread 'tokio-rt' panicked at src/a.rs:1:2:\n"), "replica 2 says: thread");
        caught(&check(3, "ERROR Corruption: block checksum mismatch\n"), "replica 3");
        assert_eq!(check(1, &"panicked at\n".repeat(50)).len(), MOST);
    }
}
