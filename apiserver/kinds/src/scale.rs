//! The row of a Scale, which any kind with replicas can be seen as. It is no kind of its own: nothing stores it.

use api_machinery::Value;
use jiff::Timestamp;

use crate::cells;

/// Name, Desired, Available, Age.
pub fn cells(scale: &Value, now: Timestamp) -> Vec<Value> {
    let number = |path: &str| Value::from(cells::int(scale, path));
    vec![cells::name(scale), number("spec.replicas"), number("status.replicas"), cells::age(scale, now)]
}
