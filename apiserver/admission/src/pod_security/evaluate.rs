//! What a level forbids of a pod, in upstream's order and words.

use std::collections::HashSet;

use super::checks::{CHECKS, Check, Finding, NEWEST};
use super::pods::Pod;
use super::policy::{Level, LevelVersion, Version};

/// Everything that is wrong with a pod; nothing: it is allowed.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is wrong, in short.
    pub(crate) fn reason(&self) -> String {
        self.0.iter().map(|finding| finding.reason.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// What is wrong, and where.
    pub(crate) fn detail(&self) -> String {
        let told = |finding: &Finding| match finding.detail.as_str() {
            "" => finding.reason.clone(),
            detail => format!("{} ({detail})", finding.reason),
        };
        self.0.iter().map(told).collect::<Vec<_>>().join(", ")
    }
}

/// Runs the checks of a level as they were in its version. Versions newer than the newest check are that one's.
pub(crate) fn evaluate(wanted: LevelVersion, pod: Pod<'_>) -> Findings {
    let minor = match wanted.version {
        Version::Latest => NEWEST,
        Version::Minor(minor) => u32::try_from(minor).map_or(NEWEST, |minor| minor.min(NEWEST)),
    };
    let applicable = |check: &&Check| check.level <= wanted.level && check.at(minor).is_some();
    if wanted.level == Level::Privileged {
        return Findings::default();
    }
    let replaced: HashSet<&str> = CHECKS.iter().filter(applicable).filter_map(|check| check.replaces).collect();
    let checks = CHECKS
        .iter()
        .filter(|check| !replaced.contains(check.id))
        .filter_map(|check| (check.level <= wanted.level).then(|| check.at(minor)).flatten());
    Findings(checks.filter_map(|check| check(pod)).collect())
}
