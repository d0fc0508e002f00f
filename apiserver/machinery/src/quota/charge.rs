//! One write and the quotas of its namespace.

use jiff::Timestamp;
use serde_json::Value;

use super::amounts::{Amounts, add, growth, mask, parse, to_value, told};
use super::{Counter, claims, counter, in_scope, matching, pods, usage};
use crate::{GroupResource, object};

/// An object that is about to be written.
#[derive(Clone, Copy)]
pub struct Written<'a> {
    pub resource: &'a GroupResource,
    pub subresource: &'a str,
    pub object: &'a Value,
    /// What is there before an update; `None` on create.
    pub old: Option<&'a Value>,
    pub now: Timestamp,
}

/// What a write does to the quotas of its namespace.
#[derive(Debug, PartialEq)]
pub enum Charge {
    /// These quotas, with their `status.used` raised; to be written together with the object.
    Raised(Vec<Value>),
    /// There is no room; upstream's words.
    Refused(String),
}

impl Written<'_> {
    /// Whether such a write can use more than before. Everything else is none of a quota's business.
    pub fn counts(&self) -> bool {
        let Some(counter) = counter(self.resource) else { return false };
        match (counter, self.subresource, self.old) {
            (Counter::Pods, "", Some(old)) => pods::is_terminating(old) != pods::is_terminating(self.object),
            (Counter::Pods, "resize", Some(_)) => true,
            (Counter::Services | Counter::Claims, "", Some(_)) => true,
            (Counter::Claims, "status", Some(old)) => claims::status_matters(self.object, old),
            (_, "", None) => true,
            _ => false,
        }
    }

    /// What comes to a quota that holds the object.
    fn growth(&self, quota: &Value, used: &Amounts) -> Amounts {
        let before = self.old.filter(|old| in_scope(self.resource, old, quota));
        let before = before.map(|old| usage(self.resource, old, self.now));
        growth(used, &before.unwrap_or_default())
    }
}

/// Whether there is room for a write, and what the quotas of its namespace are after it. In the order of `quotas`,
/// the first that has no room refuses.
pub fn charge(written: &Written<'_>, quotas: &[&Value]) -> Charge {
    match raised(written, quotas) {
        Ok(raised) => Charge::Raised(raised),
        Err(why) => Charge::Refused(why),
    }
}

fn raised(written: &Written<'_>, quotas: &[&Value]) -> Result<Vec<Value>, String> {
    let mut interested = Vec::new();
    for quota in quotas {
        let hard = parse(quota, "status.hard");
        let limited = matching(written.resource, hard.keys().map(String::as_str));
        if limited.is_empty() || !in_scope(written.resource, written.object, quota) {
            continue;
        }
        check_said(written, quota, &limited)?;
        interested.push((*quota, hard.clone()));
    }
    if interested.is_empty() {
        return Ok(Vec::new());
    }
    let used = usage(written.resource, written.object, written.now);
    let negative: Vec<&str> =
        used.iter().filter(|(_, amount)| amount.sign() < 0).map(|(name, _)| name.as_str()).collect();
    if !negative.is_empty() {
        return Err(format!("quota usage is negative for resource(s): {}", negative.join(",")));
    }
    let raised = interested.iter().map(|(quota, hard)| raise(written, quota, hard, &used));
    raised.filter_map(Result::transpose).collect()
}

/// The object must say what is limited, and the quota must be counted already.
fn check_said(written: &Written<'_>, quota: &Value, limited: &[&str]) -> Result<(), String> {
    let name = object::name(quota);
    if counter(written.resource) == Some(Counter::Pods)
        && let Some(unsaid) = pods::unsaid(written.object, limited)
    {
        return Err(format!("failed quota: {name}: {unsaid}"));
    }
    let used = parse(quota, "status.used");
    if limited.iter().all(|name| used.contains_key(*name)) {
        return Ok(());
    }
    let mut limited = limited.to_vec();
    limited.sort_unstable();
    Err(format!("status unknown for quota: {name}, resources: {}", limited.join(",")))
}

/// The quota after the write; `None`: as before.
fn raise(written: &Written<'_>, quota: &Value, hard: &Amounts, used: &Amounts) -> Result<Option<Value>, String> {
    let requested = mask(&written.growth(quota, used), hard.keys());
    if requested.is_empty() {
        return Ok(None);
    }
    let before = parse(quota, "status.used");
    let mut after = before.clone();
    add(&mut after, &requested);
    let over =
        |name: &&String| after.get(*name).is_some_and(|amount| hard.get(*name).is_some_and(|most| amount > most));
    let exceeded: Vec<&String> = requested.keys().filter(over).collect();
    // A status only tells what is so already.
    if !exceeded.is_empty() && written.subresource != "status" {
        let of = |amounts: &Amounts| told(&mask(amounts, exceeded.iter().copied()));
        return Err(format!(
            "exceeded quota: {}, requested: {}, used: {}, limited: {}",
            object::name(quota),
            of(&requested),
            of(&before),
            of(hard)
        ));
    }
    let mut quota = quota.clone();
    quota["status"]["used"] = to_value(&after);
    Ok(Some(quota))
}
