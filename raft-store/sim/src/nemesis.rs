//! Chooses what goes wrong next, and for how long. The run carries it out.

use std::collections::BTreeSet;

use store_api::NodeId;

use crate::net::Weather;
use crate::rng::Rng;
use crate::strangers::How;

/// Something that goes wrong at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    /// The process is killed, or its power cut; it starts again after so many milliseconds.
    Kill {
        host: NodeId,
        power: bool,
        down: u64,
    },
    PowerCut {
        down: u64,
    },
    Pause {
        host: NodeId,
        milliseconds: u64,
    },
    /// Its clock is that much ahead at once.
    Jump {
        host: NodeId,
        milliseconds: u64,
    },
    /// The next sync fails.
    FailingDisk {
        host: NodeId,
    },
    /// A bit changes of the raft log, or of the state.
    Flip {
        host: NodeId,
        state: bool,
    },
    Wipe {
        host: NodeId,
        witness: bool,
    },
    Replace {
        host: NodeId,
    },
    Grow,
    Shrink {
        host: NodeId,
    },
    HandOver {
        to: NodeId,
    },
    Stranger {
        from: NodeId,
        to: NodeId,
        how: How,
    },
    Hop,
}

/// Something that is wrong for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lasting {
    Cut(BTreeSet<(NodeId, NodeId)>),
    Slow {
        delay: u64,
    },
    Breaking {
        percent: u64,
    },
    Doubling {
        percent: u64,
    },
    SlowDisk {
        host: NodeId,
        milliseconds: u64,
    },
    /// The disk is nearly full, and out of a hundred writes so many do not fit.
    FullDisk {
        host: NodeId,
        percent: u64,
    },
    /// Bits change of snapshots as long as they lie on a disk, anywhere.
    FlippingSnapshots,
    Drift {
        host: NodeId,
        rate: u64,
    },
}

/// Longer jumps of clocks are another kind, milliseconds.
pub(crate) const LONG_JUMP: u64 = 3_000;
/// The longest one.
const LONGEST_JUMP: u64 = 3_600_000;

/// What the nemesis knows of the cluster.
pub(crate) struct Situation {
    pub(crate) now: u64,
    pub(crate) members: Vec<NodeId>,
    pub(crate) up: Vec<NodeId>,
    /// Data may be destroyed without the cluster losing any.
    pub(crate) whole: bool,
    /// No membership change is under way.
    pub(crate) settled: bool,
}

pub(crate) struct Nemesis {
    rng: Rng,
    next_at: u64,
    lasting: Vec<(u64, Lasting)>,
    base: u64,
    /// Longest time between two faults, microseconds.
    pace: u64,
}

pub(crate) enum Change {
    Blow(Blow),
    Begun(Lasting),
    Over(Lasting),
}

impl Nemesis {
    pub(crate) fn new(mut rng: Rng) -> Self {
        let base = rng.number(100..3_000);
        let pace = rng.number(200..2_000) * 1_000;
        Self { rng, next_at: 0, lasting: Vec::new(), base, pace }
    }

    /// The wire, with all that is wrong with it now.
    pub(crate) fn weather(&self) -> Weather {
        let mut weather = Weather::calm(self.base);
        for (_, lasting) in &self.lasting {
            match lasting {
                Lasting::Cut(links) => weather.cut.extend(links.iter().copied()),
                Lasting::Slow { delay } => (weather.delay, weather.jitter) = (delay / 2, *delay),
                Lasting::Breaking { percent } => weather.breaking = *percent,
                Lasting::Doubling { percent } => weather.doubling = *percent,
                _ => {}
            }
        }
        weather
    }

    /// What begins or is over now.
    pub(crate) fn act(&mut self, situation: &Situation) -> Vec<Change> {
        let now = situation.now;
        let (over, lasting) = std::mem::take(&mut self.lasting).into_iter().partition(|(until, _)| *until <= now);
        self.lasting = lasting;
        let over: Vec<(u64, Lasting)> = over;
        let mut changes: Vec<Change> = over.into_iter().map(|(_, lasting)| Change::Over(lasting)).collect();
        if now >= self.next_at {
            self.next_at = now + self.rng.number(50_000..self.pace.max(60_000));
            changes.extend(self.choose(situation));
        }
        changes
    }

