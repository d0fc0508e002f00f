//! Replicas at the same revision have the same state, and after the faults all get to the same revision.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Violations;

/// What one replica says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    pub replica: usize,
    pub revision: u64,
    pub hash: String,
}

/// A replica reads its revision and its hash one after the other, so one difference proves nothing; as many as
/// this in a row do.
const IN_A_ROW: usize = 3;

/// Whether these samples, taken at about the same time, agree.
pub fn is_level(samples: &[Sample], replicas: usize) -> bool {
    let same = |pair: &[Sample]| pair[0].revision == pair[1].revision && pair[0].hash == pair[1].hash;
    samples.len() == replicas && samples.windows(2).all(same)
}

/// `looks`: all looks at the cluster after the faults, in order; the last ones decide.
pub fn check(looks: &[Vec<Sample>], replicas: usize) -> Violations {
    if looks.last().is_some_and(|last| is_level(last, replicas)) {
        return Violations::new();
    }
    let last = &looks[looks.len().saturating_sub(IN_A_ROW)..];
    let differences: Vec<String> = last.iter().filter_map(|samples| difference(samples)).collect();
    match differences.first() {
        Some(difference) if differences.len() == IN_A_ROW => vec![format!("diverged: {difference}")],
        _ => vec![format!("did not converge: {:?}", looks.last())],
    }
}

fn difference(samples: &[Sample]) -> Option<String> {
    let mut hash_at: BTreeMap<u64, &Sample> = BTreeMap::new();
    samples.iter().find_map(|sample| {
        let first = hash_at.entry(sample.revision).or_insert(sample);
        (first.hash != sample.hash).then(|| format!("{first:?} and {sample:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::support::caught;

    fn samples(revisions: [u64; 3], hashes: [&str; 3]) -> Vec<Sample> {
        let one = |at: usize| Sample { replica: at + 1, revision: revisions[at], hash: hashes[at].into() };
        (0..3).map(one).collect()
    }

    #[test]
    fn the_last_look_decides() {
        let level = samples([5, 5, 5], ["x", "x", "x"]);
        let torn = samples([5, 5, 5], ["x", "x", "y"]);
        assert_eq!(check(&[torn.clone(), level.clone()], 3), Violations::new());
        caught(&check(&[level.clone(), torn.clone()], 3), "did not converge");
        caught(&check(&[torn.clone(), torn.clone(), torn], 3), "diverged");
        let behind = samples([5, 5, 4], ["x", "x", "y"]);
        caught(&check(&[behind.clone(), behind.clone(), behind], 3), "did not converge");
        caught(&check(&[level[..2].to_vec()], 3), "did not converge");
        caught(&check(&[], 3), "did not converge");
    }
}
