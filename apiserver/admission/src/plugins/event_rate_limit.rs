//! EventRateLimit: how many Events the server, a namespace, a user or a source may write.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use api_machinery::{ApiError, Value, object};
use async_trait::async_trait;
use jiff::Timestamp;

use crate::{Attributes, Operation, Plugin, View, lookup};

pub(crate) struct EventRateLimit {
    limits: Vec<Limit>,
}

/// Buckets kept of one limit where the configuration does not say, as upstream.
const DEFAULT_BUCKETS: usize = 4096;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Server,
    Namespace,
    User,
    SourceAndObject,
}

struct Limit {
    of: Of,
    /// Events a second.
    rate: f64,
    /// Events at once.
    burst: f64,
    /// Kept at most; the one that was not used for longest makes room.
    most: usize,
    buckets: Mutex<Buckets>,
}

#[derive(Default)]
struct Buckets {
    by_key: HashMap<String, Bucket>,
    /// Keys by their last use.
    used: BTreeMap<u64, String>,
    uses: u64,
}

struct Bucket {
    left: f64,
    filled: Timestamp,
    use_: u64,
}

impl EventRateLimit {
    /// `limits`, each with `type`, `qps`, `burst` and `cacheSize`. There must be one.
    pub(crate) fn configured(configuration: &Value) -> Result<Self, String> {
        let limits = lookup::items(configuration, "limits");
        if limits.is_empty() {
            return Err("limits: Invalid value: null: must not be empty".to_owned());
        }
        let read = limits.iter().enumerate().map(|(index, limit)| Limit::read(&format!("limits[{index}]"), limit));
        Ok(Self { limits: read.collect::<Result<_, _>>()? })
    }
}

impl Of {
    const ALL: [Of; 4] = [Of::Namespace, Of::Server, Of::SourceAndObject, Of::User];

    fn name(self) -> &'static str {
        match self {
            Of::Server => "Server",
            Of::Namespace => "Namespace",
            Of::User => "User",
            Of::SourceAndObject => "SourceAndObject",
        }
    }

    fn key(self, attributes: &Attributes<'_>, event: &Value) -> String {
        match self {
            Of::Server => String::new(),
            Of::Namespace => attributes.namespace.to_owned(),
            Of::User => attributes.user.name.clone(),
            Of::SourceAndObject => [
                "source.component",
                "source.host",
                "involvedObject.kind",
                "involvedObject.namespace",
                "involvedObject.name",
                "involvedObject.uid",
                "involvedObject.apiVersion",
            ]
            .map(|path| object::str_at(event, path))
            .concat(),
        }
    }
}

impl Limit {
    fn read(at: &str, limit: &Value) -> Result<Self, String> {
        let kind = object::str_at(limit, "type");
        let of = Of::ALL.into_iter().find(|of| of.name() == kind).ok_or_else(|| {
            let known: Vec<String> = Of::ALL.iter().map(|of| format!("\"{}\"", of.name())).collect();
            format!("{at}.type: Unsupported value: {kind:?}: supported values: {}", known.join(", "))
        })?;
        let number =
            |field: &str| limit.get(field).and_then(Value::as_i64).and_then(|number| i32::try_from(number).ok());
        let positive = |field: &str| match number(field) {
            Some(number) if number > 0 => Ok(f64::from(number)),
            other => Err(format!("{at}.{field}: Invalid value: {}: must be positive", other.unwrap_or(0))),
        };
        let (burst, rate) = (positive("burst")?, positive("qps")?);
        let most = match number("cacheSize").unwrap_or(0) {
            0 => DEFAULT_BUCKETS,
            size => usize::try_from(size)
                .map_err(|_| format!("{at}.cacheSize: Invalid value: {size}: must not be negative"))?,
        };
        Ok(Self { of, rate, burst, most, buckets: Mutex::default() })
    }

