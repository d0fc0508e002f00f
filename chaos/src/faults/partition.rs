//! Replicas that do not hear each other. Clients reach all of them all the time.

use async_trait::async_trait;
use rand::Rng;
use tokio::time::Instant;

use super::{Dice, Fault, Injected, links};
use crate::Failure;
use crate::cluster::{Cluster, probe};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The leader on one side, a majority on the other.
    LeaderAlone,
    FollowerAlone,
    /// One way: the leader is heard and does not hear.
    LeaderDeaf,
    /// One way: the leader hears and is not heard.
    LeaderMute,
    /// One way: a follower does not hear, and goes on asking for votes.
    FollowerDeaf,
    FollowerMute,
    /// The leader with as many others as make no majority, and the rest.
    Minority,
    /// Two sides that do not hear each other, and one replica in the middle that hears both.
    Bridge,
    /// Everybody hears two others only.
    Ring,
    /// Nobody hears anybody.
    Shattered,
}

pub(super) const SHAPES: [Shape; 10] = [
    Shape::LeaderAlone,
    Shape::FollowerAlone,
    Shape::LeaderDeaf,
    Shape::LeaderMute,
    Shape::FollowerDeaf,
    Shape::FollowerMute,
    Shape::Minority,
    Shape::Bridge,
    Shape::Ring,
    Shape::Shattered,
];

/// Some shapes are others with fewer.
const LARGER: usize = 5;

/// What the first says does not get to the second.
type Cut = (usize, usize);

pub(super) struct Partition {
    shape: Shape,
    cuts: Vec<Cut>,
}

impl Partition {
    pub(super) fn new(shape: Shape) -> Self {
        Self { shape, cuts: Vec::new() }
    }
}

/// `luck` chooses among those that do not lead.
fn cuts(shape: Shape, replicas: &[usize], leader: usize, luck: usize) -> Vec<Cut> {
    let others: Vec<usize> = replicas.iter().copied().filter(|number| *number != leader).collect();
    let chosen = others[luck % others.len()];
    let around = |alone: usize| {
        let rest = replicas.iter().copied().filter(move |number| *number != alone);
        rest.flat_map(move |other| [(alone, other), (other, alone)])
    };
    match shape {
        Shape::LeaderAlone => around(leader).collect(),
        Shape::FollowerAlone => around(chosen).collect(),
        Shape::LeaderDeaf => around(leader).filter(|(_, to)| *to == leader).collect(),
        Shape::LeaderMute => around(leader).filter(|(from, _)| *from == leader).collect(),
        Shape::FollowerDeaf => around(chosen).filter(|(_, to)| *to == chosen).collect(),
        Shape::FollowerMute => around(chosen).filter(|(from, _)| *from == chosen).collect(),
        Shape::Minority => {
            let (with, without) = others.split_at((others.len() / 2).saturating_sub(1));
            between(&[&[leader], with].concat(), without)
        }
        Shape::Bridge => {
            let sides: Vec<usize> = replicas.iter().copied().filter(|number| *number != chosen).collect();
            let (one, other) = sides.split_at(sides.len() / 2);
            between(one, other)
        }
        Shape::Ring => {
            let next = |index: usize| (index + 1) % replicas.len();
            let beside = |one: usize, other: usize| next(one) == other || next(other) == one;
            let all = pairs(replicas.len()).filter(|(one, other)| !beside(*one, *other));
            all.map(|(one, other)| (replicas[one], replicas[other])).collect()
        }
        Shape::Shattered => pairs(replicas.len()).map(|(one, other)| (replicas[one], replicas[other])).collect(),
    }
}

/// Nobody on one side hears anybody on the other.
fn between(one: &[usize], other: &[usize]) -> Vec<Cut> {
    let pairs = one.iter().flat_map(|one| other.iter().map(move |other| (*one, *other)));
    pairs.flat_map(|(one, other)| [(one, other), (other, one)]).collect()
}

/// Of different indices.
fn pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |one| (0..count).map(move |other| (one, other))).filter(|(one, other)| one != other)
}