    pub(crate) fn flips_snapshots(&self) -> bool {
        self.lasting.iter().any(|(_, lasting)| *lasting == Lasting::FlippingSnapshots)
    }

    /// Everything is over.
    pub(crate) fn end(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.lasting).into_iter().map(|(_, lasting)| Change::Over(lasting)).collect()
    }

    fn choose(&mut self, situation: &Situation) -> Option<Change> {
        let rng = &mut self.rng;
        let host = *rng.pick(&situation.up)?;
        let other = *rng.pick(&situation.members)?;
        let down = rng.number(20..2_500);
        let blow = match rng.number(0..100) {
            0..10 => Blow::Kill { host, power: false, down },
            10..22 => Blow::Kill { host, power: true, down },
            22..26 => Blow::PowerCut { down },
            26..46 => return Some(self.begin(now_cut, situation)),
            46..64 => return Some(self.begin(now_slow, situation)),
            64..70 => Blow::Pause { host, milliseconds: rng.number(100..3_000) },
            70..72 if rng.once_in(4) => Blow::Jump { host, milliseconds: rng.number(LONG_JUMP + 1..LONGEST_JUMP) },
            70..72 => Blow::Jump { host, milliseconds: rng.number(50..LONG_JUMP) },
            72..75 => Blow::FailingDisk { host },
            75..79 if situation.whole => Blow::Flip { host, state: rng.once_in(2) },
            79..81 if situation.whole => Blow::Wipe { host, witness: rng.once_in(2) },
            81..84 if situation.settled && situation.whole => Blow::Replace { host },
            84..87 if situation.settled && situation.members.len() < 5 => Blow::Grow,
            87..89 if situation.settled && situation.members.len() > 3 => Blow::Shrink { host },
            89..93 => Blow::HandOver { to: other },
            93..96 if other != host => Blow::Stranger { from: other, to: host, how: *rng.pick(&How::ALL)? },
            _ => Blow::Hop,
        };
        Some(Change::Blow(blow))
    }

    fn begin(&mut self, choose: fn(&mut Rng, &Situation) -> Lasting, situation: &Situation) -> Change {
        let lasting = choose(&mut self.rng, situation);
        let until = situation.now + self.rng.number(100_000..4_000_000);
        self.lasting.push((until, lasting.clone()));
        Change::Begun(lasting)
    }
}

fn now_cut(rng: &mut Rng, situation: &Situation) -> Lasting {
    let mut members = situation.members.clone();
    rng.shuffle(&mut members);
    let (some, others) = members.split_at(match rng.number(0..3) {
        0 => members.len() / 2,
        _ => 1.min(members.len()),
    });
    let (there, back) = match rng.number(0..4) {
        0 => (true, false),
        1 => (false, true),
        _ => (true, true),
    };
    let mut links = BTreeSet::new();
    for (a, b) in some.iter().flat_map(|a| others.iter().map(move |b| (*a, *b))) {
        if there {
            links.insert((a, b));
        }
        if back {
            links.insert((b, a));
        }
    }
    Lasting::Cut(links)
}

fn now_slow(rng: &mut Rng, situation: &Situation) -> Lasting {
    let host = rng.pick(&situation.members).copied().unwrap_or(1);
    match rng.number(0..8) {
        0 => Lasting::Slow { delay: rng.number(5_000..200_000) },
        1 => Lasting::Breaking { percent: rng.number(1..40) },
        2 => Lasting::Doubling { percent: rng.number(5..60) },
        3 => Lasting::SlowDisk { host, milliseconds: rng.number(20..400) },
        4 => Lasting::FullDisk { host, percent: 0 },
        5 => Lasting::FullDisk { host, percent: rng.number(2..100) },
        6 => Lasting::FlippingSnapshots,
        _ => Lasting::Drift { host, rate: rng.number(950..1_050) },
    }
}
