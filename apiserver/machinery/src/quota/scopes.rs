//! Which objects a quota is about.

use serde_json::Value;

use crate::object;

/// One of `spec.scopes` or of `spec.scopeSelector`.
#[derive(Clone, Debug)]
pub(super) struct Scope<'a> {
    pub(super) name: &'a str,
    operator: &'a str,
    values: Vec<&'a str>,
}

fn items<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    object::at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The scopes of a quota; an object must be in each.
pub(super) fn of(quota: &Value) -> Vec<Scope<'_>> {
    let plain = items(quota, "spec.scopes").iter().filter_map(Value::as_str);
    let plain = plain.map(|name| Scope { name, operator: "Exists", values: Vec::new() });
    let selected = items(quota, "spec.scopeSelector.matchExpressions").iter().map(|one| Scope {
        name: object::str_at(one, "scopeName"),
        operator: object::str_at(one, "operator"),
        values: items(one, "values").iter().filter_map(Value::as_str).collect(),
    });
    plain.chain(selected).collect()
}

impl Scope<'_> {
    /// Whether an object that names this class (or none) is meant, as a label selector would say. An unknown
    /// operator, which validation refuses, means nothing.
    pub(super) fn selects(&self, class: Option<&str>) -> bool {
        match self.operator {
            "Exists" => class.is_some(),
            "DoesNotExist" => class.is_none(),
            "In" => class.is_some_and(|class| self.values.contains(&class)),
            "NotIn" => class.is_none_or(|class| !self.values.contains(&class)),
            _ => false,
        }
    }
}
