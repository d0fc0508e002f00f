//! Amounts by name, as resource lists are.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::object;
use crate::quantity::{Format, Quantity};

pub type Amounts = BTreeMap<String, Quantity>;

pub(super) const ONE: Quantity = Quantity { nano: 1_000_000_000, format: Format::DecimalSI };

pub(super) fn number(count: usize) -> Quantity {
    Quantity::from_units(i64::try_from(count).unwrap_or(i64::MAX), Format::DecimalSI)
}

/// The resource list at a path; what is no quantity, which the codec refuses, is left out.
pub fn parse(holder: &Value, path: &str) -> Amounts {
    let map = object::at(holder, path).and_then(Value::as_object).into_iter().flatten();
    map.filter_map(|(name, amount)| {
        let text = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
        Some((name.clone(), Quantity::parse(&text).ok()?))
    })
    .collect()
}

pub(super) fn to_value(amounts: &Amounts) -> Value {
    let map: Map<String, Value> =
        amounts.iter().map(|(name, amount)| (name.clone(), amount.to_string().into())).collect();
    Value::Object(map)
}

pub(super) fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        sum.entry(name.clone()).and_modify(|own| *own = *own + *amount).or_insert(*amount);
    }
}

/// Raises each amount to the other's where that is more.
pub(super) fn raise(most: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let own = most.entry(name.clone()).or_insert(*amount);
        if *amount > *own {
            *own = *amount;
        }
    }
}

/// What came to an object; what it gave back counts as nothing.
pub(super) fn growth(now: &Amounts, before: &Amounts) -> Amounts {
    let grown = now.iter().map(|(name, amount)| {
        let left = before.get(name).map_or(*amount, |before| *amount - *before);
        (name.clone(), left)
    });
    grown.filter(|(_, amount)| amount.sign() > 0).collect()
}

/// Only these names.
pub(super) fn mask<'n>(amounts: &Amounts, names: impl IntoIterator<Item = &'n String>) -> Amounts {
    names.into_iter().filter_map(|name| Some((name.clone(), *amounts.get(name)?))).collect()
}

pub(super) fn same(a: &Amounts, b: &Amounts) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((name, one), (other, two))| name == other && one.nano == two.nano)
}

/// `cpu=1,memory=1Gi`
pub(super) fn told(amounts: &Amounts) -> String {
    amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
}
