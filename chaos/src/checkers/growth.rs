//! The log grows with what changes, and not much besides: what replicas apply is bounded by revisions and by time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::Violations;

/// For each revision so many entries may be applied, and so many a second besides.
const A_REVISION: u64 = 20;
const A_SECOND: f64 = 50.0;
/// The shortest stretch that is looked at. Revisions are told once a second.
const STRETCH: Duration = Duration::from_secs(5);
/// Entries that came to something are of this outcome.
const WRITTEN: &str = " written";

/// Entries by their kind and by what they came to: `txn written`.
pub type Entries = BTreeMap<String, u64>;

/// What one replica said of its log at a time: since its process began, and the newest revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    pub at: Duration,
    /// Its number: after a restart another one counts, from nothing.
    pub process: i32,
    pub revision: u64,
    pub entries: Entries,
}

/// The metrics that tell it.
const ENTRIES: &str = "kontiki_store_applied_entries_total";
const REVISION: &str = "kontiki_store_revision";

impl Count {
    /// From the text of `/metrics`. A counter that was never raised is not there, a revision always is.
    pub fn parse(at: Duration, process: i32, text: &str) -> Option<Self> {
        let mut count = Self { at, process, ..Self::default() };
        let mut revision = None;
        for line in text.lines() {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            if name == REVISION {
                revision = number(value);
            } else if let Some(labels) = name.strip_prefix(ENTRIES) {
                let of = format!("{} {}", label(labels, "entry"), label(labels, "outcome"));
                *count.entries.entry(of).or_default() += number(value)?;
            }
        }
        count.revision = revision?;
        Some(count)
    }
}

/// Prometheus' numbers are floating.
fn number(value: &str) -> Option<u64> {
    let value: f64 = value.parse().ok()?;
    (value >= 0.0).then_some(value as u64)
}

fn label<'a>(labels: &'a str, name: &str) -> &'a str {
    let start = format!("{name}=\"");
    let found = labels.split_once(&start).and_then(|(_, rest)| rest.split_once('"'));
    found.map_or("", |(value, _)| value)
}

/// What one replica said, in the order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub replica: usize,
    pub counts: Vec<Count>,
}

fn written(entries: &Entries) -> u64 {
    entries.iter().filter(|(of, _)| of.ends_with(WRITTEN)).map(|(_, count)| count).sum()
}

/// By how much a log grew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    pub time: Duration,
    pub revisions: u64,
    pub entries: Entries,
}

impl Growth {
    /// From one count to the next. A new process applies some of what the one before had applied once more, nobody knows
    /// how much: over a restart only revisions count.
    fn between(before: &Count, after: &Count) -> Self {
        let same = before.process == after.process;
        let base = |of: &String| before.entries.get(of).copied().unwrap_or(0);
        let grown =
            after.entries.iter().filter(|_| same).map(|(of, count)| (of.clone(), count.saturating_sub(base(of))));
        let entries: Entries = grown.filter(|(_, more)| *more > 0).collect();
        // The revision is told once a second, and later where the machine is busy; what was written had one each.
        let told = after.revision.saturating_sub(before.revision);
        let revisions = told.max(written(&entries));
        Self { time: after.at.saturating_sub(before.at), revisions, entries }
    }

    fn and(mut self, other: Self) -> Self {
        self.time += other.time;
        self.revisions += other.revisions;
        for (of, more) in other.entries {
            *self.entries.entry(of).or_default() += more;
        }
        self
    }

    fn all(&self) -> u64 {
        self.entries.values().sum()
    }

    fn without_revision(&self) -> u64 {
        self.all() - written(&self.entries)
    }

    fn is_too_much(&self) -> bool {
        let allowed = self.revisions.saturating_mul(A_REVISION) as f64 + self.time.as_secs_f64() * A_SECOND;
        self.all() as f64 > allowed
    }

    /// `the log grew by 900 entries, 300 of them without a revision: ...`
    fn say(&self) -> String {
        let mut by_kind: Vec<_> = self.entries.iter().filter(|(_, count)| **count > 0).collect();
        by_kind.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let by_kind: Vec<String> = by_kind.iter().map(|(of, count)| format!("{count} {of}")).collect();
        format!(
            "the log grew by {} entries, {} of them without a revision: {}",
            self.all(),
            self.without_revision(),
            by_kind.join(", ")
        )
    }
}

/// Over all of the round.
fn whole(counts: &Counts) -> Growth {
    counts.counts.windows(2).map(|pair| Growth::between(&pair[0], &pair[1])).fold(Growth::default(), Growth::and)
}

/// The shortest stretches that are long enough, from each count on.
fn stretches(counts: &Counts) -> impl Iterator<Item = (Duration, Growth)> {
    (0..counts.counts.len()).filter_map(|first| {
        let mut growth = Growth::default();
        for pair in counts.counts[first..].windows(2) {
            growth = growth.and(Growth::between(&pair[0], &pair[1]));
            if growth.time >= STRETCH {
                return Some((counts.counts[first].at, growth));
            }
        }
        None
    })
}