    /// Takes one event's worth; false: there is none.
    fn take(&self, key: &str, now: Timestamp) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.touch(key, self.most, || Bucket { left: self.burst, filled: now, use_: 0 });
        // A clock that goes back fills nothing.
        let passed = now.duration_since(bucket.filled).as_secs_f64().max(0.0);
        bucket.left = (bucket.left + passed * self.rate).min(self.burst);
        bucket.filled = bucket.filled.max(now);
        let has = bucket.left >= 1.0;
        if has {
            bucket.left -= 1.0;
        }
        has
    }
}

impl Buckets {
    fn touch(&mut self, key: &str, most: usize, new: impl FnOnce() -> Bucket) -> &mut Bucket {
        if !self.by_key.contains_key(key)
            && self.by_key.len() >= most
            && let Some((_, oldest)) = self.used.pop_first()
        {
            self.by_key.remove(&oldest);
        }
        self.uses += 1;
        let bucket = self.by_key.entry(key.to_owned()).or_insert_with(new);
        self.used.remove(&bucket.use_);
        bucket.use_ = self.uses;
        self.used.insert(self.uses, key.to_owned());
        bucket
    }
}

#[async_trait]
impl Plugin for EventRateLimit {
    fn name(&self) -> &'static str {
        "EventRateLimit"
    }
    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        _view: &dyn View,
    ) -> Result<(), ApiError> {
        let writes = matches!(attributes.operation, Operation::Create | Operation::Update) && !attributes.dry_run;
        let is_event = attributes.is_any_of("", "events") || attributes.is_any_of("events.k8s.io", "events");
        let Some(event) = object.filter(|_| writes && is_event) else { return Ok(()) };
        let reached = self.limits.iter().filter_map(|limit| {
            let key = limit.of.key(attributes, event);
            let reached = !limit.take(&key, attributes.now);
            reached.then(|| format!("limit reached on type {} for key {key}", limit.of.name()))
        });
        let reached: Vec<String> = reached.collect();
        let why = match &reached[..] {
            [] => return Ok(()),
            [one] => one.clone(),
            all => format!("[{}]", all.join(", ")),
        };
        Err(ApiError::too_many_requests(format!("Too many requests: {why}"), 0))
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bucket_empties_and_fills() {
        let limit = json!({"type": "Namespace", "qps": 2, "burst": 3, "cacheSize": 2});
        let limit = Limit::read("limits[0]", &limit).expect("a limit");
        let start = Timestamp::UNIX_EPOCH;
        let taken = |key: &str, milliseconds: i64| limit.take(key, start + SignedDuration::from_millis(milliseconds));
        assert_eq!([taken("a", 0), taken("a", 0), taken("a", 0), taken("a", 0)], [true, true, true, false]);
        assert!(taken("b", 0), "another namespace");
        assert_eq!([taken("a", 500), taken("a", 500)], [true, false], "one came in half a second");
        assert!(!taken("a", 100), "a clock that goes back fills nothing");
        // The third key makes the one go that was not used for longest.
        assert!(taken("c", 500) && taken("b", 500));
        assert_eq!(limit.buckets.lock().expect("whole").by_key.len(), 2);
    }

    #[test]
    fn configurations_are_checked() {
        let refused = |configuration: Value| EventRateLimit::configured(&configuration).err();
        assert_eq!(refused(json!({})).as_deref(), Some("limits: Invalid value: null: must not be empty"));
        let limits = |limit: Value| json!({"limits": [limit]});
        assert_eq!(
            refused(limits(json!({"type": "x"}))).as_deref(),
            Some(
                "limits[0].type: Unsupported value: \"x\": supported values: \"Namespace\", \"Server\", \
                 \"SourceAndObject\", \"User\""
            )
        );
        assert_eq!(
            refused(limits(json!({"type": "User", "burst": 1}))).as_deref(),
            Some("limits[0].qps: Invalid value: 0: must be positive")
        );
        assert_eq!(refused(limits(json!({"type": "User", "burst": 1, "qps": 1}))), None);
    }
}
