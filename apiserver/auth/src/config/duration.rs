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
        if text == "0" {
            return Some(Self::default());
        }
        let (mut seconds, mut rest) = (0.0_f64, Some(text).filter(|text| !text.is_empty())?);
        while !rest.is_empty() {
            let digits = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
            let number: f64 = rest[..digits].parse().ok()?;
            let after = &rest[digits..];
            let unit = after.find(|char: char| char.is_ascii_digit() || char == '.').unwrap_or(after.len());
            seconds += number * scale(&after[..unit])?;
            rest = &after[unit..];
        }
        std::time::Duration::try_from_secs_f64(seconds).ok().map(Self)
    }
}

fn scale(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
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
    fn goes_way() {
        let millis = |text: &str| Duration::parse(text).map(|duration| duration.0.as_millis());
        for (text, wanted) in [
            ("5m0s", Some(300_000)),
            ("1.5h", Some(5_400_000)),
            ("250ms", Some(250)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("5", None),
            ("-5s", None),
            ("", None),
            ("5x", None),
        ] {
            assert_eq!(millis(text), wanted, "{text}");
        }
        assert_eq!(Duration::seconds(120).to_string().parse(), Ok(Duration::seconds(120)));
    }
}
