//! `metav1.Duration`: `5m0s`, `1.5h`.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// A length of time as Go writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub std::time::Duration);

impl Duration {
    pub const fn seconds(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// `None` for what is not one, or is less than nothing.
    pub fn parse(text: &str) -> Option<Self> {
        api_machinery::duration::parse(text).map(Self)
    }
}

impl std::str::FromStr for Duration {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text).ok_or_else(|| format!("invalid duration {text:?}: write 30s, 2m or 1h30m"))
    }
}

/// Not Go's way: seconds are what everybody reads.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0.as_secs_f64())
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl serde::Serialize for Duration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read() {
        assert_eq!(Duration::seconds(120).to_string().parse(), Ok(Duration::seconds(120)));
        let refused = "5".parse::<Duration>().expect_err("no unit");
        assert_eq!(refused, "invalid duration \"5\": write 30s, 2m or 1h30m");
    }
}
