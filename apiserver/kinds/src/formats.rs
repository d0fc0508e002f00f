//! Formats of fields beyond names: ports, keys, paths, addresses, amounts, percentages.
//! Each check returns upstream's messages of what is wrong.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api_machinery::quantity::Quantity;
use api_machinery::{ErrorList, Value, names};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::at::{At, NOT_NEGATIVE, PORT_RANGE};

/// Name of an environment variable, as relaxed since v1.30.
pub(crate) fn env_name(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    if text.bytes().all(|c| (b' '..=b'~').contains(&c) && c != b'=') {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()]
}

pub(crate) fn c_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|c| c.is_ascii_alphabetic() || c == b'_')
        && bytes.all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

pub(crate) fn http_header_name(text: &str) -> Vec<String> {
    if !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') {
        return Vec::new();
    }
    vec![
        "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for \
         validation is '[-A-Za-z0-9]+')"
            .to_owned(),
    ]
}

/// `IsDomainPrefixedPath`: `example.com/name`.
pub(crate) fn domain_prefixed_path(at: &At<'_>, errors: &mut ErrorList) {
    if !at.need(errors) {
        return;
    }
    let Some((domain, path)) = at.str().split_once('/').filter(|(domain, path)| !domain.is_empty() && !path.is_empty())
    else {
        return at.invalid(errors, "must be a domain-prefixed path (such as \"acme.io/foo\")");
    };
    for message in names::dns1123_subdomain(domain) {
        errors.invalid(&at.path(), &Value::from(domain), &message);
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
    if !path.chars().all(allowed) {
        let detail = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
        errors.invalid(&at.path(), &Value::from(path), detail);
    }
}

/// An IP address in canonical or legacy-tolerated form (upstream still accepts leading zeros in old fields).
pub(crate) fn parse_ip(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(match ip {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
            v4 => v4,
        });
    }
    legacy_ipv4(text).map(IpAddr::V4)
}

fn legacy_ipv4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || part.len() > 8 || !part.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse::<u32>().ok()?.try_into().ok()?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}

/// `IsValidIPForLegacyField`, strictly (StrictIPCIDRValidation).
pub(crate) fn ip(text: &str) -> Vec<String> {
    if parse_ip(text).is_none() {
        return vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()];
    }
    match text.parse::<IpAddr>() {
        Err(_) => vec!["must not have leading 0s".to_owned()],
        Ok(ip) if is_mapped(ip) => vec!["must not be an IPv4-mapped IPv6 address".to_owned()],
        Ok(_) => Vec::new(),
    }
}

fn is_mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some())
}

/// `IsValidIP`: in the one form it is printed in, too.
pub(crate) fn canonical_ip(text: &str) -> Vec<String> {
    let mut messages = ip(text);
    if messages.is_empty()
        && let Some(ip) = parse_ip(text).map(|ip| ip.to_string()).filter(|ip| ip != text)
    {
        messages.push(format!("must be in canonical form ({ip:?})"));
    }
    messages
}

/// An address block: network address and prefix length, masked or not.
pub(crate) fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, length) = text.split_once('/')?;
    if length.is_empty() || !length.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let length: u8 = length.parse().ok()?;
    let ip = parse_ip(ip)?;
    let max = if ip.is_ipv4() { 32 } else { 128 };
    (length <= max).then_some((ip, length))
}

/// `IsValidCIDRForLegacyField`, strictly (StrictIPCIDRValidation).
pub(crate) fn cidr(text: &str) -> Vec<String> {
    let Some((ip, length)) = parse_cidr(text) else {
        return vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned()];
    };
    let (address, digits) = text.split_once('/').unwrap_or((text, ""));
    match address.parse::<IpAddr>() {
        Err(_) => vec!["must not have leading 0s in IP or prefix length".to_owned()],
        _ if digits.len() > 1 && digits.starts_with('0') => {
            vec!["must not have leading 0s in IP or prefix length".to_owned()]
        }
        Ok(address) if is_mapped(address) => vec!["must not have an IPv4-mapped IPv6 address".to_owned()],
        Ok(_) if bits(ip) & !mask(length) != 0 => vec!["must not have bits set beyond the prefix length".to_owned()],
        Ok(_) => Vec::new(),
    }
}

/// `IsValidCIDR`: in the one form it is printed in, too.
pub(crate) fn canonical_cidr(text: &str) -> Vec<String> {
    let mut messages = cidr(text);
    if messages.is_empty()
        && let Some(shown) = parse_cidr(text).map(|(ip, length)| format!("{ip}/{length}")).filter(|shown| shown != text)
    {
        messages.push(format!("must be in canonical form ({shown:?})"));
    }
    messages
}

/// The bits of a prefix, of addresses whose bits begin at the top.
fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

