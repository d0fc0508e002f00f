//! What a text would be read as if it were written without quotes.

use jiff::civil::Date;

/// Read as true, false, null or a number that has no digits.
const WORDS: [&str; 35] = [
    "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON", "n", "N", "no", "No", "NO", "false",
    "False", "FALSE", "off", "Off", "OFF", "~", "null", "Null", "NULL", ".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF",
    "+.inf", "+.Inf", "+.INF",
];
const NEGATIVE: [&str; 3] = ["-.inf", "-.Inf", "-.INF"];

/// Whether it is read as the text it is.
pub(super) fn is_text(text: &str) -> bool {
    if text.is_empty() || WORDS.contains(&text) || NEGATIVE.contains(&text) {
        return false;
    }
    match text.as_bytes()[0] {
        b'.' => !(are_separators(text) && is_decimal(&text.replace('_', ""))),
        b'0'..=b'9' | b'+' | b'-' => !(is_time(text) || is_number(&text.replace('_', "")) || is_sexagesimal(text)),
        _ => true,
    }
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['+', '-']).unwrap_or(text)
}

fn are_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether underscores are only between digits.
fn are_separators(text: &str) -> bool {
    let between = |part: &[u8]| part[1] == b'_' && part[0].is_ascii_digit() && part[2].is_ascii_digit();
    text.as_bytes().windows(3).filter(|part| between(part)).count() == text.matches('_').count()
}

fn is_number(text: &str) -> bool {
    let binary = text.strip_prefix("0b").is_some_and(|rest| fits(unsigned(rest), 2, rest.starts_with(['+', '-'])));
    is_integer(text) || is_decimal(text) || binary
}

/// As Go reads integers of any base: `0x1f`, `0b1`, `0o7`, `07`.
fn is_integer(text: &str) -> bool {
    let (signed, digits) = (text.starts_with(['+', '-']), unsigned(text));
    let prefixed = |letter: char| {
        let rest = digits.strip_prefix('0')?.strip_prefix([letter, letter.to_ascii_uppercase()])?;
        (!rest.is_empty()).then_some(rest)
    };
    for (letter, base) in [('b', 2), ('o', 8), ('x', 16)] {
        if let Some(rest) = prefixed(letter) {
            return fits(rest, base, signed);
        }
    }
    match digits.strip_prefix('0') {
        Some("") => true,
        Some(octal) => fits(octal, 8, signed),
        None => fits(digits, 10, signed),
    }
}

fn fits(digits: &str, base: u32, signed: bool) -> bool {
    let known = digits.chars().all(|digit| digit.is_digit(base));
    let number = if known { u64::from_str_radix(digits, base).ok() } else { None };
    number.is_some_and(|number| !signed || i64::try_from(number).is_ok() || number == 1 << 63)
}

/// `1`, `1.`, `.5`, `1.5e-7`; not what is beyond all numbers.
fn is_decimal(text: &str) -> bool {
    let (mantissa, exponent) = text.split_once(['e', 'E']).map_or((text, None), |(one, other)| (one, Some(other)));
    let (whole, part) = unsigned(mantissa).split_once('.').map_or((unsigned(mantissa), None), |(a, b)| (a, Some(b)));
    let shaped = match part {
        None => are_digits(whole),
        Some(part) if whole.is_empty() => are_digits(part),
        Some(part) => are_digits(whole) && (part.is_empty() || are_digits(part)),
    };
    let exponent = exponent.is_none_or(|text| are_digits(unsigned(text)));
    shaped && exponent && text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// `190:20:30`, which old readers take for a number.
fn is_sexagesimal(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').map_or((text, ""), |(one, other)| (one, other));
    let is_part = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let mut parts = unsigned(whole).split(':');
    let first = parts.next().is_some_and(|first| first.starts_with(|c: char| c.is_ascii_digit()) && is_part(first));
    let mut count = 0;
    let all = parts.all(|part| {
        count += 1;
        are_digits(part) && (part.len() == 1 || part.len() == 2 && part.as_bytes()[0] < b'6')
    });
    first && all && count > 0 && is_part(fraction)
}

/// A date, or one with a time of day: four digits, then parts of one or two.
fn is_time(text: &str) -> bool {
    let Some((year, rest)) = text.split_once('-').filter(|(year, _)| year.len() == 4 && are_digits(year)) else {
        return false;
    };
    let date = |month: &str, day: &str| {
        let [year, month, day] = [year.parse().ok()?, number(month)?, number(day)?];
        Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
    };
    let Some((month, rest)) = rest.split_once('-') else { return false };
    let end = rest.find(['T', 't', ' ']);
    let (day, clock) = end.map_or((rest, None), |at| (&rest[..at], Some(&rest[at..])));
    date(month, day).is_some() && clock.is_none_or(is_clock)
}

/// Of one or two digits.
fn number(text: &str) -> Option<i16> {
    Some(text).filter(|text| are_digits(text) && text.len() < 3)?.parse().ok()
}

fn is_within(text: &str, most: i16) -> bool {
    number(text).is_some_and(|number| number <= most)
}

/// What separates it from the date, `15:4:5.9`, and a zone unless it is separated by a space.
fn is_clock(text: &str) -> bool {
    let (separator, rest) = text.split_at(1);
    let zoned = separator != " ";
    let end = if zoned { rest.find(['Z', '+', '-']).unwrap_or(rest.len()) } else { rest.len() };
    let (clock, zone) = rest.split_at(end);
    if zoned && !is_zone(zone) {
        return false;
    }
    let (clock, fraction) = clock.split_once(['.', ',']).map_or((clock, "0"), |(one, other)| (one, other));
    let mut parts = clock.split(':').zip([23, 59, 59]);
    clock.matches(':').count() == 2 && parts.all(|(part, most)| is_within(part, most)) && are_digits(fraction)
}

/// `Z`, `+01:00`
fn is_zone(text: &str) -> bool {
    let offset = |rest: &str| {
        let (hours, minutes) = rest.split_once(':')?;
        Some(hours.len() == 2 && minutes.len() == 2 && is_within(hours, 24) && is_within(minutes, 60))
    };
    text == "Z" || text.strip_prefix(['+', '-']).and_then(offset).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::is_text;

    #[test]
    fn what_needs_quotes() {
        for text in [
            "",
            "y",
            "No",
            "TRUE",
            "off",
            "~",
            "null",
            ".nan",
            "-.inf",
            "0",
            "-1",
            "+1",
            "1_000",
            "0x1F",
            "0b101",
            "0o17",
            "0644",
            "089",
            "18446744073709551615",
            "99999999999999999999",
            "1.5",
            ".5",
            ".5_0",
            "1.",
            "1e3",
            "-1.5E-7",
            "12:30",
            "1:2:3.5",
            "190:20:30",
            "2026-01-02",
            "2026-1-2",
            "2026-01-02T03:04:05Z",
            "2026-01-02t03:04:05.123+01:00",
            "2026-01-02 03:04:05",
            "2026-02-28",
        ] {
            assert!(!is_text(text), "{text:?}");
        }
        for text in [
            "a",
            "yEs",
            "nil",
            "-",
            "+",
            ".",
            "..",
            "1.2.3",
            "._5",
            "10.0.0.1",
            "0x",
            "0xg",
            "1e",
            "1e999",
            "v1",
            "100m",
            "1Gi",
            "2026-13-01",
            "2026-02-30",
            "2026-01-02T03:04:05",
            "2026-01-02 03:04:05Z",
            "12:60",
            "1:234",
            "<<",
            "=",
            "-a",
            "1-2",
            "0b2",
        ] {
            assert!(is_text(text), "{text:?}");
        }
    }
}