#[async_trait]
impl Fault for Partition {
    fn name(&self) -> &'static str {
        match self.shape {
            Shape::LeaderAlone => "cut-leader",
            Shape::FollowerAlone => "cut-follower",
            Shape::LeaderDeaf => "cut-leader-deaf",
            Shape::LeaderMute => "cut-leader-mute",
            Shape::FollowerDeaf => "cut-follower-deaf",
            Shape::FollowerMute => "cut-follower-mute",
            Shape::Minority => "cut-minority",
            Shape::Bridge => "cut-bridge",
            Shape::Ring => "cut-ring",
            Shape::Shattered => "cut-all",
        }
    }

    fn least_replicas(&self) -> usize {
        if matches!(self.shape, Shape::Minority | Shape::Ring) { LARGER } else { 1 }
    }

    async fn inject(&mut self, cluster: &Cluster, dice: &mut Dice) -> Result<Injected, Failure> {
        let replicas: Vec<usize> = cluster.replicas().iter().map(|replica| replica.number).collect();
        let leader = cluster.leader().await?;
        self.cuts = cuts(self.shape, &replicas, leader, dice.random_range(0..replicas.len()));
        let at = Instant::now();
        let rules = self.cuts.iter().map(|(from, to)| async {
            let rule = format!("-s {} -j DROP", cluster.replica(*from).space.ip);
            cluster.replica(*to).space.rule("filter", "INPUT", &rule).await
        });
        futures::future::try_join_all(rules).await?;
        let lost = matches!(self.shape, Shape::LeaderAlone | Shape::Minority);
        Ok(Injected { what: format!("leader {leader}, {:?}", self.cuts), at, leader_lost: lost.then_some(leader) })
    }

    /// Datagrams get through exactly where nothing is cut.
    async fn control(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        for (from, to) in links(&cluster.replicas()) {
            let cut = self.cuts.contains(&(from.number, to.number));
            let arriving = probe::arriving(&from.space, &to.space, 3).await?;
            if cut != (arriving == 0) {
                let (from, to) = (from.number, to.number);
                return Err(format!("{arriving} of 3 datagrams get from {from} to {to}; cut: {cut}").into());
            }
        }
        Ok(())
    }

    async fn heal(&mut self, cluster: &Cluster) -> Result<(), Failure> {
        self.cuts.clear();
        for replica in cluster.replicas() {
            replica.space.no_rules().await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_cut_what_they_say() {
        let cuts = |shape| {
            let mut cuts = super::cuts(shape, &[1, 2, 3], 2, 0);
            cuts.sort_unstable();
            cuts
        };
        assert_eq!(cuts(Shape::LeaderAlone), [(1, 2), (2, 1), (2, 3), (3, 2)]);
        assert_eq!(cuts(Shape::FollowerAlone), [(1, 2), (1, 3), (2, 1), (3, 1)]);
        assert_eq!(cuts(Shape::LeaderDeaf), [(1, 2), (3, 2)]);
        assert_eq!(cuts(Shape::LeaderMute), [(2, 1), (2, 3)]);
        assert_eq!(cuts(Shape::FollowerDeaf), [(2, 1), (3, 1)]);
        assert_eq!(cuts(Shape::FollowerMute), [(1, 2), (1, 3)]);
        assert_eq!(cuts(Shape::Bridge), [(2, 3), (3, 2)], "1 hears both");
        assert_eq!(cuts(Shape::Shattered).len(), 6);
        let five = super::cuts(Shape::Bridge, &[1, 2, 3, 4, 5], 1, 1);
        assert_eq!(five.len(), 8, "two sides of two, 3 in the middle");
        assert!(five.iter().all(|(one, other)| *one != 3 && *other != 3));
        let minority = super::cuts(Shape::Minority, &[1, 2, 3, 4, 5], 3, 0);
        let heard = |who: usize| 4 - minority.iter().filter(|(_, to)| *to == who).count();
        assert_eq!([1, 2, 3, 4, 5].map(heard), [1, 2, 1, 2, 2], "the leader and one more; the other three");
        let ring = super::cuts(Shape::Ring, &[1, 2, 3, 4, 5], 1, 0);
        assert!([1, 2, 3, 4, 5].iter().all(|who| ring.iter().filter(|(_, to)| to == who).count() == 2));
        assert!(!ring.contains(&(5, 1)) && ring.contains(&(1, 3)));
    }
}
