//! LeaseCandidate: who would take a coordinated lease.

use std::cmp::Ordering;

use api_machinery::{ErrorList, GroupResource, Value, names, object};
use jiff::Timestamp;
use serde_json::json;

use crate::at::{At, child};
use crate::list::coordination_lease::validate_strategy;
use crate::{Kind, cells};

pub(crate) struct LeaseCandidate;

const OLDEST: &str = "OldestEmulationVersion";

impl Kind for LeaseCandidate {
    fn resource(&self) -> GroupResource {
        GroupResource::new("coordination.k8s.io", "leasecandidates")
    }
    fn sample(&self) -> Value {
        json!({"apiVersion": "coordination.k8s.io/v1beta1", "kind": "LeaseCandidate",
               "metadata": {"name": "x", "namespace": "default"},
               "spec": {"leaseName": "l", "binaryVersion": "1.36.0", "emulationVersion": "1.35.0",
                        "strategy": "OldestEmulationVersion"}})
    }
    fn validate_name(&self, name: &str) -> Vec<String> {
        names::config_map_key(name)
    }
    fn has_generation(&self) -> bool {
        false
    }
    fn allows_create_on_update(&self) -> bool {
        true
    }
    fn allows_unconditional_update(&self) -> bool {
        false
    }
    fn validate(&self, object: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        let spec = root.field("spec");
        spec.field("leaseName").need(errors);
        validate_versions(&spec, errors);
        let strategy = spec.field("strategy");
        if strategy.need(errors) {
            let emulated = version(object::str_at(spec.value, "emulationVersion"));
            if strategy.str() == OLDEST && emulated.is_none_or(|version| version.is_zero()) {
                let detail = "must be specified when `strategy` is 'OldestEmulationVersion'";
                spec.field("emulationVersion").required(errors, detail);
            }
            validate_strategy(&strategy, errors);
        }
    }
    fn validate_update(&self, object: &Value, old: &Value, errors: &mut ErrorList) {
        let root = At::root(object);
        root.field("spec.leaseName").unchanged(errors, child(old, "spec.leaseName"));
    }
    fn cells(&self, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
        let text = |path: &str| cells::text(object, path);
        let (lease, binary) = (text("spec.leaseName"), text("spec.binaryVersion"));
        Some(vec![cells::name(object), lease, binary, text("spec.emulationVersion"), cells::age(object, now)])
    }
}

fn validate_versions(spec: &At<'_>, errors: &mut ErrorList) {
    const DETAIL: &str = "must be a valid semantic version";
    let (emulated, binary) = (spec.field("emulationVersion"), spec.field("binaryVersion"));
    if !emulated.is_empty() && version(emulated.str()).is_none() {
        emulated.invalid(errors, DETAIL);
    }
    if binary.need(errors) && version(binary.str()).is_none() {
        binary.invalid(errors, DETAIL);
    }
    if !binary.is_empty()
        && !emulated.is_empty()
        && or_zero(binary.str()).order(&or_zero(emulated.str())) == Ordering::Less
    {
        binary.invalid(errors, "must be greater than or equal to `emulationVersion`");
    }
}

/// A semantic version, without its build.
struct Version<'a> {
    numbers: [u64; 3],
    /// Of a pre-release.
    before: Vec<&'a str>,
}

impl Version<'_> {
    fn is_zero(&self) -> bool {
        self.numbers == [0; 3] && self.before.is_empty()
    }

    fn order(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.before.is_empty(), other.before.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => self.before.iter().map(rank).cmp(other.before.iter().map(rank)),
        })
    }
}

/// What is no version counts as 0.0.0.
fn or_zero(text: &str) -> Version<'_> {
    version(text).unwrap_or(Version { numbers: [0; 3], before: Vec::new() })
}

/// Numbers come before texts, in their own order.
fn rank<'a>(part: &&'a str) -> (Option<u64>, &'a str) {
    match part.parse::<u64>() {
        Ok(number) => (Some(number), ""),
        // Above every number.
        Err(_) => (Some(u64::MAX), part),
    }
}

/// `1.36.0-alpha.1+build`, without leading zeros.
fn version(text: &str) -> Option<Version<'_>> {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (numbers, before) = text.split_once('-').map_or((text, None), |(numbers, before)| (numbers, Some(before)));
    let is_word =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let before: Vec<&str> = before.map(|before| before.split('.').collect()).unwrap_or_default();
    let words = before.iter().all(|part| is_word(part) && (!is_number(part) || is_canonical(part)));
    if !words || !build.is_none_or(|build| build.split('.').all(is_word)) {
        return None;
    }
    let numbers: Vec<u64> = numbers.split('.').map(number).collect::<Option<_>>()?;
    Some(Version { numbers: numbers.try_into().ok()?, before })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_canonical(text: &str) -> bool {
    text == "0" || !text.starts_with('0')
}

fn number(text: &str) -> Option<u64> {
    if is_number(text) && is_canonical(text) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for text in ["1.36.0", "0.0.0", "1.2.3-alpha.1", "1.2.3-rc-1+build.5"] {
            assert!(version(text).is_some(), "{text}");
        }
        for text in ["", "1", "1.36", "v1.36.0", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "1.2.3.4", "1.2.x"] {
            assert!(version(text).is_none(), "{text}");
        }
        let sorted = ["1.35.9", "1.36.0-alpha.1", "1.36.0-alpha.2", "1.36.0-alpha.beta", "1.36.0-beta", "1.36.0"];
        for pair in sorted.windows(2) {
            let [left, right] = [pair[0], pair[1]].map(|text| version(text).expect("a version"));
            assert_eq!((left.order(&right), right.order(&left)), (Ordering::Less, Ordering::Greater), "{pair:?}");
        }
    }

    #[test]
    fn candidates() {
        let told = |spec: Value| {
            let mut errors = ErrorList::new();
            LeaseCandidate.validate(&json!({"spec": spec}), &mut errors);
            errors.causes().iter().map(|cause| format!("{} {}", cause.field, cause.message)).collect::<Vec<_>>()
        };
        assert_eq!(told(child(&LeaseCandidate.sample(), "spec").clone()), [""; 0]);
        assert_eq!(
            told(json!({"binaryVersion": "1.35.0", "emulationVersion": "1.36.0", "strategy": "x"})),
            [
                "spec.leaseName Required value",
                "spec.binaryVersion Invalid value: \"1.35.0\": must be greater than or equal to `emulationVersion`",
                "spec.strategy.strategy Unsupported value: \"x\": supported values: \"OldestEmulationVersion\"",
            ]
        );
        assert_eq!(
            told(json!({"leaseName": "l", "binaryVersion": "1", "strategy": OLDEST})),
            [
                "spec.binaryVersion Invalid value: \"1\": must be a valid semantic version",
                "spec.emulationVersion Required value: must be specified when `strategy` is 'OldestEmulationVersion'",
            ]
        );
    }
}
