//! Times as Go's parser takes them, and what it says of others: it names the first part of its layout that does not fit.

use api_machinery::quote::quoted;

/// `metav1.Time` and `metav1.MicroTime`.
#[derive(Clone, Copy)]
pub(crate) enum Layout {
    Seconds,
    Micros,
}

impl Layout {
    fn text(self) -> &'static str {
        match self {
            Layout::Seconds => "2006-01-02T15:04:05Z07:00",
            Layout::Micros => "2006-01-02T15:04:05.000000Z07:00",
        }
    }
}

/// The parts up to the seconds: what stands before each, its name, its digits, and its range with what Go calls it.
const PARTS: [(&str, &str, usize, u32, u32, &str); 6] = [
    ("", "2006", 4, 0, 9999, "year"),
    ("-", "01", 2, 1, 12, "month"),
    ("-", "02", 2, 1, 31, "day"),
    ("T", "15", 2, 0, 23, "hour"),
    (":", "04", 2, 0, 59, "minute"),
    (":", "05", 2, 0, 59, "second"),
];
const FRACTION: &str = ".000000";
const ZONE: &str = "Z07:00";

/// Go's text about what is wrong.
pub(crate) fn check(text: &str, layout: Layout) -> Result<(), String> {
    let misfit = |rest: &str, part: &str| {
        let (whole, layout) = (quoted(text), quoted(layout.text()));
        format!("parsing time {whole} as {layout}: cannot parse {} as {}", quoted(rest), quoted(part))
    };
    let mut rest = text;
    for (before, name, digits, least, most, called) in PARTS {
        rest = rest.strip_prefix(before).ok_or_else(|| misfit(rest, before))?;
        let number = leading_digits(rest, digits).ok_or_else(|| misfit(rest, name))?;
        if !(least..=most).contains(&number) {
            return Err(format!("parsing time {}: {called} out of range", quoted(text)));
        }
        rest = &rest[digits..];
    }
    rest = match layout {
        Layout::Seconds => without_fraction(rest),
        Layout::Micros => {
            let digits = rest.strip_prefix('.').filter(|rest| leading_digits(rest, 6).is_some());
            &digits.ok_or_else(|| misfit(rest, FRACTION))?[6..]
        }
    };
    let after = without_zone(rest).ok_or_else(|| misfit(rest, ZONE))?;
    if after.is_empty() { Ok(()) } else { Err(format!("parsing time {}: extra text: {}", quoted(text), quoted(after))) }
}

fn leading_digits(text: &str, count: usize) -> Option<u32> {
    let digits = text.get(..count)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// Go takes a fraction of a second where its layout has none.
fn without_fraction(text: &str) -> &str {
    match text.strip_prefix(['.', ',']) {
        Some(digits) if digits.starts_with(|c: char| c.is_ascii_digit()) => {
            digits.trim_start_matches(|c: char| c.is_ascii_digit())
        }
        _ => text,
    }
}

fn without_zone(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix('Z') {
        return Some(rest);
    }
    let rest = text.strip_prefix(['+', '-'])?;
    leading_digits(rest, 2)?;
    let rest = rest[2..].strip_prefix(':')?;
    leading_digits(rest, 2)?;
    Some(&rest[2..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_go_says() {
        let seconds = |text| check(text, Layout::Seconds).err().unwrap_or_default();
        let micros = |text| check(text, Layout::Micros).err().unwrap_or_default();
        for good in ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00+01:00"] {
            assert_eq!(seconds(good), "", "{good}");
        }
        assert_eq!(micros("2026-01-01T00:00:00.123456Z"), "");
        assert_eq!(
            seconds("bad"),
            r#"parsing time "bad" as "2006-01-02T15:04:05Z07:00": cannot parse "bad" as "2006""#
        );
        assert_eq!(
            micros("2026-01-01T00:00:00Z"),
            r#"parsing time "2026-01-01T00:00:00Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000""#
        );
        assert_eq!(seconds("2026-13-01T00:00:00Z"), r#"parsing time "2026-13-01T00:00:00Z": month out of range"#);
        assert_eq!(
            seconds("2026-01-01 00:00:00Z"),
            r#"parsing time "2026-01-01 00:00:00Z" as "2006-01-02T15:04:05Z07:00": cannot parse " 00:00:00Z" as "T""#
        );
        assert_eq!(seconds("2026-01-01T00:00:00Zé"), r#"parsing time "2026-01-01T00:00:00Zé": extra text: "é""#);
        assert!(seconds("2026-01-01T00:00:00").ends_with(r#"cannot parse "" as "Z07:00""#));
        assert!(micros("2026-01-01T00:00:00.1234567Z").ends_with(r#"cannot parse "7Z" as "Z07:00""#));
    }
}
