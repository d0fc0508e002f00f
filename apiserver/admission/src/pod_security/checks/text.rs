//! The words of findings.

use api_machinery::{Value, object};

use super::super::pods::Pod;
use super::Finding;

pub(super) fn finding(reason: impl Into<String>, detail: String) -> Option<Finding> {
    Some(Finding { reason: reason.into(), detail })
}

/// `"a", "b"`
pub(super) fn quoted<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    items.into_iter().map(|item| format!("\"{}\"", item.as_ref())).collect::<Vec<_>>().join(", ")
}

pub(super) fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// The names of the containers that are so.
pub(super) fn names<'a>(pod: Pod<'a>, mut so: impl FnMut(&'a Value) -> bool) -> Vec<&'a str> {
    pod.containers().filter(|&container| so(container)).map(|container| object::str_at(container, "name")).collect()
}

/// `container "a"` or `containers "a", "b"`
pub(super) fn containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names))
}

/// `pod and containers "a", "b"`; `None`: nobody.
pub(super) fn setters(pod: bool, names: &[&str]) -> Option<String> {
    match (pod, names) {
        (false, []) => None,
        (true, []) => Some("pod".to_owned()),
        (false, names) => Some(containers(names)),
        (true, names) => Some(format!("pod and {}", containers(names))),
    }
}

/// A list of texts in a container's field.
pub(super) fn texts(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}
