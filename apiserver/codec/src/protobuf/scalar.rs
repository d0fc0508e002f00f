//! Scalars that protobuf has messages for: quantities, times, durations, numbers that may be text.

use api_machinery::{Value, time};
use jiff::Timestamp;
use serde_json::Number;

use super::tree::Tree;
use super::wire::{Backwards, Reader};

/// `Quantity { string = 1 }`
pub(super) fn read_quantity(bytes: &[u8]) -> Result<Value, String> {
    let mut text = "";
    let mut reader = Reader(bytes);
    while let Some((tag, payload)) = reader.next()? {
        if tag == 1 {
            text = payload.text()?;
        }
    }
    Ok(if text.is_empty() { "0" } else { text }.into())
}

pub(super) fn write_quantity(out: &mut Backwards, tag: u32, value: Option<&Tree<'_>>) -> Option<()> {
    let end = out.mark();
    match value {
        None => out.text(1, b"0"),
        Some(Tree::Text(text)) => out.text(1, text.as_bytes()),
        Some(Tree::Number(number)) => out.text(1, number.to_string().as_bytes()),
        Some(_) => return None,
    }
    out.delimit(tag, end);
    Some(())
}

/// `IntOrString { type = 1, intVal = 2, strVal = 3 }`, where type 1 is text.
pub(super) fn read_int_or_string(bytes: &[u8]) -> Result<Value, String> {
    let (mut kind, mut number, mut text) = (0, 0, "");
    let mut reader = Reader(bytes);
    while let Some((tag, payload)) = reader.next()? {
        match tag {
            1 => kind = payload.varint()?,
            2 => number = payload.varint()? as i32,
            3 => text = payload.text()?,
            _ => {}
        }
    }
    match kind {
        0 => Ok(number.into()),
        1 => Ok(text.into()),
        _ => Err("impossible IntOrString.Type".to_owned()),
    }
}

pub(super) fn write_int_or_string(out: &mut Backwards, tag: u32, value: Option<&Tree<'_>>) -> Option<()> {
    let (kind, number, text) = match value {
        None => (0, 0, ""),
        Some(Tree::Text(text)) => (1, 0, &**text),
        Some(number) => (0, number.as_i64()?, ""),
    };
    let end = out.mark();
    out.text(3, text.as_bytes());
    out.number(2, number as u64);
    out.number(1, kind);
    out.delimit(tag, end);
    Some(())
}

/// `Time { seconds = 1, nanos = 2 }`; an empty message is no time.
pub(super) fn read_time(bytes: &[u8], micros: bool) -> Result<Value, String> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader(bytes);
    while let Some((tag, payload)) = reader.next()? {
        match tag {
            1 => seconds = payload.varint()? as i64,
            2 => nanos = payload.varint()? as i32,
            _ => {}
        }
    }
    // Times in whole seconds have no nanos, whatever is sent.
    let nanos = if micros { nanos } else { 0 };
    let at = Timestamp::new(seconds, nanos).map_err(|_| format!("time {seconds}s {nanos}ns is out of range"))?;
    Ok(if micros { time::micros(at) } else { time::seconds(at) }.into())
}

pub(super) fn write_time(out: &mut Backwards, tag: u32, value: Option<&Tree<'_>>, micros: bool) -> Option<()> {
    let end = out.mark();
    if let Some(value) = value {
        let at = time::parse(value.as_str()?)?;
        // Before 1970 the parts of a jiff timestamp are both negative; Go's nanos never are.
        let nanos = at.as_nanosecond();
        let (seconds, rest) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
        out.number(2, if micros { (rest / 1000 * 1000) as u64 } else { 0 });
        out.number(1, seconds as i64 as u64);
    }
    out.delimit(tag, end);
    Some(())
}

const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// `Duration { duration = 1 }` in nanoseconds.
pub(super) fn read_duration(bytes: &[u8]) -> Result<Value, String> {
    let mut nanos = 0;
    let mut reader = Reader(bytes);
    while let Some((tag, payload)) = reader.next()? {
        if tag == 1 {
            nanos = payload.varint()? as i64;
        }
    }
    Ok(duration_text(nanos).into())
}

pub(super) fn write_duration(out: &mut Backwards, tag: u32, value: Option<&Tree<'_>>) -> Option<()> {
    let nanos = match value {
        None => 0,
        Some(value) => duration_nanos(value.as_str()?)?,
    };
    let end = out.mark();
    out.number(1, nanos as u64);
    out.delimit(tag, end);
    Some(())
}

/// As Go prints durations: `1h2m3.5s`, `1.5ms`, `0s`.
fn duration_text(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let whole = nanos.unsigned_abs();
    let decimal = |unit: u64| {
        let text = format!("{}.{:0width$}", whole / unit, whole % unit, width = unit.ilog10() as usize);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match whole {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{whole}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(1_000_000)),
        _ => {
            let minutes = whole / 60_000_000_000;
            let mut seconds = format!("{}.{:09}", whole / 1_000_000_000 % 60, whole % 1_000_000_000);
            seconds.truncate(seconds.trim_end_matches('0').trim_end_matches('.').len());
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// Reads what Go reads; `None` for everything else.
fn duration_nanos(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0i128;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let nanos = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || whole.len() > 19 || fraction.contains('.') {
            return None;
        }
        if !whole.is_empty() {
            total += whole.parse::<i128>().ok()? * nanos;
        }
        let mut place = nanos;
        for digit in fraction.bytes() {
            place /= 10;
            total += i128::from(digit - b'0') * place;
        }
        if tail.is_empty() {
            return i64::try_from(if negative { -total } else { total }).ok();
        }
        rest = tail;
    }
}

/// Whole numbers are written without a point, as Go does.
pub(super) fn float(number: f64) -> Result<Value, String> {
    /// Beyond this not every whole number is a float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        return Ok((number as i64).into());
    }
    Number::from_f64(number).map(Value::Number).ok_or_else(|| format!("json: unsupported value: {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (60_000_000_000, "1m0s"),
            (3_723_500_000_000, "1h2m3.5s"),
            (-1_500_000_000, "-1.5s"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(duration_text(nanos), text);
            assert_eq!(duration_nanos(text), Some(nanos), "{text}");
        }
        assert_eq!(duration_nanos("1.5h"), Some(5_400_000_000_000));
        for wrong in ["", "1", "s", ".s", "1x", "1.1.1s", "--1s", "99999999h", "1 s", "9999999999999999999999s"] {
            assert_eq!(duration_nanos(wrong), None, "{wrong}");
        }
    }
}