pub fn check(all: &[Counts]) -> Violations {
    let mut violations = Violations::new();
    for counts in all {
        let (replica, whole) = (counts.replica, whole(counts));
        if whole.is_too_much() {
            violations.push(format!("replica {replica}: {} ({})", whole.say(), bound(&whole)));
            continue;
        }
        let worst = stretches(counts).filter(|(_, growth)| growth.is_too_much()).max_by_key(|(_, growth)| growth.all());
        if let Some((at, growth)) = worst {
            let (at, bound) = (at.as_secs_f64(), bound(&growth));
            violations.push(format!("replica {replica}, from {at:.1} s on: {} ({bound})", growth.say()));
        }
    }
    violations
}

fn bound(growth: &Growth) -> String {
    format!("{} revisions in {:.1} s", growth.revisions, growth.time.as_secs_f64())
}

/// For people: of the replica that applied most, what it was, and the stretch with most.
pub fn note(all: &[Counts]) -> Option<String> {
    let most = all.iter().max_by_key(|counts| whole(counts).all())?;
    let growth = whole(most);
    let peak = stretches(most).map(|(_, growth)| growth).max_by_key(Growth::all);
    let peak = peak.map_or(String::new(), |peak| {
        format!("; at most {} entries and {} revisions in {:.1} s", peak.all(), peak.revisions, peak.time.as_secs_f64())
    });
    Some(format!("replica {}: {} ({}{peak})", most.replica, growth.say(), bound(&growth)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::support::caught;

    fn count(at: u64, revision: u64, entries: &[(&str, &str, u64)]) -> Count {
        let entries = entries.iter().map(|(entry, outcome, count)| (format!("{entry} {outcome}"), *count));
        Count { at: Duration::from_secs(at), process: 1, revision, entries: entries.collect() }
    }

    fn counts(counts: &[Count]) -> Vec<Counts> {
        vec![Counts { replica: 2, counts: counts.to_vec() }]
    }

    #[test]
    fn the_metrics_are_understood() {
        let text = "# TYPE kontiki_store_applied_entries_total counter\n\
                    kontiki_store_applied_entries_total{entry=\"txn\",outcome=\"written\"} 12\n\
                    kontiki_store_applied_entries_total{entry=\"txn\",outcome=\"lost\"} 3\n\
                    kontiki_store_revision 40\nkontiki_store_revision_other 41\n";
        let at = Duration::from_secs(1);
        assert_eq!(Count::parse(at, 1, text), Some(count(1, 40, &[("txn", "written", 12), ("txn", "lost", 3)])));
        assert_eq!(Count::parse(at, 1, "kontiki_store_applied_entries_total 5\n"), None, "no revision");
        let bare = Count::parse(at, 1, "kontiki_store_applied_entries_total 5\nkontiki_store_revision 2\n");
        assert_eq!(bare, Some(count(1, 2, &[("", "", 5)])));
    }

    #[test]
    fn good_runs_pass_and_are_told() {
        let run = counts(&[
            count(0, 100, &[("txn", "written", 100)]),
            count(3, 400, &[("txn", "written", 400), ("txn", "lost", 90)]),
            // It began again, and did once more what it had done.
            Count { process: 2, ..count(6, 500, &[("txn", "written", 9_000)]) },
            Count { process: 2, ..count(9, 700, &[("txn", "written", 9_200), ("txn", "lost", 10)]) },
        ]);
        assert_eq!(check(&run), Violations::new());
        let note = note(&run).expect("a note");
        assert!(note.contains("replica 2: the log grew by 600 entries, 100 of them without a revision"), "{note}");
        assert!(note.contains("500 txn written, 100 txn lost (600 revisions in 9.0 s"), "{note}");
        // The revision comes late.
        let late = counts(&[count(0, 100, &[]), count(6, 100, &[("txn", "written", 900), ("txn", "lost", 200)])]);
        assert_eq!(check(&late), Violations::new());
        let idle = counts(&[count(0, 100, &[]), count(10, 100, &[("lease_renew", "nothing_written", 400)])]);
        assert_eq!(check(&idle), Violations::new());
    }

    #[test]
    fn planted_growth_is_caught() {
        let run = counts(&[count(0, 100, &[]), count(10, 101, &[("txn", "lost", 600), ("txn", "written", 1)])]);
        caught(
            &check(&run),
            "replica 2: the log grew by 601 entries, 600 of them without a revision: 600 txn lost, 1 txn",
        );
        // Six bad seconds in a round that is good as a whole.
        let counted = |at: u64, revision| count(at, revision, &[("txn", "written", revision), ("txn", "refused", 0)]);
        let mut seconds: Vec<Count> = (0..40).map(|at| counted(at, at.min(20) * 200)).collect();
        for second in &mut seconds[25..] {
            let more = (second.at.as_secs() - 24).min(6) * 500;
            second.entries.insert("txn refused".into(), more);
        }
        let found = check(&counts(&seconds));
        caught(&found, "replica 2, from 25.0 s on: the log grew by 2500 entries, 2500 of them without a revision");
        assert_eq!(found.len(), 1);
    }
}
