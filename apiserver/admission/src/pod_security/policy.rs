//! What a namespace demands of its pods, by its labels.

use std::fmt;

use api_machinery::{ErrorList, Path, Value, object};

pub(crate) const PREFIX: &str = "pod-security.kubernetes.io/";

/// From the laxest to the strictest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Latest,
    /// The minor of `v1.N`.
    Minor(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LevelVersion {
    pub(crate) level: Level,
    pub(crate) version: Version,
}

/// One level and version for each mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) enforce: LevelVersion,
    pub(crate) audit: LevelVersion,
    pub(crate) warn: LevelVersion,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        })
    }
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Version::Latest => write!(f, "{}:latest", self.level),
            Version::Minor(minor) => write!(f, "{}:v1.{minor}", self.level),
        }
    }
}

impl LevelVersion {
    pub(crate) const PRIVILEGED: Self = Self { level: Level::Privileged, version: Version::Latest };

    fn equivalent(&self, other: &Self) -> bool {
        self == other || (self.level, other.level) == (Level::Privileged, Level::Privileged)
    }
}

impl Policy {
    /// Of a namespace without labels, upstream's default configuration.
    pub(crate) const PRIVILEGED: Self =
        Self { enforce: LevelVersion::PRIVILEGED, audit: LevelVersion::PRIVILEGED, warn: LevelVersion::PRIVILEGED };

    pub(crate) fn is_fully_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|mode| mode.level == Level::Privileged)
    }

    pub(crate) fn equivalent(&self, other: &Self) -> bool {
        self.enforce.equivalent(&other.enforce)
            && self.audit.equivalent(&other.audit)
            && self.warn.equivalent(&other.warn)
    }
}

fn level(text: &str) -> Result<Level, &'static str> {
    match text {
        "privileged" => Ok(Level::Privileged),
        "baseline" => Ok(Level::Baseline),
        "restricted" => Ok(Level::Restricted),
        _ => Err("must be one of privileged, baseline, restricted"),
    }
}

fn version(text: &str) -> Result<Version, &'static str> {
    const WRONG: &str = "must be \"latest\" or \"v1.x\"";
    if text == "latest" {
        return Ok(Version::Latest);
    }
    let digits = text.strip_prefix("v1.").ok_or(WRONG)?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || (digits.len() > 1 && digits.starts_with('0')) {
        return Err(WRONG);
    }
    // Upstream's numbers are signed.
    digits.parse::<i64>().map(|minor| Version::Minor(minor.unsigned_abs())).map_err(|_| WRONG)
}

/// `defaults` of a configuration: what counts where labels are silent.
pub(crate) fn of_configuration(configuration: &Value) -> Result<Policy, String> {
    let mut policy = Policy::PRIVILEGED;
    for (name, mode) in [("enforce", &mut policy.enforce), ("audit", &mut policy.audit), ("warn", &mut policy.warn)] {
        let said = |key: &str| {
            let text = object::at(configuration, "defaults").map_or("", |defaults| object::str_at(defaults, key));
            (!text.is_empty()).then(|| text.to_owned())
        };
        let refuse = |key: &str, text: &str, why: &str| format!("defaults.{key}: Invalid value: {text:?}: {why}");
        if let Some(text) = said(name) {
            mode.level = level(&text).map_err(|why| refuse(name, &text, why))?;
        }
        let key = format!("{name}-version");
        if let Some(text) = said(&key) {
            mode.version = version(&text).map_err(|why| refuse(&key, &text, why))?;
        }
    }
    Ok(policy)
}

/// Reads one mode's labels over what it is by default. A wrong level counts as `wrong`, a wrong version as latest.
/// Answers whether a level was given, and whether it was a right one.
fn mode(namespace: &Value, name: &str, mode: &mut LevelVersion, wrong: Level, errors: &mut ErrorList) -> (bool, bool) {
    let (mut given, mut right) = (false, false);
    let mut refuse = |key: &str, text: &str, why: &str| {
        errors.invalid(&Path::new("metadata").child("labels").key(key), &text.into(), why);
    };
    let key = format!("{PREFIX}{name}");
    if let Some(text) = object::label(namespace, &key) {
        let read = level(text);
        (given, right) = (true, read.is_ok());
        mode.level = read.unwrap_or_else(|why| {
            refuse(&key, text, why);
            wrong
        });
    }
    let key = format!("{PREFIX}{name}-version");
    if let Some(text) = object::label(namespace, &key) {
        mode.version = version(text).unwrap_or_else(|why| {
            refuse(&key, text, why);
            Version::Latest
        });
    }
    (given, right)
}

