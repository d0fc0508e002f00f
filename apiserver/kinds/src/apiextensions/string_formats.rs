//! `format` of schemas: which ones mean something, and what they ask of strings.

use std::net::Ipv6Addr;

use api_machinery::Value;
use jiff::civil::Date;

use crate::at::child;
use crate::formats;
use crate::list::apiextensions_schema as schema;

/// Those of strings, dashes aside.
const OF_STRINGS: [&str; 26] = [
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "datetime",
    "duration",
    "email",
    "hexcolor",
    "hostname",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8slongname",
    "k8sshortname",
    "mac",
    "password",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
];

/// Characters of a short and of a long name.
const MAX_SHORT: usize = 63;
const MAX_LONG: usize = 253;

pub(crate) fn is_known(format: &str) -> bool {
    OF_STRINGS.contains(&format.replace('-', "").as_str())
}

/// The formats of a schema, and of what is in it, that are ignored.
pub(crate) fn unrecognized(root: &Value) -> Vec<String> {
    let mut found = Vec::new();
    schema::any(root, &mut |one| {
        let format = child(one, "format").as_str().unwrap_or("");
        let is_recognized = match child(one, "type").as_str().unwrap_or("") {
            "" | "string" => is_known(format),
            "integer" => matches!(format, "int32" | "int64"),
            "number" => matches!(format, "float" | "double"),
            _ => false,
        };
        if !format.is_empty() && !is_recognized {
            found.push(format.to_owned());
        }
        false
    });
    found
}

/// Whether a string is of a format, as far as that is told here: what is not is taken as right.
pub(crate) fn is_of(text: &str, format: &str) -> bool {
    match format.replace('-', "").as_str() {
        "ipv4" => text.contains('.') && formats::parse_ip(text).is_some_and(|ip| ip.is_ipv4()),
        "ipv6" => text.contains(':') && text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => formats::parse_cidr(text).is_some(),
        "byte" => !text.is_empty() && formats::base64(text).is_some(),
        "date" => is_date(text),
        "datetime" => is_date_time(text),
        "hexcolor" => is_hex_color(text),
        "mac" => is_mac(text),
        "uuid" => is_uuid(text, None),
        "uuid3" => is_uuid(text, Some(b'3')),
        "uuid4" => is_uuid(text, Some(b'4')) && has_variant(text),
        "uuid5" => is_uuid(text, Some(b'5')) && has_variant(text),
        "k8sshortname" => text.len() <= MAX_SHORT && is_short_name(text),
        "k8slongname" => text.len() <= MAX_LONG && text.split('.').all(is_short_name),
        _ => true,
    }
}

fn is_date(text: &str) -> bool {
    text.len() == "2006-01-02".len() && text.parse::<Date>().is_ok()
}

fn is_date_time(text: &str) -> bool {
    let text = text.to_lowercase();
    let Some((date, rest)) = text.split_once('t') else { return false };
    let (Some(time), Some(mut zone)) = (rest.get(..8), rest.get(8..)) else { return false };
    if let Some(fraction) = zone.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return false;
        }
        zone = &fraction[digits..];
    }
    let offset = zone.strip_prefix(['+', '-']);
    let is_zone = zone == "z" || offset.is_some_and(|offset| is_clock(offset, &[99, 99]));
    is_date(date) && is_clock(time, &[23, 59, 59]) && is_zone
}

/// Two digits each, with colons between them, none above its limit.
fn is_clock(text: &str, limits: &[u8]) -> bool {
    let mut parts = text.split(':');
    let fits = |part: &str, limit: u8| {
        part.len() == 2 && part.bytes().all(|c| c.is_ascii_digit()) && part.parse::<u8>().is_ok_and(|one| one <= limit)
    };
    limits.iter().all(|limit| parts.next().is_some_and(|part| fits(part, *limit))) && parts.next().is_none()
}

fn is_hex_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or(text);
    matches!(digits.len(), 3 | 6) && digits.bytes().all(|c| c.is_ascii_hexdigit())
}

/// 6, 8 or 20 bytes, with colons or dashes between them, or in groups of two with dots.
fn is_mac(text: &str) -> bool {
    let is = |separator: char, digits: usize, counts: [usize; 3]| {
        let mut parts = text.split(separator);
        counts.contains(&text.split(separator).count())
            && parts.all(|part| part.len() == digits && part.bytes().all(|c| c.is_ascii_hexdigit()))
    };
    is(':', 2, [6, 8, 20]) || is('-', 2, [6, 8, 20]) || is('.', 4, [3, 4, 10])
}

/// The hexadecimal digits of a UUID, its optional dashes aside.
fn uuid_digits(text: &str) -> Option<Vec<u8>> {
    let mut digits = Vec::new();
    for c in text.bytes() {
        match c {
            b'-' if matches!(digits.len(), 8 | 12 | 16 | 20) => {}
            c if c.is_ascii_hexdigit() => digits.push(c),
            _ => return None,
        }
    }
    (digits.len() == 32 && !text.contains("--")).then_some(digits)
}

fn is_uuid(text: &str, version: Option<u8>) -> bool {
    uuid_digits(text).is_some_and(|digits| version.is_none_or(|version| digits[12] == version))
}

fn has_variant(text: &str) -> bool {
    uuid_digits(text).is_some_and(|digits| matches!(digits[16].to_ascii_lowercase(), b'8' | b'9' | b'a' | b'b'))
}

fn is_short_name(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::is_of;

    #[test]
    fn formats_of_strings() {
        for (format, right, wrong) in [
            ("ipv4", "10.0.0.1", "fe80::1"),
            ("ipv6", "fe80::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0"),
            ("byte", "aGk=", "hi!"),
            ("date", "2024-02-29", "2023-02-29"),
            ("date-time", "2024-02-29T23:59:59.5Z", "2024-02-29"),
            ("datetime", "2024-02-29T00:00:00+01:00", "2024-02-29T24:00:00Z"),
            ("hexcolor", "#ffffff", "#ffff"),
            ("mac", "01:23:45:67:89:ab", "01:23"),
            ("uuid", "6F9619FF-8B86-D011-B42D-00CF4FC964FF", "6f9619ff"),
            ("k8s-short-name", "a-1", "A"),
            ("k8s-long-name", "a.b-1", "a..b"),
        ] {
            assert!(is_of(right, format), "{right} is {format}");
            assert!(!is_of(wrong, format), "{wrong} is no {format}");
        }
        assert!(is_of("anything", "password") && is_of("anything", "unheard"));
    }
}
