//! One table of a whole run.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::checkers::availability::quantile;
use crate::round::Round;
use crate::strike::Strike;

const HEAD: [&str; 16] = [
    "fault",
    "operations",
    "acked",
    "unknown",
    "events",
    "injections",
    "violations",
    "control",
    "terms",
    "down p50",
    "p99",
    "max",
    "leader p50",
    "max",
    "write p50",
    "max",
];

/// `order`: the faults in the order of the lines; `skipped`: why some did not run.
pub fn table(order: &[&str], rounds: &[Round], skipped: &BTreeMap<&str, String>) -> String {
    let mut lines: Vec<Vec<String>> = vec![HEAD.map(str::to_owned).to_vec()];
    for fault in order {
        let own: Vec<&Round> = rounds.iter().filter(|round| round.fault == *fault).collect();
        if !own.is_empty() {
            lines.push(line(fault, &own));
        }
    }
    lines.push(line("all", &rounds.iter().collect::<Vec<_>>()));
    let mut text = aligned(&lines);
    text.push_str("\nms. terms: that began. down: no write acknowledged by any replica. leader: from the loss of\n");
    text.push_str("the leader until another leads. write: from the loss to the acknowledgement of a write that\n");
    text.push_str("began after it.\n");
    for round in rounds {
        let notes = round.strikes.iter().flat_map(|strike| &strike.notes);
        notes.chain(&round.notes).for_each(|note| text.push_str(&format!("{}: {note}\n", round.fault)));
    }
    for (fault, why) in skipped {
        text.push_str(&format!("skipped: {fault}: {why}\n"));
    }
    text
}

fn line(fault: &str, rounds: &[&Round]) -> Vec<String> {
    let strikes: Vec<&Strike> = rounds.iter().flat_map(|round| &round.strikes).collect();
    let toothless = strikes.iter().filter(|strike| strike.toothless.is_some()).count();
    let sum = |of: fn(&Round) -> usize| rounds.iter().map(|round| of(round)).sum::<usize>().to_string();
    let down: Vec<Duration> = strikes.iter().map(|strike| strike.unavailable).collect();
    let leader: Vec<Duration> = strikes.iter().filter_map(|strike| strike.new_leader).collect();
    let write: Vec<Duration> = strikes.iter().filter_map(|strike| strike.first_write).collect();
    vec![
        fault.to_owned(),
        sum(|round| round.ops),
        sum(|round| round.acknowledged),
        sum(|round| round.unknown),
        sum(|round| round.events),
        strikes.len().to_string(),
        sum(|round| round.violations.len()),
        if toothless == 0 { "bites".to_owned() } else { format!("{toothless} failed") },
        strikes.iter().map(|strike| strike.elections).sum::<u64>().to_string(),
        at(&down, 0.5),
        at(&down, 0.99),
        at(&down, 1.0),
        at(&leader, 0.5),
        at(&leader, 1.0),
        at(&write, 0.5),
        at(&write, 1.0),
    ]
}

fn at(values: &[Duration], share: f64) -> String {
    quantile(values, share).map_or("-".to_owned(), |value| value.as_millis().to_string())
}

/// The first column to the left, numbers to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Whether nothing was violated and every fault bit.
pub fn is_good(rounds: &[Round]) -> bool {
    let bit = |round: &Round| round.strikes.iter().all(|strike| strike.toothless.is_none());
    rounds.iter().all(|round| round.violations.is_empty() && bit(round))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(fault: &'static str, down: &[u64], toothless: bool, violations: usize) -> Round {
        let strike = |ms: &u64| Strike {
            what: String::new(),
            at: Duration::ZERO,
            over: Duration::ZERO,
            toothless: toothless.then(|| "no".to_owned()),
            elections: 2,
            leader_lost: fault == "kill-leader",
            new_leader: (fault == "kill-leader").then(|| Duration::from_millis(ms / 2)),
            first_write: (fault == "kill-leader").then(|| Duration::from_millis(*ms)),
            unavailable: Duration::from_millis(*ms),
            recovered: Duration::ZERO,
            notes: vec!["measured".to_owned()],
        };
        let violations = vec!["x".to_owned(); violations];
        let strikes = down.iter().map(strike).collect();
        let (notes, history) = (vec!["the log grew".to_owned()], None);
        Round { fault, strikes, ops: 1_000, acknowledged: 900, unknown: 20, events: 5_000, notes, violations, history }
    }

    #[test]
    fn one_line_a_fault_and_one_for_all() {
        let rounds = [round("kill-leader", &[900, 1_000, 1_100], false, 0), round("pause", &[10], true, 2)];
        let skipped = BTreeMap::from([("clock-jump", "there is no C compiler".to_owned())]);
        let table = table(&["kill-leader", "pause", "clock-jump"], &rounds, &skipped);
        let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            words[1],
            [
                "kill-leader",
                "1000",
                "900",
                "20",
                "5000",
                "3",
                "0",
                "bites",
                "6",
                "1000",
                "1100",
                "1100",
                "500",
                "550",
                "1000",
                "1100"
            ]
        );
        assert_eq!(
            words[2],
            ["pause", "1000", "900", "20", "5000", "1", "2", "1", "failed", "2", "10", "10", "10", "-", "-", "-", "-"]
        );
        assert_eq!(words[3][..2], ["all", "2000"]);
        assert!(table.contains("kill-leader: measured\n") && table.contains("kill-leader: the log grew\n"));
        assert!(table.contains("skipped: clock-jump: there is no C compiler"));
        assert!(!is_good(&rounds));
        assert!(is_good(&rounds[..1]));
    }
}