/// The policy of a namespace, and what is wrong with its labels. There is a policy whatever is wrong: enforcing
/// fails closed, auditing and warning fail open.
pub(crate) fn of_namespace(namespace: &Value, defaults: &Policy) -> (Policy, ErrorList) {
    let (mut policy, mut errors) = (*defaults, ErrorList::new());
    let (_, enforces) = mode(namespace, "enforce", &mut policy.enforce, Level::Restricted, &mut errors);
    mode(namespace, "audit", &mut policy.audit, Level::Privileged, &mut errors);
    let (warns, _) = mode(namespace, "warn", &mut policy.warn, Level::Privileged, &mut errors);
    // Who only says what is enforced is warned of the same.
    if !warns && enforces && policy.enforce.level > policy.warn.level {
        policy.warn.level = policy.enforce.level;
        if object::label(namespace, &format!("{PREFIX}warn-version")).is_none() {
            policy.warn.version = policy.enforce.version;
        }
    }
    (policy, errors)
}

/// `enforce=restricted:latest, warn=...`: the modes that labels set to more than privileged.
pub(crate) fn labelled(namespace: &Value, policy: &Policy) -> String {
    let modes = [("enforce", policy.enforce), ("audit", policy.audit), ("warn", policy.warn)];
    let is_labelled = |name: &str| {
        ["", "-version"].iter().any(|suffix| object::label(namespace, &format!("{PREFIX}{name}{suffix}")).is_some())
    };
    let told = modes.iter().filter(|(name, mode)| mode.level != Level::Privileged && is_labelled(name));
    told.map(|(name, mode)| format!("{name}={mode}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(labels: Value) -> String {
        let labels: serde_json::Map<String, Value> = labels
            .as_object()
            .expect("labels")
            .iter()
            .map(|(key, value)| (format!("{PREFIX}{key}"), value.clone()))
            .collect();
        let namespace = json!({"metadata": {"name": "n", "labels": labels}});
        let (policy, errors) = of_namespace(&namespace, &Policy::PRIVILEGED);
        let causes: Vec<String> = errors.causes().iter().map(|cause| cause.message.clone()).collect();
        format!("{} {} {} {}", policy.enforce, policy.audit, policy.warn, causes.join("; ")).trim_end().to_owned()
    }

    #[test]
    fn labels_make_a_policy() {
        let rows = [
            (json!({}), "privileged:latest privileged:latest privileged:latest"),
            (json!({"enforce": "baseline"}), "baseline:latest privileged:latest baseline:latest"),
            (
                json!({"enforce": "restricted", "enforce-version": "v1.24"}),
                "restricted:v1.24 privileged:latest restricted:v1.24",
            ),
            (
                json!({"enforce": "restricted", "enforce-version": "v1.24", "warn-version": "latest"}),
                "restricted:v1.24 privileged:latest restricted:latest",
            ),
            (
                json!({"enforce": "restricted", "warn": "baseline"}),
                "restricted:latest privileged:latest baseline:latest",
            ),
            (
                json!({"audit": "restricted", "audit-version": "v1.0"}),
                "privileged:latest restricted:v1.0 privileged:latest",
            ),
            (
                json!({"enforce": "x"}),
                "restricted:latest privileged:latest privileged:latest \
              Invalid value: \"x\": must be one of privileged, baseline, restricted",
            ),
            (
                json!({"audit": "x", "warn": "y"}),
                "privileged:latest privileged:latest privileged:latest \
              Invalid value: \"x\": must be one of privileged, baseline, restricted; \
              Invalid value: \"y\": must be one of privileged, baseline, restricted",
            ),
            (
                json!({"enforce-version": "v1.01"}),
                "privileged:latest privileged:latest privileged:latest \
              Invalid value: \"v1.01\": must be \"latest\" or \"v1.x\"",
            ),
            (
                json!({"enforce": "baseline", "enforce-version": "v1.99999999999999999999"}),
                "baseline:latest privileged:latest baseline:latest \
              Invalid value: \"v1.99999999999999999999\": must be \"latest\" or \"v1.x\"",
            ),
        ];
        for (labels, expect) in rows {
            assert_eq!(told(labels.clone()), expect, "{labels}");
        }
    }
}
