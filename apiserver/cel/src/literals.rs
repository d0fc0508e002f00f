//! Durations and times that are written down: what is certainly none is told where it is written.

/// Whether a text can be a value of the function that makes it one.
pub(crate) fn fits(function: &str, text: &str) -> bool {
    match function {
        "duration" => is_duration(text),
        "timestamp" => is_time(text).is_some(),
        _ => true,
    }
}

const UNITS: [&str; 7] = ["ns", "us", "\u{b5}s", "\u{3bc}s", "ms", "s", "m"];

/// Numbers with units, as `1h30m`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let number = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (digits, behind) = rest.split_at(number);
        let is_number = digits.matches('.').count() <= 1 && digits.contains(|c: char| c.is_ascii_digit());
        let unit = UNITS.iter().chain(&["h"]).find_map(|unit| behind.strip_prefix(unit));
        match unit.filter(|_| is_number) {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    true
}

/// A number of so many digits, and what is behind it.
fn digits(text: &str, count: usize) -> Option<(u32, &str)> {
    let number = text.get(..count).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((number.parse().ok()?, &text[count..]))
}

/// A time of RFC 3339, as upstream reads it: an hour of one digit is one.
fn is_time(text: &str) -> Option<()> {
    let (year, rest) = digits(text, 4)?;
    let (month, rest) = digits(rest.strip_prefix('-')?, 2)?;
    let (day, rest) = digits(rest.strip_prefix('-')?, 2)?;
    let rest = rest.strip_prefix('T')?;
    let (hour, rest) = digits(rest, 2).or_else(|| digits(rest, 1))?;
    let (minute, rest) = digits(rest.strip_prefix(':')?, 2)?;
    let (second, rest) = digits(rest.strip_prefix(':')?, 2)?;
    let zone = match rest.strip_prefix(['.', ',']) {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            (zone.len() < fraction.len()).then_some(zone)?
        }
        None => rest,
    };
    let is_zone = zone == "Z" || {
        let (hours, rest) = digits(zone.strip_prefix(['+', '-'])?, 2)?;
        let (minutes, rest) = digits(rest.strip_prefix(':')?, 2)?;
        hours <= 24 && minutes < 60 && rest.is_empty()
    };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    let is_date = year > 0 && (1..=days).contains(&day);
    (is_zone && is_date && hour < 24 && minute < 60 && second < 60).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for text in ["0", "-0", "1h", "1h2m3s4ms", "-1.5h", ".5s", "1.s", "3us", "3µs", "+1m", "100h", "5ns"] {
            assert!(is_duration(text), "{text}");
        }
        for text in ["", "1", "1d", "1nns", "h", ".s", "1.2.3s", "1h ", "-", "1hh", "00", "1S"] {
            assert!(!is_duration(text), "{text}");
        }
    }

    #[test]
    fn times() {
        for text in [
            "2020-02-29T23:59:59Z",
            "2000-01-01T00:00:00.000Z",
            "2000-01-01T1:00:00Z",
            "2000-12-31T00:00:00,5+05:30",
            "0001-01-01T00:00:00-00:00",
        ] {
            assert!(fits("timestamp", text), "{text}");
        }
        for text in [
            "",
            "2020-02-30T00:00:00Z",
            "2021-02-29T00:00:00Z",
            "1000-00-00T00:00:00Z",
            "1000-01-01T00:00:00ZZ",
            "2000-01-01 00:00:00Z",
            "2000-01-01T24:00:00Z",
            "2000-01-01T00:00:00",
            "2000-01-01",
            "0000-01-01T00:00:00Z",
            "2000-01-01T00:00:00.Z",
            "2000-01-01T00:00:00+0100",
        ] {
            assert!(!fits("timestamp", text), "{text}");
        }
    }
}
