//! Resource quantities (`100m`, `1Gi`, `2e3`): exact numbers with a suffix,
//! compared by value and written in upstream's canonical form.

use std::fmt;

/// An exact quantity: `value * 10^-9` (nano), saturating as upstream does at its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    pub nano: i128,
    pub format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    DecimalExponent,
    DecimalSI,
    BinarySI,
}

impl Quantity {
    pub fn parse(_text: &str) -> Result<Self, String> {
        todo!()
    }
    /// Rounded up, as `Quantity.Value()`.
    pub fn value(&self) -> i64 {
        todo!()
    }
    /// Rounded up, as `Quantity.MilliValue()`.
    pub fn milli_value(&self) -> i64 {
        todo!()
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.nano.cmp(&other.nano))
    }
}

/// Upstream's canonical form.
impl fmt::Display for Quantity {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
