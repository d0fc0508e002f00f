//! Lengths of time as Go writes them: `5m0s`, `1.5h`, `250ms`.

use std::time::Duration;

/// `None` for what is not one, or is less than nothing.
pub fn parse(text: &str) -> Option<Duration> {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if unsigned == "0" {
        return Some(Duration::ZERO);
    }
    let (mut nanos, mut rest) = (0_u64, Some(unsigned).filter(|text| !text.is_empty())?);
    while !rest.is_empty() {
        let is_number = |char: char| char.is_ascii_digit() || char == '.';
        let (number, after) = rest.split_at(rest.find(|char| !is_number(char))?);
        let (unit, next) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        nanos = nanos.checked_add(part(number, scale(unit)?)?)?;
        rest = next;
    }
    // Go counts nanoseconds with a sign.
    i64::try_from(nanos).ok().map(|_| Duration::from_nanos(nanos))
}

/// Nanoseconds of a number of units; a fraction of one is cut off.
fn part(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = match (whole, fraction) {
        ("", "") => return None,
        ("", _) => 0,
        (whole, _) => whole.parse::<u64>().ok()?,
    };
    let mut below = 0;
    for digit in fraction.chars().rev() {
        below = (u64::from(digit.to_digit(10)?) * unit + below) / 10;
    }
    whole.checked_mul(unit)?.checked_add(below)
}

/// Nanoseconds.
fn scale(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_way() {
        for (text, nanos) in [
            ("5m0s", 300_000_000_000),
            ("1h2m3.5s", 3_723_500_000_000),
            ("1.5h", 5_400_000_000_000),
            ("250ms", 250_000_000),
            ("1us1µs1μs1ns", 3_001),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("0.1s", 100_000_000),
            ("0.000000000001h", 3),
            ("1.00000000000000000000000000000000000000000009s", 1_000_000_000),
            ("+5s", 5_000_000_000),
            ("0", 0),
            ("0s", 0),
            ("9223372036854775807ns", i64::MAX as u64),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        let refused = "5|x|s|.s|5x|5 s|-5s|+-5s|+|1.2.3s|1e3s|5S|1d|5s1|PT5S| 5s|٣s";
        let too_long = "9223372036854775808ns|2562048h|99999999999999999999s";
        for text in refused.split('|').chain(too_long.split('|')).chain([""]) {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