/// `IsFullyQualifiedDomainName`: a subdomain of at least two labels; a dot at the end is fine.
pub(crate) fn domain_name(at: &At<'_>, errors: &mut ErrorList) {
    if !at.need(errors) {
        return;
    }
    let name = at.str().strip_suffix('.').unwrap_or(at.str());
    let say = |bad: &str, detail: &str, errors: &mut ErrorList| errors.invalid(&at.path(), &Value::from(bad), detail);
    let messages = names::dns1123_subdomain(name);
    if !messages.is_empty() {
        return say(name, &messages.join(","), errors);
    }
    if !name.contains('.') {
        return say(name, "should be a domain with at least two segments separated by dots", errors);
    }
    for label in name.split('.') {
        let messages = names::dns1123_label(label);
        if !messages.is_empty() {
            return say(label, &messages.join(","), errors);
        }
    }
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// Whether `inner` lies within `outer` and is smaller.
pub(crate) fn strictly_within(inner: (IpAddr, u8), outer: (IpAddr, u8)) -> bool {
    let mask = mask(outer.1);
    inner.0.is_ipv4() == outer.0.is_ipv4() && inner.1 > outer.1 && bits(inner.0) & mask == bits(outer.0) & mask
}

/// Addresses no endpoint or external IP may have.
fn special_ip(ip: IpAddr) -> Option<&'static str> {
    let multicast_link_local = match ip {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] == 0xff02,
    };
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    };
    if ip.is_loopback() {
        Some("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    } else if link_local {
        Some("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    } else if multicast_link_local {
        Some("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    } else {
        None
    }
}

/// `ValidateEndpointIP`.
pub(crate) fn not_special_ip(at: &At<'_>, errors: &mut ErrorList) {
    match parse_ip(at.str()) {
        None => at.invalid(errors, "must be a valid IP address"),
        Some(ip) if ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED) || ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            at.invalid(errors, &format!("may not be unspecified ({})", at.str()));
        }
        Some(ip) => {
            if let Some(message) = special_ip(ip) {
                at.invalid(errors, message);
            }
        }
    }
}

/// A port number, or the name of one.
pub(crate) fn port_or_name(at: &At<'_>, errors: &mut ErrorList) {
    match at.value {
        Value::String(text) => {
            for message in names::port_name(text) {
                at.invalid(errors, &message);
            }
        }
        _ => port(at, errors),
    }
}

pub(crate) fn port(at: &At<'_>, errors: &mut ErrorList) {
    let number = at.int().unwrap_or(0);
    if !(1..=65535).contains(&number) {
        errors.invalid(&at.path(), &Value::from(number), PORT_RANGE);
    }
}

/// `int or percentage`, not negative.
pub(crate) fn count_or_percent(at: &At<'_>, errors: &mut ErrorList) {
    match at.value {
        Value::String(text) => {
            if percent(text).is_none() {
                at.invalid(
                    errors,
                    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', \
                     regex used for validation is '[0-9]+%')",
                );
            }
        }
        _ => at.not_negative(errors),
    }
}

/// `12%` -> 12
pub(crate) fn percent(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('%')?;
    if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// `IsNotMoreThan100Percent`.
pub(crate) fn at_most_100_percent(at: &At<'_>, errors: &mut ErrorList) {
    if percent(at.str()).is_some_and(|value| value > 100) {
        at.invalid(errors, "must not be greater than 100%");
    }
}

pub(crate) fn quantity(at: &At<'_>) -> Option<Quantity> {
    match at.value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

pub(crate) fn quantity_not_negative(at: &At<'_>, errors: &mut ErrorList) {
    if quantity(at).is_some_and(|quantity| quantity.nano < 0) {
        at.invalid(errors, NOT_NEGATIVE);
    }
}

/// Whole pods, whole devices: no fraction.
pub(crate) fn quantity_whole(at: &At<'_>, errors: &mut ErrorList) {
    if quantity(at).is_some_and(|quantity| quantity.nano % 1_000_000_000 != 0) {
        at.invalid(errors, "must be an integer");
    }
}

/// A path below a volume: relative, without `..`.
pub(crate) fn local_descending_path(at: &At<'_>, errors: &mut ErrorList) {
    if at.str().starts_with('/') {
        at.invalid(errors, "must be a relative path");
    }
    no_backsteps(at, errors);
}

/// Also not beginning with `..`.
pub(crate) fn local_non_reserved_path(at: &At<'_>, errors: &mut ErrorList) {
    local_descending_path(at, errors);
    if at.str().starts_with("..") && !at.str().starts_with("../") {
        at.invalid(errors, "must not start with '..'");
    }
}

pub(crate) fn no_backsteps(at: &At<'_>, errors: &mut ErrorList) {
    if at.str().split('/').any(|part| part == "..") {
        at.invalid(errors, "must not contain '..'");
    }
}

/// Bytes that a base64 string of `data` stands for.
pub(crate) fn base64_len(text: &str) -> usize {
    let padding = text.bytes().rev().take_while(|c| *c == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}

/// Decodes standard base64, as `data` of Secrets and `request` of CSRs have it; `None` when it is not.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

pub(crate) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
